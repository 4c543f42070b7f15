"""The recorder: one gapless log for each trace, whatever the flow does."""

from __future__ import annotations

import gc
import logging
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from penguiflow import Node, NodePolicy, PenguiFlow, create
from penguiflow.observer import Payload, TraceRecorder
from penguiflow.recording import EventRecord, Recorder, TraceEvent
from penguiflow.recording import recorder as recorder_module


class Sink:
    def __init__(self) -> None:
        self.records: list[EventRecord] = []

    def write(self, record: EventRecord) -> None:
        self.records.append(record)

    def events(self) -> list[TraceEvent]:
        return [record.decode() for record in self.records]


def check_whole(events: list[TraceEvent]) -> None:
    """No gap in seq; every span starts once and ends once, after its children."""
    assert [event.seq for event in events] == list(range(len(events)))
    offsets = [event.offset_ns for event in events]
    assert offsets == sorted(offsets)
    open_spans: dict[str, str | None] = {}
    seen = set()
    for event in events:
        if event.kind.endswith(".start"):
            assert event.span_id not in seen
            assert event.parent_id is None or event.parent_id in open_spans
            seen.add(event.span_id)
            open_spans[event.span_id] = event.parent_id
        else:
            assert event.span_id in open_spans
            assert event.parent_id == open_spans[event.span_id]
            if event.kind.endswith(".end"):
                assert event.span_id not in open_spans.values()
                del open_spans[event.span_id]
    assert not open_spans


def test_it_is_a_trace_recorder() -> None:
    recorder: TraceRecorder = Recorder()
    assert not recorder.congested


def test_a_trace_from_start_to_end(sink: Sink) -> None:
    recorder = Recorder(sink, name="greet", data={"target": "flows/greet.py", "version": "abc"}, worker="w1")
    log = recorder.open("t1", {"session": "s"})
    node = log.start("node", "shout", log.root, {"message_id": "m1"})
    attempt = log.start("attempt", "shout", node, {"attempt": 0})
    log.event("message.enqueued", "shout->Rookery", node, {"message_id": "m2", "payload": Payload("HI")})
    log.end("attempt", "shout", attempt, node, "ok", {"latency_ms": 1.5})
    log.end("node", "shout", node, log.root, "ok")
    log.close("ok")
    events = sink.events()
    check_whole(events)
    assert [event.kind for event in events] == [
        "trace.start", "node.start", "attempt.start", "message.enqueued", "attempt.end", "node.end", "trace.end",
    ]  # fmt: skip
    assert {event.trace_id for event in events} == {"t1"}
    assert events[0].name == events[-1].name == "greet"
    assert set(events[0].data.pop("environment")) == {"python", "penguiflow", "platform"}
    assert events[0].data == {
        "flow": "greet", "target": "flows/greet.py", "version": "abc", "worker": "w1", "session": "s",
    }  # fmt: skip
    assert events[3].data["payload"] == {"type": "builtins:str", "value": "HI"}
    assert (events[3].span_id, events[3].parent_id) == (node, log.root)
    assert events[4].data == {"status": "ok", "latency_ms": 1.5}
    assert abs(events[0].ts - events[-1].ts) < 5


def test_a_payload_is_what_it_was_at_the_event(sink: Sink) -> None:
    payload = {"items": [1]}
    log = Recorder(sink).open("t")
    log.event("message.enqueued", "a->b", log.root, {"payload": Payload(payload)})
    payload["items"].append(2)
    assert sink.events()[1].data["payload"]["value"] == {"items": [1]}


def test_closing_ends_what_is_open_children_first(sink: Sink) -> None:
    log = Recorder(sink).open("t")
    node = log.start("node", "a", log.root)
    attempt = log.start("attempt", "a", node)
    log.close("cancelled", {"error": {"code": "TRACE_CANCELLED"}})
    log.end("attempt", "a", attempt, node, "ok")
    log.event("message.dequeued", "a->b", log.root)
    assert log.start("node", "late", log.root)
    log.close("ok")
    events = sink.events()
    check_whole(events)
    ends = [(event.kind, event.data) for event in events[3:]]
    assert ends == [
        ("attempt.end", {"status": "cancelled"}),
        ("node.end", {"status": "cancelled"}),
        ("trace.end", {"status": "cancelled", "error": {"code": "TRACE_CANCELLED"}}),
    ]


@pytest.mark.parametrize(("status", "of_spans"), [("interrupted", "interrupted"), ("error", "cancelled")])
def test_spans_left_open_say_why(sink: Sink, status: str, of_spans: str) -> None:
    log = Recorder(sink).open("t")
    log.start("node", "a", log.root)
    log.close(status)
    assert [event.data["status"] for event in sink.events()[2:]] == [of_spans, status]


def test_a_span_ends_once(sink: Sink) -> None:
    log = Recorder(sink).open("t")
    node = log.start("node", "a", log.root)
    for _ in range(2):
        log.end("node", "a", node, log.root, "ok")
    log.event("node.retry", "a", node)
    assert [(event.kind, event.span_id) for event in sink.events()[2:]] == [
        ("node.end", node),
        ("node.retry", log.root),
    ]


def test_a_trace_opened_again_goes_on(sink: Sink) -> None:
    recorder = Recorder(sink)
    recorder.open("t").close("ok")
    recorder.open("other").close("ok")
    log = recorder.open("t")
    log.end("node", "a", log.start("node", "a", log.root), log.root, "ok")
    log.close("ok")
    events = [event for event in sink.events() if event.trace_id == "t"]
    check_whole(events)
    assert [event.epoch for event in events] == [0, 0, 1, 1, 1, 1]


def test_a_trace_open_twice_has_one_sequence(sink: Sink) -> None:
    recorder = Recorder(sink)
    first, second = recorder.open("t"), recorder.open("t")
    span = second.start("node", "b", second.root)
    first.close("cancelled")
    second.end("node", "b", span, second.root, "ok")
    second.close("ok")
    recorder.open("t").close("ok")
    events = sink.events()
    check_whole(events)
    assert [event.epoch for event in events if event.kind == "trace.start"] == [0, 1, 2]


def test_nothing_is_left_of_a_trace(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "MAX_ENDED", 10)
    recorder = Recorder()

    class Big(BaseModel):
        text: str

    payload = Big(text="x")
    gone = weakref.ref(payload)
    for number in range(50):
        log = recorder.open(f"t{number}")
        log.start("node", "a", log.root, {"payload": Payload(payload)})
        log.close("ok")
    del payload
    gc.collect()
    assert gone() is None
    assert not recorder._open
    assert len(recorder._ended) == 10


def test_annotations_reach_the_start_and_are_bounded(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "MAX_ANNOTATED", 2)
    recorder = Recorder(sink)
    for number in range(3):
        recorder.annotate(f"t{number}", {"session": number})
    recorder.annotate("t2", {"by": "me"})
    for number in range(3):
        recorder.open(f"t{number}")
    assert [event.data.get("session") for event in sink.events()] == [None, 1, 2]
    assert sink.events()[2].data["by"] == "me"
    assert not recorder._annotations


def test_a_sink_that_raises_harms_nobody(sink: Sink, caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def write(self, record: EventRecord) -> None:
            raise OSError("gone")

    recorder = Recorder(Broken(), sink)
    with caplog.at_level(logging.ERROR, "penguiflow.recording"):
        log = recorder.open("t")
        log.event("stall", "f", log.root)
        log.close("ok")
    check_whole(sink.events())
    assert recorder.failures == 3
    assert len(caplog.records) == 1


actions = st.lists(
    st.tuples(st.sampled_from(["open", "start", "end", "event", "close"]), st.integers(0, 2), st.integers(0, 5)),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(actions)
def test_any_use_gives_whole_traces(script: list[tuple[str, int, int]]) -> None:
    sink = Sink()
    recorder = Recorder(sink)
    logs: list[tuple[int, Any, list[tuple[str, str]]]] = []
    for action, which, number in script:
        if action == "open":
            log = recorder.open(f"t{which}")
            logs.append((which, log, [(log.root, "")]))
        elif logs:
            _, log, spans = logs[which % len(logs)]
            span, parent = spans[number % len(spans)]
            if action == "start":
                # Spans nest as the runtime nests them: in one that is open.
                span = log.root
                spans.append((log.start("node", "a", span), span))
            elif action == "end" and parent:
                log.end("node", "a", span, parent, "ok")
            elif action == "event":
                log.event("node.retry", "a", span, {"n": number})
            elif action == "close":
                log.close("ok")
    for _, log, _ in logs:
        log.close("interrupted")
    for which in range(3):
        check_whole([event for event in sink.events() if event.trace_id == f"t{which}"])


class Question(BaseModel):
    text: str


def build_flow(fail: Callable[[], bool]) -> PenguiFlow:
    async def ask(question: Question, ctx: Any) -> Question:
        if fail():
            raise ValueError("not now")
        return question

    async def answer(question: Question, ctx: Any) -> str:
        return question.text.upper()

    policy = NodePolicy(validate="none", max_retries=1, backoff_base=0.0)
    first, second = Node(ask, name="ask", policy=policy), Node(answer, name="answer", policy=policy)
    return create(first.to(second), second.to())


async def test_a_real_flow_is_recorded_whole(sink: Sink) -> None:
    failures = iter([True, False, True, True])
    flow = build_flow(lambda: next(failures))
    flow.run(recorder=Recorder(sink, name="qa"))
    assert await flow.call(Question(text="why")) == "WHY"
    with pytest.raises(Exception, match="not now"):
        await flow.call(Question(text="again"))
    await flow.stop()
    by_trace: dict[str, list[TraceEvent]] = {}
    for event in sink.events():
        by_trace.setdefault(event.trace_id, []).append(event)
    good, bad = by_trace.values()
    for events in (good, bad):
        check_whole(events)
    assert [event.kind for event in good].count("attempt.start") == 3
    (failed,) = [event for event in good if event.kind == "attempt.end" and event.data["status"] == "error"]
    assert failed.data["error"]["type"] == "ValueError"
    assert failed.data["error"]["file"] == __file__
    assert bad[-1].data["status"] == "error"
