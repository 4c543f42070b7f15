"""Commits of many callers as few: what comes while one is under way goes into the next."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from weakref import WeakKeyDictionary

from penguiflow.state.shared import SharedChange, SharedOutcome

__all__ = ["Together"]

MAX_CHANGES = 200
"""Of one transaction."""

Commit = Callable[[Sequence[SharedChange]], Awaitable[list[SharedOutcome]]]
_Waiting = tuple[Sequence[SharedChange], "asyncio.Future[list[SharedOutcome]]"]


class Together:
    """Gives changes to `commit`, those of one loop in the order in which they came."""

    def __init__(self, commit: Commit) -> None:
        self._commit = commit
        self._lines: WeakKeyDictionary[asyncio.AbstractEventLoop, _Line] = WeakKeyDictionary()

    async def make(self, changes: Sequence[SharedChange]) -> list[SharedOutcome]:
        """What became of the changes. Whoever is cancelled meanwhile does not know whether they were made."""
        if not changes:
            return []
        loop = asyncio.get_running_loop()
        line = self._lines.get(loop)
        if line is None:
            line = self._lines[loop] = _Line(self._commit)
        return await line.add(changes, loop)


class _Line:
    """Those who wait, on one loop."""

    def __init__(self, commit: Commit) -> None:
        self._commit = commit
        self._waiting: deque[_Waiting] = deque()
        self._task: asyncio.Task[None] | None = None

    async def add(self, changes: Sequence[SharedChange], loop: asyncio.AbstractEventLoop) -> list[SharedOutcome]:
        future: asyncio.Future[list[SharedOutcome]] = loop.create_future()
        self._waiting.append((changes, future))
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._run(), name="shared commits")
        return await future

    async def _run(self) -> None:
        while self._waiting:
            some = self._take()
            try:
                outcomes = await self._commit([change for changes, _ in some for change in changes])
            except asyncio.CancelledError:
                for _, future in (*some, *self._waiting):
                    future.cancel()
                self._waiting.clear()
                raise
            except Exception as error:  # whatever it is, those who wait must hear of it
                for _, future in some:
                    if not future.done():
                        future.set_exception(error)
                continue
            position = 0
            for changes, future in some:
                if not future.done():
                    future.set_result(outcomes[position : position + len(changes)])
                position += len(changes)

    def _take(self) -> list[_Waiting]:
        """As many as fit, the first in any case."""
        some = [self._waiting.popleft()]
        room = MAX_CHANGES - len(some[0][0])
        while self._waiting and len(self._waiting[0][0]) <= room:
            some.append(self._waiting.popleft())
            room -= len(some[-1][0])
        return some
