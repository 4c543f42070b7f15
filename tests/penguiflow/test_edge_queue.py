"""Edges that are read and written by hand."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from penguiflow import Context, Message, Node, PenguiFlow, create, join_k
from penguiflow.core import OPEN_SEA, ROOKERY, Floe

if TYPE_CHECKING:
    from tests.conftest import MakeMessage, MakeNode, MemoryRecorder, Start, Until


async def echo(message: Any, ctx: Context) -> Any:
    return message


A, B = Node(echo, name="a"), Node(echo, name="b")


async def test_an_edge_is_a_queue() -> None:
    queue = Floe(A, B, maxsize=2).queue
    assert (queue.maxsize, queue.qsize(), queue.empty(), queue.full()) == (2, 0, True, False)
    await queue.put("x")
    queue.put_nowait("y")
    assert (queue.qsize(), queue.empty(), queue.full()) == (2, False, True)
    with pytest.raises(asyncio.QueueFull):
        queue.put_nowait("z")
    assert (await queue.get(), queue.get_nowait()) == ("x", "y")
    with pytest.raises(asyncio.QueueEmpty):
        queue.get_nowait()
    assert Floe(A, B, maxsize=0).queue.full() is False


async def test_put_waits_for_room_and_get_for_a_message() -> None:
    queue = Floe(A, B, maxsize=1).queue
    queue.put_nowait("x")
    put = asyncio.create_task(queue.put("y"))
    await asyncio.sleep(0)
    assert not put.done()
    assert await queue.get() == "x"
    await put
    assert await queue.get() == "y"
    first, second = (asyncio.create_task(queue.get()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    queue.put_nowait("z")
    assert await second == "z"
    await asyncio.wait([first])
    assert queue.empty()


async def test_an_edge_keeps_what_waits_on_it_when_it_is_attached() -> None:
    floe = Floe(A, B, maxsize=2)
    floe.queue.put_nowait("x")
    context = Context(B)
    context.add_incoming_floe(floe)
    assert context.queue_depth_in() == 1
    assert context.fetch_nowait() == "x"
    fetch = asyncio.create_task(context.fetch())
    await asyncio.sleep(0)
    floe.queue.put_nowait("y")
    assert await fetch == "y"
    assert context.queue_depth_in() == 0


async def test_whoever_waits_on_an_edge_goes_with_it() -> None:
    floe = Floe(A, B, maxsize=2)
    get = asyncio.create_task(floe.queue.get())
    await asyncio.sleep(0)
    context = Context(B)
    context.add_incoming_floe(floe)
    floe.queue.put_nowait("x")
    assert await get == "x"


async def test_what_a_context_sends_is_read_from_its_edge() -> None:
    floe = Floe(A, B, maxsize=1)
    context = Context(A, create(A.to(B)))
    context.add_outgoing_floe(floe)
    context.emit_nowait("x")
    with pytest.raises(asyncio.QueueFull):
        context.emit_nowait("y")
    assert floe.queue.get_nowait() == "x"
    await context.emit("y")
    assert (context.queue_depth_out(), await floe.queue.get()) == (1, "y")


def edge(flow: PenguiFlow, source: Any, target: Any) -> Floe:
    (found,) = [floe for floe in flow._graph.floes if (floe.source, floe.target) == (source, target)]
    return found


@pytest.mark.parametrize("recorded", [False, True])
async def test_messages_of_a_running_flow_count_for_their_traces(
    recorded: bool, start: Start, make_message: MakeMessage, recorder: MemoryRecorder, until: Until
) -> None:
    pair = join_k("pair", 2)
    flow = start(create(A.to(pair)), **({"recorder": recorder} if recorded else {}))
    into, out = edge(flow, OPEN_SEA, A).queue, edge(flow, pair, ROOKERY).queue
    into.put_nowait(make_message("x", trace_id="t"))
    await into.put(make_message("y", trace_id="t"))
    joined = await out.get()
    assert (joined.trace_id, joined.payload) == ("t", ["x", "y"])
    await until(lambda: not flow._traces)
    if recorded:
        recorder.check()


async def test_what_is_taken_by_hand_is_done_with(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until
) -> None:
    gate = asyncio.Event()

    async def gated(message: Message, ctx: Context) -> Message:
        await gate.wait()
        return message

    node = make_node(gated)
    flow = start(create(node.to()))
    into = edge(flow, OPEN_SEA, node).queue
    await flow.emit(make_message("first", trace_id="first"))
    await until(into.empty)
    await flow.emit(make_message("second", trace_id="second"))
    assert into.get_nowait().payload == "second"
    assert list(flow._traces) == ["first"]
    gate.set()
    assert (await flow.fetch()).payload == "first"
    assert not flow._traces


async def test_what_is_put_before_run_is_taken_up(start: Start, make_message: MakeMessage) -> None:
    flow = create(A.to(B))
    edge(flow, A, B).queue.put_nowait(make_message("x", trace_id="t"))
    start(flow)
    assert (await flow.fetch()).payload == "x"
    assert not flow._traces
