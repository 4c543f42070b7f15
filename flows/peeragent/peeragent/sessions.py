"""One turn of a session at a time, in the order in which they came, whichever process they came to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from peeragent.errors import Refused
from peeragent.models.tasks import SessionRecord, TaskRecord
from peeragent.orders import Policy
from peeragent.store.base import NotTheOwner, TaskStore

TRY_AGAIN_S = 0.05


class Interrupted(Refused):
    """A later request of the session took the place of this one, which had not begun."""

    def __init__(self) -> None:
        super().__init__("TASK_CANCELLED", "another request of this session took its place before it began", 409)


@dataclass(eq=False, slots=True)
class _Place:
    """A task in a line."""

    task_id: str
    turn: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    """Done when it is its turn."""
    unwanted: bool = False


@dataclass(eq=False, slots=True)
class _Line:
    """The tasks of one session in this process: the one whose turn it is, and those behind it."""

    first: _Place
    waiting: list[_Place] = field(default_factory=list)


class Sessions:
    """Who has which session."""

    def __init__(
        self, store: TaskStore, *, lease_s: float, most: int, cancel: Callable[[str], Awaitable[object]]
    ) -> None:
        """`most`: tasks of a session that may wait."""
        self._store, self._lease_s, self._most, self._cancel = store, lease_s, most, cancel
        self._lines: dict[tuple[str, str], _Line] = {}
        """By owner and session: nobody waits in, or ends, the line of somebody else who chose the same name."""
        self._held: dict[str, str] = {}

    async def check(self, session_id: str, owner: str) -> SessionRecord:
        """The session, if it is the owner's, or nobody's yet. Raises `Refused` 403."""
        try:
            return await self._store.session(session_id, owner)
        except NotTheOwner:
            raise Refused("SESSION_FORBIDDEN", "this session belongs to somebody else", 403) from None

    async def make_room(self, task: TaskRecord, policy: Policy) -> None:
        """For a task that a worker is to do later. Raises `Refused`: 409 and 429 as `turn`."""
        others = await self._others(task)
        line = self._lines.get((task.owner, task.session_id))
        if policy == "reject" and (others or line):
            raise _busy()
        if policy == "interrupt":
            await self._interrupt(task.owner, line, others)
        elif len(others) > self._most:
            raise _full(self._most)

    @contextlib.asynccontextmanager
    async def turn(self, task: TaskRecord, *, policy: Policy, bounded: bool = True) -> AsyncIterator[SessionRecord]:
        """The session, which nobody else changes meanwhile.

        Raises `Refused`: 403 for somebody else's; 409 for one that is busy, with the policy `reject`, and when another
        task took the place of this one while it waited; 429 where too many wait (`bounded`).
        """
        await self.check(task.session_id, task.owner)
        async with self._in_this_process(task, policy, bounded) as place:
            await self._from_other_processes(task, policy, place)
            try:
                session = await self.check(task.session_id, task.owner)
                if place.unwanted:
                    raise Interrupted
                yield session
            finally:
                self._held.pop(task.session_id, None)
                await asyncio.shield(self._store.release_session(task.session_id, task.task_id))

    @contextlib.asynccontextmanager
    async def _in_this_process(self, task: TaskRecord, policy: Policy, bounded: bool) -> AsyncIterator[_Place]:
        place, name = _Place(task.task_id), (task.owner, task.session_id)
        line = self._lines.get(name)
        if line is None:
            line = self._lines[name] = _Line(place)
        else:
            await self._wait(line, place, task, policy, bounded)
        try:
            yield place
        finally:
            self._next(name, line)

    async def _wait(self, line: _Line, place: _Place, task: TaskRecord, policy: Policy, bounded: bool) -> None:
        if policy == "reject":
            raise _busy()
        if policy == "enqueue" and bounded and len(line.waiting) >= self._most:
            raise _full(self._most)
        before = [line.first, *line.waiting]
        line.waiting.append(place)
        try:
            if policy == "interrupt":
                _unwant(before)
                for other in before:
                    await self._cancel(other.task_id)
            await place.turn
            if place.unwanted:
                raise Interrupted
        except BaseException:
            if line.first is place:
                self._next((task.owner, task.session_id), line)
            elif place in line.waiting:
                line.waiting.remove(place)
            raise

    def _next(self, name: tuple[str, str], line: _Line) -> None:
        """The turn of whoever is next."""
        if not line.waiting:
            del self._lines[name]
            return
        line.first = line.waiting.pop(0)
        if not line.first.turn.done():
            line.first.turn.set_result(None)

    async def _from_other_processes(self, task: TaskRecord, policy: Policy, place: _Place) -> None:
        if policy == "interrupt":
            await self._interrupt(task.owner, None, await self._others(task))
        while await self._store.acquire_session(task.session_id, task.task_id, self._lease_s):
            if policy == "reject":
                raise _busy()
            await asyncio.sleep(TRY_AGAIN_S)
            if place.unwanted:
                raise Interrupted
        self._held[task.session_id] = task.task_id

    async def _others(self, task: TaskRecord) -> list[str]:
        return [each for each in await self._store.unfinished(task.session_id) if each != task.task_id]

    async def _interrupt(self, owner: str, line: _Line | None, others: list[str]) -> None:
        mine: list[str] = []
        if line is not None:
            places = [line.first, *line.waiting]
            _unwant(places)
            mine += (place.task_id for place in places)
        for other in others:
            # A session belongs to nobody until its first turn is over.
            found = None if other in mine else await self._store.get(other)
            if found is not None and found.owner == owner:
                mine.append(other)
        for each in mine:
            await self._cancel(each)

    async def renew(self) -> None:
        """Keep what is held here."""
        for session_id, holder in [*self._held.items()]:
            await self._store.acquire_session(session_id, holder, self._lease_s)


def _unwant(places: list[_Place]) -> None:
    """Have those that wait give up."""
    for place in places:
        place.unwanted = True
        if not place.turn.done():
            place.turn.set_result(None)


def _busy() -> Refused:
    return Refused("SESSION_BUSY", "this session is at work on another request; wait for it, or cancel it", 409)


def _full(most: int) -> Refused:
    told = f"{most} requests of this session wait already; ask again when they are done"
    return Refused("SESSION_QUEUE_FULL", told, 429, {"Retry-After": "1"})
