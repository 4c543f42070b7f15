"""`fetch`, and `emit` and `fetch` with a trace id: nothing is lost, whoever gives up."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from penguiflow import Context, FlowError, FlowErrorCode, Message, create

if TYPE_CHECKING:
    from tests.conftest import MakeMessage, MakeNode, Start, Until


async def test_a_fetch_that_times_out_loses_nothing(start: Start, make_node: MakeNode) -> None:
    left, right = make_node(name="left"), make_node(name="right")
    flow = start(create(left.to(), right.to()))
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(flow.fetch(), 0.002)
    await flow.emit("x")
    assert [await flow.fetch(), await flow.fetch()] == ["x", "x"]


async def test_a_fetch_cancelled_in_the_tick_of_the_arrival_loses_nothing(start: Start, make_node: MakeNode) -> None:
    flow = start(create(make_node().to()))
    for value in range(20):
        waiting = asyncio.create_task(flow.fetch())
        await asyncio.sleep(0)
        await flow.emit(value)
        for _ in range(value % 5):
            await asyncio.sleep(0)
        waiting.cancel()
        result = (await asyncio.gather(waiting, return_exceptions=True))[0]
        if isinstance(result, asyncio.CancelledError):
            result = await flow.fetch()
        assert result == value


async def test_a_cancelled_fetch_passes_its_turn_on(start: Start, make_node: MakeNode, until: Until) -> None:
    flow = start(create(make_node().to()))
    first, second = (asyncio.create_task(flow.fetch()) for _ in range(2))
    await asyncio.sleep(0)
    await flow.emit("x")
    await until(lambda: flow._rookery.inbox.items)
    first.cancel()
    assert await second == "x"
    assert first.cancelled()


async def test_fetch_from_waits_for_its_own_source(start: Start, make_node: MakeNode) -> None:
    left, right = make_node(name="left"), make_node(name="right")
    flow = start(create(left.to(), right.to()))
    from_left = asyncio.create_task(flow.fetch(from_=left))
    from_right = asyncio.create_task(flow.fetch(from_=right))
    await asyncio.sleep(0)
    await flow.emit(2, to=right)
    assert await from_right == 2
    await flow.emit(1, to=left)
    assert await from_left == 1
    await flow.emit(3)
    assert await flow.fetch(from_=[right]) == 3
    assert await flow.fetch_any(from_=[left, right]) == 3


async def test_a_roundtrip(start: Start, make_node: MakeNode, make_message: MakeMessage) -> None:
    flow = start(create(make_node().to(make_node(name="next"))))
    await flow.emit(make_message("a", trace_id="own"), trace_id="other")
    out = await flow.fetch(trace_id="other")
    assert (out.payload, out.trace_id) == ("a", "other")
    assert not flow._traces
    assert not flow._roundtrips._open
    assert not flow._table.sinks


async def test_roundtrips_at_once_get_their_own_results(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    async def mixed(message: Message, ctx: Context) -> Message:
        await asyncio.sleep(0.001 if message.payload % 2 else 0)
        return message

    flow = start(create(make_node(mixed, max_concurrency=4).to()))

    async def ask(value: int) -> Any:
        await flow.emit(make_message(value), trace_id=f"t{value}")
        return (await flow.fetch(trace_id=f"t{value}")).payload

    assert await asyncio.gather(*(ask(value) for value in range(50))) == list(range(50))
    assert not flow._traces
    assert not flow._roundtrips._open
    assert not flow._table.sinks


async def test_roundtrips_of_one_trace_take_turns(start: Start, make_node: MakeNode, make_message: MakeMessage) -> None:
    flow = start(create(make_node().to()))
    await flow.emit(make_message(1), trace_id="t")
    second = asyncio.create_task(flow.emit(make_message(2), trace_id="t"))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not second.done()
    assert (await flow.fetch(trace_id="t")).payload == 1
    await second
    assert (await flow.fetch(trace_id="t")).payload == 2


async def test_bare_results_keep_their_trace(start: Start, make_node: MakeNode, make_message: MakeMessage) -> None:
    async def unwrap(message: Message, ctx: Context) -> int:
        return int(message.payload)

    async def double(value: int, ctx: Context) -> int:
        return value * 2

    flow = start(create(make_node(unwrap).to(make_node(double))))
    for value in (1, 2):
        await flow.emit(make_message(value), trace_id=f"t{value}")
    assert await flow.fetch(trace_id="t2") == 4
    assert await flow.fetch(trace_id="t1") == 2


@pytest.mark.usefixtures("virtual_time")
async def test_a_timed_out_fetch_can_be_repeated(start: Start, make_node: MakeNode, make_message: MakeMessage) -> None:
    gate = asyncio.Event()

    async def gated(message: Message, ctx: Context) -> Message:
        await gate.wait()
        return message

    flow = start(create(make_node(gated).to()))
    await flow.emit(make_message("x"), trace_id="t")
    for _ in range(2):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(flow.fetch(trace_id="t"), 0.002)
    gate.set()
    assert (await flow.fetch(trace_id="t")).payload == "x"
    # And the trace id can be used again.
    await flow.emit(make_message("y"), trace_id="t")
    assert (await flow.fetch(trace_id="t")).payload == "y"
    assert not flow._traces
    assert not flow._table.sinks


async def test_a_new_emit_need_not_wait_for_a_fetch_that_was_given_up(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until
) -> None:
    async def never(message: Message, ctx: Context) -> None:
        await asyncio.Event().wait()

    async def echo(message: Message, ctx: Context) -> Message:
        return message

    stuck, quick = make_node(never), make_node(echo)
    flow = start(create(stuck.to(), quick.to()))
    await flow.emit(make_message("stuck"), to=stuck, trace_id="job")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(flow.fetch(trace_id="job"), 0.002)
    await flow.emit(make_message("again"), to=quick, trace_id="job")
    assert (await flow.fetch(trace_id="job")).payload == "again"
    assert await flow.cancel("job")
    await until(lambda: not flow._traces)


async def test_the_error_of_a_trace_reaches_its_fetch(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    async def fails(message: Message, ctx: Context) -> Message:
        if message.payload == "bad":
            raise ValueError("no luck")
        return message

    flow = start(create(make_node(fails).to()))
    await flow.emit(make_message("bad"), trace_id="t")
    with pytest.raises(FlowError, match="no luck"):
        await flow.fetch(trace_id="t")
    await flow.emit(make_message("good"), trace_id="t")
    assert (await flow.fetch(trace_id="t")).payload == "good"
    assert not flow._table.sinks


@pytest.mark.usefixtures("virtual_time")
async def test_an_error_waits_for_the_fetch_that_is_repeated(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until
) -> None:
    gate = asyncio.Event()

    async def fails(message: Message, ctx: Context) -> Message:
        await gate.wait()
        raise ValueError("no luck")

    flow = start(create(make_node(fails).to()))
    await flow.emit(make_message("x"), trace_id="t")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(flow.fetch(trace_id="t"), 0.002)
    gate.set()
    await until(lambda: not flow._traces)
    with pytest.raises(FlowError, match="no luck"):
        await flow.fetch(trace_id="t")


async def test_a_cancelled_trace_answers_its_fetch(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until
) -> None:
    async def forever(message: Message, ctx: Context) -> None:
        await asyncio.Event().wait()

    flow = start(create(make_node(forever).to()))
    await flow.emit(make_message("x"), trace_id="t")
    waiting = asyncio.create_task(flow.fetch(trace_id="t"))
    await until(lambda: flow._engine is not None and flow._engine.suspended)
    assert await flow.cancel("t")
    with pytest.raises(FlowError) as cancelled:
        await waiting
    assert cancelled.value.code == FlowErrorCode.TRACE_CANCELLED
    await until(lambda: not flow._traces)


async def test_further_results_go_to_the_common_queue(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    async def twice(message: Message, ctx: Context) -> Message:
        await ctx.emit(message)
        return message.model_copy(update={"payload": "second"})

    flow = start(create(make_node(twice).to()))
    await flow.emit(make_message("first"), trace_id="t")
    assert (await flow.fetch(trace_id="t")).payload == "first"
    assert (await flow.fetch()).payload == "second"
    assert not flow._traces


async def test_what_cannot_be_asked_for(start: Start, make_node: MakeNode, make_message: MakeMessage) -> None:
    node = make_node(name="node")
    flow = create(node.to())
    with pytest.raises(RuntimeError, match="PenguiFlow is not running"):
        await flow.emit(make_message(1), trace_id="t")
    start(flow)
    with pytest.raises(TypeError, match=r"emit\(trace_id=...\) requires a Message \(or object with writable"):
        await flow.emit(1, trace_id="t")
    with pytest.raises(RuntimeError, match=r"fetch\(trace_id=...\) does not support from_ filtering"):
        await flow.fetch(from_=node, trace_id="t")
    with pytest.raises(KeyError):
        await flow.emit(make_message(1), to=make_node(name="stranger"), trace_id="t")
    # What was refused holds nothing up.
    await flow.emit(make_message(2), trace_id="t")
    with pytest.raises(RuntimeError, match="not supported once trace-scoped fetching is enabled"):
        await flow.fetch(from_=node)
    assert (await flow.fetch(trace_id="t")).payload == 2


async def test_finished_roundtrips_leave_nothing(start: Start, make_node: MakeNode, make_message: MakeMessage) -> None:
    flow = start(create(make_node().to()))
    for value in range(200):
        await flow.emit(make_message(value), trace_id=f"t{value}")
        assert (await flow.fetch(trace_id=f"t{value}")).payload == value
    assert not flow._traces
    assert not flow._table.sinks
    assert not flow._roundtrips._open


async def test_a_trace_that_ended_without_a_result_answers_a_later_fetch(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until
) -> None:
    async def silent(message: Message, ctx: Context) -> None:
        return None

    flow = start(create(make_node(silent).to()))
    await flow.emit(make_message(1), trace_id="t")
    await until(lambda: not flow._traces)
    assert await flow.fetch(trace_id="t") is None


async def test_answers_that_nobody_fetches_are_bounded(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penguiflow.roundtrips.MAX_UNFETCHED", 10)
    flow = start(create(make_node().to(), queue_maxsize=0))
    for number in range(50):
        await flow.emit(make_message(number), trace_id=f"t{number}")
        await until(lambda: not flow._traces)
    assert len(flow._table.sinks) <= 10
    assert len(flow._roundtrips._open) <= 10
    assert (await flow.fetch(trace_id="t49")).payload == 49
