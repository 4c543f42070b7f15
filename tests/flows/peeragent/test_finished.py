"""Tasks that are over are written many at a time, and each for itself."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from peeragent.models.agents import Agent
from peeragent.models.tasks import SessionRecord, TaskRecord, TaskStatus, new_id
from peeragent.models.turns import Turn
from peeragent.store.base import NotTheOwner, SessionConflict
from peeragent.store.sqlite import SQLiteTaskStore
from peeragent.store.sqlite_schema import SCHEMA

OpenStore = Callable[..., Any]


def over(session_id: str, **given: Any) -> TaskRecord:
    told = {"task_id": new_id("task"), "status": "completed", "task": "x", "session_id": session_id, "attempts": 1}
    return TaskRecord.model_validate({**told, **given})


def session(session_id: str, owner: str = "ada", version: int = 0) -> SessionRecord:
    said = Turn(role="user", text="x", agent=Agent.CODE)
    return SessionRecord(session_id=session_id, owner=owner, version=version, turns=[said])


@pytest.mark.parametrize("count", [1, 2, 3, 63, 64, 150])
async def test_many_at_once_are_all_kept(open_store: OpenStore, count: int) -> None:
    store = await open_store()
    tasks = [over(f"s{number}", owner="ada", context={"number": number}) for number in range(count)]
    whose = [session(task.session_id) if number % 3 else None for number, task in enumerate(tasks)]
    await asyncio.gather(*map(store.put_finished, tasks, whose))
    for task, known in zip(tasks, whose, strict=True):
        assert await store.get(task.task_id) == task
        assert (await store.session(task.session_id, "ada")).version == (1 if known else 0)
        assert [each.status for each in await store.transitions(task.task_id)] == [TaskStatus.COMPLETED]
    assert await store.stats() == {"completed": count}


async def test_what_does_not_go_is_told_to_its_own_alone(tmp_path: Path) -> None:
    store = SQLiteTaskStore(tmp_path / "tasks.db")
    await store.open()
    await store.save_session(session("theirs", "eve"))
    await store.save_session(session("moved"))
    given = [("theirs", 0), ("new", 0), ("moved", 0), ("again", 0), ("again", 1), ("moved", 1), ("late", 3)]
    tasks = [over(name, owner="ada") for name, _ in given]
    sessions = [session(name, version=version) for name, version in given]
    made = await asyncio.gather(*map(store.put_finished, tasks, sessions), return_exceptions=True)
    kinds = [None if each is None else type(each) for each in made]
    assert kinds == [NotTheOwner, None, SessionConflict, None, None, None, SessionConflict]
    kept = [await store.get(task.task_id) is not None for task in tasks]
    assert kept == [each is None for each in made]
    assert (await store.session("again", "ada")).version == 2
    assert (await store.session("moved", "ada")).version == 2
    await store.close()


async def test_what_cannot_be_written_holds_up_no_other(tmp_path: Path) -> None:
    store = SQLiteTaskStore(tmp_path / "tasks.db")
    await store.open()
    half, whole = over("s1", result={"text": "\ud83d"}), over("s2")
    tasks = (whole, half, over("s3"))
    made = await asyncio.gather(*map(store.put_finished, tasks), return_exceptions=True)
    assert [type(each).__name__ for each in made] == ["NoneType", "PydanticSerializationError", "NoneType"]
    assert await store.get(whole.task_id) is not None
    assert await store.stats() == {"completed": 2}
    await store.close()


async def test_a_file_whose_tables_have_no_row_numbers_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "tasks.db"
    old = SCHEMA.replace("record TEXT NOT NULL\n);", "record TEXT NOT NULL\n) WITHOUT ROWID;")
    assert old.count("WITHOUT ROWID") == SCHEMA.count("WITHOUT ROWID") + 2
    with sqlite3.connect(path) as db:
        db.executescript(old)
    db.close()
    store = SQLiteTaskStore(path)
    await store.open()
    tasks = [over(f"s{number}", owner="ada") for number in range(5)]
    await asyncio.gather(*(store.put_finished(task, session(task.session_id)) for task in tasks))
    assert {task.task_id for task in await store.list_tasks()} == {task.task_id for task in tasks}
    assert (await store.save_session(session("s0", version=1))).version == 2
    await store.close()


async def test_they_are_on_the_disk_a_moment_later_and_all_else_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peeragent.store.sqlite_batch.SYNC_S", 0.01)
    synced = asyncio.Event()
    loop, sync = asyncio.get_running_loop(), os.fsync

    def fsync(file: int) -> None:
        sync(file)
        loop.call_soon_threadsafe(synced.set)

    monkeypatch.setattr(os, "fsync", fsync)
    store = SQLiteTaskStore(tmp_path / "tasks.db")
    await store.open()
    how: list[int] = []

    def look(db: sqlite3.Connection, given: list[Any]) -> list[None]:
        how.extend(db.execute("PRAGMA synchronous").fetchone())
        return [None] * len(given)

    await asyncio.gather(store.put_finished(over("s1")), store._db.write_shared(look, None))
    async with asyncio.timeout(60):
        await synced.wait()
    await store.add(over("s2"), queue=True)
    strict = store._db.write(lambda db: db.execute("PRAGMA synchronous").fetchone()[0])
    _, waited, _, _ = await asyncio.gather(
        store.add(over("s3"), queue=True), strict, store._db.write_shared(look, None), store.put_finished(over("s4"))
    )
    assert (how, waited) == ([1, 1], 2)
    await store.close()
    again = SQLiteTaskStore(tmp_path / "tasks.db")
    await again.open()
    assert len(await again.list_tasks()) == 4
    await again.close()
