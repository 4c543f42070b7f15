"""What events say of their writers, where there are several."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import from_json, to_json

from penguiflow.recording import EventRecord, Recorder, TraceEvent, build_spans
from penguiflow.recording.events import is_shared, lift_worker
from penguiflow.recording.shared_log import open_spans


class Sink:
    def __init__(self) -> None:
        self.records: list[EventRecord] = []

    def write(self, record: EventRecord) -> None:
        self.records.append(record)

    def events(self) -> list[TraceEvent]:
        return [each.decode() for each in self.records]


@given(st.text(), st.dictionaries(st.text(), st.none() | st.integers() | st.text() | st.lists(st.text())))
def test_a_writer_is_known_by_any_name_and_with_any_data(name: str, data: dict[str, Any]) -> None:
    sink = Sink()
    log = Recorder(sink).begin_shared("t", worker=name)
    log.event("stall", "n", log.root, data)
    start, event = sink.events()
    line = lift_worker(sink.records[1].to_json())

    assert (start.worker_seq, event.worker_seq) == (0, 1)
    assert start.worker_id == event.worker_id
    assert all(is_shared(record.data) for record in sink.records)
    assert from_json(line) == event.to_dict()
    assert TraceEvent.from_dict(from_json(line)) == event
    assert event.to_dict()["worker_seq"] == 1
    assert set(event.to_dict()["data"]) == {*from_json(to_json(data))} - {"worker_id", "worker_seq"}


@pytest.mark.parametrize(
    "data",
    [
        b"{}",
        b'{"a":"\\"worker_id\\":\\"w\\",\\"worker_seq\\":5"}',
        b'{"a":{"worker_id":"w","worker_seq":5}}',
        b'{"worker_seq":5}',
        b'{"worker_id":7,"worker_seq":5}',
        b'{"payload":"' + b"x" * 5_000_000 + b'"}',
    ],
)
def test_data_of_one_writer_are_left_as_they_are(data: bytes) -> None:
    record = EventRecord(0, 0, "t", "0", None, 1.5, 0, "stall", "n", data)

    assert not is_shared(data)
    assert lift_worker(record.to_json()) == record.to_json()
    assert set(record.decode().to_dict()) == set(TraceEvent._fields)


def test_spans_of_workers_are_told_apart() -> None:
    sink = Sink()
    first, second = Recorder(sink), Recorder(sink)
    log = first.begin_shared("t", worker="w")
    # The same name once more, as after a crash.
    logs = [first.join("t", worker="w"), second.join("t", worker="w"), first.join("t", worker="v")]
    spans = {each.start("node", "n", each.root) for each in logs for _ in range(3)}

    assert len(spans) == 9
    assert {each.root for each in logs} == {log.root}


def test_a_delivery_is_told_with_the_span() -> None:
    sink = Sink()
    log = Recorder(sink).begin_shared("t", worker="w")
    about = {"message_id": "m", "node_id": "i", "queue_wait_s": 0.25, "delivery": 2}
    log.start("node", "n", log.root, about)
    (root,) = build_spans(sink.events())
    (span,) = root.children

    assert (span.worker_id, span.queue_wait_s, span.delivery, span.input_id) == ("w", 0.25, 2, "m")


def test_only_what_a_message_left_open_is_found() -> None:
    sink = Sink()
    log = Recorder(sink).begin_shared("t", worker="w")
    node, attempt = log.taken("a->n", log.root, "m", "n", "i")
    other, _ = log.taken("a->n", log.root, "m2", "n", "i")
    log.taken("a->k", log.root, "m", "k", "i")
    found = [span.span_id for span in open_spans(sink.events(), "m", "n")]
    log.end("attempt", "n", attempt, node, "ok")

    assert found == [node, attempt]
    assert [span.span_id for span in open_spans(sink.events(), "m", "n")] == [node]
    assert open_spans(sink.events(), "m3", "n") == []
    assert other not in found


def test_one_ends_the_trace_and_leaves_what_is_open_to_others() -> None:
    sink = Sink()
    recorder = Recorder(sink)
    recorder.begin_shared("t", worker="w", data={"target": "x"})
    log = recorder.join("t", worker="w2")
    log.start("node", "n", log.root)
    recorder.join("t", worker="w3").close("error", {"error": {"message": "no"}})

    assert [event.kind for event in sink.events()] == ["trace.start", "node.start", "trace.end"]
    assert sink.events()[0].data["target"] == "x"
    assert sink.events()[-1].data["status"] == "error"
