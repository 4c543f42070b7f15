"""Databases of earlier versions, as those versions wrote them."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from penguiflow.recording import Recorder, build_spans
from penguiflow.state import RemoteBinding, Retention, SQLiteStateStore, StoredEvent, retention, schema
from penguiflow.state.errors import StoreTooNew

VERSION_1 = Path(__file__).with_name("version_1.sql")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A database of version 1: a finished trace `done` of 26 events, and `left`, which was running."""
    path = tmp_path / "state.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(VERSION_1.read_text())
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    return path


def content(path: Path) -> bytes:
    return path.read_bytes()


async def check_contents(store: SQLiteStateStore) -> None:
    events = await store.load_events("done")
    assert [event.seq for event in events] == list(range(26))
    assert [event.data["n"] for event in events if event.kind == "stall"] == list(range(20))
    assert (await store.load_events("done", after=23, limit=1))[0] == events[24]
    assert len(await store.load_event_bytes("done", after=2, limit=5)) == 5
    summary = await store.get_trace("done")
    assert summary is not None
    assert (summary.status, summary.input, summary.output) == ("ok", '{"text":"grüße"}', '"result"')
    (root,) = build_spans(events)
    assert [child.name for child in root.children] == ["work"]
    assert (await store.load_history("done"))[0] == StoredEvent("done", 1.5, "node_start", "work", "id", {"a": 1})
    assert [each.trace_id for each in await store.find_traces()] == ["left", "done"]


async def test_a_database_of_version_1_goes_on(old: Path, open_store: Any) -> None:
    store = open_store(old)
    await check_contents(store)
    about: Any = {"router_session_id": "s", "agent_url": "url", "remote_skill": "k"}
    assert await store.find_binding(**about) == RemoteBinding("done", None, "task", **about)
    assert await store.recover() == ["left"]
    # New events follow old ones, in one trace.
    log = Recorder(store=store).open("done")
    log.event("stall", "n", log.root, {"n": 99})
    log.close("ok")
    await store.save_memory_state("key", {"a": 1})
    await store.flush()
    events = await store.load_events("done")
    assert [event.seq for event in events] == list(range(29))
    assert [event.epoch for event in events[25:]] == [0, 1, 1, 1]
    with closing(sqlite3.connect(old)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (schema.VERSION,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        sizes = dict(connection.execute("SELECT trace_id, bytes FROM traces"))
        stored = dict(
            connection.execute(
                "SELECT trace_id, sum(length(data)) FROM traces JOIN event_chunks ON trace = traces.id GROUP BY 1"
            )
        )
    assert sizes == stored


async def test_reading_needs_no_migration_and_makes_none(old: Path, open_store: Any) -> None:
    before = content(old)
    store = open_store(old, read_only=True)
    await check_contents(store)
    # What this version did not have yet is not there.
    assert await store.load_memory_state("key") is None
    assert content(old) == before


async def test_space_comes_back_from_an_old_file_too(old: Path, open_store: Any) -> None:
    store = open_store(old)
    recorder = Recorder(store=store)
    for number in range(20):
        log = recorder.open(f"t{number}")
        log.event("stall", "n", log.root, {"text": "x" * 50_000})
        log.close("ok")
    await store.flush()
    removed = await store.prune(Retention(max_traces=1))
    assert removed.traces == 21
    assert len(content(old)) < 400_000
    with closing(sqlite3.connect(old)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA freelist_count").fetchone() == (0,)


async def test_several_processes_migrate_at_once(old: Path, start_child: Any, open_store: Any) -> None:
    script = """
        import asyncio, sys
        from penguiflow.state import SQLiteStateStore
        print("ready", flush=True)
        sys.stdin.readline()
        store = SQLiteStateStore(sys.argv[1])
        asyncio.run(store.close())
    """
    children = [start_child(script, str(old)) for _ in range(3)]
    for child in children:
        assert await asyncio.to_thread(child.line) == "ready"
    for child in children:
        child.say()
    for child in children:
        assert await asyncio.to_thread(child.finish) == (0, "", "")
    await check_contents(open_store(old))


async def test_a_migration_that_is_interrupted_leaves_the_old_version(
    old: Path, open_store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = (*schema._MIGRATIONS[1], "CREATE NONSENSE")
    with monkeypatch.context() as patched:
        patched.setattr(schema, "_MIGRATIONS", (schema._MIGRATIONS[0], broken))
        with pytest.raises(Exception, match="syntax error"):
            SQLiteStateStore(old)
    with closing(sqlite3.connect(old)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    await check_contents(open_store(old))


async def test_the_earlier_version_refuses_the_new_file(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await SQLiteStateStore(old).close()
    newest = schema.VERSION
    monkeypatch.setattr(schema, "VERSION", 1)
    with pytest.raises(StoreTooNew) as refused:
        SQLiteStateStore(old)
    assert (refused.value.found, refused.value.supported) == (newest, 1)


async def test_an_old_file_that_others_write_to_is_pruned_and_shrinks_another_time(
    old: Path, open_store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penguiflow.state.files.BUSY_TIMEOUT_S", 0.05)
    store = open_store(old)
    big = Recorder(store=store).open("big")
    big.event("stall", "n", big.root, {"text": "x" * 50_000})
    big.close("ok")
    Recorder(store=store).open("newest").close("ok")
    await store.flush()
    with closing(sqlite3.connect(old, isolation_level=None, check_same_thread=False)) as other:

        def shrink(connection: sqlite3.Connection, *, rewrite: bool) -> bool:
            other.execute("BEGIN IMMEDIATE")
            try:
                assert not retention.shrink(connection, rewrite=rewrite)
            finally:
                other.execute("ROLLBACK")
            return False

        with monkeypatch.context() as patched:
            patched.setattr("penguiflow.state.sqlite.shrink", shrink)
            assert (await store.prune(Retention(max_traces=1))).traces == 3
        assert other.execute("PRAGMA freelist_count").fetchone() > (0,)
    await store.prune(Retention(max_traces=1))
    with closing(sqlite3.connect(old)) as connection:
        assert connection.execute("PRAGMA freelist_count").fetchone() == (0,)
    assert [trace.trace_id for trace in await store.find_traces()] == ["newest"]
