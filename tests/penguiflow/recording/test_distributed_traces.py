"""What several workers wrote of one trace, read as any other: its tree, a replay, a comparison, where it stands."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from penguiflow import FlowError, Headers, Message, Node, NodePolicy, PenguiFlow, create, join_k
from penguiflow.bus.memory import MemoryBus
from penguiflow.distributed import Worker
from penguiflow.recording import Recorder, TraceEvent, build_spans
from penguiflow.recording.cassette import Cassette
from penguiflow.recording.diff import diff_traces
from penguiflow.recording.frontier import frontier
from penguiflow.recording.replay import replay
from penguiflow.state import InMemoryStateStore, PostgresStateStore, SQLiteStateStore

CALL_S = 60.0
PARTS = 6


def node(func: Any, name: str) -> Node:
    return Node(func, name=name, policy=NodePolicy(validate="none", max_concurrency=3, max_retries=0))


def build(**kwargs: Any) -> PenguiFlow:
    """Fans out, asks the world for each part, joins, and adds up; a negative number fails."""

    async def fan(msg: Message, ctx: Any) -> None:
        for number in range(PARTS):
            await ctx.emit(msg.model_copy(update={"payload": msg.payload + number}))

    async def ask(msg: Message, ctx: Any) -> Message:
        async def world() -> int:
            await asyncio.sleep(0.001)
            return int(msg.payload) * 10

        if msg.payload < 0:
            raise ValueError("too small")
        return msg.model_copy(update={"payload": await ctx.record("world", world)})

    async def total(msg: Message, ctx: Any) -> Message:
        return msg.model_copy(update={"payload": sum(msg.payload)})

    fans, asks, joins, totals = node(fan, "fan"), node(ask, "ask"), join_k("join", PARTS), node(total, "total")
    return create(fans.to(asks), asks.to(joins), joins.to(totals), totals.to(), name="asking", **kwargs)


Call = Callable[[int], Any]


class Office:
    """A flow that is called here, and workers that each have a connection of their own."""

    def __init__(self, open_store: Callable[[], Any]) -> None:
        self._open_store = open_store
        self.stores: list[Any] = []
        self.flow: PenguiFlow
        self._workers: list[tuple[Worker, asyncio.Task[None]]] = []

    async def begin(self) -> None:
        bus, store = MemoryBus(), self._open_store()
        self.stores = [store, self._open_store(), self._open_store()]
        self.flow = build(message_bus=bus, state_store=store)
        self.flow.run(recorder=Recorder(store=store, name="asking", data={"target": "flow.py"}))
        for number, its in enumerate(self.stores[1:]):
            worker = Worker(build(), bus=bus, store=its, worker_id=f"w{number}", owns_bus=False)
            self._workers.append((worker, asyncio.create_task(worker.run())))
            await worker.ready()

    async def call(self, number: int, trace_id: str) -> Any:
        message = Message(payload=number, headers=Headers(tenant="a"), trace_id=trace_id)
        result = await self.flow.call(message, timeout=CALL_S)
        return result.payload

    async def events(self, trace_id: str) -> list[TraceEvent]:
        """Those of a trace, when it is over and all workers have told how their part of it ended."""
        async with asyncio.timeout(CALL_S):
            while True:
                async for _ in self.stores[0].follow(trace_id):
                    pass
                for store in self.stores:
                    await store.flush()
                events: list[TraceEvent] = await self.stores[0].load_events(trace_id)
                if all(child.end_seq is not None for root in build_spans(events) for child in root.children):
                    return events

    async def end(self) -> None:
        async with asyncio.timeout(CALL_S):
            await self.flow.stop()
            for worker, task in self._workers:
                await worker.drain(0.0)
                await task
            for store in self.stores:
                await store.close()


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def office(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Office]:
    if request.param == "memory":
        store = InMemoryStateStore()
        made = Office(lambda: store)
    elif request.param == "sqlite":
        made = Office(lambda: SQLiteStateStore(tmp_path / "state.db"))
    else:
        url = request.getfixturevalue("postgres_server").fresh_url()
        made = Office(lambda: PostgresStateStore(url))
    await made.begin()
    yield made
    await made.end()


async def test_a_trace_tells_who_did_what(office: Office) -> None:
    assert await office.call(1, "t") == sum(range(1, PARTS + 1)) * 10
    events, trace = await office.events("t"), await office.stores[0].get_trace("t")
    (root,) = await office.stores[1].load_spans("t")
    numbers: dict[str | None, list[int | None]] = defaultdict(list)
    for event in events:
        numbers[event.worker_id].append(event.worker_seq)
    done = Counter(span.name for span in root.children if span.status == "ok")
    taken = [event.data for event in events if event.kind == "message.dequeued" and "attempt" in event.data]

    assert [event.seq for event in events] == list(range(len(events)))
    assert all(each == list(range(len(each))) for each in numbers.values())
    assert (trace.status, trace.output, trace.input, trace.target) == ("ok", "210", "1", "flow.py")
    assert done == {"fan": 1, "ask": PARTS, "join": PARTS, "total": 1}
    # Who loses against another that changed what a node keeps does it again.
    assert {span.status for span in root.children} <= {"ok", "interrupted"}
    assert {span.name for span in root.children if span.status == "interrupted"} <= {"join"}
    assert all(span.worker_id is not None and span.delivery == 1 for span in root.children)
    assert all(span.queue_wait_s is not None and span.queue_wait_s >= 0 for span in root.children)
    assert all(data["attempt"] == 1 and data["queue_wait_s"] >= 0 for data in taken)
    assert root.status == "ok"
    assert len(build_spans(events)) == 1


async def test_nothing_is_left_to_do_at_its_end_and_something_before(office: Office) -> None:
    await office.call(1, "t")
    events = await office.events("t")
    at_end, begun = frontier(event for event in events if event.kind != "trace.end"), frontier(events, 1)

    assert (list(at_end.waiting), list(at_end.invocations)) == ([], [])
    assert [held.target for held in begun.waiting.values()] == ["fan"]


async def test_it_is_replayed_in_one_process(office: Office) -> None:
    await office.call(3, "t")
    events = await office.events("t")
    outcome = await replay(build(), Cassette.of(events))

    assert outcome.check().values == [sum(range(3, 3 + PARTS)) * 10]


async def test_two_of_them_differ_only_in_what_was_asked(office: Office) -> None:
    for trace_id, number in (("t1", 1), ("t2", 1), ("t3", 2)):
        await office.call(number, trace_id)
        await office.events(trace_id)
    store = office.stores[0]
    same = await diff_traces((store, "t1"), (store, "t2"))
    other = await diff_traces((store, "t1"), (store, "t3"))

    # What a join gets comes in any order.
    assert {each.path.partition("[")[0] for each in same.differences} <= {"join", "total"}
    assert "fan" in {each.path.partition("[")[0] for each in other.differences}


async def test_a_failure_is_told_by_the_trace(office: Office) -> None:
    with pytest.raises(FlowError, match="too small"):
        await office.call(-1, "t")
    events, trace = await office.events("t"), await office.stores[2].get_trace("t")
    (root,) = build_spans(events)

    assert trace.status == "error"
    assert "too small" in trace.error
    assert "error" in {span.status for span in root.children if span.name == "ask"}
