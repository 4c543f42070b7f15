"""One turn of a session at a time, in the order in which they came, whichever process they came to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Literal

from peeragent.errors import Refused
from peeragent.models.tasks import SessionRecord, TaskRecord
from peeragent.store.base import NotTheOwner, TaskStore

TRY_AGAIN_S = 0.05


class Sessions:
    """Who has which session."""

    def __init__(self, store: TaskStore, *, lease_s: float, cancel: Callable[[str], Awaitable[None]]) -> None:
        self._store, self._lease_s, self._cancel = store, lease_s, cancel
        self._here: dict[str, tuple[asyncio.Lock, list[str]]] = {}
        """Sessions with turns in this process: the lock, and the tasks that have it or wait for it."""
        self._held: dict[str, str] = {}

    async def check(self, session_id: str, owner: str) -> SessionRecord:
        """The session, if it is the owner's, or nobody's yet. Raises `Refused` 403."""
        try:
            return await self._store.session(session_id, owner)
        except NotTheOwner:
            raise Refused("SESSION_FORBIDDEN", "this session belongs to somebody else", 403) from None

    @contextlib.asynccontextmanager
    async def turn(
        self, task: TaskRecord, *, policy: Literal["enqueue", "reject", "interrupt"]
    ) -> AsyncIterator[SessionRecord]:
        """The session, which nobody else changes meanwhile.

        Raises `Refused`: 403 for somebody else's, 409 for one that is busy, with the policy `reject`.
        """
        await self.check(task.session_id, task.owner)
        async with self._in_this_process(task, policy):
            await self._from_other_processes(task, policy)
            try:
                yield await self.check(task.session_id, task.owner)
            finally:
                self._held.pop(task.session_id, None)
                await asyncio.shield(self._store.release_session(task.session_id, task.task_id))

    @contextlib.asynccontextmanager
    async def _in_this_process(self, task: TaskRecord, policy: str) -> AsyncIterator[None]:
        lock, tasks = self._here.setdefault(task.session_id, (asyncio.Lock(), []))
        if tasks and policy == "reject":
            raise _busy()
        if policy == "interrupt":
            for other in [*tasks]:
                await self._cancel(other)
        tasks.append(task.task_id)
        try:
            async with lock:
                yield
        finally:
            tasks.remove(task.task_id)
            if not tasks:
                self._here.pop(task.session_id, None)

    async def _from_other_processes(self, task: TaskRecord, policy: str) -> None:
        while holder := await self._store.acquire_session(task.session_id, task.task_id, self._lease_s):
            if policy == "reject":
                raise _busy()
            if policy == "interrupt":
                await self._cancel(holder)
            await asyncio.sleep(TRY_AGAIN_S)
        self._held[task.session_id] = task.task_id

    async def renew(self) -> None:
        """Keep what is held here."""
        for session_id, holder in [*self._held.items()]:
            await self._store.acquire_session(session_id, holder, self._lease_s)


def _busy() -> Refused:
    return Refused("SESSION_BUSY", "this session is at work on another request; wait for it, or cancel it", 409)
