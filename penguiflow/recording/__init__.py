"""Everything that happens in a run, as one log that can be read, compared and run again."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penguiflow.recording.events import EventRecord, EventSink, TraceEvent
    from penguiflow.recording.frontier import Frontier, read_frontier
    from penguiflow.recording.plan import CannotRestore
    from penguiflow.recording.rebuilding import NotRebuildable, rebuild
    from penguiflow.recording.recorder import Recorder
    from penguiflow.recording.spans import Span, SpanTree, build_spans, find_message

_HOMES = {
    "CannotRestore": "plan",
    "EventRecord": "events",
    "EventSink": "events",
    "Frontier": "frontier",
    "NotRebuildable": "rebuilding",
    "Recorder": "recorder",
    "Span": "spans",
    "SpanTree": "spans",
    "TraceEvent": "events",
    "build_spans": "spans",
    "find_message": "spans",
    "read_frontier": "frontier",
    "rebuild": "rebuilding",
}

__all__ = [
    "CannotRestore",
    "EventRecord",
    "EventSink",
    "Frontier",
    "NotRebuildable",
    "Recorder",
    "Span",
    "SpanTree",
    "TraceEvent",
    "build_spans",
    "find_message",
    "read_frontier",
    "rebuild",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
