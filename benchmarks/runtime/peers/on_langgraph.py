"""The workloads on langgraph: state graphs over a pydantic model, which validates what each node gets."""

from __future__ import annotations

import operator
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

from langchain_core.callbacks import AsyncCallbackHandler
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph
from langgraph.types import RetryPolicy
from pydantic import Field

from benchmarks.runtime.drivers import measure_call_latency, measure_calls, measure_cancel, measure_crowd
from benchmarks.runtime.faults import TIMEOUT_S, Flaky, Late
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


class Joined(Payload):
    """A payload to which each branch adds its result."""

    results: Annotated[list[int], operator.add] = Field(default_factory=list)


class Looping(Payload):
    """A payload that counts its rounds."""

    hops: int = 0


def counted(run: Run) -> Callable[[Payload], Awaitable[dict[str, Any]]]:
    """A node that does nothing but count itself; a node has to write something."""

    async def step(state: Payload) -> dict[str, Any]:
        run.calls += 1
        return {"number": state.number}

    return step


def chain_of(run: Run, count: int = NODES, **options: Any) -> Any:
    """A compiled chain."""
    builder = StateGraph(Payload)
    names = [f"node{index}" for index in range(count)]
    for name, before in zip(names, [START, *names], strict=False):
        builder.add_node(name, counted(run))
        builder.add_edge(before, name)
    builder.add_edge(names[-1], END)
    return builder.compile(**options)


async def w1(run: Run) -> None:
    """A chain of five, 64 in flight."""
    graph = chain_of(run)
    await measure_calls(run, lambda number: graph.ainvoke(payload(number)), calls=NODES)


async def w1_one(run: Run) -> None:
    """A chain of five, one in flight."""
    graph = chain_of(run)
    await measure_call_latency(run, lambda number: graph.ainvoke(payload(number)), calls=NODES)


async def w2(run: Run) -> None:
    """One node to 50, a reducer, one node."""
    builder = StateGraph(Joined)
    builder.add_node("source", counted(run))
    builder.add_edge(START, "source")
    names = [f"branch{index}" for index in range(FAN)]

    async def branch(state: Joined) -> dict[str, Any]:
        run.calls += 1
        return {"results": [state.number]}

    async def sink(state: Joined) -> dict[str, Any]:
        run.calls += 1
        assert len(state.results) == FAN
        return {"number": state.number}

    for name in names:
        builder.add_node(name, branch)
        builder.add_edge("source", name)
    builder.add_node("sink", sink)
    builder.add_edge(names, "sink")
    builder.add_edge("sink", END)
    graph = builder.compile()
    await measure_calls(run, lambda number: graph.ainvoke(payload(number)), calls=FAN + 2, in_flight=ROUNDS_IN_FLIGHT)


async def w3(run: Run) -> None:
    """One node that writes 1,000 chunks for each message."""

    async def source(state: Payload) -> dict[str, Any]:
        run.calls += 1
        write = get_stream_writer()
        for seq in range(CHUNKS):
            write(Chunk(stream_id="stream", seq=seq, text="token ", done=seq == CHUNKS - 1))
        return {"number": state.number}

    builder = StateGraph(Payload)
    builder.add_node("source", source)
    builder.add_edge(START, "source")
    graph = builder.compile()

    async def drive(count: int) -> None:
        for number in range(count):
            started, chunks = time.perf_counter(), 0
            async for _ in graph.astream(payload(number), stream_mode="custom"):
                if not chunks:
                    run.latencies.append(time.perf_counter() - started)
                chunks += 1
            assert chunks == CHUNKS

    await run.measure(drive, calls=1, smallest=4)


async def w4(run: Run) -> None:
    """A conditional edge with ten targets."""
    builder = StateGraph(Payload)
    names = [f"branch{index}" for index in range(ROUTES)]
    for name in names:
        builder.add_node(name, counted(run))
        builder.add_edge(name, END)
    builder.add_conditional_edges(START, lambda state: f"branch{state.number % ROUTES}", names)
    graph = builder.compile()
    await measure_calls(run, lambda number: graph.ainvoke(payload(number)), calls=1)


async def w5(run: Run) -> None:
    """A node that goes to itself until it has gone 20 rounds."""

    async def controller(state: Looping) -> dict[str, Any]:
        run.calls += 1
        return {"hops": state.hops + 1}

    builder = StateGraph(Looping)
    builder.add_node("controller", controller)
    builder.add_edge(START, "controller")
    builder.add_conditional_edges(
        "controller", lambda state: "controller" if state.hops < HOPS else END, ["controller", END]
    )
    graph = builder.compile()
    await measure_calls(run, lambda number: graph.ainvoke(payload(number), {"recursion_limit": HOPS + 5}), calls=HOPS)


def _napping(run: Run) -> Callable[[int, Nap], Awaitable[Any]]:
    naps: list[Nap] = []

    async def sleeper(state: Payload) -> dict[str, Any]:
        await naps[-1]()
        return {"number": state.number}

    builder = StateGraph(Payload)
    builder.add_node("sleeper", sleeper)
    builder.add_edge(START, "sleeper")
    graph = builder.compile()

    async def call(number: int, nap: Nap) -> None:
        naps[:] = [nap]
        await graph.ainvoke(payload(number))

    return call


async def w6(run: Run) -> None:
    """10,000 calls whose node sleeps."""
    await measure_crowd(run, _napping(run))


async def w7(run: Run) -> None:
    """Cancel one of 1,000 calls."""
    await measure_cancel(run, _napping(run))


class Listener(AsyncCallbackHandler):
    """Counts what it is told."""

    def __init__(self) -> None:
        self.events = 0

    async def on_chain_start(self, *args: Any, **kwargs: Any) -> None:
        """A node, or the whole, begins."""
        self.events += 1

    async def on_chain_end(self, *args: Any, **kwargs: Any) -> None:
        """A node, or the whole, ends."""
        self.events += 1


async def w8(run: Run) -> None:
    """The chain, with a callback handler."""
    graph, listener = chain_of(run), Listener()
    config = {"callbacks": [listener]}
    await measure_calls(run, lambda number: graph.ainvoke(payload(number), config), calls=NODES)


async def w9(run: Run) -> None:
    """The chain, with a checkpoint in SQLite after each node."""
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncSqliteSaver.from_conn_string(str(Path(folder, "state.db"))) as saver:
            graph = chain_of(run, checkpointer=saver)
            threads = 0

            async def call(number: int) -> None:
                nonlocal threads
                threads += 1
                config = {"configurable": {"thread_id": str(threads)}}
                await graph.ainvoke(payload(number), config, durability="sync")

            await measure_calls(run, call, calls=NODES)


async def w11(run: Run) -> None:
    """A node that fails once and one that is late once, for each message."""
    flaky, late = Flaky(run), Late(run)

    async def retried(state: Payload) -> dict[str, Any]:
        flaky(state)
        return {"number": state.number}

    async def bounded(state: Payload) -> dict[str, Any]:
        await late(state)
        return {"number": state.number}

    again = RetryPolicy(initial_interval=0.0, max_attempts=2, jitter=False, retry_on=lambda error: True)
    builder = StateGraph(Payload)
    builder.add_node("retried", retried, retry_policy=again)
    builder.add_node("bounded", bounded, retry_policy=again, timeout=TIMEOUT_S)
    builder.add_edge(START, "retried")
    builder.add_edge("retried", "bounded")
    graph = builder.compile()

    async def drive(count: int) -> None:
        flaky.clear()
        late.clear()
        for number in range(count):
            await graph.ainvoke(payload(number))

    await run.measure(drive, calls=4, scale=0.25)


async def w12(run: Run) -> None:
    """A node that invokes a graph of two nodes."""
    inner = chain_of(run, 2)

    async def caller(state: Payload) -> dict[str, Any]:
        run.calls += 1
        result = await inner.ainvoke(state)
        return {"number": result["number"]}

    builder = StateGraph(Payload)
    builder.add_node("caller", caller)
    builder.add_edge(START, "caller")
    graph = builder.compile()
    await measure_calls(run, lambda number: graph.ainvoke(payload(number)), calls=3)


WORKLOADS = {
    "W1": w1, "W1.one": w1_one, "W2": w2, "W3": w3, "W4": w4, "W5": w5, "W6": w6, "W7": w7, "W8": w8, "W9": w9,
    "W11": w11, "W12": w12,
}  # fmt: skip
