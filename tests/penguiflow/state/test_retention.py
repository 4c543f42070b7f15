"""What is forgotten, when, and that its space comes back. What every store does is in tests/conformance."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from penguiflow.recording import Recorder
from penguiflow.state import (
    RemoteBinding,
    Retention,
    SQLiteStateStore,
    StateUpdate,
    StoredEvent,
    TaskContextSnapshot,
    TaskState,
    TaskStatus,
    TaskType,
    UpdateType,
    retention,
    upkeep,
)


def fill(store: SQLiteStateStore, trace_id: str, *, size: int = 0, status: str | None = "ok") -> Any:
    log = Recorder(store=store).open(trace_id)
    log.event("stall", "n", log.root, {"text": "x" * size})
    if status is not None:
        log.close(status)
    return log


async def ids(store: SQLiteStateStore) -> list[str]:
    return [trace.trace_id for trace in await store.find_traces()]


async def until(condition: Callable[[], Awaitable[Any]]) -> None:
    """Wait, a bounded time, for what the writer does by itself."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if await condition():
            return
    raise AssertionError("it did not happen")


def path_size(path: Path) -> int:
    return path.stat().st_size


def size_of(path: Path) -> int:
    return sum(file.stat().st_size for file in path.parent.iterdir() if file.name.startswith(path.name))


async def test_a_store_forgets_by_itself(tmp_path: Path, open_store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "UPKEEP_EVERY_S", 0.01)
    store = open_store(retention=Retention(max_traces=3))
    fill(store, "running", status=None)
    for number in range(10):
        fill(store, f"t{number}", size=20_000)
    await store.flush()

    async def few() -> bool:
        return len(await ids(store)) == 3

    await until(few)
    assert await ids(store) == ["t9", "t8", "running"]

    async def small() -> bool:
        return size_of(tmp_path / "state.db") < 300_000

    await until(small)
    # And it still writes.
    fill(store, "after")
    await store.flush()
    assert (await ids(store))[0] == "after"


async def test_space_that_a_reader_kept_comes_back_later(
    tmp_path: Path, open_store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "UPKEEP_EVERY_S", 0.01)
    shrunk: list[bool] = []
    shrink = retention.shrink

    def note(connection: sqlite3.Connection) -> bool:
        shrunk.append(shrink(connection))
        return shrunk[-1]

    monkeypatch.setattr("penguiflow.state.sqlite.shrink", note)
    path = tmp_path / "state.db"
    first = open_store()
    for number in range(10):
        fill(first, f"t{number}", size=50_000)
    await first.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as reading:
        reading.execute("BEGIN")
        assert reading.execute("SELECT count(*) FROM traces").fetchone() == (10,)
        open_store(retention=Retention(max_traces=1))
        await until(lambda: asyncio.sleep(0.001, len(shrunk) > 1))
        assert not any(shrunk)
        assert size_of(path) > 500_000
        reading.execute("COMMIT")
    await until(lambda: asyncio.sleep(0.001, any(shrunk)))
    assert path_size(path) < 300_000


async def test_a_store_without_limits_forgets_nothing(open_store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "UPKEEP_EVERY_S", 0.0)
    store = open_store()
    for number in range(5):
        fill(store, f"t{number}")
        await store.flush()
    assert len(await ids(store)) == 5
    assert Retention().keeps_everything


async def test_upkeep_is_not_put_off_for_ever(open_store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(retention=Retention(max_traces=1))
    await store.flush()
    thread = store._writer
    seen: list[int] = []

    def count(connection: sqlite3.Connection) -> bool:
        seen.append(connection.execute("SELECT count(*) FROM traces").fetchone()[0])
        return False

    monkeypatch.setattr(thread._upkeep, "work", count)
    hold = threading.Event()
    held = thread.submit(lambda connection: hold.wait(60))
    fill(store, "t")
    thread._upkeep._at = -1e9
    hold.set()
    assert await asyncio.wrap_future(held)
    await store.flush()
    # It came before what was waiting to be written.
    assert seen[0] == 0
    assert await ids(store) == ["t"]


async def test_upkeep_that_fails_is_told_and_tried_again(
    open_store: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(upkeep, "UPKEEP_EVERY_S", 0.01)
    failures = []

    def fail(*arguments: Any, **options: Any) -> Any:
        failures.append(1)
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr("penguiflow.state.sqlite.prune", fail)
    with caplog.at_level(logging.WARNING, "penguiflow.state"):
        store = open_store(retention=Retention(max_traces=0))
        await until(lambda: asyncio.sleep(0.001, len(failures) > 2))
    fill(store, "t")
    await store.flush()
    assert await ids(store) == ["t"]
    assert "old traces were not removed" in caplog.text


async def test_a_trace_that_goes_on_meanwhile_is_kept(open_store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store()
    fill(store, "t")
    await store.flush()
    find = retention._victims

    def find_and_go_on(connection: sqlite3.Connection, *arguments: Any) -> Any:
        victims = find(connection, *arguments)
        # Somebody takes the trace up again after it was chosen.
        with closing(sqlite3.connect(store.path, isolation_level=None)) as other:
            other.execute("UPDATE traces SET status = 'running', events = events + 1, updated = updated + 1")
        return victims

    monkeypatch.setattr(retention, "_victims", find_and_go_on)
    assert (await store.prune(Retention(max_traces=0))).traces == 0
    monkeypatch.undo()
    assert await ids(store) == ["t"]
    assert len(await store.load_events("t")) == 3


async def test_a_trace_of_a_dead_writer_is_not_running(open_store: Any) -> None:
    store = open_store()
    fill(store, "t", status=None)
    await store.close()
    other = open_store()
    assert (await other.prune(Retention(max_traces=0))).traces == 1
    assert await ids(other) == []


async def test_much_is_removed_in_pieces(open_store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "_TRACES_AT_ONCE", 3)
    monkeypatch.setattr(retention, "_BYTES_AT_ONCE", 25_000)
    store = open_store()
    for number in range(10):
        fill(store, f"t{number}", size=10_000 * (number % 2))
    await store.flush()
    pieces = []
    prune = retention.prune

    def count(*arguments: Any, **options: Any) -> Any:
        found = prune(*arguments, **options)
        pieces.append(found[0].traces)
        return found

    monkeypatch.setattr("penguiflow.state.sqlite.prune", count)
    assert (await store.prune(Retention(max_traces=0))).traces == 10
    assert len(pieces) > 3
    assert max(pieces) <= 3


async def test_what_belongs_to_a_trace_goes_with_it(open_store: Any) -> None:
    store = open_store()
    for name in ("gone", "kept"):
        fill(store, name)
        await store.save_event(StoredEvent(name, time.time(), "k", None, None, {}))
        await store.save_planner_event(name, {"a": 1})
        await store.save_trajectory(name, "s", {"a": 1})
        await store.save_remote_binding(RemoteBinding(name, None, "task", "url", router_session_id="s"))
    await store.flush()
    await store.prune(Retention(max_traces=1))
    assert await ids(store) == ["kept"]
    assert await store.load_history("gone") == []
    assert await store.list_planner_events("gone") == []
    assert len(await store.list_planner_events("kept")) == 1
    assert await store.list_traces("s") == ["kept"]
    assert [each.trace_id for each in await store.list_bindings(router_session_id="s")] == ["kept"]


async def test_what_belongs_to_no_trace_goes_by_age(open_store: Any) -> None:
    store = open_store()
    fill(store, "running", status=None)
    now = time.time()
    for trace_id, ts in (("running", now - 100), ("orphan", now - 100), ("young", now + 100)):
        await store.save_event(StoredEvent(trace_id, ts, "k", None, None, {}))
    for status in (TaskStatus.COMPLETE, TaskStatus.RUNNING):
        snapshot = TaskContextSnapshot(session_id="s", task_id=status)
        await store.save_task(TaskState(status, "s", status, TaskType.BACKGROUND, 0, snapshot))
    await store.save_update(StateUpdate(session_id="s", task_id="a", update_type=UpdateType.PROGRESS, content=1))
    await store.save_memory_state("key", {"a": 1})
    assert (await store.prune(Retention(max_age_s=50))).traces == 0
    assert [len(await store.load_history(each)) for each in ("orphan", "young")] == [0, 1]
    assert len([event for event in await store.load_history("running") if event.kind == "k"]) == 1
    assert len(await store.list_updates("s")) == 1
    await store.prune(Retention(max_age_s=0))
    assert await store.list_updates("s") == []
    assert [each.status for each in await store.list_tasks("s")] == [TaskStatus.RUNNING]
    assert await store.load_memory_state("key") == {"a": 1}


async def test_a_reader_in_the_middle_does_not_stop_it(tmp_path: Path, open_store: Any) -> None:
    store = open_store()
    for number in range(5):
        fill(store, f"t{number}", size=100_000)
    await store.flush()
    with closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as reading:
        reading.execute("BEGIN")
        before = reading.execute("SELECT count(*) FROM event_chunks").fetchone()
        async with asyncio.timeout(60):
            assert (await store.prune(Retention(max_traces=0))).traces == 5
        # It sees what it saw; the space comes back when it is done.
        assert reading.execute("SELECT count(*) FROM event_chunks").fetchone() == before
        reading.execute("COMMIT")
    await store.prune(Retention(max_traces=0))
    assert size_of(tmp_path / "state.db") < 300_000


async def test_a_dry_run_changes_nothing(tmp_path: Path, open_store: Any) -> None:
    store = open_store()
    for number in range(5):
        fill(store, f"t{number}")
    await store.flush()
    with closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as other:
        version = other.execute("PRAGMA data_version").fetchone()
        assert (await store.prune(Retention(max_traces=1), dry_run=True)).traces == 4
        assert other.execute("PRAGMA data_version").fetchone() == version
    assert len(await ids(store)) == 5


async def test_a_trace_of_several_that_nobody_goes_on_with_is_removed_at_last(open_store: Any) -> None:
    store = open_store()
    Recorder(store=store).begin_shared("t", worker="w")
    await store.flush()
    limits = Retention(max_age_s=0, max_traces=0, max_bytes=0)

    assert (await store.prune(limits)).traces == 0
    tomorrow = time.time() + 25 * 3600
    removed, _ = await store._job(lambda connection: retention.prune(connection, limits, now=tomorrow))
    assert removed.traces == 1
    assert await ids(store) == []
