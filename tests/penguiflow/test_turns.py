"""Order per trace in a node that handles several messages at a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from penguiflow import Context, FlowError, Message, create

if TYPE_CHECKING:
    from tests.conftest import MakeMessage, MakeNode, Start, Until


class Gates:
    """Lets invocations go on one by one, in any order."""

    def __init__(self, count: int) -> None:
        self.events = [asyncio.Event() for _ in range(count)]
        self.entered: list[int] = []

    async def pass_through(self, number: int) -> None:
        self.entered.append(number)
        await self.events[number].wait()


async def test_results_leave_in_the_order_of_their_messages(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until
) -> None:
    gates = Gates(4)

    async def fan(message: Message, ctx: Context) -> None:
        for number in range(4):
            await ctx.emit(message.model_copy(update={"payload": number}))

    async def work(message: Message, ctx: Context) -> Message:
        await gates.pass_through(message.payload)
        return message

    source = make_node(fan)
    flow = start(create(source.to(make_node(work, name="work", max_concurrency=4))))
    got: list[Any] = []

    async def read() -> None:
        got.extend([item.payload async for item in flow.stream(make_message("go"))])

    reader = asyncio.create_task(read())
    await until(lambda: len(gates.entered) == 4)
    for number in (3, 1, 2, 0):
        assert got == []
        gates.events[number].set()
    await reader
    assert got == [0, 1, 2, 3]
    assert not flow._traces


async def test_traces_overtake_each_other(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until
) -> None:
    gates = Gates(2)

    async def work(message: Message, ctx: Context) -> Message:
        await gates.pass_through(message.payload)
        return message

    flow = start(create(make_node(work, max_concurrency=2).to()))
    first, second = (asyncio.create_task(flow.call(make_message(number))) for number in range(2))
    await until(lambda: len(gates.entered) == 2)
    gates.events[1].set()
    assert (await second).payload == 1
    assert not first.done()
    gates.events[0].set()
    assert (await first).payload == 0


async def test_what_a_function_sends_waits_for_its_turn_too(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until
) -> None:
    gates = Gates(2)
    refused: list[int] = []

    async def fan(message: Message, ctx: Context) -> None:
        for number in range(2):
            await ctx.emit(message.model_copy(update={"payload": number}))

    async def work(message: Message, ctx: Context) -> None:
        if message.payload == 0:
            await gates.pass_through(0)
        else:
            await asyncio.sleep(0)
            with pytest.raises(asyncio.QueueFull):
                ctx.emit_nowait(message)
            refused.append(message.payload)
        await ctx.emit(message)
        await ctx.emit_chunk(parent=message, text=f"chunk {message.payload}", stream_id=str(message.payload))

    flow = start(create(make_node(fan).to(make_node(work, name="work", max_concurrency=2))))
    stream = flow.stream(make_message("go"))
    reading = asyncio.create_task(anext(stream))
    await until(lambda: refused == [1])
    assert not reading.done()
    gates.events[0].set()
    got = [(await reading).payload, *[item.payload async for item in stream]]
    assert [item if isinstance(item, int) else item.text for item in got] == [0, "chunk 0", 1, "chunk 1"]


@pytest.mark.parametrize("ending", ["fails", "gives nothing", "is retried"])
async def test_a_turn_that_ends_without_a_result_holds_nobody_up(
    start: Start, make_node: MakeNode, make_message: MakeMessage, ending: str
) -> None:
    tries: list[int] = []

    async def fan(message: Message, ctx: Context) -> None:
        for number in range(3):
            await ctx.emit(message.model_copy(update={"payload": number}))

    async def work(message: Message, ctx: Context) -> Message | None:
        tries.append(message.payload)
        await asyncio.sleep(0)
        if message.payload:
            return message
        if ending == "gives nothing":
            return None
        if ending == "fails" or tries.count(0) < 3:
            raise ValueError("no luck")
        return message

    node = make_node(
        work, name="work", max_concurrency=3, max_retries=2 if ending == "is retried" else 0, backoff_base=0
    )
    flow = start(create(make_node(fan).to(node)))
    got: list[Any] = []
    try:
        async for item in flow.stream(make_message("go")):
            got.append(item.payload)
    except FlowError:
        assert ending == "fails"
    assert got == ([0, 1, 2] if ending == "is retried" else [1, 2])
    assert not flow._traces


async def test_a_cancelled_trace_leaves_no_turns(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until
) -> None:
    gates = Gates(3)

    async def fan(message: Message, ctx: Context) -> None:
        for number in range(3):
            await ctx.emit(message.model_copy(update={"payload": number}))

    async def work(message: Message, ctx: Context) -> Message:
        await gates.pass_through(message.payload)
        return message

    flow = start(create(make_node(fan).to(make_node(work, name="work", max_concurrency=3))))
    caller = asyncio.create_task(flow.call(make_message("go", trace_id="t")))
    await until(lambda: len(gates.entered) == 3)
    trace = flow._traces["t"]
    gates.events[2].set()
    assert await flow.cancel("t")
    with pytest.raises(FlowError):
        await caller
    await until(lambda: not flow._traces)
    assert trace.turns is None
