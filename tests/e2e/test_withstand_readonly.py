"""Nothing may be written: the dashboard says so, shows what there is, runs flows, and leaves all as it was."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Opened, RunCommand, Steady

# Root may write everywhere. It gives up what it may above others for all that it starts: as a policy of its own, else
# by going where it is nobody. Files stay its own, so that their modes hold for it as for anybody.
GIVE_UP = """
import ctypes, os, sys
SECURE_BITS, NOROOT, NEW_USER = 28, 1, 0x10000000
libc = ctypes.CDLL(None)
if os.geteuid() == 0 and libc.prctl(SECURE_BITS, NOROOT, 0, 0, 0):
    libc.unshare(NEW_USER)
os.execv(sys.argv[1], sys.argv[1:])
"""
POWERLESS = (sys.executable, "-S", "-E", "-c", GIVE_UP)
MAY_WRITE = "import os, sys; sys.exit(any(os.access(name, os.W_OK) for name in sys.argv[1:]))"
FLOW = """
from pydantic import BaseModel

from penguiflow import Context, ModelRegistry, Node, create


class Order(BaseModel):
    do: str = "well"


async def act(order: Order, ctx: Context) -> Order:
    return order


__flow__ = {"title": "Read", "samples": [{"do": "well"}]}
flow = create(Node(act).to())
registry = ModelRegistry()
registry.register("act", Order, Order)
"""
Protect = Callable[..., None]


@pytest.fixture
def project(project: Path) -> Path:
    (project / "read.py").write_text(FLOW)
    return project


@pytest.fixture
def recorded(project: Path, pf: RunCommand) -> Path:
    """The database, with one run in it."""
    assert pf("run", "read.py", "--input", '{"do": "before"}', "--trace-id", "before").returncode == 0
    return project / ".penguiflow" / "state.db"


@pytest.fixture
def protect() -> Iterator[Protect]:
    """Makes files and folders read-only until the test is done."""
    modes: dict[Path, int] = {}

    def take_away(*paths: Path) -> None:
        modes.update((path, path.stat().st_mode) for path in paths)
        for path in paths:
            path.chmod(modes[path] & 0o555)
        probe = [*POWERLESS, sys.executable, "-c", MAY_WRITE, *map(str, paths)]
        assert subprocess.run(probe, timeout=60, check=False).returncode == 0, "this user may write all the same"

    yield take_away
    for path, mode in modes.items():
        path.chmod(mode)


def all_in(folder: Path) -> dict[Path, bytes]:
    """Every file, and what is in it."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def tells(terminal: Steady, keys: bytes, *words: str) -> None:
    """Keys bring a notice; where its lines break depends on how long the project's path is."""
    start = len(terminal.output)
    terminal.press(keys)
    terminal.until(*words, timeout=terminal.limit_s, start=start)


def test_a_project_that_is_read_only(project: Path, opened: Opened, protect: Protect) -> None:
    before = all_in(project)
    protect(project)
    with opened("read.py", size=(160, 44), by=POWERLESS) as terminal:
        terminal.until_shown("Read", "ready")
        terminal.until("runs are not recorded", "denied", "PENGUIFLOW_HOME")
        terminal.runs("well")
        terminal.visit()
        tells(terminal, b"3gjb", "written:", "denied", "PENGUIFLOW_HOME")
        terminal.shown(b"3gT", "write a test that replays the run")
        tells(terminal, b"\r", "tests cannot be made")
        terminal.visit_screens(breakpoints=False)
        terminal.leave()
    assert all_in(project) == before


def test_a_database_in_a_folder_that_is_read_only(
    project: Path, opened: Opened, recorded: Path, protect: Protect
) -> None:
    before = all_in(project)
    protect(project, recorded.parent, *before)
    with opened("read.py", size=(160, 44), by=POWERLESS) as terminal:
        terminal.until_shown("Read", "ready", "✔ before")
        terminal.until("runs are not recorded")
        # What was recorded can be looked at as ever, and runs stand beside it.
        terminal.shown(b"2g\r", "TRACE before")
        terminal.shown(b"3gj\r", 'do: "before"')
        terminal.visit()
        terminal.runs("well")
        terminal.until_shown("✔ before")
        terminal.visit()
        terminal.visit_screens(breakpoints=False)
        terminal.leave()
    assert all_in(project) == before


def test_a_database_that_is_read_only(project: Path, opened: Opened, recorded: Path, protect: Protect) -> None:
    protect(recorded)
    before = recorded.read_bytes()
    with opened("read.py", size=(160, 44), by=POWERLESS) as terminal:
        terminal.until_shown("Read", "ready", "✔ before")
        terminal.until("runs are not recorded", "readonly")
        terminal.runs("well")
        terminal.visit()
        terminal.visit_screens()
        terminal.leave()
    assert recorded.read_bytes() == before


def test_a_home_that_nobody_could_make(opened: Opened) -> None:
    """Not even root makes a folder there."""
    with opened("read.py", size=(160, 44), env={"PENGUIFLOW_HOME": "/proc/penguiflow"}) as terminal:
        terminal.until_shown("Read", "ready")
        terminal.until("runs are not recorded", "/proc/penguiflow")
        terminal.runs("well")
        terminal.visit()
        terminal.visit_screens(breakpoints=False)
        terminal.leave()
