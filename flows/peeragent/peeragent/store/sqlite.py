"""Tasks and sessions in one SQLite file: nothing to install, any number of processes on one machine."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic_core import to_json

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
from peeragent.store.base import Lease, NotTheOwner, Reserved
from peeragent.store.sqlite_batch import Batches
from peeragent.store.sqlite_finished import Finished, save, write_finished
from peeragent.store.sqlite_schema import SCHEMA
from peeragent.store.waiting import Bell

T = TypeVar("T")

LOOK_AGAIN_S = 0.25
"""How often one process looks for what another has written."""

_TRANSIENT = {"sessions": "expires", "keys": "expires", "holds": "until", "counters": "until"}
"""Tables whose rows end by themselves, and the column that says when."""


class SQLiteTaskStore:
    """`TaskStore` in the file `path`. See `store/base.py` for what the methods do."""

    name = "sqlite"

    def __init__(
        self,
        path: Path,
        *,
        task_ttl_s: float = 86_400.0,
        session_ttl_s: float = 3600.0,
        max_attempts: int = 3,
        timeout_s: float = 2.0,
    ) -> None:
        self._path = path
        self._task_ttl_s, self._session_ttl_s = task_ttl_s, session_ttl_s
        self._max_attempts = max_attempts
        self._db = Batches(path, SCHEMA, timeout_s=timeout_s)
        self._work, self._news = Bell(), Bell()

    async def open(self) -> None:
        """Make the file and its tables."""
        await self._db.open()

    async def close(self) -> None:
        """Write what waits, and close the file."""
        await self._db.close()

    async def check(self) -> None:
        """Return when what is written is kept."""
        await self._db.check()

    # tasks

    async def add(
        self, task: TaskRecord, *, queue: bool = False, lease_s: float | None = None, worker: str = ""
    ) -> None:
        """Keep a new task."""
        begun = lease_s is not None
        until = time.time() + lease_s if lease_s is not None else None
        if begun:
            task = task.model_copy(
                update={"status": TaskStatus.PROCESSING, "attempts": 1, "started_at": datetime.now(UTC)}
            )
        await self._db.write(lambda db: self._insert(db, task, queued=queue, until=until, worker=worker))
        if queue:
            self._work.ring()

    async def put_finished(self, task: TaskRecord, session: SessionRecord | None = None) -> None:
        """Keep a task that is over already."""
        await self._db.write_shared(self._put_finished, Finished(task, session))

    def _put_finished(self, db: sqlite3.Connection, given: list[Finished]) -> list[Exception | None]:
        return write_finished(db, given, self._task_ttl_s, self._session_ttl_s)

    def _insert(
        self, db: sqlite3.Connection, task: TaskRecord, *, queued: bool, until: float | None, worker: str
    ) -> None:
        db.execute(
            "INSERT INTO tasks VALUES (?,?,?,?,?,?,?,?,?,?,0,0,?)",
            (
                *(task.task_id, task.owner, task.status.value, task.session_id, task.priority),
                *(task.created_at.timestamp(), time.time() + self._task_ttl_s, task.attempts),
                *(int(queued), until, task.model_dump_json()),
            ),
        )
        _log(db, task, worker)

    async def get(self, task_id: str) -> TaskRecord | None:
        """The task."""
        row = await self._db.read(
            lambda db: db.execute(
                "SELECT record FROM tasks WHERE task_id=? AND expires>?", (task_id, time.time())
            ).fetchone()
        )
        return None if row is None else TaskRecord.model_validate_json(row[0])

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
        given = {**(changes or {}), "status": status, "completed_at": datetime.now(UTC)}

        def end(db: sqlite3.Connection) -> TaskRecord | None:
            found = _find(db, task_id)
            if found is None or found.status.final or (attempt is not None and found.attempts != attempt):
                return None
            if session is not None:
                self._save(db, session)
            _append(db, task_id, events)
            return _change(db, found, given, worker, lease_until=None)

        done = await self._db.write(end)
        self._news.ring()
        return done

    async def delete(self, task_id: str) -> bool:
        """Forget a task with its events."""

        def forget(db: sqlite3.Connection) -> bool:
            db.execute("DELETE FROM events WHERE task_id=?", (task_id,))
            return db.execute("DELETE FROM tasks WHERE task_id=?", (task_id,)).rowcount > 0

        return await self._db.write(forget)

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
        asked = {"owner": owner, "status": status and status.value, "session_id": session_id}
        named = {name: value for name, value in asked.items() if value is not None}
        # The names are those above.
        where = " AND ".join(["expires>?", *(f"{name}=?" for name in named)])
        query = f"SELECT record FROM tasks WHERE {where} ORDER BY created DESC, task_id LIMIT ? OFFSET ?"  # noqa: S608
        rows = await self._db.read(
            lambda db: db.execute(query, (time.time(), *named.values(), limit, offset)).fetchall()
        )
        return [TaskRecord.model_validate_json(row[0]) for row in rows]

    async def unfinished(self, session_id: str) -> list[str]:
        """Tasks of a session that are not over."""
        rows = await self._db.read(
            lambda db: db.execute(
                "SELECT task_id FROM tasks WHERE session_id=?1 AND status IN ('pending', 'processing') AND expires>?2 "
                "UNION SELECT holder FROM holds WHERE session_id=?1 AND until>?2",
                (session_id, time.time()),
            ).fetchall()
        )
        return [row[0] for row in rows]

    async def stats(self, *, owner: str | None = None) -> dict[str, int]:
        """How many tasks have each status."""
        rows = await self._db.read(
            lambda db: db.execute(
                "SELECT status, count(*) FROM tasks WHERE expires>? AND (?2 IS NULL OR owner=?2) GROUP BY status",
                (time.time(), owner),
            ).fetchall()
        )
        return dict(rows)

    # queue

    async def claim(self, worker: str, lease_s: float) -> Lease | None:
        """The next task."""

        def take(db: sqlite3.Connection) -> Lease | None:
            now = time.time()
            row = db.execute(
                "SELECT task_id FROM tasks t WHERE status IN ('pending', 'processing') AND queued=1 AND attempts<?1 "
                "AND expires>?2 AND ((status='pending' AND not_before<=?2) "
                "OR (status='processing' AND lease_until<?2)) "
                "AND NOT EXISTS (SELECT 1 FROM tasks e WHERE e.session_id=t.session_id AND e.created<t.created "
                "AND e.queued=1 AND e.status IN ('pending', 'processing') AND e.expires>?2 AND e.attempts<?1) "
                "ORDER BY priority DESC, created LIMIT 1",
                (self._max_attempts, now),
            ).fetchone()
            found = None if row is None else _find(db, row[0])
            if found is None:
                return None
            until = now + lease_s
            begun = {"status": TaskStatus.PROCESSING, "attempts": found.attempts + 1, "started_at": datetime.now(UTC)}
            task = _change(db, found, begun, worker, lease_until=until)
            return Lease(task=task, worker=worker, attempt=task.attempts, until=until)

        return await self._db.write(take)

    async def renew(self, lease: Lease, lease_s: float) -> bool:
        """Whether the lease is still held; then for `lease_s` more."""
        return await self._db.write(
            lambda db: (
                db.execute(
                    "UPDATE tasks SET lease_until=? WHERE task_id=? AND attempts=? AND status='processing'",
                    (time.time() + lease_s, lease.task.task_id, lease.attempt),
                ).rowcount
                > 0
            )
        )

    async def hand_back(self, lease: Lease, *, delay_s: float = 0.0) -> bool:
        """Make the task claimable again."""

        def give(db: sqlite3.Connection) -> bool:
            found = _find(db, lease.task.task_id)
            if found is None or found.status is not TaskStatus.PROCESSING or found.attempts != lease.attempt:
                return False
            _change(db, found, {"status": TaskStatus.PENDING}, lease.worker, lease_until=None)
            db.execute("UPDATE tasks SET not_before=? WHERE task_id=?", (time.time() + delay_s, found.task_id))
            return True

        given = await self._db.write(give)
        self._work.ring()
        return given

    async def request_cancel(self, task_id: str) -> TaskRecord | None:
        """Ask that a task be ended."""

        def ask(db: sqlite3.Connection) -> TaskRecord | None:
            found = _find(db, task_id)
            if found is None or found.status.final:
                return found
            if found.status is TaskStatus.PROCESSING:
                db.execute("UPDATE tasks SET cancel=1 WHERE task_id=?", (task_id,))
                return found
            ended = {"status": TaskStatus.CANCELLED, "error": CANCELLED, "completed_at": datetime.now(UTC)}
            _append(db, task_id, [("error", error_event(CANCELLED))])
            return _change(db, found, ended, None, lease_until=None)

        task = await self._db.write(ask)
        self._news.ring()
        return task

    async def cancel_requested(self, task_ids: Sequence[str]) -> set[str]:
        """Those of the tasks whose end was asked for."""
        wanted = json.dumps(list(task_ids))
        rows = await self._db.read(
            lambda db: db.execute(
                "SELECT task_id FROM tasks WHERE cancel=1 AND task_id IN (SELECT value FROM json_each(?))", (wanted,)
            ).fetchall()
        )
        return {row[0] for row in rows}

    async def wait_for_work(self, timeout_s: float) -> None:
        """Return when there may be something to claim."""
        await self._work.wait(min(timeout_s, LOOK_AGAIN_S))

    async def transitions(self, task_id: str | None = None, *, after: int = 0, limit: int = 1000) -> list[Transition]:
        """The log of status changes."""
        rows = await self._db.read(
            lambda db: db.execute(
                "SELECT seq, task_id, status, attempt, worker, at FROM transitions "
                "WHERE seq>?1 AND (?2 IS NULL OR task_id=?2) ORDER BY seq LIMIT ?3",
                (after, task_id, limit),
            ).fetchall()
        )
        names = ("seq", "task_id", "status", "attempt", "worker", "at")
        return [Transition.model_validate(dict(zip(names, row, strict=True))) for row in rows]

    # events

    async def append_events(self, task_id: str, events: Sequence[tuple[str, dict[str, Any]]]) -> list[TaskEvent]:
        """Add to the task's story."""
        added = await self._db.write(lambda db: _append(db, task_id, events))
        self._news.ring()
        return added

    async def follow(self, task_id: str, after: int = 0) -> AsyncIterator[TaskEvent]:
        """Events from `after` on, until the last."""
        while True:
            heard = self._news.heard
            task = await self.get(task_id)
            found = await self._events(task_id, after)
            for event in found:
                after = event.id
                yield event
                if event.type in LAST_EVENTS:
                    return
            if not found:
                if task is None or task.status.final:
                    return
                await self._news.wait(LOOK_AGAIN_S, heard)

    async def _events(self, task_id: str, after: int) -> list[TaskEvent]:
        query = "SELECT id, type, data FROM events WHERE task_id=? AND id>? ORDER BY id LIMIT 500"
        rows = await self._db.read(lambda db: db.execute(query, (task_id, after)).fetchall())
        return [TaskEvent.model_validate({"id": row[0], "type": row[1], "data": json.loads(row[2])}) for row in rows]

    # sessions

    async def session(self, session_id: str, owner: str) -> SessionRecord:
        """The session, or a new one."""
        row = await self._db.read(
            lambda db: db.execute(
                "SELECT owner, record FROM sessions WHERE session_id=? AND expires>?", (session_id, time.time())
            ).fetchone()
        )
        if row is None:
            return SessionRecord(session_id=session_id, owner=owner)
        if row[0] != owner:
            raise NotTheOwner(session_id)
        return SessionRecord.model_validate_json(row[1])

    async def save_session(self, session: SessionRecord) -> SessionRecord:
        """Keep it under the next version."""
        return await self._db.write(lambda db: self._save(db, session))

    def _save(self, db: sqlite3.Connection, session: SessionRecord) -> SessionRecord:
        return save(db, session, self._session_ttl_s)

    async def acquire_session(self, session_id: str, holder: str, lease_s: float) -> str | None:
        """Have the session for oneself."""

        def acquire(db: sqlite3.Connection) -> str | None:
            now = time.time()
            row = db.execute("SELECT holder, until FROM holds WHERE session_id=?", (session_id,)).fetchone()
            if row is not None and row[0] != holder and row[1] > now:
                return str(row[0])
            db.execute("INSERT OR REPLACE INTO holds VALUES (?,?,?)", (session_id, holder, now + lease_s))
            return None

        return await self._db.write(acquire)

    async def release_session(self, session_id: str, holder: str) -> None:
        """Let go of it."""
        await self._db.write(
            lambda db: db.execute("DELETE FROM holds WHERE session_id=? AND holder=?", (session_id, holder)).rowcount
        )

    # keys

    async def reserve_key(self, owner: str, key: str, task_id: str, fingerprint: str) -> Reserved:
        """Take an idempotency key."""

        def reserve(db: sqlite3.Connection) -> Reserved:
            now = time.time()
            db.execute("DELETE FROM keys WHERE owner=? AND key=? AND expires<=?", (owner, key, now))
            made = db.execute(
                "INSERT OR IGNORE INTO keys VALUES (?,?,?,?,?)",
                (owner, key, task_id, fingerprint, now + self._task_ttl_s),
            ).rowcount
            row = db.execute("SELECT task_id, fingerprint FROM keys WHERE owner=? AND key=?", (owner, key)).fetchone()
            return Reserved(task_id=row[0], fingerprint=row[1], first=made > 0)

        return await self._db.write(reserve)

    async def release_key(self, owner: str, key: str, task_id: str) -> None:
        """Let go of a key."""
        await self._db.write(
            lambda db: (
                db.execute("DELETE FROM keys WHERE owner=? AND key=? AND task_id=?", (owner, key, task_id)).rowcount
            )
        )

    async def count(self, key: str, window_s: float) -> tuple[int, float]:
        """Add one to a counter."""

        def add(db: sqlite3.Connection) -> tuple[int, float]:
            now = time.time()
            hits, until = db.execute(
                "INSERT INTO counters VALUES (?1, 1, ?2 + ?3) ON CONFLICT (key) DO UPDATE SET "
                "hits = CASE WHEN until<=?2 THEN 1 ELSE hits + 1 END, "
                "until = CASE WHEN until<=?2 THEN ?2 + ?3 ELSE until END RETURNING hits, until",
                (key, now, window_s),
            ).fetchone()
            return hits, until - now

        return await self._db.write(add)

    async def log_interactions(self, lines: Sequence[dict[str, Any]]) -> None:
        """Add to the log."""
        await self._db.write_shared(_log_lines, [(time.time(), line) for line in lines])

    async def interactions(self, *, limit: int = 100) -> list[dict[str, Any]]:
        """The newest lines."""
        query = "SELECT line FROM interactions ORDER BY id DESC LIMIT ?"
        rows = await self._db.read(lambda db: db.execute(query, (limit,)).fetchall())
        return [json.loads(row[0]) for row in rows]

    async def expire(self) -> list[TaskRecord]:
        """Forget what is over; end what nobody will finish."""

        def sweep(db: sqlite3.Connection) -> list[TaskRecord]:
            now = time.time()
            lost = db.execute(
                "SELECT task_id FROM tasks WHERE status='processing' AND lease_until<?1 AND (queued=0 OR attempts>=?2) "
                "UNION ALL SELECT task_id FROM tasks WHERE status='pending' AND queued=1 AND attempts>=?2",
                (now, self._max_attempts),
            ).fetchall()
            failed = []
            for (task_id,) in lost:
                if (found := _find(db, task_id)) is not None:
                    ended = {"status": TaskStatus.FAILED, "error": LOST, "completed_at": datetime.now(UTC)}
                    _append(db, task_id, [("error", error_event(LOST))])
                    failed.append(_change(db, found, ended, None, lease_until=None))
            gone = [row[0] for row in db.execute("SELECT task_id FROM tasks WHERE expires<=?", (now,))]
            db.executemany("DELETE FROM events WHERE task_id=?", [(task_id,) for task_id in gone])
            db.executemany("DELETE FROM tasks WHERE task_id=?", [(task_id,) for task_id in gone])
            for table, column in _TRANSIENT.items():
                db.execute(f"DELETE FROM {table} WHERE {column}<=?", (now,))  # noqa: S608 - the names above
            for table in ("transitions", "interactions"):
                db.execute(f"DELETE FROM {table} WHERE at<?", (now - self._task_ttl_s,))  # noqa: S608 - as above
            return failed

        failed = await self._db.write(sweep)
        self._news.ring()
        return failed


def _log_lines(db: sqlite3.Connection, given: list[list[tuple[float, dict[str, Any]]]]) -> list[None]:
    rows = [(at, _as_json(line)) for lines in given for at, line in lines]
    db.executemany("INSERT INTO interactions (at, line) VALUES (?,?)", rows)
    return [None] * len(given)


def _as_json(line: dict[str, Any]) -> str:
    try:
        return to_json(line).decode()
    except ValueError:  # half a character
        return json.dumps(line)


def _find(db: sqlite3.Connection, task_id: str) -> TaskRecord | None:
    row = db.execute("SELECT record FROM tasks WHERE task_id=?", (task_id,)).fetchone()
    return None if row is None else TaskRecord.model_validate_json(row[0])


def _change(
    db: sqlite3.Connection,
    task: TaskRecord,
    changes: dict[str, Any],
    worker: str | None,
    *,
    lease_until: float | None,
) -> TaskRecord:
    changed = task.model_copy(update=changes)
    db.execute(
        "UPDATE tasks SET status=?, attempts=?, lease_until=?, record=? WHERE task_id=?",
        (changed.status.value, changed.attempts, lease_until, changed.model_dump_json(), task.task_id),
    )
    _log(db, changed, worker)
    return changed


def _log(db: sqlite3.Connection, task: TaskRecord, worker: str | None) -> None:
    db.execute(
        "INSERT INTO transitions (task_id, status, attempt, worker, at) VALUES (?,?,?,?,?)",
        (task.task_id, task.status.value, task.attempts, worker or None, time.time()),
    )


def _append(db: sqlite3.Connection, task_id: str, events: Sequence[tuple[str, dict[str, Any]]]) -> list[TaskEvent]:
    if not events:
        return []
    (last,) = db.execute("SELECT coalesce(max(id), 0) FROM events WHERE task_id=?", (task_id,)).fetchone()
    added = [
        TaskEvent.model_validate({"id": last + number, "type": kind, "data": data})
        for number, (kind, data) in enumerate(events, 1)
    ]
    db.executemany(
        "INSERT INTO events VALUES (?,?,?,?)", [(task_id, each.id, each.type, json.dumps(each.data)) for each in added]
    )
    return added
