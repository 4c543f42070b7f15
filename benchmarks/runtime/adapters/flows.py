"""The workloads as programs for penguiflow: they run on this version and on the forerunner."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.runtime.drivers import call_in_flight, keep_in_flight, one_at_a_time
from benchmarks.runtime.faults import TIMEOUT_S, Flaky, Late
from benchmarks.runtime.measure import (
    CHUNKS,
    CROWD,
    FAN,
    GATHER_S,
    HOPS,
    IN_FLIGHT,
    NAP_S,
    NODES,
    ROUNDS_IN_FLIGHT,
    ROUTES,
    Crowd,
    Payload,
    Run,
    payload,
    peak_rss_kb,
    rss_kb,
)
from penguiflow import (
    WM,
    FinalAnswer,
    FlowEvent,
    Headers,
    Message,
    ModelRegistry,
    Node,
    NodePolicy,
    PenguiFlow,
    call_playbook,
    create,
    join_k,
    predicate_router,
)
from penguiflow.core import ROOKERY

HEADERS = Headers(tenant="acme")
NodeFunction = Callable[[Any, Any], Awaitable[Any]]
Make = Callable[[int], Any]


def message(number: int) -> Message:
    """The payload in an envelope of its own."""
    return Message(payload=payload(number), headers=HEADERS)


@contextlib.asynccontextmanager
async def started(flow: PenguiFlow, registry: ModelRegistry | None = None) -> AsyncIterator[PenguiFlow]:
    """The flow while it runs."""
    flow.run(registry=registry)
    try:
        yield flow
    finally:
        await flow.stop()


def registry_of(nodes: Sequence[Node], model: type[Payload] | type[Message]) -> ModelRegistry:
    """All of them take and give that model."""
    registry = ModelRegistry()
    for node in nodes:
        registry.register(str(node.name), model, model)
    return registry


def counted(run: Run) -> NodeFunction:
    """A node that does nothing but count itself."""

    async def step(value: Any, ctx: Any) -> Any:
        run.calls += 1
        return value

    return step


def line_of(nodes: Sequence[Node], **options: Any) -> PenguiFlow:
    """A flow in which each node is followed by the next."""
    pairs = [node.to(after) for node, after in itertools.pairwise(nodes)]
    return create(*pairs, nodes[-1].to(), **options)


def chain_of(run: Run, count: int = NODES, **options: Any) -> tuple[PenguiFlow, list[Node]]:
    """A flow of that many nodes in a row."""
    nodes = [Node(counted(run), name=f"node{index}") for index in range(count)]
    return line_of(nodes, **options), nodes


async def drive_flow(run: Run, flow: PenguiFlow, make: Make, *, calls: int, in_flight: int = IN_FLIGHT) -> None:
    """Keep the flow busy through emit and fetch."""

    async def drive(count: int) -> None:
        await keep_in_flight(lambda number: flow.emit(make(number)), flow.fetch, count, in_flight)

    await run.measure(drive, calls=calls, smallest=in_flight)


async def w1(run: Run, *, model: type[Payload] | type[Message], make: Make, one: bool = False) -> None:
    """A chain of five, validated both ways."""
    flow, nodes = chain_of(run)
    async with started(flow, registry_of(nodes, model)):
        if not one:
            await drive_flow(run, flow, make, calls=NODES)
            return

        async def drive(count: int) -> None:
            await one_at_a_time(lambda number: flow.emit(make(number)), flow.fetch, count, run.latencies)

        await run.measure(drive, calls=NODES)


async def w1_call(run: Run) -> None:
    """The same through `flow.call`, 64 callers."""
    flow, nodes = chain_of(run)
    async with started(flow, registry_of(nodes, Payload)):

        async def drive(count: int) -> None:
            await call_in_flight(lambda number: flow.call(message(number)), count, IN_FLIGHT)

        await run.measure(drive, calls=NODES)


async def w2(run: Run) -> None:
    """One node to 50, `join_k`, one node."""
    source = Node(counted(run), name="source")
    branches = [Node(counted(run), name=f"branch{index}") for index in range(FAN)]
    join = join_k("join", FAN)
    sink = Node(counted(run), name="sink")
    flow = create(source.to(*branches), *(branch.to(join) for branch in branches), join.to(sink), sink.to())
    registry = registry_of([source, *branches, sink], Message)
    if join.policy.validate != "none":
        registry.register(str(join.name), Message, Message)
    async with started(flow, registry):
        await drive_flow(run, flow, message, calls=FAN + 2, in_flight=ROUNDS_IN_FLIGHT)


async def w3(run: Run) -> None:
    """One node that emits 1,000 chunks for each message."""

    async def source(parent: Message, ctx: Any) -> None:
        run.calls += 1
        for seq in range(CHUNKS):
            await ctx.emit_chunk(parent=parent, text="token ", done=seq == CHUNKS - 1)

    node = Node(source, name="source")
    async with started(create(node.to()), registry_of([node], Message)) as flow:

        async def drive(count: int) -> None:
            for number in range(count):
                begun = time.perf_counter()
                await flow.emit(message(number))
                for seq in range(CHUNKS):
                    chunk = await flow.fetch()
                    if not seq:
                        run.latencies.append(time.perf_counter() - begun)
                assert chunk.payload.done

        await run.measure(drive, calls=1, smallest=4)


async def w3_stream(run: Run) -> None:
    """The same, read with `flow.stream`."""

    async def source(parent: Message, ctx: Any) -> None:
        run.calls += 1
        for seq in range(CHUNKS):
            await ctx.emit_chunk(parent=parent, text="token ", done=seq == CHUNKS - 1)

    node = Node(source, name="source")
    async with started(create(node.to()), registry_of([node], Message)) as flow:

        async def drive(count: int) -> None:
            for number in range(count):
                begun, chunks = time.perf_counter(), 0
                async for _ in flow.stream(message(number)):
                    if not chunks:
                        run.latencies.append(time.perf_counter() - begun)
                    chunks += 1
                assert chunks == CHUNKS

        await run.measure(drive, calls=1, smallest=4)


async def w4(run: Run) -> None:
    """A predicate router with ten targets."""
    router = predicate_router("router", lambda item: f"branch{item.payload.number % ROUTES}")
    branches = [Node(counted(run), name=f"branch{index}") for index in range(ROUTES)]
    flow = create(router.to(*branches), *(branch.to() for branch in branches))
    async with started(flow, registry_of(branches, Message)):
        await drive_flow(run, flow, message, calls=1)


async def w5(run: Run, *, answers: bool) -> None:
    """A controller that takes 20 hops.

    `answers` says how it ends: by returning a `FinalAnswer`, or by sending it out itself, because the forerunner calls
    a node that returned one again and again.
    """

    async def controller(item: Message, ctx: Any) -> Message | None:
        run.calls += 1
        memory = item.payload
        if memory.hops + 1 < HOPS:
            return item
        answer = item.model_copy(update={"payload": FinalAnswer(text="done")})
        if answers:
            return answer
        await ctx.emit(answer, to=ROOKERY)
        return None

    node = Node(controller, name="controller", allow_cycle=True)

    def make(number: int) -> Message:
        return Message(payload=WM(query="why", budget_hops=1000), headers=HEADERS)

    async with started(create(node.to(node)), registry_of([node], Message)) as flow:
        await drive_flow(run, flow, make, calls=HOPS, in_flight=IN_FLIGHT // 2)


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


async def w8(run: Run, *, make: Make, model: type[Payload] | type[Message]) -> None:
    """The chain, with every event handed to a middleware."""
    events = 0

    async def listener(event: Any) -> None:
        nonlocal events
        events += 1

    flow, nodes = chain_of(run, middlewares=[listener])
    async with started(flow, registry_of(nodes, model)):

        async def drive(count: int) -> None:
            nonlocal events
            events = 0
            await keep_in_flight(lambda number: flow.emit(make(number)), flow.fetch, count, IN_FLIGHT)
            run.figures["events"] = events / count

        await run.measure(drive, calls=NODES, smallest=IN_FLIGHT)


async def w8_quiet(run: Run) -> None:
    """The chain with nobody who listens: as W1, and how many events were made all the same."""
    flow, nodes = chain_of(run)
    async with started(flow, registry_of(nodes, Payload)):
        await drive_flow(run, flow, message, calls=NODES)
        made = 0
        make = FlowEvent.__init__

        def counting(self: FlowEvent, *args: Any, **fields: Any) -> None:
            nonlocal made
            made += 1
            make(self, *args, **fields)

        with mock.patch.object(FlowEvent, "__init__", counting):
            await keep_in_flight(lambda number: flow.emit(message(number)), flow.fetch, IN_FLIGHT, IN_FLIGHT)
        run.figures["events"] = made / IN_FLIGHT


class PlainStore:
    """A state store as one would write it for the forerunner: a commit for each event."""

    def __init__(self, path: Path) -> None:
        self.events = 0
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute(
            "CREATE TABLE events (id INTEGER PRIMARY KEY, trace TEXT, ts REAL, kind TEXT, node TEXT, payload BLOB)"
        )

    async def save_event(self, event: Any) -> None:
        """Keep one event, committed on return."""
        import pydantic_core

        self.events += 1
        row = (event.trace_id, event.ts, event.kind, event.node_name, pydantic_core.to_json(dict(event.payload)))
        self._connection.execute("INSERT INTO events (trace, ts, kind, node, payload) VALUES (?, ?, ?, ?, ?)", row)

    async def load_history(self, trace_id: str) -> list[Any]:
        """Nobody asks here."""
        return []

    async def save_remote_binding(self, binding: Any) -> None:
        """There are none."""

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()


async def w9_plain(run: Run) -> None:
    """The chain, with a store that commits each event."""
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(PlainStore(Path(folder, "events.db"))) as store:
        flow, nodes = chain_of(run, state_store=store)
        async with started(flow, registry_of(nodes, Message)):

            async def drive(count: int) -> None:
                store.events = 0
                await keep_in_flight(lambda number: flow.emit(message(number)), flow.fetch, count, IN_FLIGHT)
                run.figures["events"] = store.events / count

            await run.measure(drive, calls=NODES, smallest=IN_FLIGHT)


class EventsOnly:
    """Of this version's store the part that keeps flow events, and not its recorder."""

    def __init__(self, store: Any) -> None:
        self.events = 0
        self._store = store

    async def save_event(self, event: Any) -> None:
        """Keep one event, committed on return."""
        self.events += 1
        await self._store.save_event(event)

    async def load_history(self, trace_id: str) -> Sequence[Any]:
        """What was kept."""
        history: Sequence[Any] = await self._store.load_history(trace_id)
        return history


class Counting:
    """A sink beside the store that counts what is recorded."""

    def __init__(self) -> None:
        self.events = 0

    def write(self, record: Any) -> None:
        """Take one event."""
        self.events += 1


async def w9(run: Run, *, recording: bool) -> None:
    """The chain, with every event in this version's store before its caller gets the result.

    `recording`: all that the recorder tells, with payloads. Otherwise the flow events, as the forerunner's stores.
    """
    from penguiflow.state import SQLiteStateStore

    with tempfile.TemporaryDirectory() as folder:
        store = SQLiteStateStore(Path(folder, "state.db"))
        flow, nodes = chain_of(run)
        counting: Counting | EventsOnly
        if recording:
            counting = Counting()
            flow.run(registry=registry_of(nodes, Message), recorder=store.recorder(counting))
        else:
            counting = EventsOnly(store)
            for node in nodes:
                node.policy.max_concurrency = IN_FLIGHT
            flow.run(registry=registry_of(nodes, Message), state_store=counting)

        async def call(number: int) -> None:
            await flow.call(message(number))
            if recording:
                await store.flush()

        async def drive(count: int) -> None:
            counting.events = 0
            await call_in_flight(call, count, IN_FLIGHT)
            run.figures["events"] = counting.events / count

        await run.measure(drive, calls=NODES, smallest=IN_FLIGHT)
        await flow.stop()
        await store.close()


async def w11(run: Run, *, policy: Callable[..., NodePolicy]) -> None:
    """A node that fails once and one that is late once, for each message."""
    flaky, late = Flaky(run), Late(run)

    async def retried(item: Message, ctx: Any) -> Message:
        flaky(item.payload)
        return item

    async def bounded(item: Message, ctx: Any) -> Message:
        await late(item.payload)
        return item

    nodes = [
        Node(retried, name="retried", policy=policy(max_retries=1, backoff_base=0.0)),
        Node(bounded, name="bounded", policy=policy(max_retries=1, backoff_base=0.0, timeout_s=TIMEOUT_S)),
    ]
    flow = line_of(nodes)
    async with started(flow, registry_of(nodes, Message)):

        async def drive(count: int) -> None:
            flaky.clear()
            late.clear()
            await keep_in_flight(lambda number: flow.emit(message(number)), flow.fetch, count, IN_FLIGHT)

        await run.measure(drive, calls=4, scale=0.25)


async def w12(run: Run) -> None:
    """A node that calls a playbook of two nodes for each message."""

    def playbook() -> tuple[PenguiFlow, ModelRegistry]:
        flow, nodes = chain_of(run, 2)
        return flow, registry_of(nodes, Message)

    async def caller(item: Message, ctx: Any) -> Message:
        run.calls += 1
        result = await call_playbook(playbook, item)
        return item.model_copy(update={"payload": result})

    node = Node(caller, name="caller")
    async with started(create(node.to()), registry_of([node], Message)) as flow:
        await drive_flow(run, flow, message, calls=3)


def at_once(count: int, **fields: Any) -> NodePolicy:
    """A policy with so many messages at once, which only this version knows."""
    return NodePolicy(max_concurrency=count, **fields)


async def w10(run: Run) -> None:
    """Importing and installing: measured from outside."""
    raise AssertionError("W10 is not measured in a process of the benchmarks")


_BOTH = {
    "W1.message": functools.partial(w1, model=Message, make=message),
    "W1.bare": functools.partial(w1, model=Payload, make=payload),
    "W1.one.message": functools.partial(w1, model=Message, make=message, one=True),
    "W1.bare.one": functools.partial(w1, model=Payload, make=payload, one=True),
    "W2": w2,
    "W3": w3,
    "W4": w4,
    "W11": functools.partial(w11, policy=NodePolicy),
    "W10": w10,
    "W12": w12,
}
OURS = _BOTH | {
    "W1": functools.partial(w1, model=Payload, make=message),
    "W1.one": functools.partial(w1, model=Payload, make=message, one=True),
    "W1.call": w1_call,
    "W3.stream": w3_stream,
    "W5": functools.partial(w5, answers=True),
    "W6": functools.partial(w6, count=CROWD, policy=functools.partial(at_once, CROWD)),
    "W7": functools.partial(w7, policy=functools.partial(at_once, 1_000)),
    "W8": functools.partial(w8, make=message, model=Payload),
    "W8.quiet": w8_quiet,
    "W9": functools.partial(w9, recording=True),
    "W9.events": functools.partial(w9, recording=False),
}
FORERUNNER = _BOTH | {
    "W5": functools.partial(w5, answers=False),
    "W6": functools.partial(w6, count=40, policy=NodePolicy),
    "W7": functools.partial(w7, policy=NodePolicy),
    "W8": functools.partial(w8, make=message, model=Message),
    "W9": w9_plain,
}
