"""Going on after any event: every flow ends as if nothing had happened, and nothing is done twice."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from penguiflow import (
    WM,
    Context,
    FinalAnswer,
    FlowError,
    FlowErrorCode,
    Headers,
    Message,
    Node,
    NodePolicy,
    PenguiFlow,
    create,
    join_k,
)
from penguiflow.recording import CannotRestore, EventRecord, Recorder, TraceEvent, read_frontier
from penguiflow.recording.frontier import frontier
from penguiflow.state.sqlite import SQLiteStateStore

pytestmark = pytest.mark.filterwarnings("error")
TRACE = "0123456789abcdef-origin"
FORK = "0123456789abcdef-fork"
INSIDE = "inside the playbook"


class Sink(list[EventRecord]):
    """Events in memory."""

    def write(self, record: EventRecord) -> None:
        self.append(record)

    @property
    def events(self) -> list[TraceEvent]:
        return [record.decode() for record in self]


def node(func: Callable[..., Any], name: str, *, allow_cycle: bool = False, **policy: Any) -> Node:
    return Node(func, name=name, policy=NodePolicy(validate="none", **policy), allow_cycle=allow_cycle)


def results(events: Sequence[TraceEvent]) -> Counter[str]:
    """What left the flow, pieces of streams included."""
    texts: dict[tuple[str, int], str] = {}
    found: Counter[str] = Counter()
    for event in events:
        data = event.data
        if event.kind == "stream.chunk":
            key = data["stream_id"], data["chunk_seq"]
            assert texts.setdefault(key, data["text"]) == data["text"]
        elif event.kind == "message.enqueued" and data["target"] == "Rookery" and "stream_id" in data:
            found[f"chunk {data['chunk_seq']} {texts[data['stream_id'], data['chunk_seq']]}"] += 1
        elif event.kind == "message.enqueued" and data["target"] == "Rookery" and data["source"] != INSIDE:
            found[json.dumps(data["payload"]["value"], sort_keys=True)] += 1
    return found


def asked(events: Sequence[TraceEvent]) -> Counter[str]:
    """What the world answered."""
    return Counter(event.data["request"]["value"][0] for event in events if event.kind == "record")


async def record(flow: PenguiFlow, message: Any, trace_id: str = TRACE) -> Sink:
    """Run a flow once; gives its log."""
    sink = Sink()
    flow.run(recorder=Recorder(sink))
    try:
        async for _ in flow.stream(message, trace_id=trace_id):
            pass
    except FlowError:
        pass
    finally:
        await flow.stop()
    return sink


async def fork(flow: PenguiFlow, events: Sequence[TraceEvent], seq: int, **how: Any) -> Sink:
    """Fork after an event; gives the fork's log."""
    sink = Sink()
    flow.run(recorder=Recorder(sink))
    try:
        async for _ in flow.restore(frontier(events, seq), trace_id=FORK, **how):
            pass
    except FlowError:
        pass
    finally:
        await flow.stop()
    return sink


def message(payload: Any, **fields: Any) -> Message:
    return Message(payload=payload, headers=Headers(tenant="acme"), **{"trace_id": TRACE, **fields})


# -- flows -------------------------------------------------------------------------------------------------------------


class World:
    """What is outside: counts who asks it what."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()

    async def ask(self, question: str) -> str:
        self.asked[question] += 1
        await asyncio.sleep(0)
        return question.upper()


def crossing(world: World) -> PenguiFlow:
    """A fan-out, a join, a stream, and calls to the world."""

    async def split(msg: Message, ctx: Context) -> Message:
        return msg.model_copy(update={"payload": msg.payload + await ctx.record("ask", world.ask, "split")})

    async def speak(msg: Message, ctx: Context) -> Message:
        for word in ("one", "two", "three"):
            await ctx.emit_chunk(parent=msg, text=word, done=word == "three")
            await ctx.record("ask", world.ask, word)
        return msg.model_copy(update={"payload": "spoken"})

    async def left(msg: Message, ctx: Context) -> Message:
        return msg.model_copy(update={"payload": f"left of {msg.payload}"})

    async def right(msg: Message, ctx: Context) -> Message:
        await asyncio.sleep(0)
        return msg.model_copy(update={"payload": f"right of {msg.payload}"})

    async def end(msg: Message, ctx: Context) -> Message:
        return msg.model_copy(update={"payload": sorted(msg.payload)})

    a, b, c = node(split, "split"), node(speak, "speak"), node(left, "left")
    d, j, e = node(right, "right"), join_k("join", 2), node(end, "end")
    return create(a.to(b, c, d), b.to(), c.to(j), d.to(j), j.to(e), e.to())


def loop(world: World) -> PenguiFlow:
    """A controller that makes four rounds."""

    async def think(msg: Message, ctx: Context) -> Message:
        memory: WM = msg.payload
        fact = await ctx.record("ask", world.ask, f"fact {memory.hops}")
        if memory.hops >= 3:
            return msg.model_copy(update={"payload": FinalAnswer(text=", ".join([*memory.facts, fact]))})
        return msg.model_copy(update={"payload": memory.model_copy(update={"facts": [*memory.facts, fact]})})

    thinker = node(think, "think", allow_cycle=True)
    return create(thinker.to(thinker))


class Item(BaseModel):
    name: str
    count: int = 0


def bare(world: World) -> PenguiFlow:
    """Bare payloads of a model's type, two entries, state of several kinds, and a node that fetches by itself."""

    async def first(item: Item, ctx: Context) -> Item:
        await ctx.emit(Item(name=f"extra {item.name}", count=7))
        return item.model_copy(update={"count": item.count + 1})

    async def second(item: Item, ctx: Context) -> Item:
        return item.model_copy(update={"count": item.count + 10})

    async def tally(item: Item, ctx: Context) -> Item | None:
        state = ctx.trace_state
        state["seen"] = state.get("seen", 0) + 1
        state.setdefault("names", []).append(item.name)
        state.setdefault("items", []).append(item)
        state["best"] = max(state.get("best", item), item, key=lambda each: each.count)
        if state["seen"] < 3:
            return None
        assert isinstance(state["best"], Item)
        names = ",".join(sorted(state["names"]))
        return Item(name=f"{names} best {state['best'].count}", count=sum(each.count for each in state["items"]))

    a, b, c = node(first, "first"), node(second, "second"), node(tally, "tally")
    return create(a.to(c), b.to(c), c.to())


def fetching(world: World) -> PenguiFlow:
    """A node that takes pairs."""

    async def spread(msg: Message, ctx: Context) -> None:
        for number in range(4):
            await ctx.emit(msg.model_copy(update={"payload": number}))

    async def pair(msg: Message, ctx: Context) -> Message:
        await asyncio.sleep(0)
        other = await ctx.fetch()
        await asyncio.sleep(0)
        return msg.model_copy(update={"payload": [msg.payload, other.payload]})

    a, b = node(spread, "spread"), node(pair, "pair")
    return create(a.to(b), b.to())


def waiting(world: World) -> PenguiFlow:
    """A join that never gets all it wants."""

    async def echo(msg: Message, ctx: Context) -> Message:
        return msg

    a, j = node(echo, "echo"), join_k("join", 2)
    return create(a.to(j), j.to())


def nested(world: World) -> PenguiFlow:
    """A node that calls a playbook."""

    def playbook() -> tuple[PenguiFlow, None]:
        async def inner(msg: Message, ctx: Context) -> Message:
            return msg.model_copy(update={"payload": await ctx.record("ask", world.ask, msg.payload)})

        async def outer(msg: Message, ctx: Context) -> Message:
            ctx.trace_state["left over"] = msg.payload
            return msg

        a, b = node(inner, "inner"), node(outer, INSIDE)
        return create(a.to(b), b.to()), None

    async def call(msg: Message, ctx: Context) -> Message:
        return msg.model_copy(update={"payload": await ctx.call_playbook(playbook, msg)})

    async def close(msg: Message, ctx: Context) -> Message:
        return msg.model_copy(update={"payload": msg.payload + "!"})

    a, b = node(call, "call"), node(close, "close")
    return create(a.to(b), b.to())


FLOWS: dict[str, tuple[Callable[[World], PenguiFlow], Any]] = {
    "crossing": (crossing, message("q")),
    "loop": (loop, message(WM(query="why"))),
    "bare": (bare, Item(name="it")),
    "fetching": (fetching, message("q")),
    "waiting": (waiting, message("q")),
    "nested": (nested, message("q")),
}
each_flow = pytest.mark.parametrize("name", FLOWS)


@each_flow
async def test_a_fork_after_any_event_ends_with_the_same_results(name: str) -> None:
    build, given = FLOWS[name]
    origin = (await record(build(World()), given)).events
    for seq in range(len(origin)):
        forked = (await fork(build(World()), origin, seq)).events
        assert results(forked) == results(origin), f"forked after event {seq}"
        assert forked[-1].data["status"] == origin[-1].data["status"]
        assert forked[0].data["origin"]["trace_id"] == TRACE
        assert {event.trace_id for event in forked} == {FORK}


@each_flow
async def test_a_fork_can_be_forked_after_any_event(name: str) -> None:
    build, given = FLOWS[name]
    origin = (await record(build(World()), given)).events
    for first in range(0, len(origin), 4):
        forked = (await fork(build(World()), origin, first)).events
        for second in range(0, len(forked), 3):
            sink = Sink()
            flow = build(World())
            flow.run(recorder=Recorder(sink))
            try:
                async for _ in flow.restore(frontier(forked, second), trace_id="0123456789abcdef-again"):
                    pass
            except FlowError:
                pass
            await flow.stop()
            assert results(sink.events) == results(origin), f"after event {first}, then {second}"


@each_flow
async def test_a_trace_is_resumed_after_any_event(name: str, tmp_path: Path) -> None:
    build, given = FLOWS[name]
    origin = await record(build(World()), given)
    came_in = frontier(origin.events, 0).seq
    for seq in range(came_in, len(origin) - 1):
        store = SQLiteStateStore(tmp_path / f"{seq}.db")
        for entry in origin[: seq + 1]:
            store.sink.write(entry)
        await store.flush()
        world = World()
        flow = build(world)
        flow.run(recorder=store.recorder())
        try:
            async for _ in flow.restore(await read_frontier(store, TRACE)):
                pass
        except FlowError:
            pass
        await flow.stop()
        await store.flush()
        events = await store.load_events(TRACE)
        await store.close()
        assert [event.seq for event in events] == list(range(len(events)))
        assert results(events) == results(origin.events), f"resumed after event {seq}"
        assert events[-1].data["status"] == origin.events[-1].data["status"]
        assert {event.epoch for event in events} == {0, 1}
        ended = {
            events[int(event.span_id, 16)].data["message_id"]
            for event in events[: seq + 1]
            if event.kind == "node.end" and events[int(event.span_id, 16)].parent_id == "0"
        }
        again = {event.data["message_id"] for event in events[seq + 1 :] if event.kind == "node.start"}
        assert not ended & again
        assert Counter(world.asked) + asked(origin.events[: seq + 1]) == asked(origin.events)


async def test_a_join_that_was_half_full_is_a_span_of_the_fork_too() -> None:
    given = message("q")
    origin = await record(crossing(World()), given)
    (start,) = (e.seq for e in origin.events if e.kind == "join.start")
    for seq in (start - 1, start, start + 1):
        events = (await fork(crossing(World()), origin.events, seq)).events
        ends = [e for e in events if e.kind == "join.end"]
        came = [e.data["message_id"] for e in events if e.kind == "node.start" and e.name == "join"]
        assert [(e.data["status"], e.data["parents"]) for e in ends] == [("ok", came)], f"forked after event {seq}"


async def test_calls_that_were_answered_are_not_made_again() -> None:
    origin = (await record(crossing(World()), message("q"))).events
    for seq in range(frontier(origin, 0).seq, len(origin)):
        world = World()
        await fork(crossing(world), origin, seq)
        assert Counter(world.asked) + asked(origin[: seq + 1]) == asked(origin), seq


async def test_the_origin_of_a_fork_stays_as_it_is(tmp_path: Path) -> None:
    store = SQLiteStateStore(tmp_path / "state.db")
    flow = crossing(World())
    flow.run(recorder=store.recorder())
    await flow.call(message("q"))
    await store.flush()
    before = await store.load_event_bytes(TRACE)
    async for _ in flow.restore(await read_frontier(store, TRACE, len(before) // 2), trace_id=FORK):
        pass
    await flow.stop()
    await store.flush()
    assert await store.load_event_bytes(TRACE) == before
    forked = await store.get_trace(FORK)
    assert forked is not None
    assert forked.origin == {"trace_id": TRACE, "seq": len(before) // 2}
    assert forked.status == "ok"
    await store.close()


async def test_a_fork_of_a_fork_knows_the_calls_of_both(tmp_path: Path) -> None:
    store = SQLiteStateStore(tmp_path / "state.db")
    world = World()
    flow = crossing(world)
    flow.run(recorder=store.recorder())
    await flow.call(message("q"))
    await store.flush()
    origin = await store.load_events(TRACE)
    second_word = [event.seq for event in origin if event.kind == "record"][2]
    async for _ in flow.restore(await read_frontier(store, TRACE, second_word), trace_id=FORK):
        pass
    await store.flush()
    world.asked.clear()
    # The node that speaks is under way, and the fork has not yet come to its calls.
    async for _ in flow.restore(await read_frontier(store, FORK, 1), trace_id="0123456789abcdef-again"):
        pass
    await flow.stop()
    assert world.asked == Counter({"three": 1})
    await store.close()


# -- edits -------------------------------------------------------------------------------------------------------------


async def test_an_edit_changes_the_message_that_the_event_is_about() -> None:
    origin = (await record(crossing(World()), message("q"))).events
    at = next(e.seq for e in origin if e.kind == "message.enqueued" and e.name == "left->join")
    forked = (await fork(crossing(World()), origin, at, edits={"/payload": "edited"})).events
    assert json.dumps(["edited", "right of qSPLIT"]) in results(forked)
    (edit,) = [event for event in forked if event.kind == "edit"]
    assert edit.data["before"] == "left of qSPLIT"
    assert edit.data["after"] == "edited"


async def test_an_edit_reaches_into_models_headers_and_meta() -> None:
    seen: list[Message] = []

    async def look(msg: Message, ctx: Context) -> Message:
        seen.append(msg)
        return msg

    def build() -> PenguiFlow:
        return create(node(look, "look").to())

    origin = (await record(build(), message(Item(name="a"), meta={"tags": ["x"]}))).events
    edits = {"/payload/count": 5, "/headers/tenant": "other", "/meta/tags/-": "y", "/meta/new": 1}
    await fork(build(), origin, 1, edits=edits)
    assert seen[1].payload == Item(name="a", count=5)
    assert seen[1].headers.tenant == "other"
    assert seen[1].meta == {"tags": ["x", "y"], "new": 1}
    assert seen[1].trace_id == FORK


@pytest.mark.parametrize(
    ("edits", "told"),
    [
        ({"/payload/name/deep": 1}, "neither an object nor a list"),
        ({"/payload/no/where": 1}, "nothing at /payload/no"),
        ({"/payload/count": "many"}, "count"),
        ({"/else": 1}, "a message has /payload"),
        ({"/args/name": "b"}, "what a planner decided has /next_node, /args and /thought"),
        ({"payload": 1}, "no JSON Pointer"),
        ({"feed:/payload": 1}, "no message feed"),
    ],
)
async def test_an_edit_that_does_not_fit_is_refused(edits: dict[str, Any], told: str) -> None:
    origin = (await record(crossing(World()), message(Item(name="a")))).events
    with pytest.raises(CannotRestore) as refused:
        await fork(crossing(World()), origin, 1, edits=edits)
    assert told in str(refused.value)


async def test_an_edit_says_which_message_where_there_are_several() -> None:
    origin = (await record(crossing(World()), message("q"))).events
    at = next(e.seq for e in origin if e.kind == "node.end")
    with pytest.raises(CannotRestore, match=r"there are several messages; name one: [0-9a-f]{16}:/payload"):
        await fork(crossing(World()), origin, at, edits={"/payload": "x"})
    chosen = next(e for e in origin if e.kind == "message.enqueued" and e.name == "split->left")
    forked = (await fork(crossing(World()), origin, at, edits={f"{chosen.data['message_id']}:/payload": "x"})).events
    assert json.dumps(["left of x", "right of qSPLIT"]) in results(forked)


# -- what cannot be had again ------------------------------------------------------------------------------------------


async def test_a_node_that_is_gone_is_named() -> None:
    origin = (await record(crossing(World()), message("q"))).events
    at = next(e.seq for e in origin if e.kind == "message.enqueued" and e.name == "left->join")
    with pytest.raises(CannotRestore) as refused:
        await fork(loop(World()), origin, at)
    assert "the flow has no node 'join' any more" in str(refused.value)


class Opaque:
    pass


async def test_a_payload_that_cannot_be_built_again_is_named() -> None:
    async def make(msg: Message, ctx: Context) -> Message:
        return msg.model_copy(update={"payload": {"deep": [Opaque()]}})

    async def take(msg: Message, ctx: Context) -> Message:
        return msg.model_copy(update={"payload": 1})

    def build() -> PenguiFlow:
        a, b = node(make, "make"), node(take, "take")
        return create(a.to(b), b.to())

    origin = (await record(build(), message("q"))).events
    at = next(e.seq for e in origin if e.name == "make->take")
    with pytest.raises(CannotRestore, match=r"/payload/deep/0 .*Opaque"):
        await fork(build(), origin, at)
    done = next(e.seq for e in origin if e.kind == "node.end" and e.name == "take")
    assert results((await fork(build(), origin, done)).events) == Counter({"1": 1})


async def test_a_trace_that_is_over_cannot_be_resumed() -> None:
    origin = (await record(crossing(World()), message("q"))).events
    flow = crossing(World())
    flow.run(recorder=Recorder(Sink()))
    with pytest.raises(CannotRestore, match=r"the trace is over \(ok\)"):
        flow.restore(frontier(origin))
    await flow.stop()


async def test_a_trace_without_its_input_cannot_be_resumed() -> None:
    origin = (await record(crossing(World()), message("q"))).events
    flow = crossing(World())
    flow.run(recorder=Recorder(Sink()))
    with pytest.raises(CannotRestore, match="its input is not in the log"):
        flow.restore(frontier(origin[:1]))
    await flow.stop()


async def test_only_a_recorded_flow_can_go_on() -> None:
    origin = (await record(crossing(World()), message("q"))).events
    flow = crossing(World())
    flow.run()
    with pytest.raises(RuntimeError, match="recorded"):
        await anext(flow.restore(frontier(origin, 3), trace_id=FORK))
    await flow.stop()


# -- time, failures ----------------------------------------------------------------------------------------------------


async def test_deadlines_are_later_by_the_time_that_the_trace_stood_still(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float | None] = []

    async def look(msg: Message, ctx: Context) -> Message:
        seen.append(msg.deadline_s)
        return msg

    def build() -> PenguiFlow:
        a, b = node(look, "a"), node(look, "b")
        return create(a.to(b), b.to())

    sink = await record(build(), message("q", deadline_s=5e9))
    old = [entry._replace(ts=entry.ts - 3600) for entry in sink]
    sink = Sink()
    flow = build()
    flow.run(recorder=Recorder(sink))
    at = next(e.seq for e in old if e.name == "a->b")
    async for _ in flow.restore(frontier([e.decode() for e in old], at), trace_id=FORK):
        pass
    await flow.stop()
    shifted = seen[-1]
    assert shifted is not None
    assert shifted == pytest.approx(5e9 + 3600, abs=60)


async def test_a_failure_before_the_fork_is_the_forks_failure_too() -> None:
    async def fail(msg: Message, ctx: Context) -> Message:
        raise ValueError("no")

    async def split(msg: Message, ctx: Context) -> Message:
        return msg

    def build() -> PenguiFlow:
        a, b, c = node(split, "a"), node(fail, "b"), node(split, "c")
        return create(a.to(b, c), b.to(), c.to())

    origin = (await record(build(), message("q"))).events
    failed = next(e.seq for e in origin if e.kind == "node.end" and e.name == "b")
    flow = build()
    flow.run(recorder=Recorder(Sink()))
    with pytest.raises(FlowError) as error:
        async for _ in flow.restore(frontier(origin, failed), trace_id=FORK):
            pass
    await flow.stop()
    assert error.value.code == FlowErrorCode.NODE_EXCEPTION
    assert error.value.trace_id == FORK
