"""Nodes for routing and joining, ready to wire in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from penguiflow.channels import Endpoint
from penguiflow.context import Context
from penguiflow.node import Node, NodePolicy
from penguiflow.types import Message
from penguiflow.validation import rewrap

__all__ = ["join_k", "predicate_router"]

Route = Sequence[Node | str] | Node | str | None


def _successors(context: Context, route: Route) -> list[Node | Endpoint]:
    """The successors that a route names. Raises `KeyError` for a stranger, `TypeError` for no name at all."""
    if route is None:
        return []
    wanted = [route] if isinstance(route, Node | str) else list(route)
    known = {str(floe.target.name): floe.target for floe in context._port.outgoing if floe.target is not None}
    chosen: list[Node | Endpoint] = []
    for target in wanted:
        if not isinstance(target, Node | str):
            raise TypeError("Targets must be Node or str")
        name = target if isinstance(target, str) else str(target.name)
        if name not in known:
            raise KeyError(f"No successor named '{name}'")
        chosen.append(known[name])
    return chosen


def predicate_router(name: str, predicate: Callable[[Any], Route]) -> Node:
    """A node that sends each message on to the successors that `predicate(message)` names; None drops it."""

    async def route(message: Any, ctx: Context) -> None:
        targets = _successors(ctx, predicate(message))
        if targets:
            await ctx.emit(message, to=targets)

    return Node(route, name=name, policy=NodePolicy(validate="none"))


def join_k(name: str, k: int) -> Node:
    """A node that waits for `k` messages of a trace and sends them on as one, in the order they came.

    The result is the first message with the list of payloads, or the bare list for bare messages. Raises `ValueError`
    when `k` is not positive and when a message has no trace.
    """
    if k <= 0:
        raise ValueError("k must be positive")

    async def join(message: Any, ctx: Context) -> Any:
        if ctx.trace_id is None:
            raise ValueError("join_k requires messages with trace_id")
        bucket: list[Any] = ctx.trace_state.setdefault("bucket", [])
        bucket.append(message)
        if len(bucket) < k:
            return None
        del ctx.trace_state["bucket"]
        first = bucket[0]
        if isinstance(first, Message):
            return rewrap(first, [item.payload if isinstance(item, Message) else item for item in bucket])
        return bucket

    return Node(join, name=name, policy=NodePolicy(validate="none"))
