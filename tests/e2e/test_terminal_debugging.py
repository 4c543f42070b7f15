"""A developer's hour in a real terminal: stop, look, change, go on, and see what becomes of it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.hands import CTRL_END, CTRL_HOME, DELETE, ENTER, Hands
from benchmarks.terminal import PF, Terminal

FLOWS = Path(__file__).parents[2] / "flows"
DOWN, END, BACK, SAVE = b"\x1b[B", b"\x1b[F", b"\x7f", b"\x13"
SELECT_ALL = b"\x1b[18~"
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

STEPS = TWO_NODES.replace('"Shouts"', '"Steps"').replace(
    "async def last(",
    """tries = 0


async def shaky(value: Text, ctx) -> Text:
    global tries
    tries += 1
    if tries == 1:
        raise ConnectionError("out of reach")
    return value


async def last(""",
).replace('("first", "last")', '("first", "shaky", "last")').replace(
    "one, two = Node(first), Node(last)\nflow = create(one.to(two), two.to())",
    "one, two, three = Node(first), Node(shaky, policy=NodePolicy(max_retries=0)), Node(last)\n"
    "flow = create(one.to(two), two.to(three), three.to())",
).replace("Node, create", "Node, NodePolicy, create")  # fmt: skip
TICKS = """
import asyncio

from penguiflow import Node, NodePolicy, create


async def ticks(value, ctx):
    while True:
        await ctx.emit(value)
        await asyncio.sleep(0.02)


async def hears(value, ctx):
    return None


__flow__ = {"title": "Ticks", "samples": ["tick"]}
plain = NodePolicy(validate="none")
one, two = Node(ticks, policy=plain), Node(hears, policy=plain)
flow = create(one.to(two), two.to())
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The agent that researches, with its corpus, in a project of its own."""
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "research"\nversion = "0"\n')
    shutil.copytree(FLOWS, tmp_path / "flows", ignore=shutil.ignore_patterns("__pycache__"))
    for name, source in (("shout", TWO_NODES), ("steps", STEPS), ("ticks", TICKS)):
        (tmp_path / f"{name}.py").write_text(source)
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
    shown(terminal, b"\t" + condition, "it can be read", condition.decode())
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


def test_errors_are_tried_again_calls_skipped_and_runs_halted(project: Path) -> None:
    with Hands([PF, "tui", "steps.py", "ticks.py"], cwd=project, size=(170, 50)) as hands:
        hands.until_shown("Steps", "Ticks", "ready")
        hands.brings(b"b", "each error", "node last")
        hands.clears(b"error", "node last")
        hands.brings(ENTER, "breakpoint at each error")
        hands.brings(b"5]]", "[Breakpoints]", "◉ each error")
        hands.brings(b"a", "each error¹")
        hands.clears(b"a", "each error¹")
        # What failed is tried again.
        hands.brings(b"1r", "⏸ 1 stopped", "out of reach", "u try again")
        hands.brings(b"u", "0 running", "✔ steps")
        # To the node that the cursor is on, and past it with a result from here.
        hands.brings(b"S", "stopped   ⏸ before node first")
        hands.brings(b"3]]", "[Graph]")
        hands.brings(b"jj", "node last")
        hands.brings(b"t", "stopped   ⏸ before node last")
        hands.brings(b"K", "skip last", "ctrl+s applies")
        hands.brings(SELECT_ALL + b'{"text": "given from here"}', "given from here", "fits the schema · changed")
        hands.clears(SAVE, "⏸ 1 stopped")
        hands.until_shown("0 running")
        hands.brings(b"3[[g", "[Tree]", 'text: "given from here"')
        hands.brings(b"5" + DELETE, "No breakpoints")
        # A run that goes on is stopped where it comes to next.
        hands.brings(b"1Gr", "1 running", "● ticks")
        hands.brings(b"H", "⏸ 1 stopped", "stopped   ⏸")
        hands.brings(b"x", "0 running", "⊘ cancelled")


def test_a_decision_is_replaced_and_a_call_stepped_out_of(project: Path) -> None:
    with Hands([PF, "tui", "flows/research_agent.py"], cwd=project, size=(170, 50)) as hands:
        hands.until_shown("Research agent", "ready", "sample 1")
        hands.brings(b"S", "stopped   ⏸ before node research_agent")
        hands.brings(b"s", "⏸ before the prompt to")
        hands.brings(b"s", "⏸ after the decision for search")
        hands.brings(b"A", "edit after the decision for search")
        decision = b'{"next_node": "final_response", "args": {"answer": "I was told to say this."}}'
        hands.brings(SELECT_ALL + decision, "I was told to say this", "fits the schema · changed")
        hands.brings(SAVE, "✎ edited", "c continue")
        hands.brings(b"c", "0 running", "✔ research_agent", "I was told to say this.")
        hands.brings(b"1S", "stopped   ⏸ before node research_agent")
        for place in ("before the prompt to", "after the decision for search", "before tool search"):
            hands.brings(b"s", f"stopped   ⏸ {place}")
        hands.brings(b"O", "stopped   ⏸ after node research_agent")


def test_a_planner_is_given_a_note_and_a_node_sends_one_message_more(project: Path) -> None:
    with Hands([PF, "tui", "shout.py"], cwd=project, size=(170, 50)) as hands:
        hands.until_shown("Shouts", "ready")
        hands.brings(b"S", "stopped   ⏸ before node first")
        hands.brings(b"M", "one message more", "ctrl+s applies")
        hands.brings(SELECT_ALL + b'"text": "one more"' + CTRL_HOME + b"{" + CTRL_END + b"}", '{"text": "one more"}')
        hands.clears(SAVE, "⏸ 1 stopped", "ctrl+s applies")
        hands.until_shown("0 running", "✔ shout")
        hands.brings(b"3gjj", "ONE MORE")
    with Hands([PF, "tui", "flows/research_agent.py"], cwd=project, size=(170, 50)) as hands:
        hands.until_shown("Research agent", "ready", "sample 1")
        hands.brings(b"S", "stopped   ⏸ before node research_agent")
        hands.brings(b"s", "⏸ before the prompt to")
        hands.brings(b"M", "a note to the planner", "ctrl+s applies")
        hands.brings(SELECT_ALL + b'"Keep it short, please."', "Keep it short", "fits the schema · changed")
        hands.clears(SAVE, "⏸ 1 stopped", "ctrl+s applies")
        hands.until_shown("0 running", "✔ research_agent")
    told = [str(PF), "inspect", "last", "--llm", "2"]
    prompt = subprocess.run(told, cwd=project, capture_output=True, text=True, timeout=60, check=True).stdout
    assert "Keep it short, please." in prompt
