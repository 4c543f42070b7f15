"""Trace events under the names that the contract has for them."""

from __future__ import annotations

from typing import Any

import pytest

from penguiflow.recording import TraceEvent
from penguiflow.state.history import stored_events


def event(seq: int, kind: str, span: str, parent: str | None, **data: Any) -> TraceEvent:
    return TraceEvent(seq, 0, "t", span, parent, 100.0 + seq, seq, kind, "shout", data)


@pytest.mark.parametrize(
    ("kind", "status", "expected"),
    [
        ("attempt.end", "ok", "node_success"),
        ("attempt.end", "error", "node_error"),
        ("attempt.end", "timeout", "node_timeout"),
        ("attempt.end", "cancelled", "attempt.end"),
        ("node.end", "error", "node_failed"),
        ("node.end", "cancelled", "node_trace_cancelled"),
        ("node.end", "ok", "node.end"),
        ("cancel.requested", None, "trace_cancel_start"),
        ("cancel.done", None, "trace_cancel_finish"),
        ("deadline.exceeded", None, "deadline_skip"),
        ("message.dropped", None, "trace_cancel_drop"),
        ("stall", None, "stall"),
    ],
)
def test_kinds_get_their_contracts_name(kind: str, status: str | None, expected: str) -> None:
    (found,) = stored_events([event(0, kind, "0", None, **({"status": status} if status else {}))])
    assert found.kind == expected
    assert found.payload["event"] == expected
    assert found.payload["trace_event"] == kind


def test_a_nodes_events_name_the_node_and_the_attempt() -> None:
    events = [
        event(0, "trace.start", "0", None, flow="f"),
        event(1, "node.start", "1", "0", message_id="m", node_id="id1"),
        event(2, "attempt.start", "2", "1", attempt=0),
        event(3, "attempt.end", "2", "1", status="error", latency_ms=2.5),
        event(4, "node.retry", "1", "0", attempt=1, sleep_s=0.1),
        event(5, "attempt.start", "5", "1", attempt=1),
        event(6, "attempt.end", "5", "1", status="ok", latency_ms=1.5),
        event(7, "node.end", "1", "0", status="ok"),
    ]
    found = stored_events(events)
    assert [each.ts for each in found] == [each.ts for each in events]
    assert {each.trace_id for each in found} == {"t"}
    assert found[0].node_name is None
    assert {(each.node_name, each.node_id) for each in found[1:]} == {("shout", "id1")}
    assert [each.payload["attempt"] for each in found[2:7]] == [0, 0, 1, 1, 1]
    assert found[3].payload["latency_ms"] == 2.5
    assert found[4].kind == "node_retry"
