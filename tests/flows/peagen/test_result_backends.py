"""Results of tasks: in files, in memory, and in a real PostgreSQL."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from peagen.plugins.errors import BackendFailed
from peagen.plugins.protocols import ResultBackend
from peagen.plugins.result_backends.in_memory import InMemoryResultBackend
from peagen.plugins.result_backends.local_fs import LocalFsResultBackend
from peagen.plugins.result_backends.postgres import PostgresResultBackend
from peagen.plugins.result_backends.task_run import TaskRun

ROW = {
    "id": "task-1",
    "pool": "acme",
    "task_type": "process",
    "status": "success",
    "payload": {"action": "process", "args": {"name": "é\0\\u0000"}},
    "result": {"processed": ["a.py"]},
    "deps": ["task-0"],
    "labels": ["nightly"],
    "oids": ["abc"],
    "commit_hexsha": "f" * 40,
    "started_at": "2026-01-02T03:04:05Z",
    "finished_at": "2026-01-02T03:04:07",
    "duration": 2.0,
}


@pytest.fixture(params=["local_fs", "in_memory", "postgres"])
async def open_backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Callable[[], ResultBackend]]:
    """Opens the same backend once more, as another process would; in memory there is but one."""
    opened: list[ResultBackend] = []
    if request.param == "postgres":
        server = request.getfixturevalue("postgres_server")
        name = "r" + str(abs(hash(request.node.nodeid)))
        server.execute(f"CREATE DATABASE {name}")
        dsn = server.url(database=name)
        make: Callable[[], ResultBackend] = lambda: PostgresResultBackend(dsn, timeout_s=120)  # noqa: E731
    elif request.param == "local_fs":
        make = lambda: LocalFsResultBackend(tmp_path / "task_runs")  # noqa: E731
    else:
        one = InMemoryResultBackend()
        make = lambda: one  # noqa: E731

    def open_one() -> ResultBackend:
        opened.append(make())
        return opened[-1]

    yield open_one
    for backend in opened:
        await backend.close()


async def test_a_row_comes_back_as_it_was_kept(open_backend: Any) -> None:
    await open_backend().store(ROW)
    (kept,) = await open_backend().list_tasks()
    said = kept.model_dump(mode="json", include=set(ROW))
    name = said["payload"]["args"].pop("name")
    assert name.startswith("é")
    assert name.endswith("\\u0000")
    assert said == ROW | {"payload": {"action": "process", "args": {}}, "finished_at": "2026-01-02T03:04:07Z"}


async def test_a_row_is_replaced_and_all_are_in_order(open_backend: Any) -> None:
    backend = open_backend()
    assert await backend.list_tasks() == []
    await backend.store(TaskRun(id="waiting"))
    await backend.store(ROW | {"id": "late", "started_at": "2026-03-01T00:00:00Z"})
    await backend.store(ROW | {"status": "running", "result": None})
    await backend.store(ROW)
    rows = await open_backend().list_tasks()
    assert [row.id for row in rows] == ["task-1", "late", "waiting"]
    assert rows[0].status == "success"


async def test_many_at_once(open_backend: Any) -> None:
    first, second = open_backend(), open_backend()
    # Threads that begin one by one: CPython 3.11 cannot trace two that begin at the same moment.
    await first.store(ROW | {"id": "task-0"})
    await asyncio.gather(*((first, second)[n % 2].store(ROW | {"id": f"task-{n}"}) for n in range(20)))
    assert len(await first.list_tasks()) == 20


async def test_what_is_no_row_is_refused(open_backend: Any) -> None:
    for wrong in ({}, {"id": ""}, {"id": "x", "in_degree": "many"}):
        with pytest.raises(ValueError, match="no row of a task"):
            await open_backend().store(wrong)
    assert await open_backend().list_tasks() == []


async def test_ids_are_no_paths(tmp_path: Path) -> None:
    backend = LocalFsResultBackend(tmp_path / "runs")
    for wrong in ("../x", "/etc/x", ".hidden", "a/b", "a\0b"):
        with pytest.raises(BackendFailed, match="name of a file"):
            await backend.store({"id": wrong})
    assert await LocalFsResultBackend(tmp_path).list_tasks() == []
    assert await LocalFsResultBackend(tmp_path / "runs").list_tasks() == []


async def test_files_are_as_they_were(tmp_path: Path) -> None:
    await LocalFsResultBackend(tmp_path).store(ROW)
    assert json.loads((tmp_path / "task-1.json").read_text())["commit_hexsha"] == "f" * 40
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(BackendFailed, match="no row") as caught:
        await LocalFsResultBackend(tmp_path).list_tasks()
    assert "broken.json" in caught.value.report()


async def test_a_database_that_refuses_is_told_without_its_password(
    postgres_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = postgres_server.url(user="guest").replace("guest@", "guest:hunter2@")
    backend = PostgresResultBackend(wrong, timeout_s=120)
    with pytest.raises(BackendFailed) as caught:
        await backend.list_tasks()
    assert "hunter2" not in caught.value.report() + repr(backend)
    monkeypatch.delenv("PG_DSN", raising=False)
    with pytest.raises(ValueError, match="PG_DSN"):
        PostgresResultBackend()
