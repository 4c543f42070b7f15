"""Nodes for routing and joining, ready to wire in, and a bounded way to do many things at once."""

from __future__ import annotations

import asyncio
import typing
from collections.abc import Awaitable, Callable, Iterable
from enum import Enum
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter

from penguiflow.channels import Endpoint
from penguiflow.context import Context
from penguiflow.node import Node, NodePolicy
from penguiflow.policies import PolicyLike, RoutingDecisionType, RoutingRequest, evaluate_policy
from penguiflow.types import Message
from penguiflow.validation import rewrap
from penguiflow.worker import GATHERS

__all__ = ["join_k", "map_concurrent", "predicate_router", "union_router"]

PayloadT = TypeVar("PayloadT")
ResultT = TypeVar("ResultT")


async def map_concurrent(
    items: Iterable[PayloadT],
    worker: Callable[[PayloadT], Awaitable[ResultT]],
    *,
    max_concurrency: int = 8,
) -> list[ResultT]:
    """Await `worker(item)` for each item, at most `max_concurrency` at a time; results in the order of the items.

    Items are taken from the iterable only as room becomes free. Each runs in a task of its own. The first failure
    cancels the others, waits until they are gone, and is raised as it is.
    """
    limit = max(1, max_concurrency)
    results: list[Any] = []
    running: set[asyncio.Task[None]] = set()
    changed = asyncio.Event()
    failure: BaseException | None = None

    async def one(index: int, item: PayloadT) -> None:
        results[index] = await worker(item)

    def ended(task: asyncio.Task[None]) -> None:
        nonlocal failure
        running.discard(task)
        try:
            error = task.exception()
        except asyncio.CancelledError as stray:  # of something inside the worker, unless it was cancelled from here
            error = stray
        failure = error if failure is None else failure
        changed.set()

    # Not a task group: on Python 3.11 that leaves the caller's task marked as cancelled when a task fails.
    try:
        for index, item in enumerate(items):
            results.append(None)
            task = asyncio.ensure_future(one(index, item))
            running.add(task)
            task.add_done_callback(ended)
            while len(running) >= limit and failure is None:
                changed.clear()
                await changed.wait()
            if failure is not None:
                break
        while running and failure is None:
            changed.clear()
            await changed.wait()
    finally:
        for task in running:
            task.cancel()
        await _all_gone(running, changed)
    if failure is not None:
        raise failure
    return results


async def _all_gone(running: set[asyncio.Task[None]], changed: asyncio.Event) -> None:
    """Return when no task is left, however often the caller is cancelled meanwhile; that is raised afterwards."""
    cancelled: asyncio.CancelledError | None = None
    while running:
        changed.clear()
        try:
            await changed.wait()
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


def _successors(context: Context, route: RoutingDecisionType) -> list[Node | Endpoint]:
    """The successors that a route names. Raises `KeyError` for a stranger, `TypeError` for no name at all."""
    if route is None:
        return []
    wanted = [route] if isinstance(route, Node | str) else list(route)
    known = context._port.successors
    chosen: list[Node | Endpoint] = []
    for target in wanted:
        if not isinstance(target, Node | str):
            raise TypeError("Targets must be Node or str")
        name = target if isinstance(target, str) else str(target.name)
        if name not in known:
            raise KeyError(f"No successor named '{name}'")
        chosen.append(known[name])
    return chosen


async def _send(message: Any, ctx: Context, route: RoutingDecisionType, policy: PolicyLike | None) -> None:
    """Send a message where `route` says, unless the policy decides otherwise."""
    targets = _successors(ctx, route)
    if targets and policy is not None:
        assert isinstance(ctx.owner, Node)
        proposed = tuple(target for target in targets if isinstance(target, Node))
        request = RoutingRequest(message, ctx, ctx.owner, proposed, ctx.trace_id)
        targets = _successors(ctx, await evaluate_policy(policy, request))
    if targets:
        await ctx.emit(message, to=targets)


def predicate_router(
    name: str, predicate: Callable[[Any], RoutingDecisionType], *, policy: PolicyLike | None = None
) -> Node:
    """A node that sends each message on to the successors that `predicate(message)` names; None drops it.

    A `policy` is asked about each message that the predicate would send on, and has the last word.
    """

    async def route(message: Any, ctx: Context) -> None:
        await _send(message, ctx, predicate(message), policy)

    return Node(route, name=name, policy=NodePolicy(validate="none"))


def union_router(name: str, union_model: type[BaseModel] | Any, *, policy: PolicyLike | None = None) -> Node:
    """A node that sends each message to the successor named as its `kind`, or as its class where it has no `kind`.

    What comes is validated as `union_model` (a union of models, or one model), and goes on validated. Of a `Message`
    that is the payload, unless the union is one of messages. A `policy` is asked about each message, and has the last
    word.
    """
    adapter: TypeAdapter[Any] = TypeAdapter(union_model)
    takes_envelopes = _names_messages(union_model)

    async def route(message: Any, ctx: Context) -> None:
        envelope = message if isinstance(message, Message) and not takes_envelopes else None
        value = adapter.validate_python(message if envelope is None else envelope.payload)
        kind = getattr(value, "kind", None)
        if isinstance(kind, Enum):
            kind = kind.value
        target = type(value).__name__ if kind is None else str(kind)
        await _send(value if envelope is None else rewrap(envelope, value), ctx, target, policy)

    return Node(route, name=name, policy=NodePolicy(validate="none"))


def _names_messages(annotation: Any) -> bool:
    """Whether a type, or one of those it is made of, is an envelope."""
    if isinstance(annotation, type) and issubclass(annotation, Message):
        return True
    return any(_names_messages(part) for part in typing.get_args(annotation))


def join_k(name: str, k: int) -> Node:
    """A node that waits for `k` messages of a trace and sends them on as one, in the order they came.

    The result is the first message with the list of payloads, or the bare list for bare messages. What it has gathered
    is part of the trace, and gone with it. Raises `ValueError` when `k` is not positive and when a message has no
    trace.
    """
    if k <= 0:
        raise ValueError("k must be positive")

    async def join(message: Any, ctx: Context) -> Any:
        try:
            state = ctx.trace_state
        except RuntimeError:
            raise ValueError("join_k requires messages with trace_id") from None
        bucket: list[Any] | None = state.get("bucket")
        if bucket is None:
            bucket = state["bucket"] = []
        bucket.append(message)
        # Each time: those before may have come to another worker.
        ctx.hold_trace(lambda: f"node '{name}' still waits: {len(bucket)} of {k} messages came")
        if len(bucket) < k:
            return None
        del state["bucket"]
        ctx.hold_trace(None)
        first = bucket[0]
        if isinstance(first, Message):
            return rewrap(first, [item.payload if isinstance(item, Message) else item for item in bucket])
        return bucket

    # All but the first and the last of them are only put into the bucket: the engine does that without a call.
    setattr(join, GATHERS, k)
    return Node(join, name=name, policy=NodePolicy(validate="none"))
