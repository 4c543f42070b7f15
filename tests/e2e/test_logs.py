"""What nodes log is in the trace of a real run, and the program's own logging is as it was."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

RunCommand = Callable[..., "subprocess.CompletedProcess[str]"]
AddFlow = Callable[..., str]

CHATTY = """
    from __future__ import annotations

    import logging

    from pydantic import BaseModel

    from penguiflow import Node, create

    logging.basicConfig(level=logging.INFO, format="mine %(message)s")
    quiet = logging.getLogger("quiet")
    quiet.propagate = False
    quiet.addHandler(logging.NullHandler())
    quiet.addFilter(lambda record: "never" not in record.getMessage())


    class In(BaseModel):
        text: str = "x"


    async def work(given: In, ctx) -> In:
        logging.getLogger("shop").info("priced")
        logging.getLogger("shop").debug("of no interest")
        quiet.warning("heard")
        quiet.warning("never heard")
        return given


    flow = create(Node(work, name="work").to())
"""


def said(shown: str) -> list[tuple[str, str]]:
    events = json.loads(shown)["events"]
    return [(event["name"], event["data"]["text"]) for event in events if event["kind"] == "log"]


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ("", [("shop", "priced"), ("quiet", "heard")]),
        ("[tool.penguiflow.recording]\nlogs = 'warning'\n", [("quiet", "heard")]),
        ("[tool.penguiflow.recording]\nlogs = false\n", []),
    ],
)
def test_lines_of_nodes_are_in_the_trace(
    project: Path, add_flow: AddFlow, pf: RunCommand, settings: str, kept: list[tuple[str, str]]
) -> None:
    (project / "pyproject.toml").write_text(settings)
    target = add_flow("chatty", CHATTY)
    ran = pf("run", target)
    assert ran.returncode == 0, ran.stderr
    assert "mine priced" in ran.stderr
    assert "never heard" not in ran.stderr
    assert said(pf("inspect", "last", "--json").stdout) == kept


def test_other_commands_pass_over_the_lines(project: Path, add_flow: AddFlow, pf: RunCommand) -> None:
    target = add_flow("chatty", CHATTY)
    assert pf("run", target, "--trace-id", "one").returncode == 0
    (project / "flows" / "chatty.py").write_text(
        (project / "flows" / "chatty.py").read_text().replace('info("priced")', 'info("priced anew")')
    )
    assert pf("run", target, "--trace-id", "two").returncode == 0
    differ = pf("diff", "one", "two")
    assert differ.returncode == 0, differ.stderr
    assert "priced" not in differ.stdout
    replayed = pf("replay", "one")
    assert replayed.returncode == 0, replayed.stderr
    events = json.loads(pf("inspect", "one", "--json").stdout)["events"]
    (first,) = (event["seq"] for event in events if event["kind"] == "log" and event["name"] == "shop")
    forked = pf("fork", "one", "--at", str(first), "--set", "/payload/text=y")
    assert forked.returncode == 0, forked.stderr
    assert json.loads(forked.stdout) == {"text": "y"}


def test_a_level_that_there_is_not_is_refused(project: Path, add_flow: AddFlow, pf: RunCommand) -> None:
    (project / "pyproject.toml").write_text("[tool.penguiflow.recording]\nlogs = 'loud'\n")
    refused = pf("run", add_flow("chatty", CHATTY))
    assert refused.returncode == 2
    assert "logs must be true, false or the name of a level" in refused.stderr
