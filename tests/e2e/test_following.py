"""`pf inspect --follow`: the events of a run that another process makes, until it is over."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.e2e.conftest import AddFlow, RunCommand

LIMIT_S = 120.0
GATE = """
    from __future__ import annotations

    import asyncio
    from pathlib import Path

    from penguiflow import Node, create


    async def first(value: dict, ctx) -> dict:
        return value


    async def gate(value: dict, ctx) -> dict:
        while not Path("go").exists():
            await asyncio.sleep(0.005)
        return {"passed": True}


    last = Node(gate, name="gate")
    flow = create(Node(first, name="first").to(last), last.to())
"""


def start(project: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "playground", *arguments]
    return subprocess.Popen(command, cwd=project, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)


def rest_of(process: subprocess.Popen[str]) -> list[str]:
    """What it writes from now to its end; what was read ahead is in the stream, where `communicate` does not look."""
    assert process.stdout is not None
    with process.stdout:
        rest = process.stdout.readlines()
    process.wait(LIMIT_S)
    return rest


def test_events_come_as_they_are_made_and_end_with_the_run(project: Path, add_flow: AddFlow, pf: RunCommand) -> None:
    running = start(project, "run", add_flow("gate", GATE), "--input", "{}", "--trace-id", "the-run", "--quiet")
    deadline = time.monotonic() + LIMIT_S
    while pf("inspect", "the-run").returncode != 0:
        assert time.monotonic() < deadline, "the run did not begin"
    following = [start(project, "inspect", "the-run", "--follow", *more) for more in ([], ["--json"])]
    heads = []
    for each in following:
        assert each.stdout is not None
        lines = [each.stdout.readline()]
        while "gate" not in lines[-1] or "node.start" not in lines[-1]:
            assert lines[-1], lines
            lines.append(each.stdout.readline())
        heads.append(lines)
    # The run waits, and so do those who follow it.
    assert [each.poll() for each in (running, *following)] == [None] * 3
    (project / "go").touch()
    assert running.communicate(timeout=LIMIT_S)[0] == '{\n  "passed": true\n}\n'
    text, raw = ([*lines, *rest_of(each)] for lines, each in zip(heads, following, strict=True))
    assert [each.returncode for each in following] == [0, 0]
    assert "trace.end" in text[-1]
    events = [json.loads(line) for line in raw]
    assert [event["seq"] for event in events] == list(range(len(text)))
    assert events[-1]["kind"] == "trace.end"


def test_a_trace_that_is_over_is_told_and_that_is_all(project: Path, add_flow: AddFlow, pf: RunCommand) -> None:
    (project / "go").touch()
    assert pf("run", add_flow("gate", GATE), "--input", "{}", "--trace-id", "done").returncode == 0
    followed, events = (pf("inspect", "done", how) for how in ("--follow", "--events"))
    assert (followed.returncode, followed.stdout) == (0, events.stdout)
    assert pf("inspect", "nothing", "--follow").returncode == 3
