"""The two forms of an event agree."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import from_json

from penguiflow.recording import EventRecord, TraceEvent
from penguiflow.recording.lines import event_line, trace_field
from penguiflow.recording.payloads import encode_data

text = st.text(st.characters(exclude_categories=["Cs"]))
records = st.builds(
    EventRecord,
    seq=st.integers(0, 10**12), epoch=st.integers(0, 100), trace_id=text, span_id=text,
    parent_id=st.none() | text, ts=st.integers(0, 4 * 10**15).map(lambda micros: micros / 1e6),
    offset_ns=st.integers(0, 10**18), kind=text, name=text,
    data=st.dictionaries(text, st.none() | st.integers(-9, 9) | text).map(encode_data),
)  # fmt: skip


@given(records)
def test_a_line_is_the_events_json(record: EventRecord) -> None:
    event = record.decode()
    raw = record.to_json()
    assert b"\n" not in raw
    assert from_json(raw) == event.to_dict()
    assert TraceEvent.from_dict(from_json(raw)) == event
    assert list(from_json(raw)) == list(TraceEvent._fields)


@given(records)
def test_a_line_can_leave_its_trace_out(record: EventRecord) -> None:
    assert "trace_id" not in from_json(event_line(record))
    assert event_line(record, trace_field(record.trace_id)) == record.to_json()


def test_names_that_are_no_unicode_are_spelled_out() -> None:
    record = EventRecord(0, 0, "t\ud800", "0", None, 1.0, 0, "node.start", "n\udc80", b"{}")
    assert from_json(record.to_json())["name"] == "n\\udc80"


def test_a_missing_field_is_an_error() -> None:
    with pytest.raises(KeyError):
        TraceEvent.from_dict({"seq": 0})
