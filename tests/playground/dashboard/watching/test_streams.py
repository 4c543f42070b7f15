from __future__ import annotations

from typing import Any

import pytest

from playground.dashboard import trace as traces
from playground.dashboard.streams import StreamText
from playground.dashboard.trace import TraceModel
from playground.dashboard.views.output import StreamView

ID = "9e9a20c1" * 4


def piece(run: Any, stream: str, number: int, text: str, *, done: bool = False, **meta: Any) -> None:
    data = {"stream_id": stream, "chunk_seq": number, "text": text, "done": done, "meta": meta}
    run.event("stream.chunk", stream, run.root, None, data)


def fed(run: Any) -> TraceModel:
    trace = TraceModel(ID)
    for raw in run.events:
        trace.add(raw)
    return trace


def shown(run: Any) -> StreamView:
    view = StreamView()
    view.show(fed(run))
    view.resize(60, 20)
    return view


def head(view: StreamView) -> str:
    return "".join(text for text, _ in view.head(0, 80))


def planner_streams(script: Any) -> Any:
    run = script(ID)
    piece(run, "a/step[0]/thinking", 0, "hm", channel="thinking")
    piece(run, "a/step[0]/answer", 0, "wrong", channel="answer")
    piece(run, "a/step[0]/answer", 1, "", done=True, channel="answer", superseded=True)
    piece(run, "a/step[1]/tool.fetch[0]/log", 0, "GET /", channel="tool", tool="fetch")
    piece(run, "a/step[2]/thinking", 0, "so", channel="thinking")
    piece(run, "a/step[2]/answer", 0, "42", channel="answer")
    return run


def test_answers_thinking_and_tools_are_told_apart(script: Any) -> None:
    view = shown(planner_streams(script))
    assert [stream.label for stream in view.ordered()] == [
        "answer · step 0",
        "answer · step 2",
        "thinking · step 0",
        "thinking · step 2",
        "fetch · step 1",
    ]
    assert head(view) == "◂ [answer 2/2]  thinking 2   tool 1  ▸"


def test_the_answer_that_counts_is_in_front(script: Any) -> None:
    view = shown(planner_streams(script))
    assert view.copy_text() == "42"
    view.side(-1)
    assert view.copy_text() == "wrong"
    assert ("not used", "warn") in [(text.strip(), role) for text, role in view.title()]


def test_a_new_answer_comes_to_the_front_unless_one_was_chosen(script: Any) -> None:
    run = planner_streams(script)
    view = shown(run)
    piece(run, "a/final", 0, "43", channel="answer")
    assert view.trace is not None
    view.trace.add(run.events[-1])
    view.sync()
    assert view.copy_text() == "43"
    view.side(1)
    picked = view.copy_text()
    piece(run, "a/final#1", 0, "44", channel="answer")
    view.trace.add(run.events[-1])
    view.sync()
    assert view.copy_text() == picked


def test_one_stream_has_no_head(script: Any) -> None:
    run = script(ID)
    piece(run, "answer", 0, "yes")
    assert shown(run).head_rows == 0


def test_tokens_a_second_are_of_the_last_moment_and_at_the_end_of_all() -> None:
    stream = StreamText("answer")
    for number in range(21):
        stream.add("x" * 40, sequence=number, done=False, at_ns=number * 100_000_000)
    assert stream.rate() == pytest.approx(100, rel=0.05)
    for number in range(21, 41):
        stream.add("x" * 4, sequence=number, done=False, at_ns=number * 100_000_000)
    assert stream.rate() == pytest.approx(10, rel=0.05)
    stream.add("", sequence=41, done=True, at_ns=4_100_000_000)
    assert 40 < stream.rate() < 70


def test_gaps_are_marked_where_they_are(script: Any) -> None:
    run = script(ID)
    piece(run, "answer", 0, "a")
    piece(run, "answer", 3, "b")
    view = shown(run)
    assert view.copy_text() == "a⟨2 missing⟩b"
    assert any("2 missing" in text for text, _ in view.title())


def test_of_too_many_streams_the_oldest_that_are_over_go(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "MAX_STREAMS", 2)
    run = script(ID)
    piece(run, "one", 0, "1", done=True)
    piece(run, "two", 0, "2")
    piece(run, "three", 0, "3")
    assert list(fed(run).streams) == ["two", "three"]


def test_meta_of_any_kind_is_taken() -> None:
    stream = StreamText("x")
    metas: list[Any] = [None, 3, [], {"channel": 7, "tool": {}}, {"channel": "nobody knows"}]
    for meta in metas:
        stream.about(meta)
    assert stream.label == "x"
