"""Chunks that nodes stream, and messages that nodes fetch by themselves."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from penguiflow import Context, FlowError, Message, StreamChunk, create

if TYPE_CHECKING:
    from tests.conftest import MakeMessage, MakeNode, MemoryRecorder, Start, Until


async def test_chunks_are_counted_per_stream(
    start: Start, make_node: MakeNode, make_message: MakeMessage, recorder: MemoryRecorder
) -> None:
    async def talk(message: Message, ctx: Context) -> None:
        sent: list[StreamChunk] = []
        for arguments in (
            {"text": "a"},
            {"text": "b", "stream_id": "other"},
            {"text": "c", "meta": {"k": 1}},
            {"text": "d", "done": True},
            {"text": "e"},
            {"text": "f", "seq": 10},
            {"text": "g"},
            {"text": "h", "stream_id": "other"},
        ):
            sent.append(await ctx.emit_chunk(parent=message, **arguments))
        chunks.extend(sent)

    chunks: list[StreamChunk] = []
    flow = start(create(make_node(talk).to()), recorder=recorder)
    sent = make_message("x", trace_id="t", deadline_s=4e9, meta={"origin": "web"})
    items = [item async for item in flow.stream(sent)]
    assert [item.payload for item in items] == chunks
    assert [(chunk.stream_id, chunk.text, chunk.seq) for chunk in chunks] == [
        ("t", "a", 0),
        ("other", "b", 0),
        ("t", "c", 1),
        ("t", "d", 2),
        ("t", "e", 0),
        ("t", "f", 10),
        ("t", "g", 11),
        ("other", "h", 1),
    ]
    assert [chunk.done for chunk in chunks].count(True) == 1
    assert chunks[2].meta == {"k": 1}
    assert all((item.headers, item.deadline_s, item.meta) == (sent.headers, 4e9, sent.meta) for item in items)
    events = recorder.only().of_kind("stream.chunk")
    assert [(event.name, event.data["chunk_seq"], event.data["text"]) for event in events] == [
        (chunk.stream_id, chunk.seq, chunk.text) for chunk in chunks
    ]
    enqueued = [event.data for event in recorder.only().of_kind("message.enqueued") if "stream_id" in event.data]
    assert len(enqueued) == len(chunks)
    assert not any("payload" in data for data in enqueued)
    recorder.check()


async def test_a_later_trace_of_the_same_stream_counts_from_zero(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    async def talk(message: Message, ctx: Context) -> None:
        await ctx.emit_chunk(parent=message, text="never done", stream_id="s")

    flow = start(create(make_node(talk).to()))
    for _ in range(2):
        items = [item.payload.seq async for item in flow.stream(make_message("x", trace_id="t"))]
        assert items == [0]


async def test_a_full_egress_holds_the_second_chunk(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until
) -> None:
    sent: list[int] = []

    async def talk(message: Message, ctx: Context) -> None:
        for _ in range(3):
            sent.append((await ctx.emit_chunk(parent=message, text="x")).seq)

    flow = start(create(make_node(talk).to(), queue_maxsize=1))
    await flow.emit(make_message("go"))
    await until(lambda: sent)
    for _ in range(20):
        await asyncio.sleep(0)
    assert sent == [0]
    assert (await flow.fetch()).payload.seq == 0
    await until(lambda: len(sent) == 2)
    for _ in range(20):
        await asyncio.sleep(0)
    assert sent == [0, 1]
    assert [(await flow.fetch()).payload.seq for _ in range(2)] == [1, 2]


@pytest.mark.parametrize("stream_id", [None, "its own"])
async def test_a_reader_of_a_stream_holds_chunks_back(
    start: Start, make_node: MakeNode, make_message: MakeMessage, stream_id: str | None
) -> None:
    sent: list[int] = []

    async def talk(message: Message, ctx: Context) -> None:
        for number in range(30):
            await ctx.emit_chunk(parent=message, text="x", stream_id=stream_id, done=number == 29)
            sent.append(number)

    flow = start(create(make_node(talk).to(), queue_maxsize=4))
    received = 0
    async for _ in flow.stream(make_message("go")):
        for _ in range(10):
            await asyncio.sleep(0)
        received += 1
        assert len(sent) <= received + 4 + 1
    assert received == 30


async def test_emit_nowait_to_a_reader_is_bounded_too(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    sent: list[int] = []

    async def floods(message: Message, ctx: Context) -> None:
        for number in range(3):
            ctx.emit_nowait(number)
            sent.append(number)
        with pytest.raises(asyncio.QueueFull):
            ctx.emit_nowait(3)

    flow = start(create(make_node(floods).to(), queue_maxsize=3))
    assert [item async for item in flow.stream(make_message("go"))] == sent == [0, 1, 2]


async def test_chunks_from_outside(start: Start, make_node: MakeNode, make_message: MakeMessage) -> None:
    flow = start(create(make_node().to()))
    parent = make_message("x", trace_id="t")
    chunk = await flow.emit_chunk(parent=parent, text="a")
    assert (chunk.stream_id, chunk.seq) == ("t", 0)
    assert (await flow.fetch()).payload == chunk


async def test_a_node_joins_by_fetching(
    start: Start, make_node: MakeNode, make_message: MakeMessage, recorder: MemoryRecorder
) -> None:
    async def pair(message: Message, ctx: Context) -> Message:
        other = await ctx.fetch()
        return message.model_copy(update={"payload": [message.payload, other.payload]})

    left, right, join = make_node(name="left"), make_node(name="right"), make_node(pair)
    flow = start(create(make_node(name="top").to(left, right), left.to(join), right.to(join)), recorder=recorder)
    for value in range(5):
        result = await flow.call(make_message(value))
        assert result.payload == [value, value]
    assert not flow._traces
    recorder.check()


async def test_a_node_fetches_from_one_of_its_parents(start: Start, make_node: MakeNode, until: Until) -> None:
    left, right = make_node(name="left"), make_node(name="right")

    async def ordered(value: Any, ctx: Context) -> Any:
        if value != "begin":
            return value
        return [await ctx.fetch(from_=right), await ctx.fetch_any(from_=left)]

    join = make_node(ordered, max_concurrency=2)
    flow = start(create(left.to(join), right.to(join)))
    await flow.emit("begin", to=left)
    await until(lambda: flow._engine is not None and flow._engine.suspended)
    # What it does not ask for goes to its free slot.
    await flow.emit("aside", to=left)
    assert await flow.fetch() == "aside"
    await flow.emit("r", to=right)
    for _ in range(5):
        await asyncio.sleep(0)
    await flow.emit("l", to=left)
    assert await flow.fetch() == ["r", "l"]


async def test_two_nodes_that_fetch(start: Start, make_node: MakeNode, make_message: MakeMessage) -> None:
    async def pairs(message: Any, ctx: Context) -> Any:
        return [message, await ctx.fetch()]

    left, right = make_node(pairs, name="left"), make_node(pairs, name="right")
    flow = start(create(make_node(name="top").to(left, right)))
    for value in range(20):
        await flow.emit(value)
    pairs_of_ten = [[value, value + 1] for value in range(0, 20, 2)]
    assert [await flow.fetch(from_=left) for _ in range(10)] == pairs_of_ten
    assert [await flow.fetch(from_=right) for _ in range(10)] == pairs_of_ten


async def test_fetch_nowait_in_a_node_takes_what_is_there(start: Start, make_node: MakeNode) -> None:
    async def batch(value: int, ctx: Context) -> list[int]:
        values = [value]
        while True:
            try:
                values.append(ctx.fetch_nowait())
            except asyncio.QueueEmpty:
                return values

    flow = create(make_node(batch).to())
    for value in range(5):
        await flow.emit(value)
    start(flow)
    assert await flow.fetch() == [0, 1, 2, 3, 4]


async def test_a_fetch_in_a_node_that_is_cancelled_loses_nothing(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until
) -> None:
    async def waits(message: Message, ctx: Context) -> Any:
        if message.payload == "first":
            await ctx.fetch()
        return message

    flow = start(create(make_node(waits).to()))
    caller = asyncio.create_task(flow.call(make_message("first", trace_id="t")))
    await until(lambda: flow._engine is not None and flow._engine.suspended)
    await flow.emit(make_message("second"))
    await flow.cancel("t")
    with pytest.raises(FlowError):
        await caller
    assert (await flow.fetch()).payload == "second"
    await until(lambda: not flow._traces)


async def test_a_context_knows_its_surroundings(start: Start, make_node: MakeNode, make_message: MakeMessage) -> None:
    seen: list[dict[str, Any]] = []

    async def looks(payload: Any, ctx: Context) -> None:
        seen.append(
            {
                "owner": ctx.owner,
                "runtime": ctx.runtime,
                "trace": ctx.trace_id,
                "message": ctx.message,
                "out": ctx.outgoing_count(),
                "depth_in": ctx.queue_depth_in(),
                "depth_out": ctx.queue_depth_out(),
            }
        )

    node = make_node(looks)
    flow = create(node.to(make_node(name="a"), make_node(name="b")))
    message = make_message("x", trace_id="t")
    await flow.emit(message)
    await flow.emit("bare")
    start(flow)
    await flow.call("bare", trace_id="named")
    around = {"owner": node, "runtime": flow, "out": 2, "depth_out": 0}
    assert seen == [
        {**around, "trace": "t", "message": message, "depth_in": 2},
        {**around, "trace": None, "message": "bare", "depth_in": 1},
        {**around, "trace": "named", "message": "bare", "depth_in": 0},
    ]
