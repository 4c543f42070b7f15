"""`peeragent worker`: processes that die in the middle, and processes that are told to stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from peeragent.models.agents import Agent
from peeragent.models.tasks import TaskRecord, TaskStatus, new_id
from peeragent.store.base import TaskStore
from peeragent.store.redis import RedisTaskStore
from peeragent.store.sqlite import SQLiteTaskStore
from tests.model_server import Said

if TYPE_CHECKING:
    from tests.model_server import ModelServer

HANG_S = 60.0
DONE = "```python\nprint('done')\n```"


class Place:
    """A store, and how a command is told of it."""

    def __init__(self, store: TaskStore, variables: dict[str, str]) -> None:
        self.store, self.variables = store, variables


@pytest.fixture(params=["sqlite", "redis"])
async def place(request: pytest.FixtureRequest, peeragent: Any) -> AsyncIterator[Place]:
    """A store that commands share with the test."""
    store: TaskStore
    if request.param == "redis":
        url = request.getfixturevalue("valkey_of_its_own").url
        store, variables = RedisTaskStore(url, timeout_s=HANG_S, max_attempts=1), {"REDIS_URL": url}
    else:
        data = peeragent.folder / "data"
        store, variables = SQLiteTaskStore(data / "tasks.db", timeout_s=HANG_S, max_attempts=1), {"DATA_DIR": str(data)}
    await store.open()
    yield Place(store, variables)
    await store.close()


async def ask(place: Place) -> str:
    task = TaskRecord(
        task_id=new_id("task"),
        status=TaskStatus.PENDING,
        task="Write a Python function",
        session_id=new_id("session"),
        owner="anonymous",
        kind="direct",
        agent=Agent.CODE,
        attempts=0,
    )
    await place.store.add(task, queue=True)
    return task.task_id


async def until(place: Place, task_id: str, *statuses: TaskStatus) -> TaskRecord:
    async with asyncio.timeout(HANG_S):
        while True:
            found = await place.store.get(task_id)
            assert found is not None
            if found.status in statuses:
                return found
            await asyncio.sleep(0.02)


async def statuses(place: Place, task_id: str) -> list[tuple[str, int]]:
    return [(each.status.value, each.attempt) for each in await place.store.transitions(task_id)]


async def test_a_task_is_finished_by_another_worker_when_the_first_is_killed(
    peeragent: Any, place: Place, openai_server: ModelServer
) -> None:
    openai_server.otherwise = Said(hold=asyncio.Event())
    # On a machine that stands still for seconds a lease may run out once more.
    told = {"OPENAI_BASE_URL": openai_server.url, "WORKER_LEASE": "2", "WORKER_MAX_ATTEMPTS": "50", **place.variables}
    task_id = await ask(place)
    with ExitStack() as workers:
        first = workers.enter_context(peeragent.started("worker", **told))
        async with asyncio.timeout(HANG_S):
            await openai_server.waiting.wait()
        first.process.kill()
        first.process.wait()
        assert (await place.store.get(task_id)).status is TaskStatus.PROCESSING  # type: ignore[union-attr]
        openai_server.otherwise = DONE
        workers.enter_context(peeragent.started("worker", **told))
        done = await until(place, task_id, TaskStatus.COMPLETED, TaskStatus.FAILED)
    assert done.status is TaskStatus.COMPLETED
    assert done.attempts >= 2
    assert done.result is not None
    assert done.result["data"]["code"] == "print('done')"
    log = await place.store.transitions(task_id)
    begun = [each for each in log if each.status is TaskStatus.PROCESSING]
    ended = [each for each in log if each.status.final]
    assert [each.attempt for each in begun] == list(range(1, done.attempts + 1))
    assert [(each.status, each.attempt) for each in ended] == [(TaskStatus.COMPLETED, done.attempts)]
    assert ended[0].worker == begun[-1].worker != begun[0].worker


async def test_a_worker_that_is_told_to_stop_hands_back_what_it_cannot_finish(
    peeragent: Any, place: Place, openai_server: ModelServer
) -> None:
    openai_server.say(Said(hold=asyncio.Event()))
    openai_server.otherwise = DONE
    # Only what is handed back is there for others so soon.
    told = {"OPENAI_BASE_URL": openai_server.url, "WORKER_LEASE": "600", "SHUTDOWN_GRACE": "0.1", **place.variables}
    task_id = await ask(place)
    with peeragent.started("worker", **told) as first:
        async with asyncio.timeout(HANG_S):
            await openai_server.waiting.wait()
        first.process.terminate()
        assert await asyncio.to_thread(first.process.wait, HANG_S) == 0
        assert "Traceback" not in await asyncio.to_thread(first.rest)
    assert await statuses(place, task_id) == [("pending", 0), ("processing", 1), ("pending", 1)]
    with peeragent.started("worker", **told):
        done = await until(place, task_id, TaskStatus.COMPLETED, TaskStatus.FAILED)
    assert (done.status, done.attempts) == (TaskStatus.COMPLETED, 2)


async def test_a_worker_that_is_told_to_stop_finishes_what_it_can(
    peeragent: Any, place: Place, openai_server: ModelServer
) -> None:
    hold = asyncio.Event()
    openai_server.otherwise = Said(text=DONE, hold=hold)
    told = {"OPENAI_BASE_URL": openai_server.url, "WORKER_LEASE": "600", "SHUTDOWN_GRACE": "60", **place.variables}
    task_id = await ask(place)
    with peeragent.started("worker", **told) as worker:
        async with asyncio.timeout(HANG_S):
            await openai_server.waiting.wait()
        worker.process.send_signal(signal.SIGINT)
        await asyncio.to_thread(worker.until, "claims nothing more")
        later = await ask(place)
        hold.set()
        assert await asyncio.to_thread(worker.process.wait, HANG_S) == 130
    done = await place.store.get(task_id)
    assert done is not None
    assert (done.status, done.attempts) == (TaskStatus.COMPLETED, 1)
    assert await statuses(place, later) == [("pending", 0)]


async def test_a_task_that_takes_its_workers_with_it_ends(
    peeragent: Any, place: Place, openai_server: ModelServer
) -> None:
    openai_server.otherwise = Said(hold=asyncio.Event())
    told = {"OPENAI_BASE_URL": openai_server.url, "WORKER_LEASE": "1", "WORKER_MAX_ATTEMPTS": "1", **place.variables}
    task_id = await ask(place)
    with peeragent.started("worker", **told) as worker:
        async with asyncio.timeout(HANG_S):
            await openai_server.waiting.wait()
        worker.process.kill()
        worker.process.wait()
    async with asyncio.timeout(HANG_S):
        # What a service does now and then.
        while not await place.store.expire():  # noqa: ASYNC110 - the lease runs out
            await asyncio.sleep(0.05)
    failed = await place.store.get(task_id)
    assert failed is not None
    assert failed.error is not None
    assert (failed.status, failed.error.code) == (TaskStatus.FAILED, "WORKER_LOST")
    assert len(openai_server.asked) == 1
