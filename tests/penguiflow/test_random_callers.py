"""Random callers, questions, cancels, deadlines, drains and stops at once: whoever waits is answered."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penguiflow import (
    WM,
    Context,
    FinalAnswer,
    FlowError,
    Headers,
    Message,
    Node,
    NodePolicy,
    PenguiFlow,
    create,
    join_k,
)
from penguiflow.core import TraceCancelled

if TYPE_CHECKING:
    from tests.penguiflow.conftest import RunVirtually, Wait

pytestmark = pytest.mark.usefixtures("quiet")
EXAMPLES = settings(max_examples=150, deadline=None, derandomize=True, database=None)
HEADERS = Headers(tenant="acme")
How: TypeAlias = Literal["call", "stream", "roundtrip", "emit", "nowait", "chunk"]
TURNED_AWAY = (FlowError, TraceCancelled, RuntimeError, asyncio.QueueFull)


@dataclass(frozen=True)
class Ask:
    """One message, and whoever sent it."""

    at: int
    how: How
    trace: int | None
    work: int
    """How long each node is at it; more than 30 is time, 0 is not at all."""
    fails: int
    """Attempts that fail."""
    deadline: float | None
    patience: int | None
    """When the caller gives up."""
    loops: int


@dataclass
class Plan:
    asks: list[Ask]
    shape: str
    concurrency: int
    queue_maxsize: int
    cancels: list[tuple[int, int]]
    fetches: bool
    """Whether somebody fetches what goes to the common queue."""
    end: str
    end_at: int
    timeout: float


def build(plan: Plan, some_time: Wait) -> PenguiFlow:
    """A flow of the shape; the nodes do what the message says."""
    tries: dict[tuple[int, str], int] = {}

    async def work(message: Message, ctx: Context) -> Message:
        number, ask = message.payload if not isinstance(message.payload, WM) else message.payload.facts[0]
        key = (number, str(ctx.owner.name))
        tries[key] = tries.get(key, 0) + 1
        if ask.work:
            await some_time(ask.work)
        if tries[key] <= ask.fails:
            raise ConnectionError("not yet")
        return message

    async def think(message: Message, ctx: Context) -> Message | None:
        memory = message.payload
        if not isinstance(memory, WM):
            number, ask = memory
            memory = WM(query=str(number), facts=[(number, ask)], budget_hops=9 if ask.loops else None)
            message = message.model_copy(update={"payload": memory})
        if memory.hops >= memory.facts[0][1].loops:
            return message.model_copy(update={"payload": FinalAnswer(text=memory.query)})
        return await work(message, ctx)

    def node(func: Any, name: str, **policy: Any) -> Node:
        given = NodePolicy(validate="none", max_concurrency=plan.concurrency, max_retries=1, backoff_base=0.2, **policy)
        return Node(func, name=name, policy=given, allow_cycle=True)

    first, left, right, last = (node(work, name) for name in ("first", "left", "right", "last"))
    join, loop = join_k("join", 2), node(think, "loop", timeout_s=3.0)
    edges = {
        "chain": [first.to(left), left.to(last)],
        "fan": [first.to(left, right)],
        "join": [first.to(left, right), left.to(join), right.to(join), join.to()],
        "half join": [first.to(join), join.to()],
        "loop": [loop.to(loop)],
        "two entries": [left.to(last), right.to(last)],
    }
    return create(*edges[plan.shape], queue_maxsize=plan.queue_maxsize)


async def ask_one(flow: PenguiFlow, number: int, ask: Ask) -> None:
    trace_id = f"t{number}" if ask.trace is None else f"shared{ask.trace}"
    deadline_s = None if ask.deadline is None else time.time() + ask.deadline
    message = Message(payload=(number, ask), headers=HEADERS, trace_id=trace_id, deadline_s=deadline_s)
    with contextlib.suppress(*TURNED_AWAY):
        if ask.how == "call":
            await flow.call(message)
        elif ask.how == "stream":
            async with contextlib.aclosing(flow.stream(message)) as results:
                async for _ in results:
                    await asyncio.sleep(0)
        elif ask.how == "roundtrip":
            await flow.emit(message, trace_id=trace_id)
            await flow.fetch(trace_id=trace_id)
        elif ask.how == "emit":
            await flow.emit(message)
        else:
            flow.emit_nowait(message)


async def take_unfetched(flow: PenguiFlow) -> None:
    """Fetch the answers to questions that were given up: those that nobody fetches are a brake."""
    for trace_id, queue in list(flow._table.sinks.items()):
        while queue.results and not queue.awaited:
            await flow.fetch(trace_id=trace_id)


async def run(plan: Plan, some_time: Wait) -> None:
    flow = build(plan, some_time)
    flow.run()

    async def caller(number: int) -> None:
        ask = plan.asks[number]
        await some_time(ask.at)
        asking = asyncio.create_task(ask_one(flow, number, ask))
        if ask.patience is not None:
            giving_up = asyncio.create_task(some_time(ask.patience))
            await asyncio.wait({asking, giving_up}, return_when=asyncio.FIRST_COMPLETED)
            giving_up.cancel()
            asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking

    async def canceller(trace: int, at: int) -> None:
        await some_time(at)
        with contextlib.suppress(RuntimeError):
            await flow.cancel(f"shared{trace}")

    async def reader() -> None:
        while True:
            await flow.fetch()

    tasks = [asyncio.create_task(caller(number)) for number in range(len(plan.asks))]
    tasks += [asyncio.create_task(canceller(*each)) for each in plan.cancels]
    reading = asyncio.create_task(reader()) if plan.fetches else None
    await some_time(plan.end_at)
    if plan.end == "two drains":
        given_up = asyncio.create_task(flow.stop(drain=True, timeout=plan.timeout))
        await asyncio.sleep(0)
        other = asyncio.create_task(flow.stop(drain=True, timeout=plan.timeout))
        await some_time(3)
        given_up.cancel()
        await asyncio.wait([given_up])
        await other
    else:
        await flow.stop(drain=plan.end == "drain", timeout=plan.timeout)
    if reading is not None:
        reading.cancel()
    assert not flow.running
    assert not flow._table.aside
    assert not flow._draining.asked
    assert not flow._roundtrips._open
    # What is left on the edges is handled in another run, and then nothing is left but joins that are not complete.
    flow.run()
    reading = asyncio.create_task(reader())
    for _ in range(60):
        await asyncio.sleep(1)
        await take_unfetched(flow)
    assert "join" in plan.shape or all(task.done() for task in tasks)
    assert all(trace.holds and trace.idle for trace in flow._traces.values())
    assert [floe.name for floe in flow._graph.floes if floe.size or floe.putters] == []
    reading.cancel()
    await flow.stop(drain=True)
    await asyncio.gather(*tasks)
    assert not flow._traces
    assert not flow._table.aside


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    when = st.integers(0, 40)
    ask = st.builds(
        Ask,
        at=when,
        how=st.sampled_from(["call", "stream", "roundtrip", "roundtrip", "emit", "nowait"]),
        trace=st.none() | st.integers(0, 1),
        work=st.sampled_from([0, 0, 1, 3, 31, 34]),
        fails=st.sampled_from([0, 0, 0, 1, 2]),
        deadline=st.sampled_from([None, None, -1.0, 0.1, 0.6]),
        patience=st.none() | when,
        loops=st.integers(0, 3),
    )
    return Plan(
        asks=draw(st.lists(ask, min_size=1, max_size=8)),
        shape=draw(st.sampled_from(["chain", "fan", "join", "half join", "loop", "two entries"])),
        concurrency=draw(st.integers(1, 3)),
        queue_maxsize=draw(st.sampled_from([1, 2, 64])),
        cancels=draw(st.lists(st.tuples(st.integers(0, 1), when), max_size=2)),
        fetches=draw(st.booleans()),
        end=draw(st.sampled_from(["stop", "drain", "two drains"])),
        end_at=draw(st.integers(0, 50)),
        timeout=draw(st.sampled_from([0.01, 1.0, 30.0])),
    )


@EXAMPLES
@given(plan=plans())
def test_whoever_waits_is_answered_when_the_flow_ends(plan: Plan, run_virtually: RunVirtually, some_time: Wait) -> None:
    run_virtually(run(plan, some_time))
