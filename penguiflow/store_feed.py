"""A plain state store and the events that it keeps: a slow one does not hold the flow up."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from penguiflow.coroutines import resume
from penguiflow.metrics import StoredEvent

__all__ = ["EventStore", "StoreFeed"]

logger = logging.getLogger("penguiflow.core")

MAX_QUEUED = 10_000
"""Events that wait for a slow store before the flow waits for it."""
CLOSE_GRACE_S = 5.0
"""How long `stop` waits for a store that is behind, in seconds."""


class EventStore(Protocol):
    """The part of a state store that events go to."""

    async def save_event(self, event: StoredEvent) -> None:
        """Keep one event."""
        ...


class StoreFeed:
    """Gives events to a store, one after the other and in order.

    A store that never waits (one in memory) has each event at once. As soon as one waits, the rest is given to it in
    the background; `flush` returns when it has all.
    """

    def __init__(self, store: EventStore, failed: Callable[[StoredEvent, Exception], None]) -> None:
        self._store = store
        self._failed = failed
        self._slow = False
        self._queue: deque[StoredEvent] = deque()
        self._changed: deque[asyncio.Future[None]] = deque()
        self._busy = False
        """The event that showed the store to be slow is still being kept."""
        self._task: asyncio.Task[None] | None = None

    async def put(self, event: StoredEvent) -> None:
        """Hand one event over; waits only while very many wait already."""
        if not self._slow:
            self._busy = True
            try:
                await self._save(event)
            finally:
                self._busy = False
                self._go_on()
            return
        while len(self._queue) >= MAX_QUEUED:
            await self._change()
        self._queue.append(event)
        self._go_on()

    async def flush(self) -> None:
        """Return once the store has every event, or has failed to take it."""
        while self._task is not None or self._busy:
            await self._change()

    async def close(self) -> None:
        """As `flush`, but not for ever: what a store that hangs has not taken is lost, and the log says so."""
        task = self._task
        if task is None:
            return
        await asyncio.wait({task}, timeout=CLOSE_GRACE_S)
        if not task.done():
            lost = len(self._queue) + 1
            self._queue.clear()
            task.cancel()
            await asyncio.wait({task}, timeout=CLOSE_GRACE_S)
            logger.error("state_store_events_lost", extra={"event": "state_store_events_lost", "lost": lost})

    def _go_on(self) -> None:
        if self._queue and self._task is None and not self._busy:
            self._task = asyncio.get_running_loop().create_task(self._work(), name="penguiflow:store")
        elif self._slow:
            self._tell()

    async def _work(self) -> None:
        try:
            while self._queue:
                await self._save(self._queue.popleft())
                self._tell()
        finally:
            self._task = None
            self._tell()

    async def _save(self, event: StoredEvent) -> None:
        try:
            saving: Any = self._store.save_event(event).__await__()
            try:
                pending = next(saving)
            except StopIteration:
                return
            self._slow = True
            await resume(saving, pending)
        except Exception as error:  # a failing store must not stop the flow
            self._failed(event, error)

    async def _change(self) -> None:
        changed = asyncio.get_running_loop().create_future()
        self._changed.append(changed)
        await changed

    def _tell(self) -> None:
        while self._changed:
            changed = self._changed.popleft()
            if not changed.done():
                changed.set_result(None)
