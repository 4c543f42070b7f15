"""The workloads as programs for penguiflow: they run on this version and on the forerunner."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

from benchmarks.runtime.adapters import crowds, stores
from benchmarks.runtime.adapters.program import (
    HEADERS,
    Make,
    at_once,
    chain_of,
    counted,
    drive_flow,
    line_of,
    message,
    registry_of,
    started,
)
from benchmarks.runtime.drivers import call_in_flight, keep_in_flight, one_at_a_time
from benchmarks.runtime.faults import TIMEOUT_S, Flaky, Late
from benchmarks.runtime.measure import (
    CHUNKS,
    CROWD,
    FAN,
    HOPS,
    IN_FLIGHT,
    NODES,
    ROUNDS_IN_FLIGHT,
    ROUTES,
    Payload,
    Run,
    payload,
)
from penguiflow import (
    WM,
    FinalAnswer,
    FlowEvent,
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


async def w11(run: Run, *, policy: Callable[..., NodePolicy]) -> None:
    """A node that fails once and one that is late once, for each message; nobody reads the log of it."""
    # Without a handler each of its lines, traceback and all, would be formatted for the standard error.
    logging.getLogger("penguiflow.core").setLevel(logging.CRITICAL)
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

        try:
            await run.measure(drive, calls=4, scale=0.25)
        finally:
            logging.getLogger("penguiflow.core").setLevel(logging.NOTSET)


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
    "W6": functools.partial(crowds.w6, count=CROWD, policy=functools.partial(at_once, CROWD)),
    "W7": functools.partial(crowds.w7, policy=functools.partial(at_once, 1_000)),
    "W8": functools.partial(w8, make=message, model=Payload),
    "W8.quiet": w8_quiet,
    "W9": stores.w9,
}
FORERUNNER = _BOTH | {
    "W5": functools.partial(w5, answers=False),
    "W6": functools.partial(crowds.w6, count=40, policy=NodePolicy),
    "W7": functools.partial(crowds.w7, policy=NodePolicy),
    "W8": functools.partial(w8, make=message, model=Message),
    "W9": stores.w9_plain,
}
