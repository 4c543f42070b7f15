"""The workloads on llama-index-workflows: steps that take and give pydantic events."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import operator
import time
from collections.abc import Awaitable, Callable
from typing import Any

from workflows import Context, Workflow, step
from workflows.events import Event, StartEvent, StopEvent

from benchmarks.runtime.drivers import measure_call_latency, measure_calls, measure_cancel, measure_crowd
from benchmarks.runtime.measure import (
    CHUNKS,
    FAN,
    HOPS,
    NODES,
    ROUNDS_IN_FLIGHT,
    ROUTES,
    Nap,
    Payload,
    Run,
    payload,
)


class Begin(StartEvent):
    """What a run begins with."""

    value: Payload


class Carried(Event):
    """A payload on its way."""

    value: Payload


class Hop(Event):
    """A payload that counts its rounds."""

    value: Payload
    hops: int


class Piece(Event):
    """A chunk of a stream."""

    seq: int
    text: str
    done: bool


def kinds(count: int) -> list[type[Carried]]:
    """As many kinds of events: it is by its kind that an event finds its step."""
    return [type(f"Carried{index}", (Carried,), {"__module__": __name__}) for index in range(count)]


def typed(func: Callable[..., Any], takes: Any, gives: Any, **options: Any) -> Any:
    """The function as a step with these types."""
    func.__annotations__ = {"ctx": Context, "ev": takes, "return": gives}
    func.__qualname__ = f"Made.{func.__name__}"  # so that it counts as a method
    return step(**options)(func)


def workflow_of(*steps: Any) -> Workflow:
    """A workflow of these steps, without a limit of time."""
    namespace = {f"step{index}": each for index, each in enumerate(steps)}
    for name, each in namespace.items():
        each.__name__ = name
    made: Workflow = type("Made", (Workflow,), namespace)(timeout=None)
    return made


def chain_of(run: Run, count: int = NODES) -> Workflow:
    """A chain."""
    between = kinds(count - 1)
    steps = []
    for takes, gives in zip([Begin, *between], [*between, StopEvent], strict=True):
        steps.append(typed(_counted(run, gives), takes, gives))
    return workflow_of(*steps)


def _counted(run: Run, gives: Any) -> Callable[..., Any]:
    """A step that does nothing but count itself."""

    async def last(self: Any, ctx: Any, ev: Any) -> Any:
        run.calls += 1
        return StopEvent(result=ev.value)

    async def one(self: Any, ctx: Any, ev: Any) -> Any:
        run.calls += 1
        return gives(value=ev.value)

    return last if gives is StopEvent else one


def call_of(workflow: Workflow) -> Callable[[int], Awaitable[Any]]:
    """Runs the workflow on a payload."""

    async def call(number: int) -> Any:
        return await workflow.run(start_event=Begin(value=payload(number)))

    return call


async def w1(run: Run) -> None:
    """A chain of five, 64 in flight."""
    await measure_calls(run, call_of(chain_of(run)), calls=NODES)


async def w1_one(run: Run) -> None:
    """A chain of five, one in flight."""
    await measure_call_latency(run, call_of(chain_of(run)), calls=NODES)


async def w2(run: Run) -> None:
    """One step that sends 50 events, 50 workers, one step that collects them."""
    out, back, all_back = kinds(3)

    async def source(self: Any, ctx: Any, ev: Any) -> Any:
        run.calls += 1
        for _ in range(FAN):
            ctx.send_event(out(value=ev.value))

    async def branch(self: Any, ctx: Any, ev: Any) -> Any:
        run.calls += 1
        return back(value=ev.value)

    async def join(self: Any, ctx: Any, ev: Any) -> Any:
        events = ctx.collect_events(ev, [back] * FAN)
        return None if events is None else all_back(value=ev.value)

    async def sink(self: Any, ctx: Any, ev: Any) -> Any:
        run.calls += 1
        return StopEvent(result=ev.value)

    workflow = workflow_of(
        typed(source, Begin, out | None),
        typed(branch, out, back, num_workers=FAN),
        typed(join, back, all_back | None),
        typed(sink, all_back, StopEvent),
    )
    await measure_calls(run, call_of(workflow), calls=FAN + 2, in_flight=ROUNDS_IN_FLIGHT)


async def w3(run: Run) -> None:
    """One step that writes 1,000 chunks to the stream."""

    async def source(self: Any, ctx: Any, ev: Any) -> Any:
        run.calls += 1
        for seq in range(CHUNKS):
            ctx.write_event_to_stream(Piece(seq=seq, text="token ", done=seq == CHUNKS - 1))
        return StopEvent(result=ev.value)

    workflow = workflow_of(typed(source, Begin, StopEvent))

    async def drive(count: int) -> None:
        for number in range(count):
            started, chunks = time.perf_counter(), 0
            handler = workflow.run(start_event=Begin(value=payload(number)))
            async for event in handler.stream_events():
                if isinstance(event, Piece):
                    if not chunks:
                        run.latencies.append(time.perf_counter() - started)
                    chunks += 1
            await handler
            assert chunks == CHUNKS

    await run.measure(drive, calls=1, smallest=4)


async def w4(run: Run) -> None:
    """A step that gives one of ten kinds of events."""
    routes = kinds(ROUTES)

    async def router(self: Any, ctx: Any, ev: Any) -> Any:
        return routes[ev.value.number % ROUTES](value=ev.value)

    async def branch(self: Any, ctx: Any, ev: Any) -> Any:
        run.calls += 1
        return StopEvent(result=ev.value)

    branches = [typed(_again(branch), route, StopEvent) for route in routes]
    workflow = workflow_of(typed(router, Begin, functools.reduce(operator.or_, routes)), *branches)
    await measure_calls(run, call_of(workflow), calls=1)


def _again(func: Callable[..., Any]) -> Callable[..., Any]:
    """Another function that does the same: a step's types are its function's."""

    async def again(self: Any, ctx: Any, ev: Any) -> Any:
        return await func(self, ctx, ev)

    return again


async def w5(run: Run) -> None:
    """A step that gives the event that it takes, until it has gone 20 rounds."""

    async def controller(self: Any, ctx: Any, ev: Any) -> Any:
        run.calls += 1
        hops = getattr(ev, "hops", 0) + 1
        return Hop(value=ev.value, hops=hops) if hops < HOPS else StopEvent(result=ev.value)

    workflow = workflow_of(typed(controller, Begin | Hop, Hop | StopEvent, num_workers=1))
    await measure_calls(run, call_of(workflow), calls=HOPS)


def _napping() -> Callable[[int, Nap], Awaitable[Any]]:
    naps: list[Nap] = []

    async def sleeper(self: Any, ctx: Any, ev: Any) -> Any:
        await naps[-1]()
        return StopEvent(result=ev.value)

    workflow = workflow_of(typed(sleeper, Begin, StopEvent))

    async def call(number: int, nap: Nap) -> None:
        naps[:] = [nap]
        handler = workflow.run(start_event=Begin(value=payload(number)))
        try:
            await asyncio.shield(handler)
        except asyncio.CancelledError:
            # The run is cancelled by name: one whose handler was cancelled goes on.
            await handler.cancel_run()
            with contextlib.suppress(Exception):
                await handler
            raise

    return call


async def w6(run: Run) -> None:
    """10,000 runs whose step sleeps."""
    await measure_crowd(run, _napping())


async def w7(run: Run) -> None:
    """Cancel one of 1,000 runs."""
    await measure_cancel(run, _napping())


async def w8(run: Run) -> None:
    """The chain, with every event of the run read."""
    workflow, events = chain_of(run), 0

    async def listener(event: Any) -> None:
        nonlocal events
        events += 1

    async def call(number: int) -> None:
        handler = workflow.run(start_event=Begin(value=payload(number)))
        async for event in handler.stream_events(expose_internal=True):
            await listener(event)
        await handler

    await measure_calls(run, call, calls=NODES)


async def w12(run: Run) -> None:
    """A step that runs a workflow of two steps."""
    inner = chain_of(run, 2)

    async def caller(self: Any, ctx: Any, ev: Any) -> Any:
        run.calls += 1
        return StopEvent(result=await inner.run(start_event=Begin(value=ev.value)))

    await measure_calls(run, call_of(workflow_of(typed(caller, Begin, StopEvent))), calls=3)


WORKLOADS = {
    "W1": w1, "W1.one": w1_one, "W2": w2, "W3": w3, "W4": w4, "W5": w5, "W6": w6, "W7": w7, "W8": w8, "W12": w12,
}  # fmt: skip
