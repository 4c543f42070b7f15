"""A store that is full, locked, damaged or shared: the dashboard says so, and takes nothing away."""

from __future__ import annotations

import resource
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Opened, RunCommand

KILL = b"\x0b"
FLOW = """
from __future__ import annotations

import os
import time

from pydantic import BaseModel

from penguiflow import Context, ModelRegistry, Node, create


class Order(BaseModel):
    do: str = "well"


async def act(order: Order, ctx: Context) -> Order:
    while order.do == "block" and not os.path.exists("go"):
        time.sleep(0.01)
    return Order(do="x" * 2_000_000) if order.do == "large" else order


flow = create(Node(act).to())
registry = ModelRegistry()
registry.register("act", Order, Order)
"""


@pytest.fixture
def project(project: Path) -> Path:
    (project / "stored.py").write_text(FLOW)
    return project


@pytest.fixture
def recorded(project: Path, pf: RunCommand) -> Path:
    """The database, with one run in it."""
    assert pf("run", "stored.py", "--input", '{"do": "well"}').returncode == 0
    return project / ".penguiflow" / "state.db"


def test_a_full_disk_loses_the_record_and_nothing_else(project: Path, opened: Opened, recorded: Path) -> None:
    """No file may grow any more, which is what a process sees of a full disk."""
    with opened("stored.py") as terminal:
        terminal.until_shown("stored", "ready")
        terminal.runs("well")
        for pid in (terminal.process.pid, *terminal.processes()):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        start = len(terminal.output)
        terminal.runs("large")
        terminal.until("not recorded", start=start)
        terminal.runs("well")
        terminal.visit()
        terminal.press(b"3gjb")
        terminal.until("written:", "too large")
        terminal.answers()
        for pid in (terminal.process.pid, *terminal.processes()):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        terminal.leave()


def test_a_store_that_is_locked_leaves_the_dashboard(project: Path, opened: Opened, recorded: Path) -> None:
    with closing(sqlite3.connect(recorded, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with opened("stored.py") as terminal:
            terminal.until_shown("stored", "FLOWS")
            terminal.visit()
            terminal.leave()


def damaged(path: Path, how: str) -> None:
    """Damage a database, and leave nothing of its log."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("PRAGMA journal_mode = DELETE")
    content = path.read_bytes()
    match how:
        case "truncated":
            path.write_bytes(content[: len(content) // 3])
        case "garbage":
            middle = len(content) // 2
            path.write_bytes(content[:4096] + b"\xde\xad" * middle)
        case "text":
            path.write_bytes(b"this is no database\n" * 1000)
        case "newer":
            with closing(sqlite3.connect(path)) as connection:
                connection.execute("PRAGMA user_version = 9999")


@pytest.mark.parametrize("how", ["truncated", "garbage", "text", "newer"])
def test_a_database_that_cannot_be_used_is_told_of_and_left_as_it_is(opened: Opened, recorded: Path, how: str) -> None:
    damaged(recorded, how)
    before = recorded.read_bytes()
    with opened("stored.py", size=(160, 40)) as terminal:
        terminal.until_shown("stored", "ready")
        terminal.until("as it is: move it aside" if how != "newer" else "newer")
        terminal.runs("well")
        terminal.visit()
        terminal.leave()
    assert recorded.read_bytes() == before


def test_an_empty_file_becomes_a_database(project: Path, opened: Opened) -> None:
    (project / ".penguiflow").mkdir()
    (project / ".penguiflow" / "state.db").touch()
    with opened("stored.py") as terminal:
        terminal.until_shown("stored", "ready")
        terminal.runs("well")
        terminal.leave()


def test_two_dashboards_on_one_project(project: Path, opened: Opened) -> None:
    with opened("stored.py") as one, opened("stored.py") as other:
        one.until_shown("stored", "ready")
        other.until_shown("stored", "ready")
        trace_id = one.begins("block")
        one.until_shown("blocked")
        other.until_shown("1 running", f"● {trace_id[:6]}")
        other.runs("well")
        other.leave()
        one.answers()
        (project / "go").touch()
        one.until_shown("0 running", "ready")
        one.leave()


def test_a_store_that_is_locked_while_a_host_dies_holds_no_key(project: Path, opened: Opened, recorded: Path) -> None:
    """What the dead host left is marked when the lock is gone; until then, keys are answered."""
    with opened("stored.py") as terminal, closing(sqlite3.connect(recorded, isolation_level=None)) as other:
        terminal.until_shown("stored", "ready")
        trace_id = terminal.begins("block")
        terminal.until_shown("blocked", "ctrl+k kills it")
        other.execute("BEGIN IMMEDIATE")
        start = len(terminal.output)
        terminal.press(KILL)
        terminal.until("the host died", timeout=terminal.limit_s, start=start)
        for keys, needle in ((b"?", "Everywhere"), (b"%", "STATISTICS")):
            terminal.opens(keys, needle)
        other.execute("ROLLBACK")
        terminal.ends("↯", trace_id)
        terminal.until_shown("ready")
        terminal.runs("well")
        terminal.visit()
        terminal.leave()


def test_a_database_that_is_damaged_while_it_is_used(opened: Opened, recorded: Path) -> None:
    """SQLite may notice it at once, or never, for what it has read of the file it knows: either way all goes on."""
    damage = b"\xde\xad" * 50_000
    with opened("stored.py") as terminal:
        terminal.until_shown("stored", "ready")
        terminal.runs("well")
        for path in (recorded, recorded.with_name("state.db-wal")):
            with path.open("r+b") as file:
                file.write(damage[: path.stat().st_size])
        terminal.runs("large")
        terminal.runs("well")
        terminal.visit()
        terminal.visit_screens()
        terminal.leave()
    assert recorded.stat().st_size > 0
