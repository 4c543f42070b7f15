"""HTTP clients that are closed with the event loop that they are used on."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Protocol

__all__ = ["Kept"]

GRACE = 0.1  # seconds; a loop that is about to end closes its clients itself


class _Closable(Protocol):
    async def aclose(self) -> None: ...


class Kept:
    """Holds a client on the running loop, until the loop ends, its owner is gone, or `close` is called.

    A loop that ends closes its asynchronous generators: one of them holds the client. It must be referred to until
    then, or else it is closed by a task that the ending loop does not wait for.
    """

    _all: set[Kept] = set()  # noqa: RUF012 - of the process: what keeps the generators alive

    def __init__(self, client: _Closable, owner: object) -> None:
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._closing = False
        self._generator = self._hold()
        self._finalizer = weakref.finalize(owner, self._owner_is_gone)
        self._finalizer.atexit = False

    async def begin(self) -> None:
        """Have the loop close it from here on."""
        for other in [each for each in Kept._all if each._loop.is_closed()]:
            Kept._all.discard(other)
        Kept._all.add(self)
        await anext(self._generator)

    async def close(self) -> None:
        """Close it now."""
        if not self._closing:
            await self._generator.aclose()

    async def _hold(self) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            self._closing = True
            self._finalizer.detach()
            try:
                await self._client.aclose()
            finally:
                Kept._all.discard(self)

    def _owner_is_gone(self) -> None:
        """Called wherever the owner was collected, perhaps in another thread."""
        with suppress(RuntimeError):  # the loop is closed, and the client with it
            self._loop.call_soon_threadsafe(self._loop.call_later, GRACE, self._close_soon)

    def _close_soon(self) -> None:
        self._task = self._loop.create_task(self.close())
