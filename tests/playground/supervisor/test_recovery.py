"""What a dead worker left running is marked, and whoever asks for it is not held up by a store that is locked."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from penguiflow.state.sqlite import SQLiteStateStore
from penguiflow.state.traces import TraceSummary
from playground.project import Project
from playground.supervisor import recovery
from playground.supervisor.process import Death
from playground.supervisor.recovery import recover

LIMIT_S = 60.0
TICK_S = 0.01
LEAVES = """
import os, signal, sys
import asyncio
from penguiflow.state import SQLiteStateStore

async def main():
    store = SQLiteStateStore(sys.argv[1])
    store.recorder(name="flow").open("left")
    await store.flush()
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.fixture
def left(tmp_path: Path) -> tuple[Project, Death]:
    """A store with a trace that its writer, which was killed, has left running."""
    project = Project(tmp_path, tmp_path)
    with subprocess.Popen([sys.executable, "-c", LEAVES, str(project.database)]) as child:
        child.wait(LIMIT_S)
    return project, Death(None, "SIGKILL", "", expected=False, pid=child.pid, at=1e9)


async def trace_of(project: Project) -> TraceSummary:
    store = SQLiteStateStore(project.database, read_only=True)
    found = await store.get_trace("left")
    await store.close()
    assert found is not None
    return found


def status_in_file(project: Project) -> str:
    """Not as readers tell it, who see that the writer is dead."""
    with closing(sqlite3.connect(project.database)) as connection:
        return str(connection.execute("SELECT status FROM traces").fetchone()[0])


async def test_what_a_dead_writer_left_is_marked(left: tuple[Project, Death]) -> None:
    project, death = left
    assert status_in_file(project) == "running"
    assert await recover(project, death) == ["left"]
    assert status_in_file(project) == "interrupted"
    assert await recover(project, death) == []


async def test_the_loop_goes_on_while_the_store_is_locked(
    left: tuple[Project, Death], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock is let go by the loop that a blocking wait would hold: it would be there until the patience is over."""
    project, death = left
    monkeypatch.setattr(recovery, "BUSY_TIMEOUT_S", LIMIT_S)
    monkeypatch.setattr(recovery, "TRY_S", 5 * TICK_S)
    with closing(sqlite3.connect(project.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        recovering = asyncio.create_task(recover(project, death))
        for _ in range(30):
            await asyncio.sleep(TICK_S)
            assert not recovering.done()
        other.execute("ROLLBACK")
    assert await asyncio.wait_for(recovering, LIMIT_S) == ["left"]
    assert (await trace_of(project)).status == "interrupted"


async def test_leaving_does_not_wait_for_a_store_that_stays_locked(left: tuple[Project, Death]) -> None:
    project, death = left
    with closing(sqlite3.connect(project.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert await asyncio.wait_for(recover(project, death._replace(expected=True)), LIMIT_S) == []
        recovering = asyncio.create_task(recover(project, death))
        await asyncio.sleep(0)
        recovering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(recovering, LIMIT_S)
        other.execute("ROLLBACK")
    assert status_in_file(project) == "running"


async def test_what_waiting_does_not_mend_is_not_waited_for(
    left: tuple[Project, Death], monkeypatch: pytest.MonkeyPatch
) -> None:
    project, death = left
    monkeypatch.setattr(recovery, "PAUSE_S", 1e6)
    project.database.with_name("state.db-wal").unlink(missing_ok=True)
    project.database.write_bytes(b"this is no database\n" * 1000)
    assert await asyncio.wait_for(recover(project, death), LIMIT_S) == []
    project.database.unlink()
    assert await recover(project, death) == []
