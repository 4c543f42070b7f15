"""Tasks and sessions in Redis or Valkey: any number of machines. The keys are those of the earlier PeerAgent."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, cast

from pydantic import ValidationError
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript
from redis.exceptions import RedisError, ResponseError

from peeragent.models.tasks import (
    CANCELLED,
    LAST_EVENTS,
    LOST,
    SessionRecord,
    TaskEvent,
    TaskRecord,
    TaskStatus,
    Transition,
    error_event,
)
from peeragent.store import redis_scripts as scripts
from peeragent.store.base import Lease, NotTheOwner, Reserved, SessionConflict, StoreUnavailable
from peeragent.store.earlier import of_earlier
from peeragent.store.waiting import Bell

LOOK_AGAIN_S = 0.2
"""How often one process looks for what another has written."""
STAY_AWAY_S = 1.0
"""After a failure the next requests are refused at once for that long: they would only wait for the same."""
PAGE = 200
MAX_RACES = 100
IS_ID = re.compile(r"[a-z]+(-[a-z]+)*-[0-9a-f]{8,64}").fullmatch
"""Other keys have the same beginning: only what looks like a task's id is one."""
PREFIX = scripts.PREFIX
LOG_LENGTH = 1_000_000


class RedisTaskStore:
    """`TaskStore` at `url`. See `store/base.py` for what the methods do."""

    name = "redis"

    def __init__(
        self,
        url: str,
        *,
        task_ttl_s: float = 86_400.0,
        session_ttl_s: float = 3600.0,
        max_attempts: int = 3,
        timeout_s: float = 2.0,
        pool_size: int = 50,
    ) -> None:
        self._task_ttl, self._session_ttl = int(task_ttl_s * 1000), int(session_ttl_s * 1000)
        self._max_attempts = max_attempts
        self._timeout_s = timeout_s
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=pool_size,
            timeout=timeout_s,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            decode_responses=True,
            retry=Retry(NoBackoff(), 1),
        )
        self._db = Redis(connection_pool=pool)
        self._scripts: dict[str, AsyncScript] = {}
        self._away_until = 0.0
        self._work, self._news = Bell(), Bell()

    async def open(self) -> None:
        """Nothing is needed: whatever is asked connects."""

    async def close(self) -> None:
        """Hang up."""
        await self._db.aclose()
        await self._db.connection_pool.disconnect()

    async def check(self) -> None:
        """Return when the server answers."""
        await self._asked(self._db.ping)

    async def _asked(self, ask: Callable[..., Any], *args: Any, **more: Any) -> Any:
        if time.monotonic() < self._away_until:
            raise StoreUnavailable("the Redis server does not answer")
        try:
            async with asyncio.timeout(self._timeout_s):
                found = await ask(*args, **more)
        except ResponseError as error:
            # It answers: the next request may be one that it takes.
            raise StoreUnavailable(f"the Redis server does not take this: {type(error).__name__}") from error
        except (RedisError, OSError, TimeoutError) as error:
            self._away_until = time.monotonic() + STAY_AWAY_S
            raise StoreUnavailable(f"the Redis server does not answer: {type(error).__name__}") from error
        self._away_until = 0.0
        return found

    async def _run(self, script: str, *args: Any) -> Any:
        known = self._scripts.get(script)
        if known is None:
            known = self._scripts[script] = self._db.register_script(script)
        return await self._asked(known, args=args)

    # tasks

    async def add(
        self, task: TaskRecord, *, queue: bool = False, lease_s: float | None = None, worker: str = ""
    ) -> None:
        """Keep a new task."""
        until: float | str = ""
        if lease_s is not None:
            until = time.time() + lease_s
            begun = {"status": TaskStatus.PROCESSING, "attempts": 1, "started_at": datetime.now(UTC)}
            task = task.model_copy(update=begun)
        await self._add(task, queue=queue, until=until, worker=worker, session=None)
        if queue:
            self._work.ring()

    async def put_finished(self, task: TaskRecord, session: SessionRecord | None = None) -> None:
        """Keep a task that is over already."""
        await self._add(task, queue=False, until="", worker="", session=session)

    async def _add(
        self, task: TaskRecord, *, queue: bool, until: float | str, worker: str, session: SessionRecord | None
    ) -> None:
        created = task.created_at.timestamp()
        # Smaller is earlier: by priority, then by age.
        rank = created - task.priority * 1e11
        made = await self._run(
            scripts.ADD,
            *(task.task_id, task.model_dump_json(), task.status.value, task.attempts, task.owner, task.session_id),
            *(created, rank, self._task_ttl, int(queue), until, worker, time.time()),
            *self._session_args(session),
        )
        _check_session(made, task.session_id)

    def _session_args(self, session: SessionRecord | None) -> tuple[Any, ...]:
        if session is None:
            return ()
        return session.session_id, session.owner, session.version, _saved(session).model_dump_json(), self._session_ttl

    async def get(self, task_id: str) -> TaskRecord | None:
        """The task."""
        if not IS_ID(task_id):
            return None
        found = await self._asked(self._db.get, f"{PREFIX}task:{task_id}")
        return None if found is None else _task(found)

    async def _read(self, task_id: str) -> tuple[TaskRecord, str] | None:
        """The task, and the version of it."""

        async def read() -> Any:
            async with self._db.pipeline(transaction=True) as both:
                both.get(f"{PREFIX}task:{task_id}")
                both.hget(f"{PREFIX}task:{task_id}:state", "version")
                return await both.execute()

        found, version = await self._asked(read)
        task = None if found is None or version is None else _task(found)
        return None if task is None else (task, version)

    async def _change(
        self,
        task_id: str,
        decide: Callable[[TaskRecord], dict[str, Any] | None],
        *,
        until: float | str = "",
        not_before: float | str = "",
        worker: str | None = None,
        session: SessionRecord | None = None,
        events: Sequence[tuple[str, dict[str, Any]]] = (),
    ) -> TaskRecord | None:
        """Change a task as `decide` says of it as it is, in one step; None if it says None, or there is no task."""
        for _ in range(MAX_RACES):
            read = await self._read(task_id)
            changes = None if read is None else decide(read[0])
            if read is None or changes is None:
                return None
            changed = read[0].model_copy(update=changes)
            made = await self._run(
                scripts.CHANGE,
                *(task_id, read[1], changed.model_dump_json(), changed.status.value, changed.attempts),
                *(until, not_before, worker or "", time.time(), self._task_ttl),
                *(len(events), *(json.dumps(each) for each in events)),
                *self._session_args(session),
            )
            if made == "gone":
                return None
            if made != "changed":
                _check_session(made, changed.session_id)
                self._news.ring()
                return changed
        raise StoreUnavailable(f"{task_id} is changed by others without end")

    async def finish(
        self,
        task_id: str,
        status: TaskStatus,
        *,
        attempt: int | None = None,
        changes: dict[str, Any] | None = None,
        worker: str | None = None,
        session: SessionRecord | None = None,
        events: Sequence[tuple[str, dict[str, Any]]] = (),
    ) -> TaskRecord | None:
        """Give the task its final status, once."""

        def end(task: TaskRecord) -> dict[str, Any] | None:
            if task.status.final or (attempt is not None and task.attempts != attempt):
                return None
            return {**(changes or {}), "status": status, "completed_at": datetime.now(UTC)}

        return await self._change(task_id, end, worker=worker, session=session, events=events)

    async def delete(self, task_id: str) -> bool:
        """Forget a task with its events."""
        task = await self.get(task_id)
        return task is not None and bool(await self._run(scripts.DELETE, task_id, task.owner))

    async def list_tasks(
        self,
        *,
        owner: str | None = None,
        status: TaskStatus | None = None,
        session_id: str | None = None,
        limit: int = 20,
        offset: int = 0,
    ) -> list[TaskRecord]:
        """Newest first."""
        index = "task:index"
        if session_id is not None:
            index = f"index:session:{session_id}"
        elif owner is not None:
            index = f"index:owner:{owner}"
        wanted: list[TaskRecord] = []
        async for task in self._newest_first(index):
            if owner in {None, task.owner} and status in {None, task.status} and session_id in {None, task.session_id}:
                if offset:
                    offset -= 1
                    continue
                wanted.append(task)
                if len(wanted) == limit:
                    break
        return wanted

    async def _newest_first(self, index: str) -> AsyncIterator[TaskRecord]:
        key, last = PREFIX + index, 0
        while True:
            ids = await self._asked(self._db.zrevrange, key, last, last + PAGE - 1)
            if not ids:
                return
            found = await self._asked(self._db.mget, [f"{PREFIX}task:{each}" for each in ids])
            for record in found:
                if record is not None and (task := _task(record)) is not None:
                    yield task
            last += len(ids)

    async def unfinished(self, session_id: str) -> list[str]:
        """Tasks of a session that are not over."""

        async def read() -> Any:
            async with self._db.pipeline(transaction=True) as both:
                both.zrange(f"{PREFIX}open:{session_id}", 0, -1)
                both.get(f"{PREFIX}hold:{session_id}")
                return await both.execute()

        queued, holder = await self._asked(read)
        return list(dict.fromkeys([*queued, *([holder] if holder else [])]))

    async def stats(self, *, owner: str | None = None) -> dict[str, int]:
        """How many tasks have each status."""
        counts: dict[str, int] = {}
        async for task in self._newest_first("task:index" if owner is None else f"index:owner:{owner}"):
            counts[task.status.value] = counts.get(task.status.value, 0) + 1
        return counts

    # queue

    async def claim(self, worker: str, lease_s: float) -> Lease | None:
        """The next task."""
        while True:
            until = time.time() + lease_s
            task_id = await self._run(scripts.PICK, time.time(), until, self._max_attempts)
            if not task_id:
                return None

            def begin(task: TaskRecord) -> dict[str, Any] | None:
                if task.status.final:
                    return None
                begun = {"status": TaskStatus.PROCESSING, "attempts": task.attempts + 1}
                return {**begun, "started_at": datetime.now(UTC)}

            task = await self._change(task_id, begin, until=until, worker=worker)
            if task is not None:
                return Lease(task=task, worker=worker, attempt=task.attempts, until=until)

    async def renew(self, lease: Lease, lease_s: float) -> bool:
        """Whether the lease is still held; then for `lease_s` more."""
        return bool(await self._run(scripts.RENEW, lease.task.task_id, lease.attempt, time.time() + lease_s))

    async def hand_back(self, lease: Lease, *, delay_s: float = 0.0) -> bool:
        """Make the task claimable again."""

        def give(task: TaskRecord) -> dict[str, Any] | None:
            held = task.status is TaskStatus.PROCESSING and task.attempts == lease.attempt
            return {"status": TaskStatus.PENDING} if held else None

        later = time.time() + delay_s if delay_s else ""
        given = await self._change(lease.task.task_id, give, not_before=later, worker=lease.worker)
        self._work.ring()
        return given is not None

    async def request_cancel(self, task_id: str) -> TaskRecord | None:
        """Ask that a task be ended."""
        await self._asked(self._db.set, f"{PREFIX}cancel:{task_id}", "1", px=self._task_ttl)

        def end(task: TaskRecord) -> dict[str, Any] | None:
            if task.status is not TaskStatus.PENDING:
                return None
            return {"status": TaskStatus.CANCELLED, "error": CANCELLED, "completed_at": datetime.now(UTC)}

        told = [("error", error_event(CANCELLED))]
        return await self._change(task_id, end, events=told) or await self.get(task_id)

    async def cancel_requested(self, task_ids: Sequence[str]) -> set[str]:
        """Those of the tasks whose end was asked for."""
        if not task_ids:
            return set()
        asked = await self._asked(self._db.mget, [f"{PREFIX}cancel:{each}" for each in task_ids])
        return {task_id for task_id, wanted in zip(task_ids, asked, strict=True) if wanted}

    async def wait_for_work(self, timeout_s: float) -> None:
        """Return when there may be something to claim."""
        await self._work.wait(min(timeout_s, LOOK_AGAIN_S))

    async def transitions(self, task_id: str | None = None, *, after: int = 0, limit: int = 1000) -> list[Transition]:
        """The log of status changes."""
        found: list[Transition] = []
        start = "-"
        while len(found) < limit:
            lines = await self._asked(self._db.xrange, f"{PREFIX}log", start, "+", PAGE)
            for entry, line in lines:
                start = f"({entry}"
                if int(line["seq"]) > after and task_id in {None, line["task_id"]}:
                    found.append(Transition.model_validate({**line, "worker": line["worker"] or None}))
            if len(lines) < PAGE:
                break
        return found[:limit]

    # events

    async def append_events(self, task_id: str, events: Sequence[tuple[str, dict[str, Any]]]) -> list[TaskEvent]:
        """Add to the task's story."""
        before = await self._run(scripts.APPEND, task_id, self._task_ttl, *(json.dumps(each) for each in events))
        self._news.ring()
        return [_event(before + number, each) for number, each in enumerate(events, 1)]

    async def follow(self, task_id: str, after: int = 0) -> AsyncIterator[TaskEvent]:
        """Events from `after` on, until the last."""
        while True:
            heard = self._news.heard
            task = await self.get(task_id)
            found = await self._asked(self._db.lrange, f"{PREFIX}events:{task_id}", after, after + PAGE - 1)
            for line in found:
                after += 1
                event = _event(after, json.loads(line))
                yield event
                if event.type in LAST_EVENTS:
                    return
            if not found:
                if task is None or task.status.final:
                    return
                await self._news.wait(LOOK_AGAIN_S, heard)

    # sessions

    async def session(self, session_id: str, owner: str) -> SessionRecord:
        """The session, or a new one."""
        held = await self._asked(self._db.hmget, f"{PREFIX}session:{session_id}", ["owner", "record"])
        if held[1] is None:
            return SessionRecord(session_id=session_id, owner=owner)
        if held[0] != owner:
            raise NotTheOwner(session_id)
        return SessionRecord.model_validate_json(held[1])

    async def save_session(self, session: SessionRecord) -> SessionRecord:
        """Keep it under the next version."""
        made = await self._run(scripts.SAVE_SESSION, *self._session_args(session))
        _check_session(made, session.session_id)
        return _saved(session)

    async def acquire_session(self, session_id: str, holder: str, lease_s: float) -> str | None:
        """Have the session for oneself."""
        held = await self._run(scripts.ACQUIRE, session_id, holder, int(lease_s * 1000))
        return cast("str | None", held)

    async def release_session(self, session_id: str, holder: str) -> None:
        """Let go of it."""
        await self._run(scripts.RELEASE, session_id, holder)

    # keys

    async def reserve_key(self, owner: str, key: str, task_id: str, fingerprint: str) -> Reserved:
        """Take an idempotency key."""
        held = await self._run(scripts.RESERVE, _hashed(owner, key), task_id, fingerprint, self._task_ttl)
        return Reserved(task_id=held[0], fingerprint=held[1], first=bool(held[2]))

    async def release_key(self, owner: str, key: str, task_id: str) -> None:
        """Let go of a key."""
        await self._run(scripts.RELEASE_KEY, _hashed(owner, key), task_id)

    async def count(self, key: str, window_s: float) -> tuple[int, float]:
        """Add one to a counter."""
        hits, left = await self._run(scripts.COUNT, key, int(window_s * 1000))
        return hits, left / 1000

    async def log_interactions(self, lines: Sequence[dict[str, Any]]) -> None:
        """Add to the log."""

        async def add() -> None:
            async with self._db.pipeline(transaction=True) as together:
                for line in lines:
                    together.xadd(
                        f"{PREFIX}interactions", {"line": json.dumps(line)}, maxlen=LOG_LENGTH, approximate=True
                    )
                await together.execute()

        await self._asked(add)

    async def interactions(self, *, limit: int = 100) -> list[dict[str, Any]]:
        """The newest lines."""
        found = await self._asked(self._db.xrevrange, f"{PREFIX}interactions", count=limit)
        return [json.loads(line["line"]) for _, line in found]

    async def expire(self) -> list[TaskRecord]:
        """Forget what is over; end what nobody will finish. Redis forgets most by itself."""
        failed: list[TaskRecord] = []
        ids = await self._asked(self._db.zrangebyscore, f"{PREFIX}leases", "-inf", time.time(), 0, PAGE)
        for task_id in ids:

            def end(task: TaskRecord) -> dict[str, Any] | None:
                if task.status.final:
                    return None
                return {"status": TaskStatus.FAILED, "error": LOST, "completed_at": datetime.now(UTC)}

            queued = await self._asked(self._db.hmget, f"{PREFIX}task:{task_id}:state", ["queued", "attempts"])
            if queued[0] == "1" and int(queued[1]) < self._max_attempts:
                continue
            if (lost := await self._change(task_id, end, events=[("error", error_event(LOST))])) is not None:
                failed.append(lost)
        oldest = time.time() - self._task_ttl / 1000
        await self._asked(self._db.zremrangebyscore, f"{PREFIX}task:index", "-inf", oldest)
        await self._asked(self._db.xtrim, f"{PREFIX}log", LOG_LENGTH, approximate=True)
        return failed


def _task(record: str) -> TaskRecord | None:
    """The task; None for what nobody can read, which is to spoil no list."""
    try:
        task = TaskRecord.model_validate_json(record)
    except ValidationError:
        return of_earlier(record)
    return task if task.created_at.tzinfo is not None else of_earlier(record)


def _hashed(owner: str, key: str) -> str:
    return hashlib.sha256(json.dumps([owner, key]).encode()).hexdigest()


def _event(number: int, told: Sequence[Any]) -> TaskEvent:
    return TaskEvent.model_validate({"id": number, "type": told[0], "data": told[1]})


def _saved(session: SessionRecord) -> SessionRecord:
    return session.model_copy(update={"version": session.version + 1, "updated_at": datetime.now(UTC)})


def _check_session(made: str, session_id: str) -> None:
    if made == "owner":
        raise NotTheOwner(session_id)
    if made == "conflict":
        raise SessionConflict(session_id)
