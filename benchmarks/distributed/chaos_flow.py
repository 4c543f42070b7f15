"""The flow of the chaos test: a fan-out, a join, a stream, a loop. Each node writes a line when it begins.

    split --3--> weigh --> gather (join of 3) --> tell --4 pieces--> think (in order; then round, 3 times)

The answer says what the pieces were, and in which order they came. A message that is poison kills the process that
handles it.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from pydantic import BaseModel

from penguiflow import (
    WM,
    Context,
    FinalAnswer,
    Message,
    ModelRegistry,
    Node,
    NodePolicy,
    PenguiFlow,
    StreamChunk,
    create,
    join_k,
)

__all__ = ["MESSAGES", "NAME", "Order", "build", "expected", "note", "registry"]

NAME = "chaos"
PARTS = 3
PIECES = PARTS + 1
"""Of the stream: what each part weighs, and all of them together."""
HOPS = 3
MESSAGES = 1 + PARTS + PARTS + 1 + PIECES + HOPS
"""On edges, for each call."""


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


async def tell(message: Message, ctx: Context) -> None:
    """Say what the parts weigh, one after the other, and then what they weigh together."""
    parts: list[Part] = sorted(message.payload, key=lambda part: part.index)
    note("ran", message.trace_id, "tell", len(parts))
    for part in parts:
        await ctx.emit_chunk(parent=message, text=str(part.weight))
    await ctx.emit_chunk(parent=message, text=str(sum(part.weight for part in parts)), done=True)


async def think(message: Message, ctx: Context) -> Message | None:
    """Hear what is told; go around, then answer."""
    if isinstance(message.payload, StreamChunk):
        return hear(message, message.payload, ctx)
    memory: WM = message.payload
    note("ran", message.trace_id, "think", len(memory.facts))
    facts = [*memory.facts, f"{memory.query}.{len(memory.facts)}"]
    if len(facts) < HOPS:
        return message.model_copy(update={"payload": memory.model_copy(update={"facts": facts})})
    return message.model_copy(update={"payload": FinalAnswer(text=" ".join(facts))})


def hear(message: Message, piece: StreamChunk, ctx: Context) -> Message | None:
    """Remember a piece as it came; with the last one the loop begins."""
    note("ran", message.trace_id, "hear", piece.seq)
    heard = [*ctx.trace_state.get("heard", ()), f"{piece.seq}:{piece.text}"]
    ctx.trace_state["heard"] = heard
    if not piece.done:
        return None
    return message.model_copy(update={"payload": WM(query=",".join(heard), budget_hops=HOPS + 1)})


def expected(number: int) -> str:
    """The answer to an order that is no poison."""
    weights = [number % 7 + index for index in range(PARTS)]
    heard = ",".join(f"{seq}:{text}" for seq, text in enumerate([*weights, sum(weights)]))
    return " ".join(f"{heard}.{hop}" for hop in range(HOPS))


def build() -> PenguiFlow:
    """A new one."""
    as_it_is = NodePolicy(validate="none")
    split_node, weigh_node = Node(split, policy=as_it_is), Node(weigh, policy=as_it_is)
    gather, tell_node = join_k("gather", PARTS), Node(tell, policy=as_it_is)
    think_node = Node(think, policy=as_it_is, allow_cycle=True)
    return create(
        split_node.to(weigh_node),
        weigh_node.to(gather),
        gather.to(tell_node),
        tell_node.to(think_node),
        think_node.to(think_node),
        name=NAME,
    )


registry = ModelRegistry()
registry.register("split", Order, Part)
registry.register("weigh", Part, Part)
