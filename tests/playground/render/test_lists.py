from __future__ import annotations

import time
from typing import Any

import pytest

from penguiflow.recording.events import TraceEvent
from penguiflow.state.traces import TraceSummary
from playground.dashboard.text import cells
from playground.render.eventlist import event_line
from playground.render.tracelist import short_ids, trace_lines


def event(kind: str, **data: Any) -> TraceEvent:
    return TraceEvent(7, 0, "t", "1", "0", 0.0, 103_000_000, kind, "technical", data)


ERROR = {"type": "KeyError", "message": "'x'", "file": "/f/a.py", "line": 3}


@pytest.mark.parametrize(
    ("one", "line"),
    [
        (event("node.start"), "     7    +0.10 s  node.start          technical"),
        (
            event("attempt.end", status="error", error=ERROR),
            "     7    +0.10 s  attempt.end         technical  error  KeyError: 'x'  at /f/a.py:3",
        ),
        (
            event("message.enqueued", payload={"type": "flows.triage:Ticket", "value": {"id": "T\x1b"}}),
            '     7    +0.10 s  message.enqueued    technical  Ticket {"id": "T\\u001b"}',
        ),
        (event("message.enqueued", same_as="3"), "     7    +0.10 s  message.enqueued    technical  same as 3"),
        (
            event("stream.chunk", chunk_seq=2, text="a\nb", done=True),
            '     7    +0.10 s  stream.chunk        technical  #2 "a\\nb"  (end)',
        ),
        (
            event("node.retry", attempt=1, error=ERROR),
            "     7    +0.10 s  node.retry          technical  attempt 2 KeyError: 'x'  at /f/a.py:3",
        ),
        (event("record", any=["thing"]), '     7    +0.10 s  record              technical  {"any": ["thing"]}'),
    ],
)
def test_events(one: TraceEvent, line: str) -> None:
    assert event_line(one) == line


def test_a_huge_payload_is_one_short_line() -> None:
    one = event("message.enqueued", payload={"type": "builtins:list", "value": ["x" * 1000] * 50_000})
    begun = time.thread_time()

    assert cells(event_line(one, width=80)) == 80
    assert cells(event_line(one)) <= 400
    assert time.thread_time() - begun < 1


def summary(trace_id: str, **fields: Any) -> TraceSummary:
    return TraceSummary(**{"trace_id": trace_id, "status": "ok", "started": time.time(), **fields})


def test_traces() -> None:
    lines = trace_lines(
        [
            summary("0123456789", flow="triage", duration_s=0.5, events=12, input='{"id": 1}'),
            summary("9876543210", flow=None, status="error", error="KeyError\x1b[31m", input="{}"),
        ]
    )

    assert lines[0].split() == ["TRACE", "FLOW", "STARTED", "TOOK", "EVENTS"]
    assert lines[1].startswith("✔ ok     01234567  triage  ")
    assert lines[1].endswith('12  {"id": 1}')
    assert lines[2].startswith("✖ error  98765432  -       ")
    assert lines[2].endswith("KeyError␛[31m")


def test_traces_fit_a_terminal() -> None:
    lines = trace_lines([summary("0123456789", flow="日本" * 30, input="x" * 500)], width=80)

    assert all(cells(line) <= 80 for line in lines)


def test_short_ids_tell_apart() -> None:
    assert short_ids(["ticket-0001", "ticket-0002", "f" * 32, "a"]) == ["ticket-0001", "ticket-0002", "f" * 8, "a"]
