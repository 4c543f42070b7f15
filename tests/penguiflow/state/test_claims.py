"""Of several who want to resume a trace, one does."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from penguiflow.recording import Recorder
from penguiflow.state.sqlite import SQLiteStateStore


async def interrupted(path: Path) -> SQLiteStateStore:
    """A store with an interrupted trace of two events."""
    store = SQLiteStateStore(path)
    Recorder(store=store).open("t").close("interrupted")
    await store.flush()
    return store


async def test_one_of_many_gets_it(tmp_path: Path) -> None:
    store = await interrupted(tmp_path / "state.db")
    other = SQLiteStateStore(tmp_path / "state.db")
    got = await asyncio.gather(*(each.claim("t", 2) for each in (store, other) * 3))
    assert sorted(got) == [False] * 5 + [True]
    summary = await other.get_trace("t")
    assert summary is not None
    assert summary.status == "running"
    await store.close()
    await other.close()


async def test_a_trace_that_has_gone_on_meanwhile_is_not_given(tmp_path: Path) -> None:
    store = await interrupted(tmp_path / "state.db")
    assert not await store.claim("t", 1)
    assert not await store.claim("another", 2)
    assert await store.claim("t", 2)
    await store.close()


async def test_a_claim_dies_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    store = await interrupted(path)
    code = (
        "import asyncio, os, sys\n"
        "from penguiflow.state.sqlite import SQLiteStateStore\n"
        "asyncio.run(SQLiteStateStore(sys.argv[1]).claim('t', 2))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, str(path))
    assert await process.wait() == -9
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT status FROM traces").fetchall() == [("running",)]
    assert await store.recover() == ["t"]
    summary = await store.get_trace("t")
    assert summary is not None
    assert (summary.status, summary.events) == ("interrupted", 2)
    assert await store.claim("t", 2)
    await store.close()
