"""A trace at a moment is what it was when it had come so far."""

from __future__ import annotations

import copy
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from penguiflow import Headers, Message, Node, NodePolicy, create
from penguiflow.recording import EventRecord
from penguiflow.state import SQLiteStateStore
from penguiflow.state.chunks import pack
from penguiflow.state.pieces import Pieces
from penguiflow.state.reader import Reader
from playground.dashboard import trace as trace_module
from playground.dashboard.event_filter import EventFilter
from playground.dashboard.event_log import EventLog
from playground.dashboard.event_search import EventSearch
from playground.dashboard.heads import read_head
from playground.dashboard.moments import Moment
from playground.dashboard.trace import TraceModel
from playground.dashboard.views.tree import TreeView

T = TypeVar("T")


class Packed(Pieces):
    """Pieces of so many events, in no file."""

    def __init__(self, events: list[bytes], size: int) -> None:
        records = [EventRecord(*read_head(raw), raw[raw.index(b'"data":') + 7 : -1]) for raw in events]
        some = [records[first : first + size] for first in range(0, len(records), size)]
        trace = records[0].trace_id
        super().__init__(Reader(Path("none")), trace, [(n, each[0].seq, each[-1].seq) for n, each in enumerate(some)])
        self.packed = [pack(each) for each in some]

    def until(self, number: int) -> Pieces:
        kept = copy.copy(self)
        kept._ids, kept.first_seqs, kept.counts = (
            column[:number] for column in (self._ids, self.first_seqs, self.counts)
        )
        return kept

    def _ask(self, number: int, question: Callable[[sqlite3.Connection, bytes], T]) -> T:
        return question(sqlite3.connect(":memory:"), self.packed[number])


def read(pieces: Pieces, trace_id: str = "t") -> TraceModel:
    """A trace that is read where it lies."""
    trace = TraceModel(trace_id, clock=lambda: 0.0)
    trace.events = EventLog(pieces)
    for number in range(len(pieces)):
        trace.take_stored(number)
    return trace


def model_of(events: list[bytes]) -> TraceModel:
    trace = TraceModel("t", clock=lambda: 0.0)
    for raw in events:
        trace.add(raw)
    return trace


def told(trace: TraceModel) -> dict[str, Any]:
    """All that views draw of a trace."""
    return {
        "spans": [
            (span.span_id, span.parent_id, span.status, span.start_ns, span.end_ns, span.error)
            for span in trace.spans.values()
        ],
        "children": {span.span_id: [child.span_id for child in span.children] for span in trace.spans.values()},
        "same": all(child is trace.spans[child.span_id] for span in trace.spans.values() for child in span.children),
        "roots": [root.span_id for root in trace.tree.roots],
        "events": list(trace.events),
        "streams": {name: (s.text(), s.chunks, s.done, s.gaps) for name, s in trace.streams.items()},
        "about": (trace.flow, trace.target, trace.version, trace.started, trace.status, trace.error, trace.retries),
        "calls of models": (trace.llm_calls, trace.tokens, trace.cost),
        "queued": trace._queued,
        "edges": {name: (edge.sent, edge.gone) for name, edge in trace.traffic.edges.items()},
        "nodes": {name: (w.ok, w.failed, w.retries, list(w.open)) for name, w in trace.traffic.nodes.items()},
        "tools": {
            name: {tool: (w.ok, w.failed, list(w.open)) for tool, w in planner.tools.items()}
            for name, planner in trace.traffic.planners.items()
        },
        "calls": [call.span_id for call in trace.traffic.calls],
        "retried": trace.retried,
        "retry_after": trace.retry_after,
        "now": trace.now_ns(),
        "open": list(trace.open_spans),
        "last": trace.last_seq,
    }


@pytest.fixture(params=[1, 3, 7, 1000])
def every(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(trace_module, "MARK_EVERY", request.param)
    monkeypatch.setattr(trace_module, "MARK_SHARE", 0)
    return int(request.param)


@pytest.mark.parametrize("kind", ["triage", "research"])
def test_any_moment_is_as_it_was(request: pytest.FixtureRequest, every: int, kind: str) -> None:
    events = request.getfixturevalue(kind)().events
    whole = model_of(events)
    before = told(whole)
    for count in range(len(events) + 1):
        moment = Moment(whole, count)
        assert told(moment) == {**told(model_of(events[:count])), "now": moment.now_ns()}, count
        assert moment.at_end == (count == len(events))
        assert [*reversed(moment.spans.values())] == [*moment.spans.values()][::-1]
        assert moment.events[2:-1] == [moment.events[index] for index in range(2, max(len(moment.events) - 1, 2))]
    assert told(whole) == before
    assert (len(whole.marks) > 0) == (every < len(events))


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
@pytest.mark.parametrize("kind", ["triage", "research"])
def test_a_stored_trace_and_its_moments_are_what_its_events_say(
    request: pytest.FixtureRequest, every: int, kind: str, size: int
) -> None:
    pieces = Packed(request.getfixturevalue(kind)().events, size)
    # As this project writes them.
    events = [line for number in range(len(pieces)) for line in pieces.lines(number)]
    trace_id = read_head(events[0]).trace_id
    whole = read(pieces, trace_id)
    assert told(whole) == told(model_of(events))
    assert whole.landmarks.nodes == model_of(events).landmarks.nodes
    assert whole.landmarks.errors == model_of(events).landmarks.errors
    for count in range(len(events) + 1):
        moment = Moment(whole, count)
        assert told(moment) == {**told(model_of(events[:count])), "now": moment.now_ns()}, count
    walked = Moment(whole, 0)
    for _ in events:
        walked.advance(1)
    assert told(walked) == told(whole)


async def goes_on(message: Message, ctx: Any) -> Message:
    return message


async def tells(message: Message, ctx: Any) -> Message:
    for number in range(3):
        await ctx.emit_chunk(parent=message, text=f"line {number}\n" if number else "", meta={"channel": "answer"})
    await ctx.emit_chunk(parent=message, text="end", done=message.payload % 7 == 6)
    return message


async def fails(message: Message, ctx: Any) -> Message:
    if message.payload % 10 == 9:
        raise ValueError("no")
    return message


async def test_a_recorded_flow_is_the_same_read_where_it_lies_and_event_by_event(tmp_path: Path) -> None:
    store = SQLiteStateStore(tmp_path / "state.db")
    policy = NodePolicy(validate="none", max_retries=1, backoff_base=0.0)
    plain = [Node(goes_on, name=name, policy=policy) for name in ("a", "b", "c")]
    talks, breaks = Node(tells, name="talks", policy=policy), Node(fails, name="breaks", policy=policy)
    flow = create(plain[0].to(plain[1]), plain[1].to(plain[2]), plain[2].to(talks), talks.to(breaks), breaks.to())
    flow.run(recorder=store.recorder())
    for number in range(40):
        await flow.emit(Message(payload=number, headers=Headers(tenant="t"), trace_id="f" * 32))
    await flow.stop(drain=True)
    await store.flush()
    pieces = await store.open_pieces("f" * 32)
    lines = await store.load_event_bytes("f" * 32)
    assert [line for number in range(len(pieces)) for line in pieces.lines(number)] == lines
    whole, copied = read(pieces, "f" * 32), model_of(lines)
    assert told(whole) == told(copied)
    for text in ("breaks", "kind:node.retry", "!node", "/line [12]/", "39", "/goes|end/", '"text":"end"'):
        found = [EventSearch(trace.events, EventFilter(text)) for trace in (whole, copied)]
        for search in found:
            while search.go_on():
                pass
        assert found[0].found == found[1].found, text
        assert len(found[1].found) or text == "kind:node.retry"
    await store.close()


async def test_events_of_a_trace_that_was_removed_say_so(tmp_path: Path) -> None:
    store = SQLiteStateStore(tmp_path / "state.db")
    log = store.recorder().open("t")
    log.close("ok")
    await store.flush()
    pieces = await store.open_pieces("t")
    whole = read(pieces)
    with sqlite3.connect(store.path) as connection:
        connection.execute("DELETE FROM event_chunks")
    connection.close()
    assert len(whole.events) == 2
    assert "no longer in the store" in read_head(whole.events[1]).name
    await store.close()


def test_an_interrupted_run_that_goes_on_is_read_again_up_to_there(triage: Callable[..., Any]) -> None:
    events = triage().events
    cut = 9
    again = [raw.replace(b'"epoch":0', b'"epoch":1') for raw in events[cut:]]
    whole = read(Packed(events, 4), read_head(events[0]).trace_id)
    for raw in again:
        whole.add(raw)
    expected = told(model_of(events[:cut] + again))
    assert {**told(whole), "events": len(whole.events)} == {**expected, "events": len(events)}


def test_going_on_from_a_moment_changes_nothing_of_the_trace(every: int, triage: Callable[..., Any]) -> None:
    events = triage().events
    whole = model_of(events)
    before = told(whole)
    moment = Moment(whole, 5)
    for count in range(6, len(events) + 1):
        moment.advance(1)
        assert told(moment)["spans"] == told(model_of(events[:count]))["spans"]
    assert told(moment) == before
    assert told(whole) == before
    moment.advance(1)
    assert len(moment.events) == len(events)


def test_an_interrupted_run_is_so_at_its_end_only(every: int, triage: Callable[..., Any]) -> None:
    events = triage(until="retry").events
    whole = model_of(events)
    whole.interrupt()
    assert Moment(whole, len(events) - 1).status == "running"
    assert Moment(whole, len(events)).status == "interrupted"
    assert all(span.status != "interrupted" for span in Moment(whole, len(events) - 1).spans.values())


def test_a_prefix_of_the_events_ends_where_it_ends(triage: Callable[..., Any]) -> None:
    events = triage().events
    moment = Moment(model_of(events), 9)
    assert moment.events[-1] == events[8]
    assert moment.events[2:20] == events[2:9]
    assert [index for index, _ in moment.events.holding(b'"kind"', 0, 99)] == list(range(9))
    with pytest.raises(IndexError):
        moment.events[9]


def test_landmarks_are_where_things_fail_stop_and_begin(
    triage: Callable[..., Any], research: Callable[..., Any]
) -> None:
    events = triage().events
    marks = model_of(events).landmarks
    assert all(b'"status":"error"' in events[index] for index in marks.errors)
    assert [b'"node.start"' in events[index] for index in marks.nodes] == [True] * 3
    decisions = research().events
    assert [b'"planner.decision"' in decisions[i] for i in model_of(decisions).landmarks.stops] == [True] * 2


def rows_of(view: TreeView) -> list[tuple[str, str, int]]:
    return [(span.span_id, span.status, depth) for span, depth in view.rows]


@pytest.mark.parametrize("kind", ["triage", "research"])
def test_the_rows_of_a_moment_are_those_of_a_tree_laid_out_anew(
    request: pytest.FixtureRequest, every: int, kind: str
) -> None:
    events = request.getfixturevalue(kind)().events
    whole, view = model_of(events), TreeView()
    view.show(whole)
    before = rows_of(view)
    folds = [span for span, _ in view.rows if span.children][-1:]
    for folded in (None, *folds):
        if folded is not None:
            view.show(whole)
            view.fold(folded, False)
        for count in [*range(len(events), 0, -1), *range(1, len(events) + 1, 3)]:
            moment, fresh = Moment(whole, count), TreeView()
            view.show(moment)
            fresh._toggled = dict(view._toggled)
            fresh.trace = moment
            fresh._rebuild()
            assert rows_of(view) == rows_of(fresh), count
            assert all(a is b for (a, _), (b, _) in zip(view.rows, fresh.rows, strict=True))
    if not folds:
        view.show(whole)
        assert rows_of(view) == before


def test_attempts_that_fail_later_are_folded_at_the_moment_before(every: int, script: Any) -> None:
    run = script("t")
    node = run.node("slow", "m")
    first = run.attempt(node)
    for number in range(4):
        run.end(run.start("tool", f"tool {number}", first))
    run.end(first, "error", error={"message": "no"})
    run.event("node.retry", "slow", node, run.root, {"attempt": 1, "sleep_s": 0.0})
    second = run.attempt(node, 1)
    run.end(second)
    run.end(node)
    run.end(run.root)
    whole, view = model_of(run.events), TreeView()
    view.show(whole)
    shapes = set()
    for count in range(len(run.events), 0, -1):
        moment, fresh = Moment(whole, count), TreeView()
        view.show(moment)
        fresh.show(model_of(run.events[:count]))
        assert rows_of(view) == rows_of(fresh), count
        shapes.add(tuple(depth for _, depth in view.rows))
    assert (0, 1, 2, 2, 2, 2) in shapes
    assert (0, 1, 2, 3, 3, 3, 3, 2) in shapes
