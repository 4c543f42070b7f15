"""Finding one's way in a real terminal: filters, the palette, zoom, the list of breakpoints."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.terminal import PF, Terminal

FLOWS = Path(__file__).parents[2] / "flows"


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "read"\nversion = "0"\n')
    shutil.copytree(FLOWS, tmp_path / "flows", ignore=shutil.ignore_patterns("__pycache__"))
    with Terminal([PF, "tui", "flows/triage.py"], cwd=tmp_path, size=(170, 50)) as running:
        running.until_shown("triage", "ready", "sample 1")
        yield running


def shown(terminal: Terminal, keys: bytes, *needles: str) -> None:
    """Press keys and wait for what they bring onto the screen."""
    terminal.press(keys)
    terminal.until_shown(*needles)


def test_runs_are_filtered_in_one_burst_of_keys(terminal: Terminal) -> None:
    shown(terminal, b"r", "✔ triage", "0 running")
    shown(terminal, b"2/status:error", "0 of 1")


def test_events_are_filtered_in_one_burst_of_keys(terminal: Terminal) -> None:
    shown(terminal, b"r", "✔ triage", "0 running")
    shown(terminal, b"4]/kind:trace.end", "[Events]", "1 of ")


def test_breakpoints_are_switched_and_removed_in_their_list(terminal: Terminal) -> None:
    shown(terminal, b"r", "✔ triage", "0 running")
    shown(terminal, b"3gjb", "breakpoint at node intake")
    shown(terminal, b"5]]", "[Breakpoints]", "node intake")
    shown(terminal, b" ", "off")
    shown(terminal, b"\x1b[3~", "No breakpoints")


def test_a_command_and_a_zoom(terminal: Terminal) -> None:
    shown(terminal, b"r", "✔ triage", "0 running")
    shown(terminal, b"3z", "zoom")
    shown(terminal, b"z", "OUTPUT", "INSPECT")
    shown(terminal, b":", "Search for commands")
    shown(terminal, b"statistics", "percentiles, errors, tokens and cost")
