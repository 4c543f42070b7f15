"""A developer's hour in a real terminal: stop, look, change, go on, and see what becomes of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.terminal import PF, Terminal

FLOWS = Path(__file__).parents[2] / "flows"
DOWN, END, BACK, SAVE = b"\x1b[B", b"\x1b[F", b"\x7f", b"\x13"
EDITOR = """#!/bin/sh
printf 'in another editor\\n'
read -r answer
sed -i "s#birds/[a-z-]*#$answer#" "$1"
"""

TWO_NODES = """
from pydantic import BaseModel

from penguiflow import ModelRegistry, Node, create


class Text(BaseModel):
    text: str


async def first(value: Text, ctx) -> Text:
    return value


async def last(value: Text, ctx) -> Text:
    return Text(text=value.text.upper())


__flow__ = {"title": "Shouts", "samples": [{"text": "quiet"}]}
registry = ModelRegistry()
for name in ("first", "last"):
    registry.register(name, Text, Text)
one, two = Node(first), Node(last)
flow = create(one.to(two), two.to())
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The agent that researches, with its corpus, in a project of its own."""
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "research"\nversion = "0"\n')
    shutil.copytree(FLOWS, tmp_path / "flows", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "shout.py").write_text(TWO_NODES)
    editor = tmp_path / "editor.sh"
    editor.write_text(EDITOR)
    editor.chmod(0o755)
    return tmp_path


@pytest.fixture
def terminal(project: Path) -> Iterator[Terminal]:
    environment = {"VISUAL": str(project / "editor.sh")}
    with Terminal([PF, "tui", "flows/research_agent.py"], cwd=project, size=(170, 50), env=environment) as running:
        running.until_shown("Research agent", "ready", "sample 1")
        yield running


def shown(terminal: Terminal, keys: bytes, *needles: str) -> None:
    """Press keys and wait for what they bring onto the screen."""
    terminal.press(keys)
    terminal.until_shown(*needles)


def break_on_fetch(terminal: Terminal, condition: bytes) -> None:
    """A breakpoint that stops once, through the form."""
    shown(terminal, b"B", "tool fetch", "each decision")
    shown(terminal, b"fetch", "tool fetch")
    shown(terminal, b"\t\t" + condition, "it can be read", condition.decode())
    shown(terminal, b"\t ", "stops once, and is then off")
    shown(terminal, b"\r", "breakpoint at tool fetch")


def test_another_editor_has_the_terminal_and_gives_it_back(terminal: Terminal) -> None:
    break_on_fetch(terminal, b"args.url")
    shown(terminal, b"r", "⏸ 1 stopped", "stopped   ⏸ before tool fetch")
    shown(terminal, b"e", "edit before tool fetch", "emperor-penguin")
    shown(terminal, b"\x0f", "in another editor")
    shown(terminal, b"birds/king-penguin\n", "edit before tool fetch", "king-penguin", "fits the schema · changed")
    shown(terminal, SAVE, "✎ edited  /args/url")
    shown(terminal, b"c", "0 running", "king penguin")


def test_two_runs_of_a_flow_are_stopped_and_walked(project: Path) -> None:
    with Terminal([PF, "tui", "shout.py"], cwd=project, size=(170, 50)) as terminal:
        terminal.until_shown("Shouts", "ready", "sample 1")
        shown(terminal, b"b", "node first", "node last")
        shown(terminal, b"last\r", "breakpoint at node last")
        shown(terminal, b"S", "⏸ 1 stopped", "stopped   ⏸ before node first")
        # The node has one place: it is free for the second run when the first has left it.
        shown(terminal, b"c", "stopped   ⏸ before node last")
        shown(terminal, b"S", "⏸ 2 stopped", "stopped   ⏸ before node first")
        shown(terminal, b".", "stopped   ⏸ before node last")
        shown(terminal, b"e", "edit before node last", '"text": "quiet"')
        shown(terminal, DOWN + END + BACK * 6 + b'loud"' + SAVE, "✎ edited  /text")
        shown(terminal, b"c", "⏸ 1 stopped", "LOUD")
        shown(terminal, b".", "stopped   ⏸ before node first")
        shown(terminal, b"x", "0 running", "⊘ cancelled")
        terminal.press(b"q")
        assert terminal.wait(60.0) == 0
