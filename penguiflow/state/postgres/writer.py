"""The task that writes: it gathers what arrives for a moment and commits it together."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from penguiflow.state.batch import Batch
from penguiflow.state.errors import StoreError
from penguiflow.state.intake import Closing, Intake, Item, Job, Write, fail, resolve
from penguiflow.state.liveness import SIGN_OF_LIFE_S
from penguiflow.state.postgres.address import Address
from penguiflow.state.postgres.commit import Attempt, CannotSave, commit
from penguiflow.state.postgres.link import Link, nothing
from penguiflow.state.postgres.problems import DRIVER_ERRORS, explain, is_lost
from penguiflow.state.postgres.task import LoopTask
from penguiflow.state.tickets import settle
from penguiflow.state.upkeep import Upkeep

if TYPE_CHECKING:
    from asyncpg import Connection

__all__ = ["Writer"]

T = TypeVar("T")

logger = logging.getLogger("penguiflow.state")

LINGER_S = 0.02
"""How long events gather before they are committed."""
RETRY_S = 0.5
"""Pause between attempts while nothing can be written."""
LAST_WORDS_S = 5.0
"""How long a loop that ends with a store that nobody closed waits for the last commit."""

Chore = Callable[[], Awaitable[bool]]
"""A bounded piece of work on the database when there is nothing to write; True when more of it is left."""
BreakOff = Callable[[str, int], Awaitable[None]]
"""Closes a trace that lost events, of this writer."""


class _Awake:
    """The loop's event for a writer that may not have begun: whoever sets it first begins it."""

    def __init__(self, rouse: Callable[[], None]) -> None:
        self.set = rouse


class Writer(Intake):
    """Owns the connection that writes, and a task on the loop of whoever writes first.

    `patience_s` is how long a server may be away before that is an error; until then, who writes too much has to wait.
    """

    def __init__(
        self, address: Address, *, inline: int, patience_s: float, break_off: BreakOff, upkeep: Chore | None = None
    ) -> None:
        super().__init__(address.place, _Awake(self._rouse))
        self.link = Link(address, patience_s)
        self._inline = inline
        self._break_off_trace = break_off
        self._upkeep = Upkeep(upkeep)
        self._idle = True
        self._task = LoopTask(self._run)
        self._number = 0
        """Of the last commit."""
        self._doubt: tuple[int, Batch] | None = None
        """How many items an attempt had whose answer never came, and what it would have made of them."""

    # -- called by those who write -------------------------------------------------------------------------------------

    async def enter(self) -> int:
        """This writer's id. Raises `StoreError` when the server cannot be reached."""
        while not self.link.writer_id:
            await asyncio.wrap_future(self.submit(self._enter))
        return self.link.writer_id

    async def close(self) -> StoreError | None:
        """Commit what is left and end the task; returns what went wrong, if something did. Can be repeated."""
        self._closing = self.guarded = True
        if self._queue or self._pending or self._jobs or self._task.is_running:
            self._commit_now()
        await self._task.ended()
        return self._failure

    def _commit_now(self) -> None:
        self._rouse()
        self._task.hasten()

    def _hasten(self) -> None:
        self._task.hasten()

    @property
    def _can_write(self) -> bool:
        return True

    def _rouse(self) -> None:
        """Wake the task, or begin it. Without a loop it has to wait for somebody who has one."""
        if not self._task.rouse():
            self._idle = True

    # -- the task ------------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            while await self._gather():
                await self._step()
            await self._end()
        except asyncio.CancelledError:
            # The loop ends, and nobody has closed the store: what waits is written as far as there is time.
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_WORDS_S):
                    await self._end(sign_off=False)
            raise
        except Exception as error:  # whatever it is, those who wait must hear of it
            logger.exception("the store's writer failed; %s gets no further events", self._place)
            self._failure = StoreError(f"{self._place}: the writer failed: {error!r}", path=self._place)
            self._closing = self.guarded = True
        finally:
            if self._closing:
                self._give_up()
            self._idle = True
            await self.link.drop()

    async def _gather(self) -> bool:
        """Wait for something to do, then for more of it; False when it is time to end."""
        if not self._queue and not self._pending and not self._jobs:
            await self._look_after()
            self._idle = True
            if not self._queue and not self._closing:
                await self._task.rest(self._upkeep.pause(SIGN_OF_LIFE_S if self._known else None))
            self._idle = False
        self._task.awake()
        if not self._closing and (self._queue or self._failure is not None):
            if self._failure is not None:
                await self._task.linger(RETRY_S)
            elif not self._is_batch():
                await self._task.linger(LINGER_S)
        self._task.calm()
        return not self._closing

    async def _look_after(self) -> None:
        """Do a piece of upkeep when it is due; what it cannot do now waits for the next time."""
        if self._upkeep.work is None or not self._upkeep.is_due():
            return
        more = False
        try:
            more = await self._upkeep.work()
        except StoreError as error:
            logger.warning("old traces were not removed: %s", error)
        self._upkeep.done(more=more)

    async def _step(self) -> None:
        """Commit what has gathered, up to the next job; then do the job."""
        self._take()
        await self._commit()
        while self._pending and self._failure is None:
            await self._commit()
        postponed: list[Job | Closing] = []
        while self._jobs:
            job = self._jobs[0]
            if isinstance(job, Job):
                await self._do(job)
            elif self._failure is None:
                await self._break_off(job.trace_id)
            else:
                postponed.append(job)
            self._jobs.popleft()
        self._jobs.extend(postponed)
        if self._queue and self._failure is None:
            # More is there than fits: no need to wait for it.
            self._task.hasten()
        self._wake_up()

    async def _commit(self) -> None:
        """Commit a transaction's worth of what is pending."""
        items = self._some() if self._doubt is None else self._pending[: self._doubt[0]]
        if not items:
            await self._give_sign()
            return
        try:
            batch = await self._patiently(lambda connection: self._attempt(connection, items))
        except CannotSave as refused:
            # It got as far as this: no earlier attempt had been committed.
            self._doubt = None
            settle([refused.item.ticket], explain(refused.__cause__ or refused, self._place))
            self._pending.remove(refused.item)
            return
        except StoreError as error:
            self._failed(error)
            return
        self._doubt = None
        self.dropped += batch.lost
        batch.committed()
        self._committed(items)

    def _failed(self, error: StoreError) -> None:
        if self._doubt is not None:
            # What was saved by name is told to have failed, and does not come again.
            events = [item for item in self._pending[: self._doubt[0]] if not isinstance(item, Write)]
            self._doubt = (len(events), self._doubt[1])
        super()._failed(error)

    async def _attempt(self, connection: Connection[Any], items: list[Item]) -> Batch:
        """Write items, unless an earlier attempt has done so."""
        number = self._number + 1
        batch = Batch(self.link.writer_id, self._known, version=number, inline=self._inline)
        try:
            if (
                not await commit(connection, Attempt(self.link.writer_id, number, batch), items)
                and self._doubt is not None
            ):
                batch = self._doubt[1]
        except DRIVER_ERRORS as error:
            if is_lost(error):
                self._doubt = (len(items), batch)
            raise
        self._number = number
        self.link.last_sign = time.monotonic()
        return batch

    async def _patiently(self, work: Callable[[Connection[Any]], Awaitable[T]]) -> T:
        # While nothing can be written one try is enough: others follow.
        return await self.link.patiently(work, once=self._failure is not None)

    async def _break_off(self, trace_id: str) -> None:
        self._known.pop(trace_id, None)
        try:
            await self._break_off_trace(trace_id, self.link.writer_id)
        except StoreError as error:
            self._failed(error)

    async def _do(self, job: Job) -> None:
        if self._failure is not None:
            fail(job.future, self._failure)
            return
        try:
            result = None if job.function is None else await job.function(None)
        except StoreError as error:
            fail(job.future, error)
        else:
            resolve(job.future, result)

    async def _enter(self, _: None) -> None:
        await self._patiently(nothing)

    async def _give_sign(self) -> None:
        """With nothing to commit: say that the writer is there, or try whether something can be written again."""
        due = self._known and time.monotonic() - self.link.last_sign > SIGN_OF_LIFE_S / 2
        if due or self._failure is not None:
            try:
                await self._patiently(self.link.sign)
            except StoreError as error:
                self._failed(error)
            else:
                self._recovered()

    async def _end(self, *, sign_off: bool = True) -> None:
        """Write what is left, close the traces that lost events, sign off."""
        while self._queue or self._pending or self._jobs:
            await self._step()
            if self._failure is not None:
                self.dropped += self.told_in - self._told_out
                return
        for trace_id in list(self._broken):
            await self._break_off(trace_id)
        if sign_off and self.link.writer_id:
            try:
                await self._patiently(self.link.sign_off)
            except StoreError as error:
                self._failure = error
