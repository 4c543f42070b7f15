"""What people changed of a run while it had stopped, beside what they changed: the proof of an edit."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from playground.dashboard.details import field
from playground.dashboard.editing.changes import change
from playground.dashboard.heads import read_data, read_head
from playground.dashboard.text import clip, one_line
from playground.dashboard.views.detail import Node

if TYPE_CHECKING:
    from penguiflow.recording.spans import Span
    from playground.dashboard.trace import TraceModel

SCANNED = 2_000
MAX_EVENTS = 8
MAX_PLACES = 8
MAX_BYTES = 1_000_000
VALUE_CELLS = 120


def edited_nodes(trace: TraceModel, span: Span) -> list[Node]:
    """Each place that was edited in a span, or in the attempts of a node, with both values, and by whom."""
    spans = [span, *[child for child in span.children[-MAX_EVENTS:] if child.kind == "attempt"]]
    nodes: list[Node] = []
    for each in spans:
        for _, raw in trace.events_of(each, most=SCANNED):
            if b'"edit"' not in raw or len(raw) > MAX_BYTES or read_head(raw).kind != "edit":
                continue
            nodes += _of(read_data(raw))
            if len(nodes) > MAX_EVENTS * MAX_PLACES:
                return nodes
    return nodes


def _of(data: dict[str, Any]) -> list[Node]:
    where = data.get("of") or str(data.get("checkpoint") or "").replace("_", " ")
    by = f" · {where}, by {data.get('by') or 'an interceptor'}" if where else ""
    before, after = _value(data.get("before")), _value(data.get("after"))
    edits = change(before, after).edits
    nodes: list[Node] = []
    for place, new in list(edits.items())[:MAX_PLACES]:
        told = f"{place}  {_short(_at(before, place))} → {_short(new)}" if place else f"→ {_short(new)}"
        nodes.append(field("✎ edited", told + by, "warn"))
    if len(edits) > MAX_PLACES:
        nodes.append(field("✎ edited", f"and {len(edits) - MAX_PLACES} more", "warn"))
    return nodes


def _value(stored: Any) -> Any:
    return stored["value"] if isinstance(stored, dict) and "value" in stored else stored


def _at(value: Any, place: str) -> Any:
    for part in place.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict):
            value = value.get(key)
        elif isinstance(value, list) and key.isdigit() and int(key) < len(value):
            value = value[int(key)]
        else:
            return None
    return value


def _short(value: Any) -> str:
    return clip(one_line(json.dumps(value, ensure_ascii=False)), VALUE_CELLS)
