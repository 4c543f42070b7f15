"""5,000 events and 2,000 chunks a second while somebody types, in a real terminal.

Wall times are for `benchmarks/dashboard_load.py`. Here keys have to be answered, nothing may be missing, and what an
event costs is bounded, far above what it does, so that it cannot grow with the events that there are.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.dashboard_load import cpu_seconds
from benchmarks.hands import ESCAPE
from penguiflow.state.sqlite import SQLiteStateStore

if TYPE_CHECKING:
    from tests.e2e.conftest import Opened, Steady

HOPS = 2000
"""At least; each makes six events."""
MAX_CPU_S = 0.002
"""Of the dashboard, for each event: it takes some 0.0001 where nothing else is to be done."""
STORM = f"""
from __future__ import annotations

import asyncio
import os
import time

from pydantic import BaseModel

from penguiflow import Context, Message, ModelRegistry, Node, create

sent = {{"hops": 0, "chunks": 0}}


class Leaf(BaseModel):
    text: str


class Calm(BaseModel):
    hops: int = 0
    chunks: int = 0


async def blow(message: Message, ctx: Context) -> Message:
    begun = time.perf_counter()
    while sent["hops"] < {HOPS} or not os.path.exists("enough"):
        due = (time.perf_counter() - begun) * 2000
        while sent["chunks"] < due:
            await ctx.emit_chunk(parent=message, text="word " if sent["chunks"] % 12 else "word\\n")
            sent["chunks"] += 1
        await asyncio.sleep(0.005)
    await ctx.emit_chunk(parent=message, text="", done=True)
    sent["chunks"] += 1
    while not sent.get("over"):
        await asyncio.sleep(0.005)
    return message.model_copy(update={{"payload": Calm(hops=sent["hops"], chunks=sent["chunks"])}})


async def pump(message: Message, ctx: Context) -> None:
    begun = time.perf_counter()
    while sent["hops"] < {HOPS} or not os.path.exists("enough"):
        due = (time.perf_counter() - begun) * 5000 / 6
        while sent["hops"] < due:
            await ctx.emit(message.model_copy(update={{"payload": Leaf(text=f"the quick brown fox {{sent['hops']}}")}}))
            sent["hops"] += 1
        await asyncio.sleep(0.005)
    sent["over"] = True


async def catch(message: Message, ctx: Context) -> None:
    return None


blower, pumper, leaf = Node(blow), Node(pump), Node(catch, name="leaf")
flow = create(blower.to(), pumper.to(leaf), leaf.to(), queue_maxsize=256)
registry = ModelRegistry()
for name in ("blow", "pump", "leaf"):
    registry.register(name, Message, Message)
__flow__ = {{"title": "storm", "samples": [{{}}]}}
"""


@pytest.fixture
def project(project: Path) -> Path:
    (project / "storm.py").write_text(STORM)
    (project / "other.py").write_text(STORM.replace('"storm"', '"other"'))
    return project


async def recorded(path: Path) -> tuple[str | None, Counter[str], list[int]]:
    """Output, events by kind and numbers of the events of the only run."""
    store = SQLiteStateStore(path, read_only=True)
    [trace] = await store.find_traces()
    events = await store.load_events(trace.trace_id)
    kinds = Counter(f"{event.kind} {event.name}" if event.kind == "node.end" else event.kind for event in events)
    await store.close()
    return trace.output, kinds, [event.seq for event in events]


def stands(terminal: Steady, typed: str) -> bool:
    """Whether the line below says this."""
    return terminal.screen().splitlines()[-1].startswith(f" {typed} ")


def test_thousands_of_events_a_second_while_somebody_types(project: Path, opened: Opened) -> None:
    with opened("storm.py", "other.py") as terminal:
        terminal.until_shown("● storm", "● other", "ready")
        before = cpu_seconds(terminal.process.pid)
        terminal.shown(b"1gr", "1 running", "leaf", "word")
        # Each key is answered before the next one is pressed: in a list, in a line, by a screen.
        for keys, needle in ((b"1j", "INSPECT other"), (b"k", "INSPECT storm")) * 3:
            terminal.shown(keys, needle)
        terminal.press(b"1/")
        for end in range(1, 6):
            typed = "storm"[:end]
            terminal.press(typed[-1].encode())
            terminal.wait_for(partial(stands, terminal, typed), typed)
        terminal.press(ESCAPE)
        terminal.wait_for(lambda: "? help" in terminal.screen().splitlines()[-1], "the line is still there")
        terminal.visit()
        (project / "enough").touch()
        terminal.until_shown("0 running", timeout=terminal.limit_s)
        terminal.ends("✔")
        used = cpu_seconds(terminal.process.pid) - before
        terminal.leave()
    output, kinds, numbers = asyncio.run(recorded(project / ".penguiflow" / "state.db"))
    assert output is not None
    told = json.loads(output)
    assert told["hops"] >= HOPS
    assert (kinds["node.end leaf"], kinds["stream.chunk"]) == (told["hops"], told["chunks"])
    assert numbers == list(range(len(numbers)))
    assert used / len(numbers) < MAX_CPU_S
