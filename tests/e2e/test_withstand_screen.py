"""A terminal that is tiny, or changes all the time, keys that come at once, a clock that jumps."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Opened

FLOW = """
from __future__ import annotations

import asyncio
import itertools
import os
import time

from pydantic import BaseModel

from penguiflow import Context, ModelRegistry, Node, create


class Order(BaseModel):
    do: str = "well"
    one: int = 1
    two: bool = False
    three: float = 0.5


async def act(order: Order, ctx: Context) -> Order:
    number = 0
    while order.do == "stream" and not os.path.exists("go"):
        for number in range(number, number + 50):
            await ctx.emit_chunk(parent=ctx.message, text=f"word{number} ")
        await asyncio.sleep(0.01)
    return order


if os.path.exists("jumps"):
    real, jumps = time.time, itertools.cycle((0.0, 9e7, -9e7, 4e3, -4e3))
    time.time = lambda: real() + next(jumps)
__flow__ = {"title": "Seen", "samples": [{"do": "well"}]}
flow = create(Node(act).to())
registry = ModelRegistry()
registry.register("act", Order, Order)
"""


@pytest.fixture
def project(project: Path) -> Path:
    (project / "seen.py").write_text(FLOW)
    return project


def test_a_terminal_of_40_by_10(opened: Opened) -> None:
    with opened("seen.py", size=(40, 10)) as terminal:
        terminal.until_shown("seen")
        # A form is taller than the screen: its fields come into sight as they get the focus, and so does its end.
        terminal.shown(b"1g\r", "run seen", "do  string")
        terminal.shown(b"\t\t\t", "three")
        terminal.shown(b"\t", "Run", "seen.py")
        terminal.press(b"\r")
        terminal.wait_for(lambda: "run seen" not in terminal.screen(), "the form is still there")
        terminal.shown(b"2", "RUNS", "✔")
        for keys, needle in (
            (b"3", "TRACE"),
            (b"3]", "Waterfall"),
            (b"3]", "Graph"),
            (b"3]gj\r", "INSPECT"),
            (b"4]", "INSPECT"),
            (b"5", "OUTPUT"),
            (b"5]", "OUTPUT"),
        ):
            terminal.shown(keys, needle)
        for keys, needle in ((b"?", "keys"), (b"%", "STATISTICS"), (b":", "Search for")):
            terminal.opens(keys, needle)
        terminal.shown(b"3gjB", "Breakpoint", "only if")
        terminal.shown(b"\t\t", "in this flow")
        terminal.press(b"\x1b")
        terminal.wait_for(lambda: "in this flow" not in terminal.screen(), "the form is still there")
        terminal.leave()


def test_a_storm_of_sizes_while_a_stream_runs(project: Path, opened: Opened) -> None:
    sizes = random.Random(7)
    with opened("seen.py") as terminal:
        terminal.until_shown("seen", "ready")
        trace_id = terminal.begins("stream")
        # Only the newest words are drawn: no one of them need ever be.
        terminal.until("word")
        for number in range(200):
            terminal.resize(sizes.randint(1, 200), sizes.randint(1, 60))
            if number % 20 == 0:
                terminal.press(b"3]?")
                terminal.read_all(0.05)
        terminal.press(b"\x1b")
        terminal.resize(120, 40)
        terminal.until_shown("FLOWS", "RUNS", "TRACE", "INSPECT", "OUTPUT", "1 running")
        terminal.visit()
        (project / "go").touch()
        terminal.until_shown(f"✔ {trace_id[:6]}", "0 running")
        terminal.visit()
        terminal.leave()


def test_keys_that_come_all_at_once(opened: Opened) -> None:
    with opened("seen.py") as terminal:
        terminal.until_shown("seen", "ready")
        # What is typed after the key that opens a form goes into it, and Enter twice runs once.
        terminal.press(b"1g\rburst\r\r\r")
        terminal.wait_for(lambda: terminal.run_shown[1] == "✔", "no run")
        terminal.shown(b"3gj\r", "burst")
        terminal.press(b"3gj\r/burst")
        terminal.wait_for(lambda: terminal.screen().splitlines()[-1].startswith(" burst"), "no line to search with")
        terminal.press(b"\r")
        terminal.wait_for(lambda: "? help" in terminal.screen().splitlines()[-1], "the line is still there")
        terminal.shown(b"?", "Everywhere")
        terminal.press(b"\x1b")
        terminal.wait_for(lambda: "Everywhere" not in terminal.screen(), "help is still there")
        terminal.visit()
        terminal.leave()


def test_a_clock_that_jumps(project: Path, opened: Opened) -> None:
    """The host's clock and the dashboard's own differ by years, both ways, from one reading to the next."""
    (project / "jumps").touch()
    (project / "sitecustomize.py").write_text(
        "import itertools, time\n"
        "real, jumps = time.time, itertools.cycle((0.0, 9e7, -9e7, 4e3, -4e3))\n"
        "time.time = lambda: real() + next(jumps)\n"
    )
    path = os.pathsep.join(filter(None, (str(project), os.environ.get("PYTHONPATH"))))
    with opened("seen.py", env={"PYTHONPATH": path}) as terminal:
        terminal.until_shown("seen", "ready")
        terminal.runs("well")
        terminal.visit()
        terminal.visit_screens()
        terminal.leave()
