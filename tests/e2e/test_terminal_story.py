"""The whole story in one real terminal: find the wrong decision, try another one, and keep the proof.

No mouse, no key for any provider, nothing but what a person would type.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.hands import BACKSPACE, DOWN, END, ENTER, ESCAPE, LEFT, Hands, ctrl
from benchmarks.terminal import PF

FLOWS = Path(__file__).parents[2] / "flows"
LIMIT_S = 300.0
SAVE, CHANGES, COMPLETE = ctrl("s"), ctrl("d"), ctrl("@")
QUESTION = {"query": "What do emperor penguins eat?"}
READER = {"tenant_id": "demo", "user_id": "reader", "session_id": "first"}
OF_THE_PAGE = "fastest swimmer"
"""What only the page says that the edited URL leads to."""
OF_THE_SUMMARY = "The reader asked about icebergs."
"""What only the edited summary says."""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The agent that researches, with its corpus, in a project of its own; no provider could be asked for anything."""
    for name in list(os.environ):
        if "KEY" in name or "TOKEN" in name or name.startswith("PENGUIFLOW"):
            monkeypatch.delenv(name)
    return research_in(tmp_path / "project")


@pytest.fixture
def terminal(project: Path) -> Iterator[Hands]:
    with Hands([PF, "tui", "flows/research_agent.py"], cwd=project, size=(170, 50)) as running:
        running.until_shown("Research agent", "ready", "sample 1")
        yield running


def research_in(folder: Path) -> Path:
    """A project with the flows of this repository."""
    folder.mkdir()
    (folder / "pyproject.toml").write_text('[project]\nname = "research"\nversion = "0"\n')
    shutil.copytree(FLOWS, folder / "flows", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def ran(project: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """A command in the project, to its end."""
    return subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=LIMIT_S, check=False)


def traces(project: Path) -> list[dict[str, object]]:
    """What `pf traces --json` lists, the newest first."""
    done = ran(project, str(PF), "traces", "--json")
    assert done.returncode == 0, done.stderr
    found: list[dict[str, object]] = json.loads(done.stdout)["traces"]
    return found


def answer_of(project: Path, trace_id: str) -> str:
    """The answer that a recorded run ended with."""
    done = ran(project, str(PF), "inspect", trace_id, "--json")
    assert done.returncode == 0, done.stderr
    answers = [
        event["data"]["payload"]["value"]
        for event in json.loads(done.stdout)["events"]
        if event["kind"] == "message.enqueued" and event["data"]["target"] == "Rookery"
    ]
    return json.dumps(answers[-1])


def test_from_a_breakpoint_to_a_test_that_keeps_the_better_run(terminal: Hands, project: Path, tmp_path: Path) -> None:
    # What the same question is answered with when nobody interferes.
    untouched = research_in(tmp_path / "untouched")
    given = json.dumps({**QUESTION, "tool_context": READER})
    plain = ran(untouched, str(PF), "run", "flows/research_agent.py", "--input", given, "--json")
    assert plain.returncode == 0, plain.stderr
    assert "Emperor penguins eat fish" in plain.stdout
    assert OF_THE_PAGE not in plain.stdout
    assert OF_THE_SUMMARY not in plain.stdout

    # Break on the tool, under a condition; run; it stops.
    terminal.brings(b"B", "tool fetch", "each decision")
    terminal.clears(b"fetch", "each decision")
    terminal.brings(b'\t"b" in args.url', "it can be read", '"b" in args.url')
    terminal.brings(b"\t ", "stops once, and is then off")
    terminal.brings(ENTER, "breakpoint at tool fetch")
    terminal.brings(b"r", "⏸ 1 stopped", "stopped   ⏸ before tool fetch", 'if "b" in args.url', "raw reply")

    # Another page, and on to the end of the call.
    terminal.brings(b"e", "edit before tool fetch", "emperor-penguin", "fits the schema · unchanged")
    terminal.brings(DOWN + END + LEFT * 2 + COMPLETE, "publish")
    terminal.brings(ENTER + DOWN * 2 + END + BACKSPACE * 16, "✖ line 4", '"tool": "fetch"')
    terminal.brings(b'gentoo-penguin"', "fits the schema · changed")
    before, after = '-     "url": "corpus://birds/emperor-penguin"', '+     "url": "corpus://birds/gentoo-penguin"'
    terminal.brings(CHANGES, before, after)
    terminal.brings(SAVE, "✎ edited  /args/url", "c continue")
    terminal.brings(b"o", "⏸ after tool fetch", OF_THE_PAGE)

    # Over the plan as a whole, and into its join.
    terminal.brings(b"o", "⏸ before the prompt to")
    terminal.brings(b"o", "⏸ after the decision for parallel")
    terminal.brings(b"o", "⏸ before the join compare")
    terminal.brings(b"s", "⏸ after tool compare")

    # What is remembered of the conversation is another thing; the rest of the run is told so.
    terminal.brings(b"5]]]", "memory    demo:reader:first", "(nothing yet)")
    terminal.brings(b"Ge", "summary of demo:reader:first")
    terminal.brings(OF_THE_SUMMARY.encode(), "✔ changed")
    terminal.brings(SAVE, "version 1", OF_THE_SUMMARY, "del forget")
    terminal.press(b"c")
    terminal.until_shown("0 running", "✔ research_agent")
    terminal.brings(b"[[[", OF_THE_PAGE, f"I remember: {OF_THE_SUMMARY}")
    [first] = traces(project)
    answered = answer_of(project, str(first["trace_id"]))
    assert OF_THE_PAGE in answered
    assert OF_THE_SUMMARY in answered

    # The decision that fetched: another tool. What comes after it is decided anew.
    terminal.brings(b"3g/", "INSPECT run", "search tree")
    terminal.brings(b"step 1\r", "INSPECT step 1")
    terminal.brings(b"f", "planner.decision fetch", '"next_node": "fetch"')
    terminal.brings(DOWN + END + LEFT * 2 + BACKSPACE * 5 + b"skim", '"next_node": "skim"')
    # The cursor may have gone along with the run, to its newest part.
    terminal.brings(SAVE, "↳")
    terminal.until_so(lambda: re.search("✔ [0-9a-f]{6} .*↳", terminal.screen()), "the fork is not over")
    terminal.press(b"3g")
    terminal.until_shown("a fork of", "0 running")
    second, origin = traces(project)
    assert origin["trace_id"] == first["trace_id"]
    assert second["status"] == "ok"
    assert OF_THE_PAGE not in answer_of(project, str(second["trace_id"]))

    # Against where it came from.
    terminal.brings(b"2dd", "◆ diff", "forked after event", "next_node fetch → skim", "Side by side")
    terminal.brings(b"]", "tokens", "tool skim")
    terminal.brings(b"]n", "2 of ")
    terminal.brings(ESCAPE, "TRACE")

    # Kept: the test is green, and red once the agent asks its model something else.
    terminal.brings(b"T", "write a test that replays the run to this file", "tests/test_research_agent_")
    terminal.brings(ENTER, "written:", "pytest")
    [test] = (project / "tests").glob("test_*.py")
    pytest_of = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(test))
    done = ran(project, *pytest_of)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
    agent = project / "flows" / "research_agent.py"
    agent.write_text(agent.read_text().replace("and nothing else.", "and whatever comes to mind."))
    done = ran(project, *pytest_of)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "whatever comes to mind" in done.stdout
