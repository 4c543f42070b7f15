"""What a store can do. Two can: `sqlite.py` and `redis.py`; both pass the same tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from peeragent.models.tasks import SessionRecord, TaskEvent, TaskRecord, TaskStatus, Transition


class StoreUnavailable(Exception):
    """The store does not answer, or not in time. Says which, where, and never a password."""


class SessionConflict(Exception):
    """Somebody else has saved the session since it was read."""


class NotTheOwner(Exception):
    """The session or task belongs to another principal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A claim on a task: who holds it may finish the task, until it runs out or somebody else claims it."""

    task: TaskRecord
    worker: str
    attempt: int
    until: float
    """Unix seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserved:
    """An idempotency key: `task_id` is that of whoever came first, `fingerprint` what they asked for."""

    task_id: str
    fingerprint: str
    first: bool
    """Whether this call made the reservation."""


class TaskStore(Protocol):
    """Tasks, events, sessions, leases and keys. Each method is one atomic step; all raise `StoreUnavailable`.

    A task ends once: `finish` and `cancel` do nothing to a task that has a final status, and say so.
    """

    name: str
    """`sqlite` or `redis`."""

    async def open(self) -> None:
        """Make what is missing. Called once, before anything else."""

    async def close(self) -> None:
        """Write what waits, and end. Nothing is called after it."""

    async def check(self) -> None:
        """Return when the store answers; for health checks, which bound the time."""

    # tasks
    async def add(
        self, task: TaskRecord, *, queue: bool = False, lease_s: float | None = None, worker: str = ""
    ) -> None:
        """Keep a new task. `queue`: workers may claim it. `lease_s`: whoever adds it works on it under a lease (an
        inline request that dies gives the task back as failed `WORKER_LOST`, or to the queue if it was `queue`d)."""

    async def get(self, task_id: str) -> TaskRecord | None:
        """The task, None if there is none, or no more."""

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
        """Give the task its final status, once, with `changes` of its fields; None if it has one, is gone, or `attempt`
        is no longer the one that counts. `session` is saved with it, as `save_session` does, and `events` are the last
        of its story: all of it or nothing."""

    async def put_finished(self, task: TaskRecord, session: SessionRecord | None = None) -> None:
        """Keep a task that is over already: what `add` and `finish` would write, in one step."""

    async def delete(self, task_id: str) -> bool:
        """Forget a task with its events. A task that runs is cancelled first by whoever calls."""

    async def list_tasks(
        self,
        *,
        owner: str | None = None,
        status: TaskStatus | None = None,
        session_id: str | None = None,
        limit: int = 20,
        offset: int = 0,
    ) -> list[TaskRecord]:
        """Newest first; filters come before paging. `owner=None` lists everybody's."""

    async def unfinished(self, session_id: str) -> list[str]:
        """Tasks of a session that are not over: those in the queue, and the one that has the session."""
        ...

    async def stats(self, *, owner: str | None = None) -> dict[str, int]:
        """How many tasks have each status; those with none are left out."""

    # queue
    async def claim(self, worker: str, lease_s: float) -> Lease | None:
        """The next task: by priority, then age; among them those whose lease ran out. None if there is none.

        Tasks of one session are given out one at a time, in the order in which they came."""

    async def renew(self, lease: Lease, lease_s: float) -> bool:
        """Whether the lease is still held; then until `lease_s` from now."""

    async def hand_back(self, lease: Lease, *, delay_s: float = 0.0) -> bool:
        """Make the task claimable again (after `delay_s`); its status is `pending`. False if the lease was lost."""

    async def request_cancel(self, task_id: str) -> TaskRecord | None:
        """Ask that a task be ended. One that nobody works on is `cancelled` at once; who works on one finds out by
        `cancel_requested`. Returns the task as it is now, None if there is none."""

    async def cancel_requested(self, task_ids: Sequence[str]) -> set[str]:
        """Those of the tasks whose end was asked for."""

    async def wait_for_work(self, timeout_s: float) -> None:
        """Return when there may be something to claim, at the latest after `timeout_s`."""

    async def transitions(self, task_id: str | None = None, *, after: int = 0, limit: int = 1000) -> list[Transition]:
        """The log of status changes: all, or one task's; oldest first, `seq` greater than `after`."""

    # events of a task, for streams
    async def append_events(self, task_id: str, events: Sequence[tuple[str, dict[str, Any]]]) -> list[TaskEvent]:
        """Add `(type, data)` to the task's story; returns them with their ids."""

    def follow(self, task_id: str, after: int = 0) -> AsyncIterator[TaskEvent]:
        """The events with an id greater than `after`, then new ones as they come, until `done` or `error`."""
        ...

    # sessions
    async def session(self, session_id: str, owner: str) -> SessionRecord:
        """The session; a new one, version 0, if there is none. Raises `NotTheOwner`."""

    async def save_session(self, session: SessionRecord) -> SessionRecord:
        """Keep it under the next version. Raises `SessionConflict` if it is no longer the version that was read, and
        `NotTheOwner` if somebody else made it meanwhile."""

    async def acquire_session(self, session_id: str, holder: str, lease_s: float) -> str | None:
        """Have the session for oneself: None when it worked, else who holds it. Again by the holder: renews."""

    async def release_session(self, session_id: str, holder: str) -> None:
        """Let go of it; nothing happens if somebody else holds it."""

    # keys
    async def reserve_key(self, owner: str, key: str, task_id: str, fingerprint: str) -> Reserved:
        """Take an idempotency key for a task, unless somebody has: then theirs is returned."""

    async def release_key(self, owner: str, key: str, task_id: str) -> None:
        """Let go of a key that was taken for this task, which was refused; nothing happens if it is another's."""

    async def count(self, key: str, window_s: float) -> tuple[int, float]:
        """Add one to a counter that begins anew `window_s` after its first; its value, and the seconds until then."""
        ...

    async def log_interactions(self, lines: Sequence[dict[str, Any]]) -> None:
        """Add JSON objects to the log of interactions."""

    async def interactions(self, *, limit: int = 100) -> list[dict[str, Any]]:
        """The newest lines of the log, newest first."""
        ...

    async def expire(self) -> list[TaskRecord]:
        """Forget tasks and sessions whose time is over, and end those whose worker was lost `max_attempts` times as
        failed: these are returned, by one process only. Called now and then by the service."""
        ...
