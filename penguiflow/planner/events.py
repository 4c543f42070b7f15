"""The events that programs listen to: `event_callback`, and a store's planner events."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["PlannerEvent", "PlannerEventCallback", "PlannerEvents"]

logger = logging.getLogger("penguiflow.planner")

_OF_LOG_RECORDS = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime"}


@dataclass(frozen=True, slots=True)
class PlannerEvent:
    """One thing that happened in a run."""

    event_type: str
    ts: float
    """By the planner's `time_source`, in seconds."""
    trajectory_step: int
    """How many steps were done by then."""
    thought: str | None = None
    node_name: str | None = None
    latency_ms: float | None = None
    token_estimate: int | None = None
    error: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_payload(self) -> dict[str, Any]:
        """`{event, ts, step, …}`, flat; keys that log records have themselves are left out."""
        payload: dict[str, Any] = {"event": self.event_type, "ts": self.ts, "step": self.trajectory_step}
        for name in ("thought", "node_name", "latency_ms", "token_estimate", "error"):
            value = getattr(self, name)
            if value is not None:
                payload[name] = value
        payload.update({key: value for key, value in self.extra.items() if key not in _OF_LOG_RECORDS})
        return payload


PlannerEventCallback = Callable[[PlannerEvent], None]
"""Called on the event loop, in order; what it raises is logged and does not reach the run."""


class PlannerEvents:
    """Makes the events of one run, and hands them to whoever listens. Nothing is made where nobody does."""

    __slots__ = ("_callbacks", "_clock", "kept", "listening", "step")

    def __init__(self, clock: Callable[[], float], *callbacks: PlannerEventCallback | None, keep: bool) -> None:
        self._clock = clock
        self._callbacks = [each for each in callbacks if each is not None]
        self.kept: list[PlannerEvent] | None = [] if keep else None
        """For a store that takes them when the run is over."""
        self.listening = bool(self._callbacks) or keep
        self.step = 0
        """Steps done."""

    def emit(
        self,
        event_type: str,
        /,
        *,
        thought: str | None = None,
        node_name: str | None = None,
        latency_ms: float | None = None,
        token_estimate: int | None = None,
        error: str | None = None,
        **extra: Any,
    ) -> None:
        """Tell of one event; ask `listening` first where `extra` costs something."""
        if not self.listening:
            return
        event = PlannerEvent(
            event_type, self._clock(), self.step, thought, node_name, latency_ms, token_estimate, error, extra
        )
        if self.kept is not None:
            self.kept.append(event)
        for callback in self._callbacks:
            try:
                callback(event)
            except Exception:  # a listener's failure is none of the run's
                logger.exception("planner_event_callback_failed", extra={"event": event_type})
