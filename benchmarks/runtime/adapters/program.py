"""What the programs for penguiflow have in common."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from benchmarks.runtime.drivers import keep_in_flight
from benchmarks.runtime.measure import IN_FLIGHT, NODES, Payload, Run, payload
from penguiflow import Headers, Message, ModelRegistry, Node, NodePolicy, PenguiFlow, create

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


def at_once(count: int, **fields: Any) -> NodePolicy:
    """A policy with so many messages at once, which only this version knows."""
    return NodePolicy(max_concurrency=count, **fields)
