"""Watching in a real terminal: a graph that moves, a waterfall, calls of a model, statistics, and the tour."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.terminal import PF, Terminal

FLOWS = Path(__file__).parents[2] / "flows"
ESCAPE = b"\x1b"
TOUR = b"\x14"

GATED = """
import asyncio
from pathlib import Path

from pydantic import BaseModel

from penguiflow import ModelRegistry, Node, create


class Text(BaseModel):
    text: str


async def first(value: Text, ctx) -> Text:
    return value


async def slow(value: Text, ctx) -> Text:
    while not Path("open").exists():
        await asyncio.sleep(0.01)
    return value


async def last(value: Text, ctx) -> Text:
    if value.text == "broken":
        raise ValueError("out of fish")
    return value


__flow__ = {"title": "Waits at a gate", "samples": [{"text": "hello"}]}
registry = ModelRegistry()
for name in ("first", "slow", "last"):
    registry.register(name, Text, Text)
one, two, three = Node(first), Node(slow), Node(last)
flow = create(one.to(two), two.to(three), three.to())
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "watched"\nversion = "0"\n')
    shutil.copytree(FLOWS, tmp_path / "flows", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "gated.py").write_text(GATED)
    return tmp_path


@pytest.fixture
def terminal(project: Path) -> Iterator[Terminal]:
    with Terminal([PF, "tui", "flows/research_agent.py"], cwd=project, size=(170, 50)) as running:
        running.until_shown("Research agent", "ready", "sample 1")
        yield running


def shown(terminal: Terminal, keys: bytes, *needles: str) -> None:
    """Press keys and wait for what they bring onto the screen."""
    terminal.press(keys)
    terminal.until_shown(*needles)


def test_the_graph_moves_with_the_runs(project: Path) -> None:
    with Terminal([PF, "tui", "gated.py"], cwd=project, size=(170, 50)) as terminal:
        terminal.until_shown("Waits at a gate", "ready", "sample 1")
        shown(terminal, b"r", "1 running", "● slow")
        shown(terminal, b"3]]", "[Graph]", "( OpenSea )", "✔1", "●1")
        # The node has one place: the message of the second run waits before it.
        shown(terminal, b"r", "2 running", "▼ 1")
        shown(terminal, b"j", "node slow")
        shown(terminal, b"\r", "has not worked in this run")
        (project / "open").touch()
        # A notice stands for a few seconds only: it was written once.
        terminal.until("ok after")
        terminal.until_shown("0 running", "( Rookery ) 1", "✔ gated")
        # What failed is seen in it, and inspected from there.
        shown(terminal, b"%", "STATISTICS gated", "2 runs", "0.0 % failed", "node slow")
        shown(terminal, ESCAPE, "( Rookery )")


def test_spans_calls_and_copies_of_a_planners_run(terminal: Terminal) -> None:
    shown(terminal, b"r", "✔ research_agent", "0 running")
    shown(terminal, b"3g]", "[Waterfall]", "░ queued ┄ waiting ━ working ✖ failed", "✖┄")
    shown(terminal, b"jjjj=", "[Waterfall]")
    shown(terminal, b"UUUU]", "[Graph]", "⚙ fetch", "⚙ publish")
    shown(terminal, b"gL", "[LLM]", "1/4", "decision · step 0", "temperature", "decision · search", "raw reply")
    shown(terminal, b")", "2/4", "decision · fetch")
    shown(terminal, b"(", "1/4", "decision · search")
    shown(terminal, b")", "2/4", "decision · fetch")
    shown(terminal, b"Y", "COPY", "the call as JSON: request and response", "pf inspect of this call")
    terminal.press(b"l")
    terminal.until("characters: pf inspect")
    shown(terminal, b"3[[gjjjJ", "as JSON", '"kind": "')
    shown(terminal, b"J", "[Detail]", "step 0", "decision · search")
    shown(terminal, b"5", "answer · step 3", "tok/s")
    shown(terminal, b"%", "STATISTICS research_agent", "4 calls of models", "llm scripted")


def test_the_tour_waits_for_each_key(project: Path) -> None:
    with Terminal([PF, "tui", "--tour", "gated.py"], cwd=project, size=(100, 40)) as terminal:
        (project / "open").touch()
        terminal.until_shown("Waits at a gate", "ready", "TOUR", "Press r: gated runs")
        shown(terminal, b"r", "Press 3: the TRACE pane")
        terminal.until_shown("0 running")
        shown(terminal, b"3gj", "Press ]: the same spans as a waterfall")
        shown(terminal, b"]", "Press ] again")
        shown(terminal, b"]", "until Tree is in front")
        shown(terminal, b"[[gj", "Press b: a breakpoint")
        shown(terminal, b"b", "Press r: run it again; it stops there")
        shown(terminal, b"r", "⏸ 1 stopped", "Press s to go one step")
        shown(terminal, b"c", "Press ?: the keys")
        shown(terminal, b"?", "Everywhere")
        shown(terminal, ESCAPE, "[Tree]", "0 running")
        # It is offered once only.
        shown(terminal, TOUR, "━━ TOUR ")
        shown(terminal, TOUR, "0 running")
