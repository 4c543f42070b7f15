"""The flows that `kill_resume.py` runs and kills: a fan-out with a join, a loop, a stream, and all of them in one.

Every invocation leaves a line in the file `EFFECTS` before it does anything else: flow, trace, node and payload.
"""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path
from typing import Any

from penguiflow import WM, Context, FinalAnswer, Message, Node, NodePolicy, PenguiFlow, create, join_k

EFFECTS = os.environ.get("EFFECTS", "effects.log")
PAUSE_S = float(os.environ.get("PAUSE_S", "0.01"))
WIDTH = 8
WORDS = 12
ROUNDS = 8
CROWD = 4


Path("host.pid").write_text(str(os.getpid()), encoding="ascii")


def leave(ctx: Context, payload: object) -> None:
    """One line, whole, whatever happens to this process next."""
    line = f"{ctx.trace_id}\t{ctx.owner.name}\t{payload}\n"
    effects = os.open(EFFECTS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(effects, line.encode())
    finally:
        os.close(effects)


async def pause() -> None:
    """As long as a short call takes."""
    await asyncio.sleep(random.uniform(0, 2 * PAUSE_S))


def node(func: Any, name: str, **policy: Any) -> Node:
    """A node that is not validated."""
    return Node(func, name=name, policy=NodePolicy(validate="none", **policy), allow_cycle=name.startswith("think"))


def worker(number: int) -> Node:
    """One of those that work side by side."""

    async def work(message: Message, ctx: Context) -> Message:
        leave(ctx, message.payload)
        await pause()
        return message.model_copy(update={"payload": f"{message.payload}.{number}"})

    return node(work, f"work{number}")


async def split(message: Message, ctx: Context) -> Message:
    """Hand the message on."""
    leave(ctx, message.payload)
    await pause()
    return message


async def gather(message: Message, ctx: Context) -> Message:
    """Make one text of what was joined."""
    leave(ctx, sorted(message.payload))
    await pause()
    return message.model_copy(update={"payload": " ".join(sorted(message.payload))})


async def think(message: Message, ctx: Context) -> Message:
    """One round of a loop."""
    memory: WM = message.payload if isinstance(message.payload, WM) else WM(query=str(message.payload), budget_hops=99)
    leave(ctx, memory.hops)
    fact = await ctx.record("look up", look_up, memory.hops)
    if memory.hops >= ROUNDS:
        return message.model_copy(update={"payload": FinalAnswer(text=" ".join([*memory.facts, fact]))})
    return message.model_copy(update={"payload": memory.model_copy(update={"facts": [*memory.facts, fact]})})


async def look_up(round_number: int) -> str:
    """What leaves the process."""
    await pause()
    return f"fact{round_number}"


async def speak(message: Message, ctx: Context) -> Message:
    """Answer in a stream."""
    leave(ctx, message.payload)
    for number in range(WORDS):
        await ctx.emit_chunk(parent=message, text=f"{message.payload}{number} ", done=number == WORDS - 1)
        await pause()
    return message.model_copy(update={"payload": f"spoke {WORDS} words"})


async def spread(message: Message, ctx: Context) -> None:
    """Several messages of one."""
    leave(ctx, message.payload)
    for number in range(CROWD):
        await pause()
        await ctx.emit(message.model_copy(update={"payload": f"{message.payload}/{number}"}))


def build_fan() -> PenguiFlow:
    """A fan-out and a join."""
    first, last, join = node(split, "split"), node(gather, "gather"), join_k("join", WIDTH)
    workers = [worker(number) for number in range(WIDTH)]
    return create(first.to(*workers), *(each.to(join) for each in workers), join.to(last), last.to())


def build_loop() -> PenguiFlow:
    """A node that sends to itself."""
    thinker = node(think, "think")
    return create(thinker.to(thinker))


def build_stream() -> PenguiFlow:
    """A node that streams, behind one that does not."""
    first, speaker = node(split, "split"), node(speak, "speak")
    return create(first.to(speaker), speaker.to())


def build_all() -> PenguiFlow:
    """Several messages at a time in one node, workers side by side, a join, and a stream of what they made."""
    first, join, last = node(spread, "spread"), join_k("join", 3 * CROWD), node(gather, "gather")
    workers = [worker(number) for number in range(3)]
    speaker, crowd = node(speak, "speak"), node(split, "crowd", max_concurrency=CROWD)
    return create(
        first.to(crowd),
        crowd.to(*workers),
        *(each.to(join) for each in workers),
        join.to(last),
        last.to(speaker),
        speaker.to(),
    )


fan, loop, stream, everything = build_fan(), build_loop(), build_stream(), build_all()
