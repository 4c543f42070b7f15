from __future__ import annotations

import json
from typing import Any

from playground.dashboard.debugging.edited import edited_nodes
from playground.dashboard.details import span_details
from playground.dashboard.trace import TraceModel

TRACE = "ab" * 16


def stored(value: Any) -> dict[str, Any]:
    return {"type": "builtins:dict", "value": value}


def trace_of(*edits: tuple[str, dict[str, Any]]) -> TraceModel:
    events: list[tuple[str, str, str, str | None, dict[str, Any]]] = [
        ("trace.start", "shop", "1", None, {}),
        ("node.start", "choose", "2", "1", {}),
        ("attempt.start", "choose", "3", "2", {"attempt": 0}),
        *(("edit", "choose", span, "2", data) for span, data in edits),
        ("attempt.end", "choose", "3", "2", {"status": "ok"}),
        ("node.end", "choose", "2", "1", {"status": "ok"}),
        ("trace.end", "shop", "1", None, {"status": "ok"}),
    ]
    trace = TraceModel(TRACE)
    for seq, (kind, name, span, parent, data) in enumerate(events):
        event = {"seq": seq, "epoch": 0, "trace_id": TRACE, "span_id": span, "parent_id": parent, "ts": 0.0,
                 "offset_ns": seq, "kind": kind, "name": name, "data": data}  # fmt: skip
        trace.add(json.dumps(event, separators=(",", ":")).encode())
    return trace


def told(trace: TraceModel) -> list[str]:
    span = trace.root.children[0] if trace.root is not None else None
    assert span is not None
    return [str(node.value) for node in edited_nodes(trace, span)]


def test_what_was_edited_stands_beside_the_span_with_both_values() -> None:
    before, after = [{"shop": "c", "price": 22.0}], [{"shop": "c", "price": 1}]
    data = {"before": stored(before), "after": stored(after), "checkpoint": "before_node", "by": "pf"}
    trace = trace_of(("3", data))
    assert told(trace) == ["/0/price  22.0 → 1 · before node, by pf"]
    assert trace.root is not None
    keys = [node.key for node in span_details(trace, trace.root.children[0])[1]]
    assert "✎ edited" in keys


def test_what_takes_the_place_of_all_of_it_is_shown() -> None:
    data = {"before": {"type": "E", "message": "no"}, "after": stored({"n": 2}), "checkpoint": "on_error", "by": "pf"}
    assert told(trace_of(("2", data))) == ['→ {"n": 2} · on error, by pf']


def test_many_places_are_counted_and_headers_named() -> None:
    before = {f"k{n}": 0 for n in range(12)}
    data = {"of": "headers", "before": stored(before), "after": stored(dict.fromkeys(before, 1)), "by": "me"}
    lines = told(trace_of(("2", data)))
    assert lines[0] == "/k0  0 → 1 · headers, by me"
    assert lines[-1] == "and 4 more"


def test_a_run_that_nobody_edited_has_none() -> None:
    assert told(trace_of()) == []
