"""What is known to be slow, or to grow, in the forerunner: one measurement for each such defect."""

from __future__ import annotations

import asyncio
import functools
import gc
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

from benchmarks.runtime.adapters.program import (
    HEADERS,
    at_once,
    chain_of,
    counted,
    message,
    registry_of,
    started,
)
from benchmarks.runtime.drivers import keep_in_flight, one_at_a_time
from benchmarks.runtime.measure import IN_FLIGHT, NODES, Payload, Run, rss_kb
from penguiflow import WM, FinalAnswer, Message, Node, NodePolicy, create, predicate_router
from penguiflow.core import ROOKERY


async def concurrency(run: Run, *, policy: Callable[[], NodePolicy]) -> None:
    """D9: seconds for 20 messages in a node that waits 50 ms for something."""

    async def waiting(item: Message, ctx: Any) -> Message:
        run.calls += 1
        await asyncio.sleep(0.05)
        return item

    node = Node(waiting, name="waiting", policy=policy())
    async with started(create(node.to()), registry_of([node], Message)) as flow:
        begun = time.perf_counter()
        for number in range(20):
            await flow.emit(message(number))
        for _ in range(20):
            await flow.fetch()
        run.figures["wall_s"] = time.perf_counter() - begun
    run.check(20)


async def roundtrips(run: Run) -> None:
    """D27: bytes that a finished roundtrip of its own trace leaves behind."""
    flow, nodes = chain_of(run, 1)
    async with started(flow, registry_of(nodes, Message)):

        async def ask(first: int, count: int) -> None:
            for number in range(first, first + count):
                await flow.emit(message(number), trace_id=f"trace{number}")
                await flow.fetch(trace_id=f"trace{number}")

        await ask(0, 500)
        tracemalloc.start()
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        await ask(500, 2_000)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        run.figures["kept_bytes"] = (after - before) / 2_000
    run.check(2_500)


async def tasks(run: Run) -> None:
    """D28: asyncio tasks that a message costs on its way through a chain of five."""
    flow, nodes = chain_of(run)
    made = 0

    def factory(loop: Any, work: Any, **options: Any) -> asyncio.Task[Any]:
        nonlocal made
        made += 1
        return asyncio.Task(work, loop=loop, **options)

    async with started(flow, registry_of(nodes, Message)):
        await keep_in_flight(lambda number: flow.emit(message(number)), flow.fetch, IN_FLIGHT, IN_FLIGHT)
        asyncio.get_running_loop().set_task_factory(factory)
        run.calls = 0
        await keep_in_flight(lambda number: flow.emit(message(number)), flow.fetch, 1_000, IN_FLIGHT)
        run.figures["tasks"] = made / 1_000
        asyncio.get_running_loop().set_task_factory(None)
    run.check(1_000 * NODES)


async def fan_in(run: Run) -> None:
    """D29: CPU of a message that comes over one of 1, 10, 50, 100 edges into one node."""
    figures: dict[str, float] = {}
    for width in (1, 10, 50, 100):
        figures[f"fan_{width}_us"] = await _fan_in_of(run, width)
    run.figures = figures


async def _fan_in_of(run: Run, width: int) -> float:
    router = predicate_router("router", lambda item: f"branch{item.payload.number % width}")
    branches = [Node(counted(run), name=f"branch{index}") for index in range(width)]
    sink = Node(counted(run), name="sink")
    flow = create(router.to(*branches), *(branch.to(sink) for branch in branches), sink.to())
    async with started(flow, registry_of([*branches, sink], Message)):

        async def drive(count: int) -> None:
            await one_at_a_time(lambda number: flow.emit(message(number)), flow.fetch, count, run.latencies)

        await run.measure(drive, calls=2, scale=0.25)
    return run.figures["cpu_us"]


class SlowStore:
    """A state store that takes 10 ms for each event."""

    async def save_event(self, event: Any) -> None:
        """Keep one event."""
        await asyncio.sleep(0.01)

    async def load_history(self, trace_id: str) -> list[Any]:
        """Nobody asks here."""
        return []

    async def save_remote_binding(self, binding: Any) -> None:
        """There are none."""


async def slow_store(run: Run) -> None:
    """D30: ms that a message takes through one node with a store that takes 10 ms for each event."""
    flow, nodes = chain_of(run, 1, state_store=SlowStore())
    async with started(flow, registry_of(nodes, Message)):
        begun = time.perf_counter()
        await keep_in_flight(lambda number: flow.emit(message(number)), flow.fetch, 20, 8)
        run.figures["wall_ms"] = (time.perf_counter() - begun) / 20 * 1e3
    run.check(20)


async def unbounded_loop(run: Run) -> None:
    """D31: CPU of a hop of a controller without budgets, whose memory holds nothing or 1,000 facts."""
    hops = 50

    async def controller(item: Message, ctx: Any) -> Message | None:
        run.calls += 1
        if item.payload.hops + 1 < hops:
            return item
        await ctx.emit(item.model_copy(update={"payload": FinalAnswer(text="done")}), to=ROOKERY)
        return None

    for facts in (0, 1_000):
        node = Node(controller, name="controller", allow_cycle=True)
        async with started(create(node.to(node), queue_maxsize=0), registry_of([node], Message)) as flow:
            run.calls = 0
            begun = time.process_time()
            for _ in range(5):
                memory = WM(query="why", budget_hops=None, facts=[{"fact": index} for index in range(facts)])
                await flow.emit(Message(payload=memory, headers=HEADERS))
                while not isinstance((await flow.fetch()).payload, FinalAnswer):
                    pass
            run.figures[f"facts_{facts}_us"] = (time.process_time() - begun) / (5 * hops) * 1e6
        run.check(5 * hops)


async def memory_store(run: Run) -> None:
    """D32: what the store in memory costs an event, and keeps of a trace once it holds 20,000 of them."""
    from penguiflow.state import StoredEvent
    from penguiflow.state.in_memory import InMemoryStateStore

    store = InMemoryStateStore()

    def event(trace: int, seq: int) -> Any:
        told = {"event": "node_start", "node_name": "node", "latency_ms": 0.0, "q_depth_in": 0, "q_depth_out": 0}
        return StoredEvent(f"trace{trace}", 1e9 + seq, "node_start", "node", "0" * 32, {**told, "attempt": seq})

    async def save(first: int, count: int) -> None:
        for trace in range(first, first + count):
            for seq in range(10):
                await store.save_event(event(trace, seq))

    await save(0, 100)
    begun = time.process_time()
    await save(100, 1_900)
    run.figures["event_us"] = (time.process_time() - begun) / 19_000 * 1e6
    await save(2_000, 10_000)
    gc.collect()
    before = rss_kb()
    await save(12_000, 10_000)
    gc.collect()
    run.figures["trace_kb"] = (rss_kb() - before) / 10_000


async def memory(run: Run) -> None:
    """Resident memory after a million traces, against that after ten thousand."""
    flow, nodes = chain_of(run)
    async with started(flow, registry_of(nodes, Payload)):

        async def send(count: int) -> None:
            await keep_in_flight(lambda number: flow.emit(message(number)), flow.fetch, count, IN_FLIGHT)

        await send(10_000)
        gc.collect()
        before = rss_kb()
        await send(990_000)
        gc.collect()
        run.figures["grown_mb"] = (rss_kb() - before) / 1e3
    run.check(1_000_000 * NODES)


_BOTH = {"D27": roundtrips, "D28": tasks, "D29": fan_in, "D30": slow_store, "D31": unbounded_loop, "D32": memory_store}
OURS = _BOTH | {"D9": functools.partial(concurrency, policy=functools.partial(at_once, 20)), "memory": memory}
FORERUNNER = _BOTH | {"D9": functools.partial(concurrency, policy=NodePolicy)}
