"""A task of the loop on which it is needed first, which is begun again where that one is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

__all__ = ["LoopTask"]


class LoopTask:
    """Runs `run` as a task; anybody may wake it, on any thread."""

    def __init__(self, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._run = run
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._something = asyncio.Event()
        self._hurry = asyncio.Event()

    @property
    def is_running(self) -> bool:
        """Whether there is a task, on a loop that there is still."""
        return self._task is not None and not self._task.done() and not self._task.get_loop().is_closed()

    def rouse(self) -> bool:
        """Wake the task; begin it when there is none, or its loop is gone. False without a loop to begin it on."""
        if self.is_running:
            self._call(self._something.set)
            return True
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            return False
        self._something, self._hurry = asyncio.Event(), asyncio.Event()
        self._something.set()
        self._task = self._loop.create_task(self._run(), name="store writer")
        return True

    def hasten(self) -> None:
        """Have it wait no longer for more."""
        self._call(self._hurry.set)

    async def ended(self) -> None:
        """Return when the task has ended, whatever loop it belongs to."""
        if self._task is not None and self.is_running:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._wait(), self._task.get_loop()))

    # Within the task

    async def rest(self, seconds: float | None) -> None:
        """Return when there is something to do, or after so many seconds."""
        await _within(self._something, seconds)

    def awake(self) -> None:
        """What there is to do so far is known."""
        self._something.clear()

    async def linger(self, seconds: float) -> None:
        """Return after so many seconds, or when somebody is in a hurry."""
        await _within(self._hurry, seconds)

    def calm(self) -> None:
        """Nobody is in a hurry any more."""
        self._hurry.clear()

    async def _wait(self) -> None:
        if self._task is not None:
            await asyncio.wait([self._task])

    def _call(self, function: Callable[[], None]) -> None:
        loop = self._loop
        if loop is None or loop.is_closed():
            return
        try:
            here = asyncio.get_running_loop() is loop
        except RuntimeError:
            here = False
        if here:
            function()
        else:
            loop.call_soon_threadsafe(function)


async def _within(event: asyncio.Event, seconds: float | None) -> None:
    """Return when it is set, or after so many seconds."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
