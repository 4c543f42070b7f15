"""What the dashboard writes beside the store, on a full disk: it says so, leaves no half files, and goes on."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import AddFlow, Opened, RunCommand


@pytest.fixture
def target(add_flow: AddFlow) -> str:
    return add_flow("greet")


def test_an_export_and_what_is_remembered_on_a_full_disk(project: Path, opened: Opened, target: str) -> None:
    with opened(target) as terminal:
        terminal.until_shown("greet", "ready")
        terminal.runs("someone")
        # No file may grow any more, which is what a process sees of a full disk.
        resource.prlimit(terminal.process.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        terminal.shown(b"3gE", ".pftrace")
        terminal.press(b"\r")
        terminal.until_shown("too large", timeout=terminal.limit_s)
        terminal.visit()
        terminal.leave()
    assert list(project.rglob("*.pftrace*")) == []
    assert list((project / ".penguiflow").glob(".ui-*")) == []


def test_a_picture_that_cannot_be_written(project: Path, pf: RunCommand, target: str) -> None:
    (project / "full.svg").symlink_to("/dev/full")
    done = pf("tui", target, "--screenshot", "full.svg")
    assert done.returncode == 2
    assert "--screenshot: full.svg cannot be written: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
