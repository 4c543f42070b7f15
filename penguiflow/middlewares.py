"""Async callables that are told of every event."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol

from penguiflow.metrics import FlowEvent

__all__ = ["FlowEvent", "LatencyCallback", "Middleware", "log_flow_events"]

LatencyCallback = Callable[[str, float, FlowEvent], Any]
"""Called with the event type, the latency in milliseconds and the event."""


class Middleware(Protocol):
    """Anything that can be awaited with an event. What it raises is logged and does not reach the flow."""

    async def __call__(self, event: FlowEvent) -> None:
        """Take one event."""
        ...


def log_flow_events(
    logger: logging.Logger | None = None,
    *,
    start_level: int = logging.INFO,
    success_level: int = logging.INFO,
    error_level: int = logging.ERROR,
    latency_callback: LatencyCallback | None = None,
) -> Middleware:
    """A middleware that logs the start, the success and the errors of nodes (logger `penguiflow.flow`)."""
    target = logger or logging.getLogger("penguiflow.flow")
    levels = {"node_start": start_level, "node_success": success_level, "node_error": error_level}

    async def middleware(event: FlowEvent) -> None:
        level = levels.get(event.event_type)
        if level is None:
            return
        payload = event.to_payload()
        if event.event_type == "node_error" and event.error_payload is not None:
            payload["error_payload"] = dict(event.error_payload)
        target.log(level, event.event_type, extra=payload)
        if latency_callback is not None and event.latency_ms is not None and event.event_type != "node_start":
            try:
                latency_callback(event.event_type, event.latency_ms, event)
            except Exception:  # a user's callback must not disturb the flow
                target.exception("log_flow_events_latency_callback_error", extra=event.to_payload())

    return middleware
