"""Waiting, on an event loop, for what a thread commits: one wake-up for all who wait for the same commit."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

__all__ = ["Ticket", "Tickets", "settle"]

GATHER_S = 0.01
"""How long one who waits may have to wait for others to join."""


class Ticket(NamedTuple):
    """Somebody who waits."""

    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[None]


class Tickets:
    """Gives out futures on the loop's thread, and settles them from the thread that commits.

    Args:
        kick: Called on the loop's thread, after whatever else is ready there, when somebody waits.
        written: A count that grows as long as others are at something that they will wait for, too.
    """

    def __init__(self, kick: Callable[[], None], written: Callable[[], int] = lambda: 0) -> None:
        self._kick = kick
        self._written = written
        self._seen = 0
        self._since = 0.0
        self._kicked: asyncio.AbstractEventLoop | None = None
        """The loop that is about to kick."""
        self._waiting: deque[tuple[int, asyncio.AbstractEventLoop, asyncio.Future[None]]] = deque()

    def issue(self) -> Ticket:
        """A ticket to be settled by name."""
        loop = asyncio.get_running_loop()
        self._kick_soon(loop)
        return Ticket(loop, loop.create_future())

    def _kick_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._kicked is not loop:
            self._kicked = loop
            self._seen = -1
            self._since = time.monotonic()
            # Not at once: those who are about to wait too go into the same commit.
            loop.call_soon(self._now, loop)

    def wait(self, target: int, future: asyncio.Future[None] | None = None) -> asyncio.Future[None]:
        """A future (or the given one) that is done once the count, which only grows, is `target`.

        Targets never go down.
        """
        loop = asyncio.get_running_loop()
        if future is None:
            future = loop.create_future()
        self._kick_soon(loop)
        self._waiting.append((target, loop, future))
        return future

    def reached(self, count: int | None = None) -> None:
        """Let those go on whose count is reached (None: everybody)."""
        ready = []
        waiting = self._waiting
        while waiting and (count is None or waiting[0][0] <= count):
            ready.append(waiting.popleft()[1:])
        settle(ready)

    def _now(self, loop: asyncio.AbstractEventLoop) -> None:
        written = self._written()
        if (
            self._kicked is loop
            and len(self._waiting) > 1
            and written != self._seen
            and time.monotonic() < self._since + GATHER_S
        ):
            self._seen = written
            loop.call_soon(self._now, loop)
            return
        self._kicked = None
        self._kick()


def settle(
    tickets: Iterable[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]], error: Exception | None = None
) -> None:
    """Wake those who wait, with an error if there is one; from any thread."""
    by_loop: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    for loop, future in tickets:
        by_loop.setdefault(loop, []).append(future)
    for loop, futures in by_loop.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_release, futures, error)


def _release(futures: Iterable[asyncio.Future[None]], error: Exception | None) -> None:
    for future in futures:
        # One that was cancelled, or answered before, has nobody who waits.
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
