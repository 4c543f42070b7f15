"""A recorded trace of a million events in a real terminal: opened, walked, filtered, searched, gone back in."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.hands import ESCAPE, PAGE_DOWN, PAGE_UP
from benchmarks.long_trace import write

if TYPE_CHECKING:
    from tests.e2e.conftest import Opened, Steady

EVENTS = 1_000_000
WRITTEN = 14_000
"""To write them all takes its time: what lies between the beginning and the end of these is there again and again."""
NEEDLE = "needle 4711"
FLOW = """
from penguiflow import Node, NodePolicy, create


async def act(value, ctx):
    return value


__flow__ = {"title": "Long", "samples": ["well"]}
flow = create(Node(act, policy=NodePolicy(validate="none")).to())
"""
FIND = "SELECT trace, first_seq, last_seq, data FROM event_chunks ORDER BY last_seq"
ADD = "INSERT INTO event_chunks (trace, first_seq, last_seq, data) VALUES (?, ?, ?, ?)"


def grow(path: Path, events: int) -> int:
    """Make a trace as long as this, or a little longer; gives how long it is."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA synchronous = OFF")
        rows = connection.execute(FIND).fetchall()
        *_, (trace, first, last, data) = rows
        connection.execute("DELETE FROM event_chunks WHERE first_seq = ?", (first,))
        between = rows[1:-1]
        start, stride = between[0][1], first - between[0][1]
        place = first
        while place < events:
            shift = place - start
            connection.executemany(ADD, ((each[0], each[1] + shift, each[2] + shift, each[3]) for each in between))
            place += stride
        connection.execute(ADD, (trace, place, place + last - first, data))
        connection.execute("UPDATE traces SET events = ?", (place + last - first + 1,))
    return int(place + last - first + 1)


@pytest.fixture
def project(project: Path) -> Path:
    (project / "long.py").write_text(FLOW)
    return project


def told(terminal: Steady) -> bool:
    """Whether there is a timeline, or a notice that it is too early for one."""
    return any(words in terminal.screen() for words in ("TIMELINE", "still being read"))


def test_a_trace_of_a_million_events(project: Path, opened: Opened) -> None:
    path = project / ".penguiflow" / "state.db"
    asyncio.run(write(path, WRITTEN, needle=NEEDLE))
    events = grow(path, EVENTS)
    with opened("long.py") as terminal:
        terminal.until_shown("● long", "ready", "✔ long")
        terminal.shown(b"2g\r", "TRACE long", f"{events:,} events")
        # Keys are answered while it is still being read, and what needs all of it says so.
        for keys, needle in ((b"1", "┏━ FLOWS"), (b"3", "┏━ TRACE"), (b"4]", "[Events]")):
            terminal.shown(keys, needle)
        terminal.shown(b"G", "trace.end")
        terminal.shown(b"g", "trace.start")
        terminal.press(PAGE_DOWN * 10 + PAGE_UP * 10)
        terminal.shown(b"/kind:node.retry", "kind:node.retry")
        terminal.shown(b"\r", f"{events - 2} node.retry")
        terminal.shown(b"G\r", NEEDLE)
        # On a quick machine all of it is read by now.
        terminal.press(b"3,")
        terminal.wait_for(lambda: told(terminal), "no timeline, nor why there is none")
        terminal.press(ESCAPE)
        terminal.wait_for(lambda: "TIMELINE" not in terminal.screen(), "the timeline is still there")
        terminal.visit()
        terminal.press(b"1gr")
        terminal.wait_for(lambda: terminal.run_shown[0] not in {"", "long"}, "no run after it")
        terminal.ends("✔")
        terminal.leave()
