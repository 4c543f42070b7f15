"""Waiting, on an event loop, for what a thread commits: one wake-up for all who wait for the same commit."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

__all__ = ["Tickets"]


class Tickets:
    """Futures that are done once a count, which only grows, has reached what stood on them.

    Args:
        kick: Called on the loop's thread, after whatever else is ready there, when somebody waits.
    """

    def __init__(self, kick: Callable[[], None]) -> None:
        self._kick = kick
        self._kicked: asyncio.AbstractEventLoop | None = None
        """The loop that is about to kick."""
        self._waiting: deque[tuple[int, asyncio.AbstractEventLoop, asyncio.Future[None]]] = deque()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def take(self, target: int) -> asyncio.Future[None]:
        """A future for the count `target`, which is not below that of any other; on the loop's thread."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._waiting.append((target, loop, future))
        if self._kicked is not loop:
            self._kicked = loop
            # Not at once: those who are about to wait too go into the same commit.
            loop.call_soon(self._now)
        return future

    def reached(self, count: int | None = None) -> None:
        """Let those go on whose count is reached (None: everybody); on the thread that commits."""
        ready: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
        waiting = self._waiting
        while waiting and (count is None or waiting[0][0] <= count):
            _, loop, future = waiting.popleft()
            ready.setdefault(loop, []).append(future)
        for loop, futures in ready.items():
            if not loop.is_closed():
                loop.call_soon_threadsafe(_release, futures)

    def _now(self) -> None:
        self._kicked = None
        self._kick()


def _release(futures: Iterable[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)
