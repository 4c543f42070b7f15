"""Time travel in a real terminal: the timeline of a run, its replay, and its file."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.terminal import PF, Terminal

FLOWS = Path(__file__).parents[2] / "flows"
LIMIT_S = 300.0


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
