"""How long to wait before one looks again, and when to give up."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable
from typing import TypeVar

__all__ = ["Backoff", "Patience", "heeding"]

T = TypeVar("T")


class Backoff:
    """Waits that grow from `first_s` to `longest_s`, each a little different, so that many do not come at once."""

    __slots__ = ("_longest_s", "_next_s")

    def __init__(self, first_s: float, longest_s: float) -> None:
        self._next_s = first_s
        self._longest_s = longest_s

    def __call__(self) -> float:
        """Seconds until the next look."""
        wait_s = self._next_s * random.uniform(0.7, 1.3)
        self._next_s = min(self._longest_s, self._next_s * 1.7)
        return wait_s


class Patience:
    """For how long a server may say nothing. Each answer begins it anew, however long all of them take."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.told = ""
        """How far it came with the last answer."""
        self._loop = asyncio.get_running_loop()
        self._end = self._loop.time() + seconds
        self._bound: asyncio.Timeout | None = None

    def left_s(self) -> float:
        """Seconds until it is over; less than none afterwards."""
        return self._end - self._loop.time()

    def bound(self) -> asyncio.Timeout:
        """A timeout that answers put off: `async with patience.bound(): …`."""
        self._bound = asyncio.timeout_at(self._end)
        return self._bound

    def answered(self, told: str, *, further: bool = True) -> None:
        """The server did, and is as far as that. `further`: with what stays done, even if it goes away right now.

        Only that makes the next attempt wait as long again: a server that dies of each attempt is given up.
        """
        self.told = told
        end = self._loop.time() + self.seconds
        if further:
            self._end = end
        if self._bound is not None and not self._bound.expired():
            self._bound.reschedule(end)


async def heeding(call: Awaitable[T]) -> T:
    """What a call answers, unless this task was cancelled meanwhile.

    Clients use `asyncio.wait_for`, which before Python 3.12 forgets a cancellation that comes with the answer.
    """
    task = asyncio.current_task()
    before = 0 if task is None else task.cancelling()
    try:
        return await call
    finally:
        if task is not None and task.cancelling() > before:
            raise asyncio.CancelledError
