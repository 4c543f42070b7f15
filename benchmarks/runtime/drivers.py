"""Ways to keep a runtime busy: through its two ends, or by calling it.

This runs in the environments of other runtimes too, as `measure` does.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.runtime.measure import (
    CROWD,
    GATHER_S,
    IN_FLIGHT,
    NAP_S,
    Crowd,
    Nap,
    Run,
    SkippedWork,
    peak_rss_kb,
    rss_kb,
)

__all__ = [
    "call_in_flight",
    "keep_in_flight",
    "measure_call_latency",
    "measure_calls",
    "measure_cancel",
    "measure_crowd",
    "one_at_a_time",
]

Call = Callable[[int], Awaitable[Any]]


async def keep_in_flight(
    send: Callable[[int], Awaitable[Any]], receive: Callable[[], Awaitable[Any]], count: int, in_flight: int
) -> None:
    """Keep that many units outstanding: send one for each that is received."""
    first = min(in_flight, count)
    for number in range(first):
        await send(number)
    for number in range(first, count):
        await receive()
        await send(number)
    for _ in range(first):
        await receive()


async def call_in_flight(call: Call, count: int, in_flight: int) -> None:
    """The same for runtimes that are called: as many callers, each with one unit at a time."""
    numbers = iter(range(count))

    async def caller() -> None:
        for number in numbers:
            await call(number)

    async with asyncio.TaskGroup() as callers:
        for _ in range(min(in_flight, count)):
            callers.create_task(caller())


async def one_at_a_time(
    send: Callable[[int], Awaitable[Any]], receive: Callable[[], Awaitable[Any]], count: int, latencies: list[float]
) -> None:
    """Send one, receive it, and note how long that took."""
    for number in range(count):
        started = time.perf_counter()
        await send(number)
        await receive()
        latencies.append(time.perf_counter() - started)


async def measure_calls(run: Run, call: Call, *, calls: float, in_flight: int = IN_FLIGHT) -> None:
    """CPU time of a call, with so many of them under way."""

    async def drive(count: int) -> None:
        await call_in_flight(call, count, in_flight)

    await run.measure(drive, calls=calls)


async def measure_call_latency(run: Run, call: Call, *, calls: float) -> None:
    """How long a call takes when it is the only one."""

    async def drive(count: int) -> None:
        for number in range(count):
            started = time.perf_counter()
            await call(number)
            run.latencies.append(time.perf_counter() - started)

    await run.measure(drive, calls=calls)


async def measure_crowd(run: Run, call: Callable[[int, Nap], Awaitable[Any]], count: int = CROWD) -> None:
    """For runtimes that are called: so many calls whose nodes wait for each other, and take a nap when all are there.

    Seconds, KB a call, and how many were there at most. `call` gets a number and what its node has to await.
    """
    gate = asyncio.Event()
    crowd = Crowd()

    async def one() -> None:
        run.calls += 1

    async def nap() -> None:
        run.calls += 1
        with crowd:
            if crowd.now == count:
                gate.set()
            await gate.wait()
            await asyncio.sleep(NAP_S)

    await call(0, one)
    gc.collect()
    run.calls, before = 0, rss_kb()
    wall, cpu = time.perf_counter(), time.process_time()
    calls = [asyncio.ensure_future(call(number, nap)) for number in range(count)]
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(gate.wait(), 12 * GATHER_S)
    run.figures["most"] = crowd.most
    if gate.is_set():
        await asyncio.gather(*calls)
        run.figures["wall_s"] = (time.perf_counter() - wall) * CROWD / count
        run.figures["cpu_us"] = (time.process_time() - cpu) / count * 1e6
        run.figures["kb"] = (peak_rss_kb() - before) / count
    for each in calls:
        each.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    run.check(count)


async def measure_cancel(run: Run, call: Callable[[int, Nap], Awaitable[Any]], count: int = 1_000) -> None:
    """For runtimes that are called: cancel one of so many calls; until its node has seen it and the call is over."""
    seen = 0.0

    async def nap() -> None:
        nonlocal seen
        run.calls += 1
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            seen = time.perf_counter()
            raise

    tasks = [asyncio.ensure_future(call(number, nap)) for number in range(count)]
    async with asyncio.timeout(60):
        while run.calls < count:  # noqa: ASYNC110 - whatever the runtime is, its nodes only count themselves
            await asyncio.sleep(0.01)
    for task in tasks[::5]:
        seen = 0.0
        started = time.perf_counter()
        task.cancel()
        await asyncio.wait({task})
        run.latencies.append(time.perf_counter() - started)
        if not seen:
            raise SkippedWork("a node was not told that its call was cancelled")
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    run.report_latencies(run.latencies)
