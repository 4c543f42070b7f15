"""What both stores do. Several stores on the same data stand for several processes."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from peeragent.models.tasks import SessionRecord, TaskError, TaskRecord, TaskStatus, new_id
from peeragent.models.turns import Turn
from peeragent.store.base import NotTheOwner, SessionConflict
from peeragent.store.redis import RedisTaskStore

OpenStore = Callable[..., Any]


def a_task(**given: Any) -> TaskRecord:
    return TaskRecord.model_validate(
        {"task_id": new_id("task"), "status": "pending", "task": "x", "session_id": new_id("session"), **given}
    )


async def until(told: Callable[[], Any]) -> Any:
    async with asyncio.timeout(60):
        while not (found := await told()):  # noqa: ASYNC110 - what is waited for is in another process
            await asyncio.sleep(0.01)
        return found


async def test_a_task_comes_back_as_it_was_kept(open_store: OpenStore) -> None:
    store, other = await open_store(), await open_store()
    task = a_task(context={"a": [], "b": {}, "c": 1.5, "ü": None}, answers={"q": "a"})
    await store.add(task, queue=True)
    assert await other.get(task.task_id) == task
    assert await other.get("task-none") is None
    assert await other.get("index") is None


async def test_a_task_is_claimed_by_one_and_finished_once(open_store: OpenStore) -> None:
    stores = [await open_store() for _ in range(4)]
    tasks = [a_task() for _ in range(20)]
    for task in tasks:
        await stores[0].add(task, queue=True)

    async def work(store: Any, name: str) -> list[str]:
        mine = []
        while lease := await store.claim(name, 30.0):
            assert lease.task.status is TaskStatus.PROCESSING
            assert lease.attempt == 1
            done = await store.finish(
                lease.task.task_id, TaskStatus.COMPLETED, attempt=1, changes={"result": {"by": name}}, worker=name
            )
            assert done is not None
            assert await store.finish(lease.task.task_id, TaskStatus.FAILED) is None
            mine.append(lease.task.task_id)
        return mine

    done = await asyncio.gather(*(work(store, f"w{number}") for number, store in enumerate(stores)))
    assert sorted(task_id for mine in done for task_id in mine) == sorted(task.task_id for task in tasks)
    log = await stores[0].transitions()
    assert [each.seq for each in log] == sorted(each.seq for each in log)
    assert len([each for each in log if each.status.final]) == len(tasks)


async def test_priority_goes_first_then_age(open_store: OpenStore) -> None:
    store = await open_store()
    born = datetime.now(UTC)
    wanted = [(3, 5), (3, 9), (2, 1), (1, 0), (1, 2)]
    for priority, age in sorted(wanted, key=lambda each: each[1]):
        await store.add(
            a_task(priority=priority, task=f"{priority}{age}", created_at=born + timedelta(seconds=age)), queue=True
        )
    got = []
    while lease := await store.claim("w", 30.0):
        got.append(lease.task.task)
    assert got == [f"{priority}{age}" for priority, age in wanted]


async def test_tasks_of_one_session_go_one_at_a_time(open_store: OpenStore) -> None:
    store = await open_store()
    born = datetime.now(UTC)
    first, second = (
        a_task(session_id="s", created_at=born + timedelta(seconds=number), priority=number + 1) for number in range(2)
    )
    await store.add(first, queue=True)
    await store.add(second, queue=True)
    lease = await store.claim("w", 30.0)
    assert lease.task.task_id == first.task_id
    assert await store.claim("w", 30.0) is None
    await store.finish(first.task_id, TaskStatus.COMPLETED, attempt=1)
    lease = await store.claim("w", 30.0)
    assert lease.task.task_id == second.task_id


async def test_a_lease_that_ran_out_is_somebody_elses(open_store: OpenStore) -> None:
    store, other = await open_store(), await open_store()
    task = a_task()
    await store.add(task, queue=True)
    lease = await store.claim("dead", 0.05)
    assert await other.renew(lease, 0.05)
    again = await until(lambda: other.claim("alive", 30.0))
    assert (again.task.task_id, again.attempt) == (task.task_id, 2)
    assert not await store.renew(lease, 30.0)
    assert not await store.hand_back(lease)
    assert await store.finish(task.task_id, TaskStatus.COMPLETED, attempt=1) is None
    assert (await other.finish(task.task_id, TaskStatus.COMPLETED, attempt=2)).status is TaskStatus.COMPLETED


async def test_what_is_lost_too_often_fails(open_store: OpenStore) -> None:
    store = await open_store(max_attempts=2)
    task = a_task()
    await store.add(task, queue=True)
    await store.claim("w", 0.02)
    await until(lambda: store.claim("w", 0.02))
    assert await store.claim("w", 30.0) is None
    await until(store.expire)
    found = await store.get(task.task_id)
    assert (found.status, found.error.code) == (TaskStatus.FAILED, "WORKER_LOST")
    assert await store.claim("w", 30.0) is None


async def test_an_inline_task_whose_process_died_fails(open_store: OpenStore) -> None:
    store = await open_store()
    task = a_task()
    await store.add(task, lease_s=0.02, worker="gone")
    assert (await store.get(task.task_id)).status is TaskStatus.PROCESSING
    assert await store.claim("w", 30.0) is None
    await until(store.expire)
    assert (await store.get(task.task_id)).error.code == "WORKER_LOST"


async def test_a_task_handed_back_is_claimable_again(open_store: OpenStore) -> None:
    store = await open_store()
    task = a_task()
    await store.add(task, queue=True)
    lease = await store.claim("w", 30.0)
    assert await store.hand_back(lease)
    assert (await store.get(task.task_id)).status is TaskStatus.PENDING
    lease = await store.claim("w", 30.0)
    assert lease.attempt == 2
    assert await store.hand_back(lease, delay_s=0.01)
    lease = await until(lambda: store.claim("w", 30.0))
    assert lease.attempt == 3
    assert await store.hand_back(lease, delay_s=600)
    assert await store.claim("w", 30.0) is None


async def test_cancelling(open_store: OpenStore) -> None:
    store = await open_store()
    waiting, working = a_task(), a_task()
    await store.add(waiting, queue=True)
    assert (await store.request_cancel(waiting.task_id)).status is TaskStatus.CANCELLED
    assert await store.claim("w", 30.0) is None
    await store.add(working, queue=True)
    await store.claim("w", 30.0)
    assert (await store.request_cancel(working.task_id)).status is TaskStatus.PROCESSING
    assert await store.cancel_requested([working.task_id, "other"]) == {working.task_id}
    assert await store.cancel_requested([]) == set()
    await store.finish(working.task_id, TaskStatus.CANCELLED, attempt=1)
    assert await store.request_cancel("none") is None


async def test_lists_filter_before_they_page(open_store: OpenStore) -> None:
    store = await open_store()
    born = datetime.now(UTC)
    for number in range(300):
        failed = number % 100 == 0
        await store.put_finished(
            a_task(
                task=str(number),
                owner="ada" if number % 2 == 0 else "bob",
                session_id=f"s{number % 3}",
                status="failed" if failed else "completed",
                error=TaskError(error="e", code="C") if failed else None,
                created_at=born + timedelta(seconds=number),
            )
        )
    listed = [task.task for task in await store.list_tasks(limit=3)]
    assert listed == ["299", "298", "297"]
    failed = await store.list_tasks(status=TaskStatus.FAILED, limit=2)
    assert [task.task for task in failed] == ["200", "100"]
    assert [task.task for task in await store.list_tasks(owner="ada", limit=2, offset=1)] == ["296", "294"]
    assert [task.task for task in await store.list_tasks(session_id="s0", owner="bob", limit=1)] == ["297"]
    assert await store.list_tasks(owner="eve") == []
    assert await store.stats() == {"completed": 297, "failed": 3}
    assert await store.stats(owner="bob") == {"completed": 150}


async def test_a_task_that_is_deleted_is_gone(open_store: OpenStore) -> None:
    store = await open_store()
    task = a_task()
    await store.add(task, queue=True)
    await store.append_events(task.task_id, [("content", {"content": "x"})])
    assert await store.delete(task.task_id)
    assert not await store.delete(task.task_id)
    assert await store.get(task.task_id) is None
    assert await store.claim("w", 30.0) is None
    assert await store.list_tasks() == []


async def test_events_are_followed_across_processes(open_store: OpenStore) -> None:
    store, other = await open_store(), await open_store()
    task = a_task()
    await store.add(task, lease_s=30.0, worker="w")
    await store.append_events(task.task_id, [("content", {"content": str(number)}) for number in range(3)])
    seen: list[Any] = []

    async def follow() -> None:
        seen.extend([event async for event in other.follow(task.task_id, 1)])

    following = asyncio.create_task(follow())
    await store.append_events(task.task_id, [("content", {"content": "3"})])
    session = SessionRecord(session_id="s")
    await store.finish(task.task_id, TaskStatus.COMPLETED, session=session, events=[("done", {"done": True})])
    async with asyncio.timeout(60):
        await following
    assert [(event.id, event.type) for event in seen] == [(2, "content"), (3, "content"), (4, "content"), (5, "done")]
    assert (await other.session("s", "anonymous")).version == 1


async def test_a_story_without_an_end_ends_with_its_task(open_store: OpenStore) -> None:
    store = await open_store()
    task = a_task(status="completed")
    await store.put_finished(task)
    async with asyncio.timeout(60):
        assert [event async for event in store.follow(task.task_id)] == []
        assert [event async for event in store.follow("none")] == []


async def test_sessions_belong_to_one_and_lose_no_turn(open_store: OpenStore) -> None:
    store, other = await open_store(), await open_store()
    fresh = await store.session("s", "ada")
    assert fresh.version == 0

    async def speak(each: Any, text: str) -> None:
        while True:
            session = await each.session("s", "ada")
            said = session.model_copy(update={"turns": [*session.turns, Turn(role="user", text=text)]})
            try:
                await each.save_session(said)
            except SessionConflict:
                continue
            return

    await asyncio.gather(*(speak((store, other)[number % 2], str(number)) for number in range(10)))
    session = await other.session("s", "ada")
    assert sorted(turn.text for turn in session.turns) == [str(number) for number in range(10)]
    assert session.version == 10
    with pytest.raises(NotTheOwner):
        await other.session("s", "eve")
    with pytest.raises(NotTheOwner):
        await other.save_session(session.model_copy(update={"owner": "eve"}))


async def test_a_finish_that_cannot_save_its_session_does_nothing(open_store: OpenStore) -> None:
    store = await open_store()
    await store.save_session(SessionRecord(session_id="s"))
    task = a_task()
    await store.add(task, queue=True)
    await store.claim("w", 30.0)
    with pytest.raises(SessionConflict):
        await store.finish(task.task_id, TaskStatus.COMPLETED, session=SessionRecord(session_id="s"))
    assert (await store.get(task.task_id)).status is TaskStatus.PROCESSING


async def test_holds_keys_and_counters(open_store: OpenStore) -> None:
    store, other = await open_store(), await open_store()
    assert await store.acquire_session("s", "a", 30.0) is None
    assert await store.acquire_session("s", "a", 30.0) is None
    assert await other.acquire_session("s", "b", 30.0) == "a"
    await other.release_session("s", "b")
    assert await other.acquire_session("s", "b", 30.0) == "a"
    await store.release_session("s", "a")
    assert await other.acquire_session("s", "b", 0.02) is None

    async def free() -> bool:
        return await store.acquire_session("s", "a", 30.0) is None

    assert await until(free)
    made = await asyncio.gather(*(each.reserve_key("ada", "k", new_id("task"), "f") for each in (store, other) * 5))
    assert len({each.task_id for each in made}) == 1
    assert [each.first for each in made].count(True) == 1
    assert (await store.reserve_key("bob", "k", "t", "f")).first
    hits = await asyncio.gather(*(each.count("c", 60.0) for each in (store, other) * 5))
    assert sorted(hit for hit, _ in hits) == list(range(1, 11))
    assert all(0 < left <= 60 for _, left in hits)
    assert (await store.count("short", 0.02))[0] == 1

    async def anew() -> bool:
        return bool((await store.count("short", 0.02))[0] == 1)

    assert await until(anew)


EARLIER: dict[str, dict[str, Any]] = {
    "task-0123456789ab": {
        "task_id": "task-0123456789ab",
        "status": "completed",
        "task": "Write a function",
        "session_id": None,
        "created_at": "2025-12-14T10:00:00.000001",
        "completed_at": "2025-12-14T10:00:03",
        "result": {"agent_type": "code_agent", "data": {"code": "x", "language": "python", "explanation": ""}},
        "error": None,
        "agent_type": "code_agent",
        "metadata": {},
    },
    "task-1123456789ab": {
        "task_id": "task-1123456789ab",
        "status": "failed",
        "task": "Write a function",
        "session_id": "biz-1",
        "created_at": "2025-12-14T10:00:01+00:00",
        "completed_at": None,
        "result": None,
        "error": "no key",
        "agent_type": "summary_agent",
        "metadata": None,
    },
    "task-2123456789ab": {
        "task_id": "task-2123456789ab",
        "status": "pending",
        "task": "Write a function",
        "created_at": "2025-12-14T10:00:02",
    },
}


async def test_tasks_that_the_earlier_service_left_can_be_read(serve: Callable[..., Any], valkey: Any) -> None:
    store = RedisTaskStore(valkey.url)
    await store._db.flushall()
    for number, (task_id, told) in enumerate(EARLIER.items()):
        await store._db.set(f"peeragent:task:{task_id}", json.dumps(told), ex=600)
        await store._db.zadd("peeragent:task:index", {task_id: time.time() + number - 10})
    for number, odd in enumerate(("no json", "[]", '{"task_id": 5}', "[" * 100_000)):
        await store._db.set(f"peeragent:task:task-{number:032x}", odd)
        await store._db.zadd("peeragent:task:index", {f"task-{number:032x}": time.time()})
    async with serve(redis_url=valkey.url) as service:
        listed = await service.parts.store.list_tasks()
        assert [each.task_id for each in listed] == [*EARLIER][::-1]
        states = [await service.get(f"status/{task_id}") for task_id in EARLIER]
        assert [(each["status"], each["code"]) for each in states] == [
            ("completed", None),
            ("failed", "EXECUTION_ERROR"),
            ("failed", "WORKER_LOST"),
        ]
        assert states[0]["result"]["data"]["code"] == "x"
        assert states[0]["created_at"].endswith("Z")
        await service.get(f"status/task-{0:032x}", 404)
        for task_id in EARLIER:
            gone = await service.client.delete(f"/v1/agent/tasks/{task_id}")
            assert gone.status_code == 200
        assert await service.parts.store.list_tasks() == []
    await store.close()
