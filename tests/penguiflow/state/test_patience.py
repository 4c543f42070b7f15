"""How long a store waits for one that another program keeps locked."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from penguiflow.state.errors import StoreError
from penguiflow.state.sqlite import SQLiteStateStore
from penguiflow.state.traces import TraceQuery


async def test_a_store_with_little_patience_says_soon_that_the_file_is_locked(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    await SQLiteStateStore(path).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        store = SQLiteStateStore(path, read_only=True, patience_s=0.05)
        with pytest.raises(StoreError, match=r"locked by another program for 0\.05 s"):
            await store.find_traces(TraceQuery())
        with pytest.raises(StoreError, match=r"locked by another program for 0\.05 s"):
            SQLiteStateStore(path, patience_s=0.05)
        other.execute("COMMIT")
        await store.close()
    writer = SQLiteStateStore(path, patience_s=0.05)
    assert await writer.find_traces(TraceQuery()) == []
    await writer.close()
