from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from playground.dashboard.heads import BadEvent, read_data, read_head, seq_of
from playground.dashboard.streams import SOFT_LINE, StreamText
from playground.dashboard.trace import TraceModel


def load(script: Any) -> TraceModel:
    trace = TraceModel(script.trace_id)
    for raw in script.events:
        trace.add(raw)
    return trace


def test_heads_are_read_without_their_data() -> None:
    raw = (
        b'{"seq":3,"epoch":1,"trace_id":"t","span_id":"0","parent_id":null,"ts":1.5,"offset_ns":7,'
        b'"kind":"node.end","name":"a \\",\\"data\\": b","data":{"status":"ok"}}'
    )
    head = read_head(raw)
    assert head[:4] == (3, 1, "t", "0")
    assert head.name == 'a ","data": b'
    assert read_data(raw) == {"status": "ok"}
    assert seq_of(raw) == 3


def test_other_spacing_and_order_of_keys_are_understood() -> None:
    fields = {
        "data": {"a": 1},
        "seq": 0,
        "trace_id": "t",
        "span_id": "0",
        "ts": 1,
        "offset_ns": 0,
        "kind": "k",
        "name": "n",
    }
    raw = json.dumps(fields).encode()
    assert read_head(raw).kind == "k"
    assert read_data(raw) == {"a": 1}
    assert seq_of(raw) == 0


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'{"seq":1}', b'{"seq":"x","data":{}}', b"\xff\xfe", b"null"])
def test_what_is_no_event_is_said(raw: bytes) -> None:
    with pytest.raises(BadEvent):
        read_head(raw)


def test_a_bad_event_is_counted_and_left_out(triage: Callable[..., Any]) -> None:
    trace = load(triage())
    count = len(trace.events)
    assert not trace.add(b"not json")
    assert (trace.bad, len(trace.events)) == (1, count)


def test_a_trace_knows_its_run(triage: Callable[..., Any]) -> None:
    trace = load(triage())
    assert (trace.flow, trace.status, trace.retries, trace.over) == ("triage", "ok", 1, True)
    assert trace.seconds() == pytest.approx(0.815)
    assert trace.root is not None
    assert [span.name for span in trace.root.children] == ["route", "technical", "reply"]


def test_events_come_in_once_whatever_is_sent_again(triage: Callable[..., Any]) -> None:
    script = triage()
    trace = load(script)
    assert not any(trace.add(raw) for raw in script.events)
    assert len(trace.events) == len(script.events)


def test_a_running_trace_goes_on_by_the_clock(triage: Callable[..., Any]) -> None:
    now = 100.0
    trace = TraceModel("t", clock=lambda: now)
    for raw in triage(until="retry").events:
        trace.add(raw)
    now = 102.5
    assert trace.seconds() == pytest.approx(2.721)


def test_a_resumed_trace_forgets_what_was_never_committed(triage: Callable[..., Any]) -> None:
    trace = load(triage(until="retry"))
    again = json.loads(triage(until="retry").events[8])
    again.update(seq=5, epoch=1, kind="trace.start", span_id="f", name="triage", data={"flow": "triage"})
    assert trace.add(json.dumps(again).encode())
    assert [seq_of(raw) for raw in trace.events] == [0, 1, 2, 3, 4, 5]
    assert len(trace.tree.roots) == 2


def test_a_dead_host_leaves_no_running_span(triage: Callable[..., Any]) -> None:
    trace = load(triage(until="retry"))
    trace.interrupt()
    assert trace.over
    assert not [span for span in trace.spans.values() if span.status == "running"]


def test_messages_are_found_by_way_of_the_one_that_carries_the_payload(script: Any) -> None:
    made = script("t" * 32)
    made.send(made.root, "OpenSea", "a", {"text": "hi"}, "m1")
    made.event(
        "message.enqueued", "OpenSea->b", made.root, None, {"message_id": "m2", "source": "OpenSea", "same_as": "m1"}
    )
    trace = load(made)
    found = trace.find_message("m2", before=len(trace.events))
    assert found is not None
    assert found[1]["payload"]["value"] == {"text": "hi"}
    assert found[1]["message_id"] == "m2"
    assert trace.find_message("m3", before=len(trace.events)) is None


def test_events_of_a_span_are_its_own(triage: Callable[..., Any]) -> None:
    trace = load(triage())
    route = next(span for span in trace.spans.values() if span.name == "route" and span.kind == "node")
    kinds = [read_head(raw).kind for _, raw in trace.events_of(route)]
    assert kinds == ["node.start", "message.enqueued", "node.end"]


def test_positions_survive_gaps(triage: Callable[..., Any]) -> None:
    script = triage()
    trace = TraceModel(script.trace_id)
    for raw in script.events:
        if seq_of(raw) not in {13, 14}:
            trace.add(raw)
    assert seq_of(trace.events[trace.position(15)]) == 15
    assert seq_of(trace.events[trace.position(13)]) == 15
    assert trace.position(10_000) == len(trace.events)


def test_streams_are_joined_and_gaps_marked() -> None:
    stream = StreamText("answer")
    stream.add("Hello ", sequence=0, done=False, at_ns=0)
    stream.add("world\nmore", sequence=1, done=False, at_ns=500_000_000)
    stream.add("!", sequence=4, done=True, at_ns=1_000_000_000)
    assert stream.text() == "Hello world\nmore⟨2 missing⟩!"
    assert (stream.gaps, stream.done, stream.rate()) == (2, True, 17 / 4)


def test_a_line_without_end_stays_cheap_and_whole() -> None:
    stream = StreamText("answer")
    text = "0123456789" * 5000
    for start in range(0, len(text), 1000):
        stream.add(text[start : start + 1000], sequence=None, done=False, at_ns=0)
    stream.add("\nnext", sequence=None, done=False, at_ns=0)
    assert max(map(len, stream.lines)) <= SOFT_LINE
    assert stream.text() == text + "\nnext"


@pytest.mark.parametrize("several", [True, False])
def test_a_message_may_be_taken_before_it_is_told_that_it_was_sent(several: bool) -> None:
    trace = TraceModel("t")
    writer = {"worker_id": "w", "worker_seq": 0} if several else {}

    def add(kind: str, name: str, parent: str | None = None) -> None:
        fields = {"seq": trace.taken, "epoch": 0, "trace_id": "t", "span_id": "0", "parent_id": parent}
        fields |= {"ts": 1.5, "offset_ns": 0, "kind": kind, "name": name, "data": {"message_id": "m", **writer}}
        assert trace.add(json.dumps(fields).encode())

    add("trace.start", "flow")
    add("message.dequeued", "a->b")
    add("message.enqueued", "a->b")
    assert trace.queued == ({} if several else {"b": 1})
    add("message.enqueued", "a->b")
    add("message.dequeued", "a->b")
    add("message.enqueued", "a->b")
    assert trace.queued == {"b": 1 if several else 2}
