"""Works on queued tasks: claims them under a lease, renews it, hands back what it cannot finish."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Coroutine
from typing import Any

from peeragent.models.tasks import TaskRecord
from peeragent.service import Service
from peeragent.store.base import Lease, StoreUnavailable

log = logging.getLogger(__name__)

WAIT_S = 5.0
END_S = 10.0
"""How long it may take to hand back what was cancelled: some milliseconds, where the store is well."""
AGAIN_S = 1.0
"""Before the store is tried again when it did not answer."""


class Worker:
    """As many tasks at once as `worker_concurrency` says. `run` it until it is cancelled, or `stop` it."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._settings = service.settings
        self._tasks: set[asyncio.Task[TaskRecord | None]] = set()
        self._free = asyncio.Semaphore(self._settings.worker_concurrency)
        self._stopping = asyncio.Event()
        self._until: float | None = None
        self.done = 0
        """Tasks that were finished here."""

    async def run(self) -> None:
        """Claim and work, until `stop`; then finish, or hand back, what is under way."""
        try:
            while not self._stopping.is_set():
                await self._free.acquire()
                lease = None
                try:
                    lease = await self._next()
                finally:
                    if lease is None:
                        self._free.release()
                if lease is not None:
                    self._start(lease)
        finally:
            if self._tasks:
                grace = self._settings.shutdown_grace
                left = grace if self._until is None else self._until - time.monotonic()
                await asyncio.wait(self._tasks, timeout=max(0.0, left))
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                # A store that hangs is not waited for: what is not handed back now is free when its lease runs out.
                await asyncio.wait(self._tasks, timeout=END_S)

    def stop(self, until: float | None = None) -> None:
        """Claim nothing more. What is under way may go on `until` then, by the monotonic clock."""
        self._until = until
        self._stopping.set()

    async def _next(self) -> Lease | None:
        store = self._service.store
        try:
            lease = await store.claim(self._service.worker, self._settings.worker_lease)
            if lease is None:
                await self._waited(store.wait_for_work(WAIT_S))
        except StoreUnavailable as error:
            log.warning("the store does not answer: %s", error)
        except Exception as error:  # whatever is in the store, this worker goes on: there are other tasks
            log.error("no task could be claimed", exc_info=error)
        else:
            return lease
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(AGAIN_S):
                await self._stopping.wait()
        return None

    async def _waited(self, waiting: Coroutine[Any, Any, None]) -> None:
        """Until there is work, or `stop`."""
        work = asyncio.ensure_future(waiting)
        stop = asyncio.ensure_future(self._stopping.wait())
        try:
            done, _ = await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in (work, stop):
                each.cancel()
        if work in done:
            work.result()

    def _start(self, lease: Lease) -> None:
        task = asyncio.create_task(self._service.work(lease), name=f"peeragent work {lease.task.task_id}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[TaskRecord | None]) -> None:
        self._tasks.discard(task)
        self._free.release()
        if task.cancelled():
            return
        if (error := task.exception()) is not None:
            # The lease runs out, and somebody else takes the task.
            log.error("a task could not be finished", exc_info=error)
        elif task.result() is not None:
            self.done += 1
