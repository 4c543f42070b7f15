"""Trace events as the contract's `StoredEvent`: the one place where the two vocabularies meet."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from penguiflow.recording.events import TraceEvent
from penguiflow.state.models import StoredEvent

__all__ = ["stored_events"]

_KINDS = {
    "attempt.start": "node_start",
    "node.retry": "node_retry",
    "deadline.exceeded": "deadline_skip",
    "cancel.requested": "trace_cancel_start",
    "cancel.done": "trace_cancel_finish",
    "message.dropped": "trace_cancel_drop",
}
_ATTEMPT_ENDS = {"ok": "node_success", "timeout": "node_timeout", "error": "node_error"}
_NODE_ENDS = {"cancelled": "node_trace_cancelled", "error": "node_failed", "timeout": "node_failed"}


def stored_events(events: Iterable[TraceEvent]) -> list[StoredEvent]:
    """The trace's events, in order, each under the name that a `FlowEvent` has for it.

    What `FlowEvent` has no name for keeps its dotted kind. The payload is the event's data with `event`, `ts`,
    `trace_id`, `node_name`, `node_id`, `attempt` and the event's own kind as `trace_event`.
    """
    about: dict[str, dict[str, Any]] = {}
    """By span: the node and the attempt that it is part of."""
    result = []
    for event in events:
        scope = about.get(event.span_id)
        if scope is None:
            scope = about[event.span_id] = dict(about.get(event.parent_id or "", {}))
        if event.kind == "node.start":
            scope["node_name"] = event.name
            scope["node_id"] = event.data.get("node_id")
        elif event.kind == "attempt.start":
            scope["attempt"] = event.data.get("attempt", 0)
        kind = _flow_kind(event)
        payload = {
            "event": kind,
            "ts": event.ts,
            "trace_id": event.trace_id,
            "node_name": None,
            "node_id": None,
            "attempt": 0,
            **scope,
            **event.data,
            "trace_event": event.kind,
        }
        node_name, node_id = scope.get("node_name"), scope.get("node_id")
        result.append(StoredEvent(event.trace_id, event.ts, kind, node_name, node_id, payload))
        if event.kind.endswith(".end"):
            about.pop(event.span_id, None)
    return result


def _flow_kind(event: TraceEvent) -> str:
    status = str(event.data.get("status"))
    if event.kind == "attempt.end":
        return _ATTEMPT_ENDS.get(status, event.kind)
    if event.kind == "node.end":
        return _NODE_ENDS.get(status, event.kind)
    return _KINDS.get(event.kind, event.kind)
