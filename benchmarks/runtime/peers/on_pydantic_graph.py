"""The workloads on pydantic-graph: built with its graph builder, without instrumentation. It validates nothing."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

from pydantic_graph import GraphBuilder, TypeExpression, reduce_list_append, reduce_null

from benchmarks.runtime.drivers import measure_call_latency, measure_calls, measure_cancel, measure_crowd
from benchmarks.runtime.measure import (
    CHUNKS,
    FAN,
    HOPS,
    NODES,
    ROUNDS_IN_FLIGHT,
    ROUTES,
    Chunk,
    Nap,
    Payload,
    Run,
    payload,
)

Step = Any
"""The context that a step gets."""


class Hop(NamedTuple):
    """A payload that counts its rounds."""

    hops: int
    value: Payload


def builder_of(takes: Any = Payload, gives: Any = Payload) -> Any:
    """A graph builder."""
    return GraphBuilder(input_type=takes, output_type=gives, auto_instrument=False)


def counted(run: Run) -> Callable[[Step], Awaitable[Any]]:
    """A step that does nothing but count itself."""

    async def step(ctx: Step) -> Any:
        run.calls += 1
        return ctx.inputs

    return step


def chain_of(run: Run, count: int = NODES) -> Any:
    """A chain."""
    g = builder_of()
    steps = [g.step(counted(run), node_id=f"node{index}") for index in range(count)]
    g.add(*(g.edge_from(a).to(b) for a, b in zip([g.start_node, *steps], [*steps, g.end_node], strict=True)))
    return g.build()


def single(func: Callable[[Step], Awaitable[Any]]) -> Any:
    """A graph of one step."""
    g = builder_of()
    step = g.step(func, node_id="only")
    g.add(g.edge_from(g.start_node).to(step), g.edge_from(step).to(g.end_node))
    return g.build()


async def w1(run: Run) -> None:
    """A chain of five, 64 in flight."""
    graph = chain_of(run)
    await measure_calls(run, lambda number: graph.run(inputs=payload(number)), calls=NODES)


async def w1_one(run: Run) -> None:
    """A chain of five, one in flight."""
    graph = chain_of(run)
    await measure_call_latency(run, lambda number: graph.run(inputs=payload(number)), calls=NODES)


async def w2(run: Run) -> None:
    """One step to 50, a join, one step."""
    g = builder_of(Payload, list)
    source = g.step(counted(run), node_id="source")
    branches = [g.step(counted(run), node_id=f"branch{index}") for index in range(FAN)]
    join = g.join(reduce_list_append, initial_factory=list)
    sink = g.step(counted(run), node_id="sink")
    g.add(
        g.edge_from(g.start_node).to(source),
        g.edge_from(source).to(*branches),
        g.edge_from(*branches).to(join),
        g.edge_from(join).to(sink),
        g.edge_from(sink).to(g.end_node),
    )
    graph = g.build()

    async def call(number: int) -> None:
        assert len(await graph.run(inputs=payload(number))) == FAN

    await measure_calls(run, call, calls=FAN + 2, in_flight=ROUNDS_IN_FLIGHT)


async def w3(run: Run) -> None:
    """A step that streams 1,000 chunks to another step: nothing leaves a graph before its end."""
    first = 0.0

    async def source(ctx: Step) -> AsyncIterator[Chunk]:
        for seq in range(CHUNKS):
            yield Chunk(stream_id="stream", seq=seq, text="token ", done=seq == CHUNKS - 1)

    async def sink(ctx: Step) -> None:
        nonlocal first
        run.calls += 1
        if not ctx.inputs.seq:
            first = time.perf_counter()

    g = builder_of(Payload, type(None))
    streaming = g.stream(source, node_id="source")
    end = g.step(sink, node_id="sink")
    join = g.join(reduce_null, initial=None)
    g.add(
        g.edge_from(g.start_node).to(streaming),
        g.edge_from(streaming).map().to(end),
        g.edge_from(end).to(join),
        g.edge_from(join).to(g.end_node),
    )
    graph = g.build()

    async def drive(count: int) -> None:
        for number in range(count):
            started = time.perf_counter()
            await graph.run(inputs=payload(number))
            run.latencies.append(first - started)

    await run.measure(drive, calls=CHUNKS, smallest=2)


async def w4(run: Run) -> None:
    """A decision with ten branches."""
    g = builder_of()
    branches = [g.step(counted(run), node_id=f"branch{index}") for index in range(ROUTES)]
    decision = g.decision()
    for index, branch in enumerate(branches):

        def mine(value: Payload, index: int = index) -> bool:
            return value.number % ROUTES == index

        decision = decision.branch(g.match(Payload, matches=mine).to(branch))
    g.add(g.edge_from(g.start_node).to(decision), g.edge_from(*branches).to(g.end_node))
    graph = g.build()
    await measure_calls(run, lambda number: graph.run(inputs=payload(number)), calls=1)


async def w5(run: Run) -> None:
    """A step that goes to itself until it has gone 20 rounds."""

    async def controller(ctx: Step) -> Hop:
        run.calls += 1
        return Hop(ctx.inputs.hops + 1, ctx.inputs.value)

    g = builder_of(Hop, Hop)
    step = g.step(controller, node_id="controller")
    decision = g.decision()
    decision = decision.branch(g.match(TypeExpression[Hop], matches=lambda hop: hop.hops < HOPS).to(step))
    decision = decision.branch(g.match(TypeExpression[Hop], matches=lambda hop: hop.hops >= HOPS).to(g.end_node))
    g.add(g.edge_from(g.start_node).to(step), g.edge_from(step).to(decision))
    graph = g.build()
    await measure_calls(run, lambda number: graph.run(inputs=Hop(0, payload(number))), calls=HOPS)


def _napping() -> Callable[[int, Nap], Awaitable[Any]]:
    naps: list[Nap] = []

    async def sleeper(ctx: Step) -> Any:
        await naps[-1]()
        return ctx.inputs

    graph = single(sleeper)

    async def call(number: int, nap: Nap) -> None:
        naps[:] = [nap]
        await graph.run(inputs=payload(number))

    return call


async def w6(run: Run) -> None:
    """10,000 calls whose step sleeps."""
    await measure_crowd(run, _napping())


async def w7(run: Run) -> None:
    """Cancel one of 1,000 calls."""
    await measure_cancel(run, _napping())


async def w8(run: Run) -> None:
    """The chain, looked at after each step."""
    graph, events = chain_of(run), 0

    async def listener(event: Any) -> None:
        nonlocal events
        events += 1

    async def call(number: int) -> None:
        async with graph.iter(inputs=payload(number)) as under_way:
            async for event in under_way:
                await listener(event)

    await measure_calls(run, call, calls=NODES)


async def w12(run: Run) -> None:
    """A step that runs a graph of two steps."""
    inner = chain_of(run, 2)

    async def caller(ctx: Step) -> Any:
        run.calls += 1
        return await inner.run(inputs=ctx.inputs)

    graph = single(caller)
    await measure_calls(run, lambda number: graph.run(inputs=payload(number)), calls=3)


WORKLOADS = {
    "W1": w1, "W1.one": w1_one, "W2": w2, "W3": w3, "W4": w4, "W5": w5, "W6": w6, "W7": w7, "W8": w8, "W12": w12,
}  # fmt: skip
