"""W6 and W7 as programs for penguiflow: very many messages in one node."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

from benchmarks.runtime.adapters.program import message, registry_of, started
from benchmarks.runtime.measure import CROWD, GATHER_S, NAP_S, Crowd, Run, peak_rss_kb, rss_kb
from penguiflow import Message, Node, NodePolicy, create


async def w6(run: Run, *, count: int, policy: Callable[[], NodePolicy]) -> None:
    """Messages in a node that sleeps 50 ms: first as they come, then all of them at once if the flow lets them."""
    gate: asyncio.Event | None = None
    crowd = Crowd()

    async def sleeper(item: Message, ctx: Any) -> Message:
        run.calls += 1
        with crowd:
            if gate is not None:
                if crowd.now == count:
                    gate.set()
                await gate.wait()
            await asyncio.sleep(NAP_S)
        return item

    node = Node(sleeper, name="sleeper", policy=policy())
    # The crowd first: what a process once had, its allocator keeps.
    gate = asyncio.Event()
    async with started(create(node.to(), queue_maxsize=0), registry_of([node], Message)) as flow:
        before = rss_kb()
        for number in range(count):
            await flow.emit(message(number))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(gate.wait(), GATHER_S)
        run.figures["most"] = crowd.most
        if gate.is_set():
            for _ in range(count):
                await flow.fetch()
            run.figures["kb"] = (peak_rss_kb() - before) / count
    gate, run.calls = None, 0
    async with started(create(node.to(), queue_maxsize=0), registry_of([node], Message)) as flow:
        begun, cpu = time.perf_counter(), time.process_time()
        for number in range(count):
            await flow.emit(message(number))
        for _ in range(count):
            await flow.fetch()
        run.figures["wall_s"] = (time.perf_counter() - begun) * CROWD / count
        run.figures["cpu_us"] = (time.process_time() - cpu) / count * 1e6
    run.check(count)


async def w7(run: Run, *, policy: Callable[[], NodePolicy]) -> None:
    """Cancel one of 1,000 traces; then the same with more and more that wait."""
    seen: dict[str, float] = {}

    async def waiter(item: Message, ctx: Any) -> None:
        run.calls += 1
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            seen[item.trace_id] = time.perf_counter()
            raise

    for backlog in (0, 1_000, 10_000, 100_000):
        if backlog > 1_000 and run.figures.get("queued_1000_p50_us", 0.0) > 10_000:
            break  # it grows: the answer is known
        node = Node(waiter, name="waiter", policy=policy())
        async with started(create(node.to(), queue_maxsize=0), registry_of([node], Message)) as flow:
            ids = []
            for number in range(1_000 + backlog):
                item = message(number)
                ids.append(item.trace_id)
                await flow.emit(item)
            await asyncio.sleep(0.02)
            latencies: list[float] = []
            # Of those in flight, and with a backlog also of those that wait.
            for trace_id in ids[5:1_000:5] if not backlog else ids[1_000 :: max(1, backlog // 20)][:20]:
                runs = not backlog and run.calls >= 1_000
                begun = time.perf_counter()
                assert await flow.cancel(trace_id)
                while runs and trace_id not in seen:  # noqa: ASYNC110 - the next turn is what is measured
                    await asyncio.sleep(0)
                latencies.append((seen[trace_id] if runs else time.perf_counter()) - begun)
            run.report_latencies(latencies, f"queued_{backlog}_" if backlog else "")
