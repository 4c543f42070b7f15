"""A worker and a caller in one process, where everything can be seen."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from penguiflow import FlowError, Headers, Message, Node, NodePolicy, PenguiFlow, create
from penguiflow.bus import BusAway, BusMessage, Codec, Delivery, Limits, MemoryBus, RedisBus
from penguiflow.distributed import Worker, edges_of, lookout, streams
from penguiflow.distributed.header import Header
from penguiflow.distributed.names import COUNT, IDS, bus_id, number_of
from penguiflow.ids import send_id
from penguiflow.recording import Recorder
from penguiflow.state import InMemoryStateStore
from penguiflow.state.errors import StoreError
from penguiflow.state.shared import SharedChange
from penguiflow.types import StreamChunk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

WAIT_S = 60.0
PLAIN = NodePolicy(validate="none")


def message(payload: Any, **fields: Any) -> Message:
    return Message(payload=payload, headers=Headers(tenant="acme"), **fields)


async def same(msg: Message, ctx: Any) -> Message:
    return msg


class Shop:
    """One bus, one store, and who works there; a caller has no worker of his own."""

    def __init__(self, **limits: Any) -> None:
        self.bus = MemoryBus(Limits(**limits))
        self.store = InMemoryStateStore()
        self.running: list[asyncio.Task[None]] = []
        self.workers: list[Worker] = []
        self.flows: list[PenguiFlow] = []

    async def hire(self, flow: PenguiFlow, **about: Any) -> Worker:
        worker = Worker(flow, bus=self.bus, store=self.store, owns_bus=False, **about)
        self.workers.append(worker)
        self.running.append(asyncio.create_task(worker.run()))
        await worker.ready()
        return worker

    async def caller(self, make: Callable[..., PenguiFlow]) -> PenguiFlow:
        flow = make(message_bus=self.bus, state_store=self.store)
        flow.run()
        assert flow._distribution is not None
        assert flow._distribution._worker is not None
        assert flow._distribution._working is not None
        await flow._distribution._worker.ready()
        await flow._distribution._worker.drain(0.0)
        await flow._distribution._working
        self.flows.append(flow)
        return flow

    async def put(self, flow: PenguiFlow, edge: str, payload: Any, header: Header, message_id: str) -> None:
        """Put a message on an edge, as a worker does that is none of these."""
        add = {COUNT: 1, IDS: number_of(message_id)}
        await self.store.commit_shared(SharedChange(trace_id=header.run, add=add))
        await self.bus.open(flow.name, edges_of(flow))
        body = Codec().encode(payload, "somebody", about=header.about())
        await self.bus.put(edge, BusMessage(bus_id(header.run, message_id), body))


@pytest.fixture
async def shop() -> AsyncIterator[Callable[..., Shop]]:
    shops: list[Shop] = []

    def open_shop(**limits: Any) -> Shop:
        shops.append(Shop(**limits))
        return shops[-1]

    yield open_shop
    async with asyncio.timeout(WAIT_S):
        for each in shops:
            for flow in each.flows:
                await flow.stop()
            for worker in each.workers:
                await worker.drain(0.0)
            await asyncio.gather(*each.running)


async def test_a_worker_says_what_it_does(shop: Callable[..., Shop]) -> None:
    at = shop()
    flow = create(Node(same, name="a", policy=PLAIN).to(Node(same, name="b", policy=PLAIN)), name="f")
    worker = await at.hire(flow, nodes=["b"], concurrency=3, worker_id="w")
    row = worker.status()
    assert (row.worker_id, row.flow, list(row.nodes), row.state, row.alive) == ("w", "f", ["b"], "running", True)
    assert row.about["slots"] == {"b": 3}
    assert [each.worker_id for each in await at.store.list_workers("f")] == ["w"]
    await worker.drain()
    async with asyncio.timeout(WAIT_S):
        await at.running[0]
    assert [each.state for each in await at.store.list_workers()] == ["ended"]


def test_a_worker_refuses_what_it_cannot_do() -> None:
    flow = create(Node(same, name="a", policy=PLAIN).to())
    bus, store = MemoryBus(), InMemoryStateStore()
    with pytest.raises(ValueError, match="no node named b: it has a"):
        Worker(flow, bus=bus, store=store, nodes=["b"])
    with pytest.raises(ValueError, match="at least 1"):
        Worker(flow, bus=bus, store=store, concurrency=0)
    with pytest.raises(TypeError, match="dict keeps nothing that workers could share"):
        Worker(flow, bus=bus, store={})  # type: ignore[arg-type]


async def test_a_worker_that_leaves_gives_back_what_it_does_not_finish(shop: Callable[..., Shop]) -> None:
    at = shop()
    begun: list[str] = []
    others = asyncio.Event()

    def make(name: str) -> Callable[..., PenguiFlow]:
        async def slow(msg: Message, ctx: Any) -> Message:
            begun.append(name)
            if name == "first":
                await asyncio.Event().wait()
            others.set()
            return msg

        return lambda **kwargs: create(Node(slow, name="slow", policy=PLAIN).to(), **kwargs)

    flow = await at.caller(make("caller"))
    first = await at.hire(make("first")())
    calling = asyncio.ensure_future(flow.call(message(1), timeout=WAIT_S))
    async with asyncio.timeout(WAIT_S):
        while not begun:  # noqa: ASYNC110 - of a worker
            await asyncio.sleep(0)
        await first.drain(0.05)
        await at.running[0]
        await at.hire(make("second")())
        await others.wait()
        assert (await calling).payload == 1
    assert begun == ["first", "second"]


async def test_a_caller_finds_a_result_whose_way_to_him_was_lost(
    shop: Callable[..., Shop], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookout, "POLL_S", 0.02)
    at = shop()

    async def fails(msg: Message, ctx: Any) -> Message:
        if msg.payload == "bad":
            raise ValueError("no")
        return msg

    def make(**kwargs: Any) -> PenguiFlow:
        return create(Node(fails, name="a", policy=PLAIN).to(), **kwargs)

    flow = await at.caller(make)
    await at.hire(make())

    async def lose(edge: str, *messages: BusMessage) -> None:
        """What is told does not come."""

    monkeypatch.setattr(at.bus, "tell", lose)
    assert (await flow.call(message("good"), timeout=WAIT_S)).payload == "good"
    with pytest.raises(FlowError, match="no"):
        await flow.call(message("bad"), timeout=WAIT_S)


async def put_second_piece(at: Shop, flow: PenguiFlow) -> None:
    """The second piece of a stream whose first one nobody has sent."""
    header = Header("t", "t", "Rookery@nobody", asked=True, piece="m/s", place=1)
    chunk = message(StreamChunk(stream_id="s", seq=1, text="second"), trace_id="t")
    await at.put(flow, "a->b", chunk, header, send_id("a", "m", "a->b", 1))


async def test_a_piece_that_never_comes_fails_the_trace(
    shop: Callable[..., Shop], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams.Gap, "lasts", lambda _, seen, waited_s: waited_s > 0.0)
    at = shop()
    flow = create(Node(same, name="a", policy=PLAIN).to(Node(same, name="b", policy=PLAIN)))
    await put_second_piece(at, flow)
    await at.hire(flow)
    async with asyncio.timeout(WAIT_S):
        while (memory := await at.store.load_shared("t", ("fault",))).ended is None:  # noqa: ASYNC110 - of a store
            await asyncio.sleep(0.01)
    assert memory.ended == "error"
    assert b"piece 0 of a stream did not come to node 'b'" in memory.rows["fault"].value


async def test_pieces_wait_for_one_that_takes_long(shop: Callable[..., Shop], monkeypatch: pytest.MonkeyPatch) -> None:
    at = shop(lease_s=0.2, max_deliveries=50)
    signs, enough, go_on = 0, asyncio.Event(), asyncio.Event()
    commit = at.store.commit_shared

    async def watched(*changes: SharedChange) -> Any:
        nonlocal signs
        signs += sum(any("at work" in scope for scope in change.put) for change in changes)
        if signs >= 8:
            enough.set()
        return await commit(*changes)

    monkeypatch.setattr(at.store, "commit_shared", watched)

    async def speak(msg: Message, ctx: Any) -> None:
        for number in range(3):
            await ctx.emit_chunk(parent=msg, text=f"{number}", done=number == 2)

    async def hear(msg: Message, ctx: Any) -> Message:
        if msg.payload.seq == 0:
            await go_on.wait()
        return msg

    def make(**kwargs: Any) -> PenguiFlow:
        hearing = Node(hear, name="hear", policy=NodePolicy(validate="none", max_concurrency=4))
        return create(Node(speak, name="speak", policy=PLAIN).to(hearing), hearing.to(), **kwargs)

    flow = await at.caller(make)
    await at.hire(make())

    async def read() -> list[str]:
        return [each.payload.text async for each in flow.stream(message(None))]

    reading = asyncio.ensure_future(read())
    async with asyncio.timeout(WAIT_S):
        await enough.wait()
        go_on.set()
        assert await reading == ["0", "1", "2"]


async def test_a_dead_piece_that_is_sent_again_waits_for_no_other(shop: Callable[..., Shop]) -> None:
    at = shop()
    came = asyncio.Event()

    async def take(msg: Message, ctx: Any) -> None:
        came.set()

    flow = create(Node(same, name="a", policy=PLAIN).to(Node(take, name="b", policy=PLAIN)))
    await put_second_piece(at, flow)
    (got,) = await at.bus.get("a->b")
    assert await at.bus.dead_letter(got, "somebody did not like it")
    await at.hire(flow)
    async with asyncio.timeout(WAIT_S):
        while (await at.store.load_shared("t")).ended is None:  # noqa: ASYNC110 - of a store
            await asyncio.sleep(0.01)
        assert not came.is_set()
        (letter,) = await at.bus.dead_letters("a->b")
        assert await at.bus.retry_dead(letter)
        await came.wait()


async def test_who_reads_slowly_stops_who_sends_to_him_and_nobody_else(shop: Callable[..., Shop]) -> None:
    at = shop(capacity=4)
    sent: list[int] = []

    async def speak(msg: Message, ctx: Any) -> None:
        for number in range(msg.payload):
            await ctx.emit_chunk(parent=msg, text=f"{number}")
            sent.append(number)

    def make(**kwargs: Any) -> PenguiFlow:
        speaker = Node(speak, name="speak", policy=NodePolicy(validate="none", max_concurrency=4))
        return create(speaker.to(), queue_maxsize=4, **kwargs)

    flow = await at.caller(make)
    await at.hire(make())
    many = 5000
    async with asyncio.timeout(WAIT_S):
        results = flow.stream(message(many))
        await anext(results)
        before = -1
        while before != len(sent):
            before = len(sent)
            await flow.call(message(0))
            await asyncio.sleep(0.05)
        assert len(sent) < many / 2
        texts = [each.payload.text async for each in results]
    assert texts == [f"{number}" for number in range(1, many)]


async def test_what_was_done_twice_counts_once(shop: Callable[..., Shop]) -> None:
    at = shop()
    flow = create(Node(same, name="a", policy=PLAIN).to(Node(same, name="b", policy=PLAIN)))
    header = Header("t", "t", "Rookery@me", asked=True)
    await at.bus.open(flow.name, edges_of(flow))
    await at.bus.listen("Rookery@me")
    message_id = send_id("a", "m", "a->b", 0)
    await at.put(flow, "a->b", message("once", trace_id="t"), header, message_id)
    await at.hire(flow)
    got: list[Delivery] = []
    async with asyncio.timeout(WAIT_S):
        while len(got) < 2:
            some = await at.bus.get("Rookery@me", limit=10)
            await at.bus.ack(*some)
            got += some
        body = Codec().encode(message("once", trace_id="t"), "somebody", about=header.about())
        # As if the bus had forgotten it.
        at.bus._edges["a->b"].seen.clear()
        await at.bus.put("a->b", BusMessage(bus_id("t", message_id), body))
        while (depth := await at.bus.depth("a->b")).waiting or depth.leased:  # noqa: ASYNC110 - of a bus
            await asyncio.sleep(0.01)
    assert b"once" in got[0].body
    assert await at.bus.get("Rookery@me", wait_s=0) == []


async def test_a_store_that_is_away_for_long_has_nothing_done_again(
    shop: Callable[..., Shop], monkeypatch: pytest.MonkeyPatch
) -> None:
    at, runs, refusals = shop(), 0, 0

    async def count(msg: Message, ctx: Any) -> Message:
        nonlocal runs
        runs += 1
        return msg

    flush = at.store.flush

    async def away() -> None:
        nonlocal refusals
        if runs and refusals < 3:
            refusals += 1
            raise StoreError("the server cannot be reached")
        await flush()

    monkeypatch.setattr(at.store, "flush", away)

    def make(**options: Any) -> PenguiFlow:
        return create(Node(count, name="a", policy=PLAIN).to(), **options)

    caller = await at.caller(make)
    await at.hire(make(), recorder=Recorder(store=at.store, name="f"))
    async with asyncio.timeout(WAIT_S):
        result = await caller.call(message("once", trace_id="t"))
    assert result.payload == "once"
    assert (runs, refusals) == (1, 3)


async def test_what_was_asked_and_answered_is_not_asked_again(shop: Callable[..., Shop]) -> None:
    at = shop()
    asked: list[str] = []
    begun = asyncio.Event()

    def make(name: str) -> Callable[..., PenguiFlow]:
        def ask() -> str:
            asked.append(name)
            return f"the answer that {name} got"

        async def slow(msg: Message, ctx: Any) -> Message:
            answer = await ctx.record("ask", ask)
            begun.set()
            if name == "first":
                await asyncio.Event().wait()
            return msg.model_copy(update={"payload": [answer, await ctx.record("ask again", ask)]})

        return lambda **kwargs: create(Node(slow, name="slow", policy=PLAIN).to(), **kwargs)

    flow = await at.caller(make("caller"))
    first = await at.hire(make("first")())
    calling = asyncio.ensure_future(flow.call(message(1), timeout=WAIT_S))
    async with asyncio.timeout(WAIT_S):
        await begun.wait()
        await first.drain(0.0)
        await at.running[0]
        await at.hire(make("second")())
        assert (await calling).payload == ["the answer that first got", "the answer that second got"]
    assert asked == ["first", "second"]


async def test_a_caller_hears_of_messages_that_the_bus_has_lost(
    shop: Callable[..., Shop], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookout, "POLL_S", 0.02)
    at = shop()

    def make(**kwargs: Any) -> PenguiFlow:
        return create(Node(same, name="a", policy=PLAIN).to(), **kwargs)

    flow = await at.caller(make)
    calling = asyncio.ensure_future(flow.call(message(1), timeout=WAIT_S))
    async with asyncio.timeout(WAIT_S):
        while not at.bus._edges["OpenSea->a"].waiting:  # noqa: ASYNC110 - of a bus
            await asyncio.sleep(0)
        at.bus._edges["OpenSea->a"].waiting.clear()
        with pytest.raises(FlowError, match="one message of it is on no edge any more"):
            await calling


async def test_a_node_that_sends_something_else_the_second_time_keeps_nobody_waiting(
    shop: Callable[..., Shop], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookout, "POLL_S", 0.02)
    at = shop()
    begun = asyncio.Event()

    def make(name: str) -> Callable[..., PenguiFlow]:
        async def moody(msg: Message, ctx: Any) -> None:
            await ctx.emit(msg.model_copy(update={"payload": name}), to=by_name[name])
            if name == "first":
                begun.set()
                await asyncio.Event().wait()

        by_name = {each: Node(same, name=each, policy=PLAIN) for each in ("first", "second")}
        targets = by_name["first"], by_name["second"]
        return lambda **kwargs: create(
            Node(moody, name="moody", policy=PLAIN).to(*targets), *(each.to() for each in targets), **kwargs
        )

    flow = await at.caller(make("second"))
    first = await at.hire(make("first")())
    calling = asyncio.ensure_future(flow.call(message(1), timeout=WAIT_S))
    async with asyncio.timeout(WAIT_S):
        await begun.wait()
        while (depth := await at.bus.depth("moody->first")).waiting or depth.leased:  # noqa: ASYNC110 - of a bus
            await asyncio.sleep(0)
        await first.drain(0.0)
        await at.running[0]
        await at.hire(make("second")())
        assert (await calling).payload in ("first", "second")


async def test_a_bus_that_is_not_there_is_said_by_worker_and_caller() -> None:
    def make(**kwargs: Any) -> PenguiFlow:
        return create(Node(same, name="a", policy=PLAIN).to(), **kwargs)

    def nowhere() -> RedisBus:
        return RedisBus("redis://127.0.0.1:1", limits=Limits(start_s=0.01))

    store = InMemoryStateStore()
    with pytest.raises(BusAway, match="no Redis answers"):
        await Worker(make(), bus=nowhere(), store=store).run()
    flow = make(message_bus=nowhere(), state_store=store)
    flow.run()
    with pytest.raises(BusAway, match="no Redis answers"):
        await flow.call(message(1), timeout=WAIT_S)
    await flow.stop()


async def test_messages_of_a_trace_go_one_by_one_where_a_node_keeps_something(shop: Callable[..., Shop]) -> None:
    """Else each of them would spoil the work of the others in the same worker."""
    at = shop()
    worked: list[int] = []

    async def fan(msg: Message, ctx: Any) -> None:
        for number in range(msg.payload):
            await ctx.emit(msg.model_copy(update={"payload": number}))

    async def gather(msg: Message, ctx: Any) -> Message:
        state = ctx.trace_state
        state["got"] = [*state.get("got", []), msg.payload]
        worked.append(msg.payload)
        await asyncio.sleep(0)
        return msg.model_copy(update={"payload": state["got"]})

    def make(**kwargs: Any) -> PenguiFlow:
        first, last = Node(fan, name="fan", policy=PLAIN), Node(gather, name="gather", policy=PLAIN)
        return create(first.to(last), last.to(), name="f", **kwargs)

    flow = await at.caller(make)
    worker = await at.hire(make(), concurrency=4)
    assert worker.status().about["slots"] == {"fan": 4, "gather": 4}
    async with asyncio.timeout(WAIT_S):
        await flow.call(message(1))  # now the worker knows what the node does
        worked.clear()
        results = [result.payload async for result in flow.stream(message(20))]
    assert worked == list(range(20))
    assert results == [list(range(number + 1)) for number in range(20)]
