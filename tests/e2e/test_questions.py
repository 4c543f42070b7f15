"""`ctx.ask` under `pf run`: somebody at a terminal answers; without one nobody does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.terminal import PF, Terminal

if TYPE_CHECKING:
    from tests.e2e.conftest import AddFlow, RunCommand

LIMIT_S = 120.0
ASKER = """
    from __future__ import annotations

    from typing import Literal

    from penguiflow import ModelRegistry, Node, NodePolicy, create
    from penguiflow.llm.scripted import ScriptedModel
    from penguiflow.planner import ReactPlanner
    from pydantic import BaseModel


    class Amount(BaseModel):
        n: int


    async def order(message, ctx):
        number = await ctx.ask("How many?", int)
        size = await ctx.ask("Which size?", Literal["small", "large"])
        return f"{number} {size}"


    async def count(args: Amount, ctx) -> Amount:
        return Amount(n=await ctx.ask("How many?", int))


    flow = create(Node(order, policy=NodePolicy(validate="none")).to())
    registry = ModelRegistry()
    registry.register("count", Amount, Amount)
    call = {"next_node": "count", "args": {"n": 0}}
    final = {"next_node": "final_response", "args": {"answer": "Seven."}}
    planner = ReactPlanner(
        ScriptedModel(rules=[("Count", call), ('"n":7', final)]), nodes=[Node(count)], registry=registry
    )
"""
NODE = ("run", "flows/asker.py:flow", "--input", "1")
PLANNER = ("run", "flows/asker.py:planner", "--input", '{"query": "Count"}')


@pytest.fixture
def asker(project: Path, add_flow: AddFlow) -> Path:
    add_flow("asker", ASKER)
    return project


def test_somebody_answers_at_the_terminal(asker: Path, pf: RunCommand) -> None:
    with Terminal([PF, *NODE], cwd=asker) as terminal:
        terminal.until("? How many? (integer)", "> ", timeout=LIMIT_S)
        terminal.press(b"many\n")
        terminal.until('the answer "many" does not fit', timeout=LIMIT_S)
        terminal.press(b"3\n")
        terminal.until("? Which size? (small, large)", timeout=LIMIT_S)
        terminal.press(b"large\n")
        terminal.until("3 large", "ok in", timeout=LIMIT_S)
        assert terminal.wait(LIMIT_S) == 0
    again = pf("replay", "last")
    assert again.returncode == 0, again.stderr
    assert "3 large" in again.stdout


def test_a_planner_goes_on_in_place(asker: Path) -> None:
    with Terminal([PF, *PLANNER], cwd=asker) as terminal:
        terminal.until("? How many? (integer)", timeout=LIMIT_S)
        terminal.press(b"7\n")
        terminal.until("Seven.", "ok in", timeout=LIMIT_S)
        assert terminal.wait(LIMIT_S) == 0


def test_the_end_of_the_file_is_no_answer(asker: Path) -> None:
    with Terminal([PF, *PLANNER], cwd=asker) as terminal:
        terminal.until("? How many? (integer)", timeout=LIMIT_S)
        terminal.press(b"\x04")
        terminal.until("paused in", "it waits for an answer: How many?", "go on: pf run", timeout=LIMIT_S)
        assert terminal.wait(LIMIT_S) == 0


def test_an_interrupt_ends_a_run_that_asks(asker: Path) -> None:
    with Terminal([PF, *NODE], cwd=asker) as terminal:
        terminal.until("? How many? (integer)", timeout=LIMIT_S)
        terminal.press(b"\x03")
        assert terminal.wait(LIMIT_S) == 130


def test_stops_and_questions_take_turns(asker: Path) -> None:
    with Terminal([PF, *NODE, "--break", "node:order"], cwd=asker) as terminal:
        terminal.until("(order) ", timeout=LIMIT_S)
        terminal.press(b"c\n")
        terminal.until("? How many? (integer)", timeout=LIMIT_S)
        terminal.press(b"3\n")
        terminal.until("? Which size?", timeout=LIMIT_S)
        terminal.press(b"small\n")
        terminal.until("3 small", timeout=LIMIT_S)
        assert terminal.wait(LIMIT_S) == 0


def test_without_a_terminal_nobody_answers(asker: Path, pf: RunCommand) -> None:
    run = pf(*NODE)
    assert run.returncode == 1
    assert "nobody is there to answer 'How many?'" in run.stderr
    assert "Traceback" not in run.stderr
