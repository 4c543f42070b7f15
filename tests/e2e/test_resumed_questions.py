"""A run whose host died while it asked: what `pf resume` does where nobody can answer."""

from __future__ import annotations

import os
import re
import shlex
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.terminal import PF, Terminal

if TYPE_CHECKING:
    from tests.e2e.conftest import AddFlow, RunCommand

LIMIT_S = 120.0
ASKER = """
    from __future__ import annotations

    from pydantic import BaseModel

    from penguiflow import ModelRegistry, Node, NodePolicy, create
    from penguiflow.llm.scripted import ScriptedModel
    from penguiflow.planner import ReactPlanner


    class Amount(BaseModel):
        n: int


    async def order(message, ctx):
        return await ctx.ask("How many?", int)


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


def interrupted(project: Path, target: str, value: str) -> None:
    """A run that asked when its host was killed."""
    with Terminal([PF, "run", target, "--input", value], cwd=project) as terminal:
        terminal.until("? How many?", "> ", timeout=LIMIT_S)
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit() and parent_of(folder) == terminal.process.pid:
                os.kill(int(folder.name), signal.SIGKILL)
        assert terminal.wait(LIMIT_S) == 6


def parent_of(folder: Path) -> int:
    """The process that has started one."""
    try:
        return int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def test_a_question_of_a_node_fails_the_run_and_tells_how_it_goes_on(
    project: Path, add_flow: AddFlow, pf: RunCommand
) -> None:
    add_flow("asker", ASKER)
    interrupted(project, "flows/asker.py:flow", "1")
    resumed = pf("resume", "last")
    assert (resumed.returncode, resumed.stdout) == (1, "")
    assert "nobody is there to answer 'How many?'" in resumed.stderr
    found = re.search(r"`pf (fork \S+ --at \d+)` in a terminal goes on from before the question", resumed.stderr)
    assert found is not None
    with Terminal([PF, *shlex.split(found[1])], cwd=project) as terminal:
        terminal.until("? How many?", "> ", timeout=LIMIT_S)
        terminal.press(b"7\n")
        assert terminal.wait(LIMIT_S) == 0
        assert "✔ ok" in terminal.text()


def test_a_planner_is_paused_and_its_answer_comes_later(project: Path, add_flow: AddFlow, pf: RunCommand) -> None:
    add_flow("asker", ASKER)
    interrupted(project, "flows/asker.py:planner", '{"query": "Count"}')
    resumed = pf("resume", "last")
    assert resumed.returncode == 0
    assert "it waits for an answer: How many?" in resumed.stderr
    # There is nothing to resume: it is told what goes on with it instead.
    again = pf("resume", "last")
    assert (again.returncode, "it waits for an answer" in again.stderr) == (2, True)
    (command,) = [line.partition("go on: pf ")[2] for line in resumed.stderr.splitlines() if "go on: pf " in line]
    answered = pf(*shlex.split(command.replace("…", "7")))
    assert (answered.returncode, "Seven." in answered.stdout) == (0, True)
    assert f"hint: pf {command}" in again.stderr
