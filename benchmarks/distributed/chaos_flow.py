"""The flow of the chaos test: a fan-out, a join, a loop. Each node writes a line when it begins, whoever runs it.

    split --3--> weigh --> gather (join of 3) --> plan --> think (3 times)

A message that is poison kills the process that handles it.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from pydantic import BaseModel

from penguiflow import WM, Context, FinalAnswer, Message, ModelRegistry, Node, NodePolicy, PenguiFlow, create, join_k

__all__ = ["MESSAGES", "NAME", "Order", "build", "expected", "note", "registry"]

NAME = "chaos"
PARTS = 3
HOPS = 3
MESSAGES = 1 + PARTS + PARTS + 1 + HOPS
"""On edges, for each call."""
LINES = 1 + PARTS + 1 + HOPS
"""That the nodes of one call write when nothing is done twice; the join writes none."""


class Order(BaseModel):
    """What a caller sends."""

    number: int
    poison: bool = False


class Part(BaseModel):
    """A third of it."""

    number: int
    index: int
    poison: bool = False
    weight: int = 0


def note(*words: object) -> None:
    """Add a line to the file that all workers share. It is there when the process is killed right after."""
    file = os.environ.get("CHAOS_NOTES")
    if file:
        line = "\t".join(map(str, words)) + "\n"
        handle = os.open(Path(file), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(handle, line.encode())
        os.close(handle)


async def split(message: Message, ctx: Context) -> None:
    """Send the parts."""
    order: Order = message.payload
    note("ran", message.trace_id, "split", order.number)
    for index in range(PARTS):
        part = Part(number=order.number, index=index, poison=order.poison and index == 1)
        await ctx.emit(message.model_copy(update={"payload": part}))


async def weigh(message: Message, ctx: Context) -> Message:
    """Weigh a part, or die of it."""
    part: Part = message.payload
    note("ran", message.trace_id, "weigh", part.index)
    if part.poison:
        sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    return message.model_copy(update={"payload": part.model_copy(update={"weight": part.number % 7 + part.index})})


async def plan(message: Message, ctx: Context) -> Message:
    """Begin the loop with what the parts weigh together."""
    parts: list[Part] = message.payload
    total = sum(part.weight for part in parts)
    note("ran", message.trace_id, "plan", len(parts))
    memory = WM(query=str(total), budget_hops=HOPS + 1)
    return message.model_copy(update={"payload": memory})


async def think(message: Message, ctx: Context) -> Message:
    """Go around, then answer."""
    memory: WM = message.payload
    note("ran", message.trace_id, "think", len(memory.facts))
    facts = [*memory.facts, f"{memory.query}.{len(memory.facts)}"]
    if len(facts) < HOPS:
        return message.model_copy(update={"payload": memory.model_copy(update={"facts": facts})})
    return message.model_copy(update={"payload": FinalAnswer(text=" ".join(facts))})


def expected(number: int) -> str:
    """The answer to an order that is no poison."""
    total = sum(number % 7 + index for index in range(PARTS))
    return " ".join(f"{total}.{hop}" for hop in range(HOPS))


def build() -> PenguiFlow:
    """A new one."""
    as_it_is = NodePolicy(validate="none")
    split_node, weigh_node = Node(split, policy=as_it_is), Node(weigh, policy=as_it_is)
    gather, plan_node = join_k("gather", PARTS), Node(plan, policy=as_it_is)
    think_node = Node(think, policy=as_it_is, allow_cycle=True)
    return create(
        split_node.to(weigh_node),
        weigh_node.to(gather),
        gather.to(plan_node),
        plan_node.to(think_node),
        think_node.to(think_node),
        name=NAME,
    )


registry = ModelRegistry()
registry.register("split", Order, Part)
registry.register("weigh", Part, Part)
