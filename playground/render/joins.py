"""What a join of a distributed flow has: its parts come to several workers, and were sent by several."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

from penguiflow.recording.events import TraceEvent
from penguiflow.recording.spans import Span
from playground.dashboard.text import one_line
from playground.dashboard.workers import counted, short_names

__all__ = ["Joins"]

_start_of = attrgetter("start_seq")


class Joins:
    """Takes what nodes keep (`context.changed`), then what was sent to them (`message.enqueued`)."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        """Nodes that have kept messages."""
        self._counts: dict[str, tuple[int, int]] = {}
        """By span: how many it had then, and how many it waits for."""
        self._senders: dict[str, tuple[str, str | None]] = {}
        """By message: the node and the worker that sent it."""

    def add(self, event: TraceEvent) -> None:
        """Take an event; others than those are left out."""
        if event.kind == "context.changed":
            hold = event.data.get("hold")
            if isinstance(hold, str) and (count := counted(hold)) is not None:
                self.names.add(event.name)
                self._counts[event.span_id] = count
        elif event.kind == "message.enqueued":
            source, _, target = event.name.rpartition("->")
            if target in self.names:
                self._senders[str(event.data.get("message_id"))] = source, event.worker_id

    def parts(self, roots: Sequence[Span]) -> dict[str, str]:
        """By the span that took it: the how many-th message of a join it was, and who had sent it."""
        nodes = [span for root in roots for span in root.children if span.kind == "node"]
        short = short_names(dict.fromkeys(span.worker_id for span in nodes if span.worker_id is not None))
        last = dict.fromkeys(self.names, (0, 0))
        parts: dict[str, str] = {}
        for span in sorted((span for span in nodes if span.name in last), key=_start_of):
            count = self._counts.get(span.span_id)
            had, wanted = last[span.name]
            if count is None and span.status == "ok" and wanted and had == wanted - 1:
                count = wanted, wanted  # it keeps nothing more
            told = []
            if count is not None:
                last[span.name] = count
                told.append(f"{count[0]} of {count[1]}")
            if (sender := self._senders.get(span.input_id or "")) is not None:
                node, worker = sender
                told.append(f"← {one_line(node)} {'' if worker is None else short.get(worker, worker)}".rstrip())
            if told:
                parts[span.span_id] = " ".join(told)
        return parts
