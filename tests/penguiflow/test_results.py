"""`call` and `stream`: whoever waits gets a result, an error or a timeout."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from penguiflow import Context, FlowError, FlowErrorCode, Message, StreamChunk, create

if TYPE_CHECKING:
    from tests.conftest import MakeMessage, MakeNode, MemoryRecorder, Start, Until


async def forever(message: Any, ctx: Context) -> None:
    await asyncio.Event().wait()


async def fails(message: Any, ctx: Context) -> None:
    raise ValueError("no luck")


async def test_call_gives_the_last_result(start: Start, make_node: MakeNode, make_message: MakeMessage) -> None:
    async def count(message: Message, ctx: Context) -> Message:
        await ctx.emit(make_message("first", trace_id=message.trace_id))
        return make_message("last", trace_id=message.trace_id)

    flow = start(create(make_node(count).to()))
    assert (await flow.call(make_message("go"))).payload == "last"
    assert not flow._traces


async def test_call_passes_over_chunks(start: Start, make_node: MakeNode, make_message: MakeMessage) -> None:
    async def talk(message: Message, ctx: Context) -> None:
        await ctx.emit(make_message("answer", trace_id=message.trace_id))
        await ctx.emit_chunk(parent=message, text="bye", done=True)

    flow = start(create(make_node(talk).to()))
    assert (await flow.call(make_message("go"))).payload == "answer"


async def test_call_takes_bare_payloads_and_a_trace_id(start: Start, make_node: MakeNode) -> None:
    seen: list[str | None] = []

    async def look(value: int, ctx: Context) -> int:
        seen.append(ctx.trace_id)
        return value + 1

    flow = start(create(make_node(look).to()))
    assert await flow.call(1) == 2
    assert await flow.call(2, trace_id="mine") == 3
    assert seen[0]
    assert seen[1] == "mine"
    assert not flow._traces


async def test_call_refuses_two_trace_ids_and_two_callers(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until
) -> None:
    flow = start(create(make_node(forever).to()))
    with pytest.raises(ValueError, match="trace_id"):
        await flow.call(make_message(1, trace_id="a"), trace_id="b")
    first = asyncio.create_task(flow.call(make_message(1, trace_id="a")))
    await until(lambda: "a" in flow._traces)
    with pytest.raises(RuntimeError, match="waits for trace a"):
        await flow.call(make_message(2, trace_id="a"))
    assert not first.done()
    await flow.cancel("a")
    with pytest.raises(FlowError):
        await first


async def test_many_calls_at_once_get_their_own_results(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    async def shuffled(message: Message, ctx: Context) -> Message:
        await asyncio.sleep(0 if message.payload % 3 else 0.001)
        return message

    flow = start(create(make_node(shuffled, max_concurrency=8).to(make_node()), queue_maxsize=2))
    results = await asyncio.gather(*(flow.call(make_message(value)) for value in range(100)))
    assert [result.payload for result in results] == list(range(100))
    assert not flow._traces


async def test_call_raises_the_first_error_of_its_trace(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    flow = start(create(make_node(fails).to()))
    with pytest.raises(FlowError) as failure:
        await flow.call(make_message(1, trace_id="t"))
    error = failure.value
    assert error.code == FlowErrorCode.NODE_EXCEPTION
    assert (error.trace_id, error.node_name) == ("t", "fails")
    assert error.message == "Node 'fails' raised ValueError: no luck"
    assert isinstance(error.unwrap(), ValueError)
    with pytest.raises(FlowError):
        await flow.call("bare")
    assert not flow._traces


async def test_one_failed_branch_fails_the_call(start: Start, make_node: MakeNode, make_message: MakeMessage) -> None:
    flow = start(create(make_node(name="top").to(make_node(fails), make_node(name="good"))))
    with pytest.raises(FlowError, match="no luck"):
        await flow.call(make_message(1))
    stream = flow.stream(make_message(2))
    assert (await anext(stream)).payload == 2
    with pytest.raises(FlowError, match="no luck"):
        await anext(stream)


@pytest.mark.usefixtures("virtual_time")
async def test_a_call_that_times_out_takes_its_trace_with_it(
    start: Start, make_node: MakeNode, make_message: MakeMessage, recorder: MemoryRecorder, until: Until
) -> None:
    ended: list[str] = []

    async def waits(message: Message, ctx: Context) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(message.trace_id)

    flow = start(create(make_node(waits).to()), recorder=recorder)
    with pytest.raises(TimeoutError):
        await flow.call(make_message(1, trace_id="late"), timeout=0.01)
    await until(lambda: not flow._traces)
    assert ended == ["late"]
    assert recorder.only().status == "cancelled"
    recorder.check()


async def test_a_cancelled_caller_takes_its_trace_with_it(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until
) -> None:
    ended: list[Any] = []

    async def waits(message: Message, ctx: Context) -> Message:
        if message.payload == "fast":
            return message
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(message.payload)
        return message

    flow = start(create(make_node(waits, max_concurrency=2).to()))
    caller = asyncio.create_task(flow.call(make_message("slow")))
    await until(lambda: flow._engine is not None and flow._engine.suspended)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await until(lambda: not flow._traces)
    assert ended == ["slow"]
    assert (await flow.call(make_message("fast"))).payload == "fast"


async def test_call_needs_a_running_flow(make_node: MakeNode) -> None:
    flow = create(make_node().to())
    with pytest.raises(RuntimeError, match="PenguiFlow is not running"):
        await flow.call(1)
    with pytest.raises(RuntimeError, match="PenguiFlow is not running"):
        await flow.cancel("t")
    assert not flow._traces


async def test_a_call_inside_a_node_of_the_same_flow(start: Start, make_node: MakeNode) -> None:
    async def factorial(value: int, ctx: Context) -> int:
        if value <= 1:
            return 1
        assert ctx.runtime is not None
        below: int = await ctx.runtime.call(value - 1)
        return value * below

    flow = start(create(make_node(factorial, max_concurrency=16).to()))
    assert await flow.call(10) == 3628800
    assert not flow._traces


async def test_stream_gives_everything_in_order(start: Start, make_node: MakeNode, make_message: MakeMessage) -> None:
    async def talk(message: Message, ctx: Context) -> Message:
        for word in ("one", "two", "three"):
            await ctx.emit_chunk(parent=message, text=word, done=word == "three")
        return message

    flow = start(create(make_node(talk).to(make_node(name="on"))))
    sent = make_message("done")
    items = [item async for item in flow.stream(sent)]
    assert all(isinstance(item, Message) and item.trace_id == sent.trace_id for item in items)
    chunks = [item.payload for item in items[:-1]]
    assert all(isinstance(chunk, StreamChunk) for chunk in chunks)
    assert [(chunk.seq, chunk.text, chunk.done) for chunk in chunks] == [
        (0, "one", False),
        (1, "two", False),
        (2, "three", True),
    ]
    assert items[-1].payload == "done"
    assert not flow._traces


async def test_streams_do_not_mix(start: Start, make_node: MakeNode, make_message: MakeMessage) -> None:
    async def talk(message: Message, ctx: Context) -> None:
        for number in range(5):
            await ctx.emit_chunk(parent=message, text=f"{message.payload}{number}", done=number == 4)
            await asyncio.sleep(0)

    flow = start(create(make_node(talk, max_concurrency=4).to(), queue_maxsize=2))

    async def collect(name: str) -> list[str]:
        return [item.payload.text async for item in flow.stream(make_message(name))]

    results = await asyncio.gather(*(collect(name) for name in "abcd"))
    assert results == [[f"{name}{number}" for number in range(5)] for name in "abcd"]


async def test_a_slow_reader_holds_the_node_back(start: Start, make_node: MakeNode, make_message: MakeMessage) -> None:
    sent: list[int] = []

    async def talk(message: Message, ctx: Context) -> None:
        for number in range(20):
            await ctx.emit(make_message(number, trace_id=message.trace_id))
            sent.append(number)

    flow = start(create(make_node(talk).to(), queue_maxsize=2))
    received: list[int] = []
    async for item in flow.stream(make_message("go")):
        for _ in range(10):
            await asyncio.sleep(0)
        received.append(item.payload)
        assert len(sent) - len(received) <= 2 + 1
    assert received == list(range(20))


async def test_one_slow_reader_does_not_hold_other_traces_back(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    async def talk(message: Message, ctx: Context) -> None:
        for number in range(5):
            await ctx.emit(make_message(number, trace_id=message.trace_id))

    flow = start(create(make_node(talk, max_concurrency=2).to(), queue_maxsize=1))
    slow = flow.stream(make_message("slow"))
    assert (await anext(slow)).payload == 0
    assert [item.payload async for item in flow.stream(make_message("fast"))] == list(range(5))
    assert [item.payload async for item in slow] == [1, 2, 3, 4]


@pytest.mark.parametrize("queue_maxsize", [1, 64])
async def test_leaving_a_stream_early_cancels_the_trace(
    start: Start,
    make_node: MakeNode,
    make_message: MakeMessage,
    recorder: MemoryRecorder,
    until: Until,
    queue_maxsize: int,
) -> None:
    ended: list[str] = []

    async def talk(message: Message, ctx: Context) -> None:
        try:
            for number in range(1000):
                await ctx.emit_chunk(parent=message, text=str(number))
                await asyncio.sleep(0)
        finally:
            ended.append("talk")

    flow = start(create(make_node(talk).to(), queue_maxsize=queue_maxsize), recorder=recorder)
    stream = flow.stream(make_message("go"))
    async for item in stream:
        if item.payload.seq == 2:
            break
    await stream.aclose()
    await until(lambda: not flow._traces)
    assert ended == ["talk"]
    assert recorder.only().status == "cancelled"


async def test_a_stream_that_is_never_read_costs_nothing(start: Start, make_node: MakeNode) -> None:
    flow = start(create(make_node().to()))
    flow.stream(1)
    assert not flow._traces
    assert await flow.call(2) == 2


async def test_errors_are_results_where_the_flow_says_so(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    flow = start(create(make_node(fails).to(make_node(name="next")), emit_errors_to_rookery=True))
    items = [item async for item in flow.stream(make_message(1, trace_id="t"))]
    assert [type(item) for item in items] == [FlowError]
    assert items[0].trace_id == "t"
    assert isinstance(await flow.call(make_message(2)), FlowError)
    await flow.emit(make_message(3, trace_id="u"))
    assert (await flow.fetch()).trace_id == "u"
    await flow.emit("bare")
    error = await flow.fetch()
    assert isinstance(error, FlowError)
    assert error.message == "Node 'fails' raised ValueError: no luck"
    assert not flow._traces


async def test_errors_stay_out_of_plain_fetch_otherwise(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    async def picky(message: Any, ctx: Context) -> Any:
        if message.payload == "bad":
            raise ValueError(message.payload)
        return message

    flow = start(create(make_node(picky).to()))
    await flow.emit(make_message("bad"))
    await flow.emit(make_message("good"))
    assert (await flow.fetch()).payload == "good"
    assert not flow._traces
