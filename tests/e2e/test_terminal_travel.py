"""Time travel in a real terminal: another decision, both runs compared, the better one kept as a test."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.terminal import PF, Terminal

FLOWS = Path(__file__).parents[2] / "flows"
LIMIT_S = 300.0
DOWN, END, LEFT, BACK, SAVE, ESCAPE = b"\x1b[B", b"\x1b[F", b"\x1b[D", b"\x7f", b"\x13", b"\x1b"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The agent that researches, with its corpus, in a project of its own."""
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "research"\nversion = "0"\n')
    shutil.copytree(FLOWS, tmp_path / "flows", ignore=shutil.ignore_patterns("__pycache__"))
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


def test_a_decision_is_changed_compared_and_kept_as_a_test(terminal: Terminal, project: Path) -> None:
    shown(terminal, b"r", "Emperor penguins eat fish", "✔")

    # The step that fetched: another tool.
    shown(terminal, b"3g/", "search tree")
    shown(terminal, b"step 1\r", "INSPECT step 1")
    shown(terminal, b"f", "planner.decision fetch", '"next_node": "fetch"')
    shown(terminal, DOWN + END + LEFT * 2 + BACK * 5 + b"skim", '"next_node": "skim"')
    shown(terminal, SAVE, "↳", "The emperor penguin is", "a fork of")

    # Against where it came from.
    shown(terminal, b"2dd", "◆ diff", "forked after event", "next_node fetch → skim", "Side by side")
    shown(terminal, b"]", "tokens", "tool skim")
    shown(terminal, b"]n", "2 of ")
    shown(terminal, ESCAPE, "TRACE")

    # Kept.
    shown(terminal, b"T", "write a test that replays the run to this file", "tests/test_research_agent_")
    shown(terminal, b"\r", "written:", "pytest")
    [test] = (project / "tests").glob("test_*.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(test)],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_the_timeline_goes_through_a_run(terminal: Terminal) -> None:
    shown(terminal, b"r", "Emperor penguins eat fish", "✔")
    shown(terminal, b"3,", "TIMELINE", "trace.end")
    shown(terminal, b"0", "before the first event")
    shown(terminal, b"cc", "planner.decision fetch", "●")
    shown(terminal, b"g", "go to event")
    shown(terminal, b"12\r", "event 12 ")
    shown(terminal, b"l", "event 13 ")
    shown(terminal, b"++++++ ", "trace.end")
    shown(terminal, b",", "INSPECT")
    deadline = time.monotonic() + LIMIT_S
    while "TIMELINE" in terminal.screen():
        assert time.monotonic() < deadline, "the timeline is still there"
        terminal.read(0.05)


def test_a_run_travels_as_a_file(terminal: Terminal, project: Path) -> None:
    shown(terminal, b"r", "Emperor penguins eat fish", "✔")
    shown(terminal, b"p", "came out as recorded", "answered from the recording")
    terminal.press(b"q")
    shown(terminal, b"E", "write the run to this file")
    shown(terminal, b"\r", "secrets masked")
    [file] = project.glob("*.pftrace")
    with Terminal([PF, "tui", file.name], cwd=project, size=(120, 40)) as reader:
        reader.until_shown("recorded", "research_agent", "step 1", file.name)
        shown(reader, b"f", "nothing can be run here")
