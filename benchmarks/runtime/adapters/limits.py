"""What could be reached: bare awaits (a), a pipeline of queues with a task per node (b), the same with validators (c).

The pipelines do the work of a workload and nothing else: no envelope, no trace, no cancellation, no isolation.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter

from benchmarks.runtime.drivers import keep_in_flight, measure_cancel, measure_crowd, one_at_a_time
from benchmarks.runtime.measure import (
    CHUNKS,
    FAN,
    HOPS,
    IN_FLIGHT,
    NODES,
    ROUNDS_IN_FLIGHT,
    ROUTES,
    Chunk,
    Payload,
    Run,
    payload,
)

QUEUE_MAXSIZE = 64

Queue = asyncio.Queue[Any]
NodeFunction = Callable[[Any], Awaitable[Any]]
Check = Callable[[Any], Any]


class Event(NamedTuple):
    """What the limits tell a listener."""

    kind: str
    node: str
    ts: float
    number: int


class Pipeline:
    """Queues and tasks; `validating` makes the difference between limit (b) and limit (c)."""

    def __init__(self, run: Run, *, validating: bool) -> None:
        self.run = run
        self.check: Check | None = TypeAdapter(Payload).validate_python if validating else None
        self.validating = validating
        self.tasks: list[asyncio.Task[None]] = []

    def queue(self, maxsize: int = QUEUE_MAXSIZE) -> Queue:
        return asyncio.Queue(maxsize)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.get_running_loop().create_task(work))

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def step(self, value: Any) -> Any:
        """A node that does nothing but count itself."""
        self.run.calls += 1
        return value

    async def node(self, source: Queue, target: Queue, func: NodeFunction) -> None:
        check = self.check
        if check is None:
            while True:
                await target.put(await func(await source.get()))
        while True:
            await target.put(check(await func(check(await source.get()))))

    def chain(self, nodes: int = NODES) -> tuple[Queue, Queue]:
        """Queues at the ends of a chain of nodes that run."""
        queues = [self.queue() for _ in range(nodes + 1)]
        for source, target in itertools.pairwise(queues):
            self.start(self.node(source, target, self.step))
        return queues[0], queues[-1]


@contextlib.asynccontextmanager
async def running(run: Run, validating: bool) -> AsyncIterator[Pipeline]:
    """A pipeline that is stopped at the end."""
    pipeline = Pipeline(run, validating=validating)
    try:
        yield pipeline
    finally:
        await pipeline.stop()


async def w1(run: Run, validating: bool) -> None:
    """A chain of five, 64 in flight."""
    async with running(run, validating) as pipeline:
        first, last = pipeline.chain()

        async def drive(count: int) -> None:
            await keep_in_flight(lambda number: first.put(payload(number)), last.get, count, IN_FLIGHT)

        await run.measure(drive, calls=NODES)


async def w1_one(run: Run, validating: bool) -> None:
    """A chain of five, one in flight."""
    async with running(run, validating) as pipeline:
        first, last = pipeline.chain()

        async def drive(count: int) -> None:
            await one_at_a_time(lambda number: first.put(payload(number)), last.get, count, run.latencies)

        await run.measure(drive, calls=NODES)


async def w2(run: Run, validating: bool) -> None:
    """One node to 50, a join, one node."""
    async with running(run, validating) as pipeline:
        first, joining, joined, last = (pipeline.queue() for _ in range(4))
        branches = [pipeline.queue() for _ in range(FAN)]
        check = pipeline.check
        check_list = TypeAdapter(list).validate_python if validating else None

        async def split() -> None:
            while True:
                value = await first.get()
                value = await pipeline.step(value if check is None else check(value))
                if check is not None:
                    value = check(value)
                for branch in branches:
                    await branch.put(value)

        async def join() -> None:
            rounds: dict[int, list[Payload]] = {}
            while True:
                value = await joining.get()
                if check is not None:
                    value = check(value)
                bucket = rounds.setdefault(value.number, [])
                bucket.append(value)
                if len(bucket) == FAN:
                    await joined.put(rounds.pop(value.number))

        async def end() -> None:
            while True:
                values = await joined.get()
                values = await pipeline.step(values if check_list is None else check_list(values))
                await last.put(values if check_list is None else check_list(values))

        pipeline.start(split())
        for branch in branches:
            pipeline.start(pipeline.node(branch, joining, pipeline.step))
        pipeline.start(join())
        pipeline.start(end())

        async def drive(count: int) -> None:
            await keep_in_flight(lambda number: first.put(payload(number)), last.get, count, ROUNDS_IN_FLIGHT)

        await run.measure(drive, calls=FAN + 2, smallest=8)


async def w3(run: Run, validating: bool) -> None:
    """One node that sends 1,000 chunks for each message."""
    async with running(run, validating) as pipeline:
        first, last = pipeline.queue(), pipeline.queue()
        check = pipeline.check
        check_chunk = TypeAdapter(Chunk).validate_python if validating else None

        async def source() -> None:
            while True:
                value = await first.get()
                if check is not None:
                    check(value)
                run.calls += 1
                for seq in range(CHUNKS):
                    chunk = Chunk(stream_id="stream", seq=seq, text="token ", done=seq == CHUNKS - 1)
                    await last.put(chunk if check_chunk is None else check_chunk(chunk))

        pipeline.start(source())

        async def drive(count: int) -> None:
            for number in range(count):
                started = time.perf_counter()
                await first.put(payload(number))
                for seq in range(CHUNKS):
                    chunk = await last.get()
                    if check_chunk is not None:
                        check_chunk(chunk)
                    if not seq:
                        run.latencies.append(time.perf_counter() - started)
                assert chunk.done

        await run.measure(drive, calls=1, smallest=4)


async def w4(run: Run, validating: bool) -> None:
    """A router with ten targets."""
    async with running(run, validating) as pipeline:
        first, last = pipeline.queue(), pipeline.queue()
        branches = [pipeline.queue() for _ in range(ROUTES)]
        check = pipeline.check

        async def route() -> None:
            while True:
                value = await first.get()
                if check is not None:
                    value = check(check(value))
                await branches[value.number % ROUTES].put(value)

        pipeline.start(route())
        for branch in branches:
            pipeline.start(pipeline.node(branch, last, pipeline.step))

        async def drive(count: int) -> None:
            await keep_in_flight(lambda number: first.put(payload(number)), last.get, count, IN_FLIGHT)

        await run.measure(drive, calls=1)


async def w5(run: Run, validating: bool) -> None:
    """A node that sends a message to itself until it has gone 20 rounds."""
    async with running(run, validating) as pipeline:
        first, last = pipeline.queue(), pipeline.queue()
        check = pipeline.check

        async def loop() -> None:
            while True:
                hops, value = await first.get()
                value = await pipeline.step(value if check is None else check(value))
                if check is not None:
                    value = check(value)
                if hops + 1 < HOPS:
                    await first.put((hops + 1, value))
                else:
                    await last.put(value)

        pipeline.start(loop())

        async def drive(count: int) -> None:
            # Half of what the queue holds: the loop may never wait for room that only itself can make.
            await keep_in_flight(lambda number: first.put((0, payload(number))), last.get, count, IN_FLIGHT // 2)

        await run.measure(drive, calls=HOPS)


async def w6(run: Run, validating: bool) -> None:
    """10,000 tasks that sleep."""

    async def sleeper(number: int, nap: Callable[[], Awaitable[None]]) -> Payload:
        value = payload(number)
        await nap()
        return value

    await measure_crowd(run, sleeper)


async def w7(run: Run, validating: bool) -> None:
    """Cancel one of 1,000 tasks."""

    async def waiter(number: int, nap: Callable[[], Awaitable[None]]) -> None:
        await nap()

    await measure_cancel(run, waiter)


async def w8(run: Run, validating: bool) -> None:
    """The chain, with a listener that is told of each start and end."""
    events = 0

    async def listener(event: Event) -> None:
        nonlocal events
        events += 1

    async with running(run, validating) as pipeline:

        async def told(value: Payload) -> Payload:
            await listener(Event("node_start", "step", time.time(), value.number))
            result: Payload = await pipeline.step(value)
            await listener(Event("node_success", "step", time.time(), value.number))
            return result

        first, last = _chain_of(pipeline, told)

        async def drive(count: int) -> None:
            nonlocal events
            events = 0
            await keep_in_flight(lambda number: first.put(payload(number)), last.get, count, IN_FLIGHT)
            run.figures["events"] = events / count

        await run.measure(drive, calls=NODES)


async def w9(run: Run, validating: bool, more: int = 0) -> None:
    """The chain, with a commit for each start and end; and for so many events more of each node."""
    with tempfile.TemporaryDirectory() as folder:
        connection = sqlite3.connect(Path(folder, "events.db"), isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("CREATE TABLE events (id INTEGER PRIMARY KEY, kind TEXT, node TEXT, ts REAL, payload BLOB)")
        events = 0

        def save(kind: str, data: str) -> None:
            nonlocal events
            events += 1
            row = (kind, "step", time.time(), data)
            connection.execute("INSERT INTO events (kind, node, ts, payload) VALUES (?, ?, ?, ?)", row)

        async with running(run, validating) as pipeline:

            async def kept(value: Payload) -> Payload:
                save("node_start", value.model_dump_json())
                for _ in range(more):
                    save("event", '{"message_id":"0123456789abcdef"}')
                result: Payload = await pipeline.step(value)
                save("node_success", value.model_dump_json())
                return result

            first, last = _chain_of(pipeline, kept)

            async def drive(count: int) -> None:
                nonlocal events
                events = 0
                await keep_in_flight(lambda number: first.put(payload(number)), last.get, count, IN_FLIGHT)
                run.figures["events"] = events / count

            await run.measure(drive, calls=NODES)
        connection.close()


async def w9_all(run: Run, validating: bool) -> None:
    """As W9, with as many events as penguiflow writes: six or seven for each node instead of two."""
    await w9(run, validating, more=5)


async def w11(run: Run, validating: bool) -> None:
    """A node that fails once and one that is late once, for each message."""
    from benchmarks.runtime.faults import TIMEOUT_S, Flaky, Late

    async with running(run, validating) as pipeline:
        flaky, late = Flaky(run), Late(run)

        async def retried(value: Payload) -> Payload:
            try:
                flaky(value)
            except ValueError:
                flaky(value)
            return value

        async def bounded(value: Payload) -> Payload:
            for _ in range(2):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(TIMEOUT_S):
                        await late(value)
                        return value
            raise AssertionError("late twice")

        first, middle, last = pipeline.queue(), pipeline.queue(), pipeline.queue()
        pipeline.start(pipeline.node(first, middle, retried))
        pipeline.start(pipeline.node(middle, last, bounded))

        async def drive(count: int) -> None:
            flaky.clear()
            late.clear()
            await keep_in_flight(lambda number: first.put(payload(number)), last.get, count, IN_FLIGHT)

        await run.measure(drive, calls=4, scale=0.25)


async def w12(run: Run, validating: bool) -> None:
    """A node that builds a chain of two for each message, uses it once and stops it."""
    async with running(run, validating) as pipeline:

        async def playbook(value: Payload) -> Payload:
            run.calls += 1
            async with running(run, validating) as inner:
                first, last = inner.chain(2)
                await first.put(value)
                result: Payload = await last.get()
                return result

        first, last = pipeline.queue(), pipeline.queue()
        pipeline.start(pipeline.node(first, last, playbook))

        async def drive(count: int) -> None:
            await keep_in_flight(lambda number: first.put(payload(number)), last.get, count, IN_FLIGHT)

        await run.measure(drive, calls=3)


def _chain_of(pipeline: Pipeline, func: NodeFunction) -> tuple[Queue, Queue]:
    queues = [pipeline.queue() for _ in range(NODES + 1)]
    for source, target in itertools.pairwise(queues):
        pipeline.start(pipeline.node(source, target, func))
    return queues[0], queues[-1]


async def bare(run: Run, *, awaits: int) -> None:
    """Limit (a): so many awaits, one after the other."""

    async def step(value: Payload) -> Payload:
        run.calls += 1
        return value

    async def drive(count: int) -> None:
        for number in range(count):
            value = payload(number)
            for _ in range(awaits):
                value = await step(value)

    await run.measure(drive, calls=awaits)


def _of(workload: Callable[[Run, bool], Awaitable[None]], validating: bool) -> Callable[[Run], Awaitable[None]]:
    async def measured(run: Run) -> None:
        await workload(run, validating)

    return measured


_WORKLOADS: dict[str, Callable[[Run, bool], Awaitable[None]]] = {
    "W1": w1, "W1.one": w1_one, "W2": w2, "W3": w3, "W4": w4, "W5": w5, "W6": w6, "W7": w7, "W8": w8, "W9": w9,
    "W9.all": w9_all,
    "W11": w11, "W12": w12,
}  # fmt: skip
LIMIT_A = {"W1": functools.partial(bare, awaits=NODES), "W5": functools.partial(bare, awaits=HOPS)}
LIMIT_B = {name: _of(workload, validating=False) for name, workload in _WORKLOADS.items()}
LIMIT_C = {
    name: _of(workload, validating=True)
    for name, workload in _WORKLOADS.items()
    if name not in ("W6", "W7", "W9", "W9.all")
}
