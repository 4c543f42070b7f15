"""What a flow keeps for a trace is gone when the trace is, however it ended."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from penguiflow import (
    WM,
    Context,
    FlowError,
    Headers,
    Message,
    Node,
    NodePolicy,
    PenguiFlow,
    create,
    join_k,
    map_concurrent,
)

if TYPE_CHECKING:
    from tests.conftest import Start, Until

Reached: TypeAlias = Callable[[], Awaitable[None]]
"""Awaited by a flow once it keeps something; it fails in the end, if nothing else happens."""
# A logged traceback would keep the frames of the nodes alive.
pytestmark = pytest.mark.usefixtures("quiet")
ENDS = ["cancel", "stop", "error", "timeout", "caller"]
NOT_VALIDATED = NodePolicy(validate="none", max_concurrency=4)


class Load:
    """Something that can be seen to be gone."""


def node(func: Callable[[Any, Context], Awaitable[Any]], *, loop: bool = False, **policy: Any) -> Node:
    return Node(func, policy=NodePolicy(validate="none", max_concurrency=4, **policy), allow_cycle=loop)


def a_join(reached: Reached) -> PenguiFlow:
    async def spread(message: Message, ctx: Context) -> Message:
        return message

    async def late(message: Message, ctx: Context) -> None:
        await reached()

    top, last, join = node(spread), node(late), join_k("join", 2)
    return create(top.to(join, last), last.to(join))


def a_trace_state(reached: Reached) -> PenguiFlow:
    async def remembers(message: Message, ctx: Context) -> None:
        ctx.trace_state["load"] = message
        ctx.hold_trace("for more")
        await reached()

    return create(node(remembers).to())


def a_stream(reached: Reached) -> PenguiFlow:
    async def talks(message: Message, ctx: Context) -> None:
        for stream_id in (None, "another"):
            await ctx.emit_chunk(parent=message, text="never done", stream_id=stream_id, meta={"load": message.payload})
        await reached()

    return create(node(talks).to())


def a_fetch_in_a_node(reached: Reached) -> PenguiFlow:
    async def spread(message: Message, ctx: Context) -> Message:
        return message

    async def fetches(message: Message, ctx: Context) -> None:
        if ctx.queue_depth_in():
            await ctx.fetch()
            await reached()

    top, end = node(spread), Node(fetches, policy=NodePolicy(validate="none"))
    left, right = (Node(spread, name=name, policy=NOT_VALIDATED) for name in ("left", "right"))
    return create(top.to(left, right), left.to(end), right.to(end))


def a_playbook(reached: Reached) -> PenguiFlow:
    async def inner(message: Message, ctx: Context) -> None:
        ctx.trace_state["load"] = message
        await reached()

    async def calls(message: Message, ctx: Context) -> Any:
        return await ctx.call_playbook(lambda: (create(node(inner).to()), None), message)

    return create(node(calls).to())


def a_map(reached: Reached) -> PenguiFlow:
    async def maps(message: Message, ctx: Context) -> None:
        async def each(load: Any) -> None:
            await reached()

        await map_concurrent([message.payload] * 20, each, max_concurrency=3)

    return create(node(maps).to())


def a_loop(reached: Reached) -> PenguiFlow:
    async def begins(message: Message, ctx: Context) -> Message:
        ctx.trace_state["load"] = message
        return message.model_copy(update={"payload": WM(query="why?", budget_hops=None)})

    async def thinks(message: Message, ctx: Context) -> Message:
        if message.payload.hops == 2:
            await reached()
        return message

    first, loop = node(begins), node(thinks, loop=True)
    return create(first.to(loop), loop.to(loop))


def a_full_queue(reached: Reached) -> PenguiFlow:
    async def floods(message: Message, ctx: Context) -> None:
        for _ in range(3):
            await ctx.emit(message)

    async def waits(message: Message, ctx: Context) -> None:
        await reached()

    end = Node(waits, policy=NodePolicy(validate="none"))
    return create(node(floods).to(end), queue_maxsize=1)


def a_retry(reached: Reached) -> PenguiFlow:
    async def fails(message: Message, ctx: Context) -> None:
        ctx.trace_state["load"] = message
        await reached()

    return create(node(fails, max_retries=1, backoff_base=0.0).to())


BUILDERS = [a_join, a_trace_state, a_stream, a_fetch_in_a_node, a_playbook, a_map, a_loop, a_full_queue, a_retry]


async def ask(flow: PenguiFlow, watched: list[weakref.ref[Load]]) -> None:
    load = Load()
    watched.append(weakref.ref(load))
    message = Message(payload=load, headers=Headers(tenant="acme"), trace_id="t")
    flow.ensure_trace_event("t")
    del load
    await flow.call(message)


async def end_it(flow: PenguiFlow, end: str, fail: asyncio.Event, asking: asyncio.Task[None]) -> None:
    if end == "cancel":
        assert await flow.cancel("t")
    elif end == "stop":
        await flow.stop()
    elif end == "error":
        fail.set()
    elif end == "caller":
        asking.cancel()


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("build", BUILDERS, ids=lambda build: build.__name__)
async def test_nothing_is_kept_of_a_trace(
    start: Start, until: Until, build: Callable[[Reached], PenguiFlow], end: str
) -> None:
    fail = asyncio.Event()
    reached = 0

    async def reach() -> None:
        nonlocal reached
        reached += 1
        if end == "timeout":
            async with asyncio.timeout(0.002):
                await fail.wait()
        await fail.wait()
        raise ValueError("no luck")

    flow = start(build(reach))
    before = asyncio.all_tasks()
    watched: list[weakref.ref[Load]] = []
    asking = asyncio.create_task(ask(flow, watched))
    await until(lambda: reached)
    assert watched[0]() is not None
    await end_it(flow, end, fail, asking)
    (outcome,) = await asyncio.gather(asking, return_exceptions=True)
    assert isinstance(outcome, asyncio.CancelledError if end == "caller" else FlowError)
    del outcome, asking
    await until(lambda: not flow._traces)
    assert not flow._table.sinks
    assert [floe.name for floe in flow._graph.floes if floe.size] == []

    def is_gone() -> bool:
        gc.collect()
        return watched[0]() is None and not flow._table._cancel_events

    await until(is_gone)
    left = asyncio.all_tasks() - before
    assert [task.get_name() for task in left if not task.get_name().startswith("penguiflow:carrier")] == []
