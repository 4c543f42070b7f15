"""The log of one delivery: what a worker tells of it in the trace's log."""

from __future__ import annotations

from collections.abc import Mapping
from time import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penguiflow.bus.protocol import Delivery
    from penguiflow.observer import TraceHop, TraceLog
    from penguiflow.types import Message

__all__ = ["DeliveryLog", "SilentLog"]

_OWN = frozenset({"node", "attempt", "join"})
_CALLS = frozenset({"record", "checkpoint.resolved"})
_JOIN = "join"
"""Spans that are of the trace, and not of one delivery."""


class SilentLog:
    """A `TraceLog` for stores that keep no events."""

    root = ""

    def start(self, kind: str, name: str, parent: str, data: Mapping[str, Any] | None = None) -> str:
        """Nothing is written."""
        return kind

    def end(
        self, kind: str, name: str, span: str, parent: str, status: str, data: Mapping[str, Any] | None = None
    ) -> None:
        """Nothing is written."""

    def event(self, kind: str, name: str, span: str, data: Mapping[str, Any] | None = None) -> None:
        """Nothing is written."""

    def put(self, edge: str, span: str, message_id: str, content: Any, envelope: Message | None) -> None:
        """Nothing is written."""

    def taken(self, edge: str, parent: str, message_id: str, node: str, node_id: str) -> tuple[str, str]:
        """Nothing is written."""
        return "node", "attempt"

    def begin(self, edge: str, message_id: str, node: str, node_id: str) -> TraceHop | None:
        """Every event for itself."""
        return None

    def freeze(self, value: Any) -> Any:
        """The value itself: nobody compares it."""
        return value

    def describe(self, error: BaseException) -> Mapping[str, Any]:
        """Nothing but its text."""
        return {"type": type(error).__name__, "message": str(error)}

    def close(self, status: str, data: Mapping[str, Any] | None = None) -> None:
        """Nothing is written."""


class DeliveryLog:
    """Hands on what the engine tells of a delivery to the trace's log, which goes on after it."""

    def __init__(self, log: TraceLog, delivery: Delivery) -> None:
        self._log = log
        self._about = {"queue_wait_s": max(0.0, time() - delivery.put_at), "attempt": delivery.attempt}
        self._edge = delivery.edge
        self.root = log.root
        self.interrupted = False
        """Whether what it tells from now on was interrupted: another worker does it again."""
        self.asked = False
        """Whether the node asked somebody something, whose answer is in the log."""
        self.uncertain = False
        """Whether its commit may lose: the node keeps something, which others may have changed meanwhile."""
        self._end: tuple[str, str, str, Mapping[str, Any] | None] | None = None
        """The end of the node's own span, where that waits for the commit: name, span, status, data."""
        self.put = log.put
        self.freeze = log.freeze
        self.describe = log.describe

    def start(self, kind: str, name: str, parent: str, data: Mapping[str, Any] | None = None) -> str:
        """Open a span; the node's own one tells of the delivery."""
        self.asked = self.asked or kind not in _OWN
        if kind == "node" and parent == self.root:
            told = {"queue_wait_s": self._about["queue_wait_s"], "delivery": self._about["attempt"]}
            data = {**(data or {}), **told}
        return "" if kind == _JOIN else self._log.start(kind, name, parent, data)

    def end(
        self, kind: str, name: str, span: str, parent: str, status: str, data: Mapping[str, Any] | None = None
    ) -> None:
        """Close a span; the node's own one when it is known whether its work counts."""
        if self.uncertain and kind == "node" and parent == self.root:
            self._end = name, span, status, data
        elif kind != _JOIN:
            self._log.end(kind, name, span, parent, "interrupted" if self.interrupted else status, data)

    def settle(self, *, counts: bool) -> None:
        """Close the node's span: its work was committed, or somebody does it again."""
        if self._end is not None:
            name, span, status, data = self._end
            self._end = None
            if not counts or self.interrupted:
                status, data = "interrupted", None
            self._log.end("node", name, span, self.root, status, data)

    def event(self, kind: str, name: str, span: str, data: Mapping[str, Any] | None = None) -> None:
        """Write an event; how long the message had waited, and how often it was delivered, is said with it."""
        self.asked = self.asked or kind in _CALLS
        if kind == "message.dequeued" and name == self._edge:
            data = {**(data or {}), **self._about}
        self._log.event(kind, name, span, data)

    def taken(self, edge: str, parent: str, message_id: str, node: str, node_id: str) -> tuple[str, str]:
        """Write that the message was taken, and the starts of the node's span and its first attempt."""
        self.event("message.dequeued", edge, parent, {"message_id": message_id})
        span = self.start("node", node, parent, {"message_id": message_id, "node_id": node_id})
        return span, self._log.start("attempt", node, span, {"attempt": 0})

    def begin(self, edge: str, message_id: str, node: str, node_id: str) -> TraceHop | None:
        """Every event for itself."""
        return None

    def close(self, status: str, data: Mapping[str, Any] | None = None) -> None:
        """The trace goes on; who ends it writes that."""
