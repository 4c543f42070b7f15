"""What a flow does in one process it does over two and four workers, on every bus."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from penguiflow import (
    WM,
    FinalAnswer,
    FlowError,
    Headers,
    Message,
    ModelRegistry,
    Node,
    NodePolicy,
    PenguiFlow,
    create,
    join_k,
    map_concurrent,
    predicate_router,
    stream_flow,
)
from penguiflow.bus import CannotSend, MemoryBus, NatsBus, RedisBus
from penguiflow.core import DEADLINE_EXCEEDED_TEXT
from penguiflow.errors import FlowErrorCode

if TYPE_CHECKING:
    from tests.spreading import Spread

CALL_S = 60.0


def node(func: Any, name: str, **policy: Any) -> Node:
    policy.setdefault("validate", "none")
    policy.setdefault("max_concurrency", 4)
    return Node(func, name=name, policy=NodePolicy(**policy))


def message(payload: Any, **fields: Any) -> Message:
    return Message(payload=payload, headers=Headers(tenant="acme"), **fields)


def fanning(parts: int) -> Callable[..., PenguiFlow]:
    """Fans out, doubles, joins, sums up."""

    async def fan(msg: Message, ctx: Any) -> None:
        for number in range(parts):
            await ctx.emit(msg.model_copy(update={"payload": number}))

    async def double(msg: Message, ctx: Any) -> Message:
        return msg.model_copy(update={"payload": 2 * msg.payload})

    async def total(msg: Message, ctx: Any) -> Message:
        return msg.model_copy(update={"payload": [len(msg.payload), sum(msg.payload)]})

    def make(**kwargs: Any) -> PenguiFlow:
        first, second, join, last = (
            node(fan, "fan"),
            node(double, "double"),
            join_k("join", parts),
            node(total, "total"),
        )
        return create(first.to(second), second.to(join), join.to(last), last.to(), **kwargs)

    return make


@pytest.mark.parametrize("workers", [2, 4])
async def test_a_fan_out_of_fifty_is_joined(spread: Spread, workers: int) -> None:
    flow = await spread(fanning(50), workers=workers)
    results = await asyncio.gather(*(flow.call(message(None), timeout=CALL_S) for _ in range(3)))
    assert [result.payload for result in results] == [[50, sum(range(0, 100, 2))]] * 3


@pytest.mark.parametrize("workers", [2, 4])
async def test_a_controller_goes_round_until_it_has_an_answer(spread: Spread, workers: int) -> None:
    async def think(msg: Message, ctx: Any) -> Message:
        memory: WM = msg.payload
        if len(memory.facts) == 5:
            return msg.model_copy(update={"payload": FinalAnswer(text=f"{memory.facts} in {memory.hops}")})
        update = {"facts": [*memory.facts, len(memory.facts)]}
        return msg.model_copy(update={"payload": memory.model_copy(update=update)})

    def make(**kwargs: Any) -> PenguiFlow:
        loop = Node(think, name="think", allow_cycle=True, policy=NodePolicy(validate="none"))
        return create(loop.to(loop), **kwargs)

    flow = await spread(make, workers=workers)
    result = await flow.call(message(WM(query="q")), timeout=CALL_S)
    assert result.payload == FinalAnswer(text="[0, 1, 2, 3, 4] in 5")
    spent = await flow.call(message(WM(query="q", budget_hops=3)), timeout=CALL_S)
    assert spent.payload == FinalAnswer(text="Hop budget exhausted")


@pytest.mark.parametrize("workers", [2, 4])
async def test_the_pieces_of_a_stream_come_in_order(spread: Spread, workers: int) -> None:
    async def speak(msg: Message, ctx: Any) -> None:
        for number in range(20):
            await ctx.emit_chunk(parent=msg, text=f"{number}", done=number == 19)

    async def shout(msg: Message, ctx: Any) -> Message:
        chunk = msg.payload
        # Those that come first take longer.
        await asyncio.sleep(0.02 if chunk.seq % 3 == 0 else 0)
        return msg.model_copy(update={"payload": chunk.model_copy(update={"text": chunk.text + "!"})})

    def make(**kwargs: Any) -> PenguiFlow:
        first, second = node(speak, "speak"), node(shout, "shout")
        return create(first.to(second), second.to(), **kwargs)

    flow = await spread(make, workers=workers)
    async with asyncio.timeout(CALL_S):
        pieces = [each.payload async for each in flow.stream(message(None))]
    assert [piece.text for piece in pieces] == [f"{number}!" for number in range(20)]
    assert [piece.done for piece in pieces] == [False] * 19 + [True]


async def test_models_are_validated_and_come_back(spread: Spread) -> None:
    registry = ModelRegistry()
    registry.register("price", Order, Bill)

    async def price(order: Order, ctx: Any) -> Bill:
        return Bill(cents=order.items * 100)

    flow = await spread(lambda **kwargs: create(Node(price, name="price").to(), **kwargs), registry=registry)
    assert await flow.call(Order(items=3), timeout=CALL_S) == Bill(cents=300)
    assert (await flow.call(message(Order(items=2)), timeout=CALL_S)).payload == Bill(cents=200)
    with pytest.raises(FlowError, match="validation error"):
        await flow.call({"items": "many"}, timeout=CALL_S)


class Order(BaseModel):
    items: int


class Bill(BaseModel):
    cents: int


async def test_a_node_is_tried_again_and_then_fails_its_trace(spread: Spread) -> None:
    attempts: list[Any] = []

    async def flaky(msg: Message, ctx: Any) -> Message:
        attempts.append(msg.payload)
        if msg.payload == "never" or attempts.count(msg.payload) < 3:
            raise ValueError(f"not yet: {msg.payload}")
        return msg

    def make(**kwargs: Any) -> PenguiFlow:
        return create(node(flaky, "flaky", max_retries=2, backoff_base=0.001).to(), **kwargs)

    flow = await spread(make)
    assert (await flow.call(message("third"), timeout=CALL_S)).payload == "third"
    with pytest.raises(FlowError, match="not yet: never") as raised:
        await flow.call(message("never"), timeout=CALL_S)
    assert (raised.value.code, raised.value.node_name) == (FlowErrorCode.NODE_EXCEPTION, "flaky")
    assert raised.value.exception_type == "ValueError"
    assert attempts.count("never") == 3


async def test_a_node_that_takes_too_long_times_out(spread: Spread) -> None:
    async def slow(msg: Message, ctx: Any) -> None:
        await asyncio.Event().wait()

    flow = await spread(lambda **kwargs: create(node(slow, "slow", timeout_s=0.02).to(), **kwargs))
    with pytest.raises(FlowError) as raised:
        await flow.call(message(None), timeout=CALL_S)
    assert (raised.value.code, raised.value.exception_type) == (FlowErrorCode.NODE_TIMEOUT, "TimeoutError")


async def test_errors_may_be_results(spread: Spread) -> None:
    async def bad(msg: Message, ctx: Any) -> None:
        raise ValueError("no")

    flow = await spread(lambda **kwargs: create(node(bad, "bad").to(), emit_errors_to_rookery=True, **kwargs))
    result = await flow.call(message(None), timeout=CALL_S)
    assert isinstance(result, FlowError)
    assert result.exception_type == "ValueError"
    assert "no" in result.message


async def test_a_deadline_is_answered(spread: Spread) -> None:
    async def slow(msg: Message, ctx: Any) -> None:
        await asyncio.Event().wait()

    flow = await spread(lambda **kwargs: create(node(slow, "slow").to(), **kwargs))
    late = await flow.call(message(None, deadline_s=time.time() - 1), timeout=CALL_S)
    in_time = await flow.call(message(None, deadline_s=time.time() + 0.2), timeout=CALL_S)
    assert late.payload == in_time.payload == FinalAnswer(text=DEADLINE_EXCEEDED_TEXT)


async def test_a_join_that_is_never_complete_fails_its_caller(spread: Spread) -> None:
    async def fan(msg: Message, ctx: Any) -> None:
        for number in range(2):
            await ctx.emit(msg.model_copy(update={"payload": number}))

    def make(**kwargs: Any) -> PenguiFlow:
        first, join = node(fan, "fan"), join_k("join", 3)
        return create(first.to(join), join.to(), **kwargs)

    flow = await spread(make)
    with pytest.raises(FlowError, match="node 'join' still waits: 2 of 3 messages came"):
        await flow.call(message(None), timeout=CALL_S)


async def test_what_a_node_keeps_is_the_traces(spread: Spread) -> None:
    async def fan(msg: Message, ctx: Any) -> None:
        for number in range(12):
            await ctx.emit(msg.model_copy(update={"payload": number}))

    async def count(msg: Message, ctx: Any) -> Message | None:
        seen = ctx.trace_state.setdefault("seen", set())
        await asyncio.sleep(0.001)
        seen.add(msg.payload)
        return msg.model_copy(update={"payload": sorted(seen)}) if len(seen) == 12 else None

    def make(**kwargs: Any) -> PenguiFlow:
        first, second = node(fan, "fan"), node(count, "count")
        return create(first.to(second), second.to(), **kwargs)

    flow = await spread(make, workers=3)
    results = await asyncio.gather(*(flow.call(message(None), timeout=CALL_S) for _ in range(2)))
    assert [result.payload for result in results] == [list(range(12))] * 2


async def test_a_node_that_keeps_something_runs_once_for_each_message(spread: Spread) -> None:
    begun: list[int] = []

    async def fan(msg: Message, ctx: Any) -> None:
        for number in range(40):
            await ctx.emit(msg.model_copy(update={"payload": number}))

    async def gather(msg: Message, ctx: Any) -> Message | None:
        seen = ctx.trace_state.setdefault("seen", [])
        begun.append(msg.payload)
        for _ in range(20):
            await asyncio.sleep(0)  # others may begin
        seen.append(msg.payload)
        return msg.model_copy(update={"payload": sorted(seen)}) if len(seen) == 40 else None

    def make(**kwargs: Any) -> PenguiFlow:
        first, second = node(fan, "fan"), node(gather, "gather")
        return create(first.to(second), second.to(), **kwargs)

    flow = await spread(make, workers=4, lease_s=600.0)
    assert (await flow.call(message(None), timeout=CALL_S)).payload == list(range(40))
    assert sorted(begun) == list(range(40))


async def test_a_router_sends_where_it_wants(spread: Spread) -> None:
    async def left(msg: Message, ctx: Any) -> Message:
        return msg.model_copy(update={"payload": "left"})

    async def right(msg: Message, ctx: Any) -> Message:
        return msg.model_copy(update={"payload": "right"})

    def make(**kwargs: Any) -> PenguiFlow:
        router = predicate_router("router", lambda msg: msg.payload)
        one, other = node(left, "one"), node(right, "other")
        return create(router.to(one, other), one.to(), other.to(), **kwargs)

    flow = await spread(make)
    assert (await flow.call(message("one"), timeout=CALL_S)).payload == "left"
    assert (await flow.call(message("other"), timeout=CALL_S)).payload == "right"


async def test_a_playbook_runs_in_the_worker_that_calls_it(spread: Spread) -> None:
    async def inner(msg: Message, ctx: Any) -> Message:
        return msg.model_copy(update={"payload": await map_concurrent([1, 2, 3], _squared)})

    def playbook() -> tuple[PenguiFlow, None]:
        return create(node(inner, "inner").to()), None

    async def outer(msg: Message, ctx: Any) -> Message:
        return msg.model_copy(update={"payload": await ctx.call_playbook(playbook, msg)})

    flow = await spread(lambda **kwargs: create(node(outer, "outer").to(), **kwargs))
    assert (await flow.call(message(None), timeout=CALL_S)).payload == [1, 4, 9]


async def _squared(number: int) -> int:
    return number * number


async def test_a_trace_is_cancelled_wherever_it_runs(spread: Spread) -> None:
    running, cancelled = asyncio.Event(), asyncio.Event()

    async def slow(msg: Message, ctx: Any) -> None:
        running.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    flow = await spread(lambda **kwargs: create(node(slow, "slow").to(), **kwargs))
    calling = asyncio.ensure_future(flow.call(message(None, trace_id="t"), timeout=CALL_S))
    async with asyncio.timeout(CALL_S):
        await running.wait()
        assert await flow.cancel("t")
        with pytest.raises(FlowError) as raised:
            await calling
        await cancelled.wait()
    assert raised.value.code == FlowErrorCode.TRACE_CANCELLED
    assert not await flow.cancel("t")


async def test_a_caller_who_gives_up_takes_the_trace_with_him(spread: Spread) -> None:
    running, cancelled = asyncio.Event(), asyncio.Event()

    async def slow(msg: Message, ctx: Any) -> None:
        running.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    flow = await spread(lambda **kwargs: create(node(slow, "slow").to(), **kwargs))
    calling = asyncio.ensure_future(flow.call(message(None)))
    async with asyncio.timeout(CALL_S):
        await running.wait()
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        await cancelled.wait()


async def test_what_is_emitted_is_fetched(spread: Spread) -> None:
    flow = await spread(fanning(3))
    async with asyncio.timeout(CALL_S):
        await flow.emit(message(None))
        assert (await flow.fetch()).payload == [3, 6]
        await flow.emit(message(None), trace_id="t")
        assert (await flow.fetch(trace_id="t")).payload == [3, 6]
        await flow.emit(message(None), trace_id="t")
        assert (await flow.fetch(trace_id="t")).payload == [3, 6]


async def test_a_trace_goes_on_where_messages_come_from_outside(spread: Spread) -> None:
    async def pair(msg: Message, ctx: Any) -> Message:
        return msg

    def make(**kwargs: Any) -> PenguiFlow:
        first, join = node(pair, "pair"), join_k("join", 2)
        return create(first.to(join), join.to(), **kwargs)

    flow = await spread(make)
    async with asyncio.timeout(CALL_S):
        await flow.emit(message(1, trace_id="t"))
        await flow.emit(message(2, trace_id="t"))
        assert sorted((await flow.fetch()).payload) == [1, 2]


async def test_a_stream_ends_for_who_reads_it_while_its_trace_goes_on(spread: Spread) -> None:
    after = asyncio.Event()

    async def speak(msg: Message, ctx: Any) -> None:
        for number in range(3):
            await ctx.emit_chunk(parent=msg, text=f"{number}", done=number == 2)
        await asyncio.sleep(0.01)
        after.set()

    flow = await spread(lambda **kwargs: create(node(speak, "speak").to(), **kwargs))
    async with asyncio.timeout(CALL_S):
        texts = [chunk.text async for chunk in stream_flow(flow, message(None))]
        await after.wait()
    assert texts == ["0", "1", "2"]


async def test_who_looks_at_nodes_looks_at_those_of_a_worker_in_the_same_process() -> None:
    seen: list[str] = []

    async def look(checkpoint: Any) -> None:
        seen.append(checkpoint.kind)

    async def same(msg: Message, ctx: Any) -> Message:
        return msg

    flow = create(node(same, "same").to(), message_bus=MemoryBus())
    flow.run()
    await flow.call(message(1), timeout=CALL_S)
    assert seen == []
    flow.intercept(look)
    await flow.call(message(2), timeout=CALL_S)
    assert seen == ["before_node", "after_node"]
    await flow.stop()


async def test_a_bus_beyond_the_process_wants_a_store_that_is_shared() -> None:
    async def same(msg: Message, ctx: Any) -> Message:
        return msg

    flow = create(node(same, "same").to(), message_bus=RedisBus("redis://localhost:1"))
    with pytest.raises(RuntimeError, match=r"the flow 'same' runs in workers, over a RedisBus.* give create"):
        flow.run()
    flow.run(alone=True)
    assert (await flow.call(message(2))).payload == 2
    await flow.stop()


async def test_a_flow_of_workers_says_what_it_cannot_do(spread: Spread) -> None:
    async def fetches(msg: Message, ctx: Any) -> None:
        await ctx.fetch()

    flow = await spread(lambda **kwargs: create(node(fetches, "fetches").to(), **kwargs))
    with pytest.raises(RuntimeError, match="emit_nowait cannot work"):
        flow.emit_nowait(message(1))
    with pytest.raises(FlowError, match="node 'fetches' fetches by itself"):
        await flow.call(message(1), timeout=CALL_S)


async def test_what_cannot_travel_fails_its_caller(spread: Spread) -> None:
    async def opens(msg: Message, ctx: Any) -> Message:
        return msg.model_copy(update={"payload": object()})

    async def keeps(msg: Message, ctx: Any) -> None:
        ctx.trace_state["it"] = object()

    flow = await spread(lambda **kwargs: create(node(opens, "opens").to(), node(keeps, "keeps").to(), **kwargs))
    opening, keeping = flow.ingress
    with pytest.raises(FlowError, match="Node 'opens' sent a builtins:object"):
        await flow.call(message(1), timeout=CALL_S, to=opening)
    with pytest.raises(FlowError, match="Node 'keeps' keeps a builtins:object"):
        await flow.call(message(1), timeout=CALL_S, to=keeping)
    with pytest.raises(CannotSend, match="Node 'OpenSea' sent"):
        await flow.call(message(object()), timeout=CALL_S)


async def test_what_is_too_large_for_the_bus_fails_its_caller(spread: Spread) -> None:
    async def grows(msg: Message, ctx: Any) -> Message:
        return msg.model_copy(update={"payload": "x" * 2_000_000})

    flow = await spread(lambda **kwargs: create(node(grows, "grows").to(), **kwargs))
    if isinstance(flow._message_bus, NatsBus):
        with pytest.raises(FlowError, match=r"Node 'grows' sent a message of 2000\d\d\d bytes.* raise its max_payload"):
            await flow.call(message(1), timeout=CALL_S)
    else:
        assert len((await flow.call(message(1), timeout=CALL_S)).payload) == 2_000_000


async def test_a_call_that_gets_no_answer_times_out(spread: Spread) -> None:
    async def slow(msg: Message, ctx: Any) -> None:
        await asyncio.Event().wait()

    flow = await spread(lambda **kwargs: create(node(slow, "slow").to(), **kwargs))
    with pytest.raises(TimeoutError):
        await flow.call(message(1), timeout=0.2)
