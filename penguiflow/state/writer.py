"""The one thread that writes: it gathers what arrives for a moment and commits it together."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple

from penguiflow.recording.events import EventRecord
from penguiflow.recording.hops import ENTRY_BYTES, Track, size_of, take_entries
from penguiflow.state.batch import Batch, Stretch
from penguiflow.state.errors import StoreError
from penguiflow.state.files import explain
from penguiflow.state.liveness import SIGN_OF_LIFE_S, sign_off
from penguiflow.state.recovery import close_trace
from penguiflow.state.rows import TraceRow
from penguiflow.state.spill import INLINE_BYTES
from penguiflow.state.tickets import Ticket, Tickets, settle

__all__ = ["Writer"]

logger = logging.getLogger("penguiflow.state")

LINGER_S = 0.02
"""How long events gather before they are committed."""
MAX_BATCH_EVENTS = 4_000
MAX_QUEUED_EVENTS = 100_000
MAX_QUEUED_BYTES = 64 * 1024 * 1024
RETRY_S = 0.5
"""Pause between attempts to write to a file that cannot be written."""
CLOSE_TIMEOUT_S = 15.0
_ROOM = 0.5
"""Share of what it may hold at which those who wait go on."""
UPKEEP_EVERY_S = 60.0
"""How often old traces are looked for, where the store is to forget them."""
_UPKEEP_AT_LAST_S = 600.0
"""When upkeep is done although there is always something to write."""

Upkeep = Callable[[sqlite3.Connection], bool]
"""A bounded piece of work on the file when there is nothing to write; True when more of it is left."""


class _Write(NamedTuple):
    """A statement that goes into the next transaction."""

    sql: str
    parameters: Sequence[Any]
    ticket: Ticket


class _Job(NamedTuple):
    """A function that gets the connection after everything before it is committed; with None it only waits for that."""

    function: Callable[[sqlite3.Connection], Any] | None
    future: Future[Any]


class _Closing(NamedTuple):
    """A trace that lost events is over: it is closed when what was taken of it is committed."""

    trace_id: str


class Writer:
    """Owns the connection that writes. `write` may be called on any one thread, everything else on any."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: Path,
        writer: int,
        *,
        upkeep: Upkeep | None = None,
        inline: int = INLINE_BYTES,
    ) -> None:
        self.dropped = 0
        """Events that could not be kept because the file could not be written."""
        self._connection = connection
        self._path = path
        self.writer_id = writer
        self._inline = inline
        self._queue: deque[EventRecord | Track | _Write | _Job | _Closing] = deque()
        self._pending: list[EventRecord | Stretch | _Write] = []
        """Taken from the queue and not committed."""
        self._jobs: deque[_Job | _Closing] = deque()
        """Taken from the queue and not done."""
        # What it was given, was taken from the queue, and is committed.
        self.told_in = 0
        self._told_taken = 0
        self._told_out = 0
        self.bytes_in = 0
        self._bytes_out = 0
        self._known: dict[str, TraceRow] = {}
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._idle = False
        self.guarded = False
        """True when it is to be looked before an event is taken: failing, closed, or traces are broken off."""
        self._closing = False
        self._failure: StoreError | None = None
        self._broken: set[str] = set()
        """Traces that lost events: what is stored of them stays a beginning, without gaps."""
        self._last_sign = time.monotonic()
        self._waiting: deque[Future[None]] = deque()
        self._tickets = Tickets(self._commit_now, lambda: self.told_in)
        self._upkeep = upkeep
        self._upkeep_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="penguiflow-store-writer", daemon=True)
        self._thread.start()

    # -- called by those who write -------------------------------------------------------------------------------------

    def write(self, record: EventRecord) -> None:
        """Take one event; implements `EventSink`."""
        if self.guarded and not self.admits(record.trace_id, record.kind):
            return
        self.told_in += 1
        self.bytes_in += len(record.data) + ENTRY_BYTES
        self.attach(record)

    def attach(self, track: Track | EventRecord) -> None:
        """There is something in a track; implements `HopSink`."""
        self._queue.append(track)
        if self._idle:
            self._idle = False
            self._wake.set()

    @property
    def congested(self) -> bool:
        """True while it holds as much as it may. While nothing can be written it loses events instead."""
        return self._is_full() and self._failure is None and not self._closing

    async def wait_ready(self) -> None:
        """Return once it is no longer congested."""
        while self.congested:
            future: Future[None] = Future()
            self._waiting.append(future)
            self._hurry.set()
            if self.congested:
                await asyncio.wrap_future(future)

    def durable(self) -> asyncio.Future[None] | None:
        """What to await until all that was written so far is committed; None when it is. On the loop's thread.

        Never raises: when nothing can be written, nobody is held up.
        """
        if self._told_out >= self.told_in or self._failure is not None or self._closing:
            return None
        return self._tickets.wait(self.told_in)

    def hold(self, future: asyncio.Future[None]) -> bool:
        """As `durable`, with a future of the caller's own, on its loop's thread; False when all is committed."""
        if self._told_out >= self.told_in or self._failure is not None or self._closing:
            return False
        self._tickets.wait(self.told_in, future)
        return True

    def execute(self, sql: str, parameters: Sequence[Any]) -> asyncio.Future[None]:
        """Put a statement into the next transaction; the future is done when that is committed. On a loop's thread."""
        ticket = self._tickets.issue()
        self._put(_Write(sql, parameters, ticket))
        return ticket.future

    def submit(self, function: Callable[[sqlite3.Connection], Any] | None) -> Future[Any]:
        """Commit what was written so far, then call the function with the connection."""
        future: Future[Any] = Future()
        self._put(_Job(function, future))
        self._hurry.set()
        return future

    def close(self, timeout: float = CLOSE_TIMEOUT_S) -> StoreError | None:
        """Commit what is left and end the thread; returns what went wrong, if something did. Can be repeated."""
        self._closing = True
        self.guarded = True
        self._hurry.set()
        self._wake.set()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout)
        return self._failure

    def _commit_now(self) -> None:
        self._hurry.set()
        self._wake.set()

    def _put(self, item: _Write | _Job) -> None:
        if self._closing or not self._thread.is_alive():
            raise StoreError(f"{self._path}: the store is closed", path=str(self._path))
        self._queue.append(item)
        self._idle = False
        self._wake.set()

    def _is_full(self, share: float = 1.0) -> bool:
        return (
            self.told_in - self._told_out > MAX_QUEUED_EVENTS * share
            or self.bytes_in - self._bytes_out > MAX_QUEUED_BYTES * share
        )

    def admits(self, trace_id: str, kind: str) -> bool:
        """Whether it takes one more event of a trace; implements `HopSink`."""
        full = self._closing or (self._failure is not None and self._is_full())
        if not full and trace_id not in self._broken:
            return True
        # From the first event that is lost to the trace's end, all are.
        self.dropped += 1
        if kind == "trace.end":
            self._broken.discard(trace_id)
            self._queue.append(_Closing(trace_id))
        else:
            self._broken.add(trace_id)
        return False

    # -- the thread ----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while self._gather():
                self._step()
            self._end()
        except Exception as error:  # whatever it is, those who wait must hear of it
            logger.exception("the store's writer failed; %s gets no further events", self._path)
            self._failure = StoreError(f"{self._path}: the writer failed: {error!r}", path=str(self._path))
        finally:
            self._closing = self.guarded = True
            self._give_up()
            self._connection.close()

    def _gather(self) -> bool:
        """Wait for something to do, then for more of it; False when it is time to end."""
        if not self._queue and not self._pending and not self._jobs:
            self._look_after()
            self._idle = True
            if not self._queue and not self._closing:
                self._wake.wait(self._pause())
            self._idle = False
            self._wake.clear()
        elif time.monotonic() > self._upkeep_at + _UPKEEP_AT_LAST_S:
            self._look_after()
        if not self._closing and (self._queue or self._failure is not None):
            if self._failure is not None:
                self._hurry.wait(RETRY_S)
            elif self.told_in - self._told_taken < MAX_BATCH_EVENTS:
                self._hurry.wait(LINGER_S)
        self._hurry.clear()
        return not self._closing

    def _pause(self) -> float | None:
        """How long it may rest."""
        pauses = [SIGN_OF_LIFE_S] if self._known else []
        if self._upkeep is not None:
            pauses.append(max(0.0, self._upkeep_at - time.monotonic()))
        return min(pauses, default=None)

    def _look_after(self) -> None:
        """Do a piece of upkeep when it is due; what it cannot do now waits for the next time."""
        if self._upkeep is None or time.monotonic() < self._upkeep_at:
            return
        more = False
        try:
            more = self._upkeep(self._connection)
        except sqlite3.Error as error:
            logger.warning("old traces were not removed: %s", explain(error, self._path, writing=True))
        self._upkeep_at = time.monotonic() + (0.0 if more else UPKEEP_EVERY_S)
        self._compare_again()

    def _step(self) -> None:
        """Commit what has gathered, up to the next job; then do the job."""
        self._take()
        self._commit()
        while self._pending and self._failure is None:
            self._commit()
        postponed = []
        while self._jobs:
            job = self._jobs[0]
            if isinstance(job, _Job):
                self._do(job)
            elif self._failure is None:
                self._break_off(job.trace_id)
            else:
                postponed.append(job)
            self._jobs.popleft()
        self._jobs.extend(postponed)
        if self._queue and self._failure is None:
            # More is there than fits: no need to wait for it.
            self._hurry.set()
        while self._waiting and (self._failure is not None or not self._is_full(_ROOM)):
            _resolve(self._waiting.popleft(), None)
        self._tickets.reached(None if self._failure is not None else self._told_out)

    def _take(self) -> None:
        """Move items from the queue to those that are pending, up to the first job.

        While nothing can be written all are taken: whoever waits for one is told.
        """
        failing = self._failure is not None
        queue, pending, jobs = self._queue, self._pending, self._jobs
        room = sys.maxsize if failing else MAX_BATCH_EVENTS - (self._told_taken - self._told_out)
        while queue and (failing or (not jobs and room > 0)):
            item = queue.popleft()
            # What stands first is what there is most of.
            if type(item) is Track:
                entries, more = take_entries(item, room)
                if more:
                    queue.appendleft(item)
                if entries:
                    pending.append(Stretch(item.trace_id, entries))
                    room -= len(entries)
                    self._told_taken += len(entries)
            elif type(item) is EventRecord:
                pending.append(item)
                room -= 1
                self._told_taken += 1
            elif isinstance(item, _Write):
                pending.append(item)
                room -= 1
            elif isinstance(item, _Job | _Closing):
                jobs.append(item)

    def _commit(self) -> None:
        """Commit a transaction's worth of what is pending."""
        items = self._some()
        if not items:
            self._give_sign()
            return
        try:
            self._write_items(items).committed()
        except sqlite3.Error as error:
            self._failed(error)
            return
        del self._pending[: len(items)]
        self._recovered()
        told, size = _counted(items)
        self._told_out += told
        self._bytes_out += size
        settle(item.ticket for item in items if isinstance(item, _Write))

    def _some(self) -> list[EventRecord | Stretch | _Write]:
        """The first of those that are pending: not many more than go into one transaction."""
        pending = self._pending
        if self._told_taken - self._told_out <= MAX_BATCH_EVENTS and len(pending) <= MAX_BATCH_EVENTS:
            return pending.copy()
        told = 0
        for index, item in enumerate(pending):
            told += len(item.entries) if type(item) is Stretch else 1
            if told >= MAX_BATCH_EVENTS:
                return pending[: index + 1]
        return pending.copy()

    def _write_items(self, items: list[EventRecord | Stretch | _Write]) -> Batch:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            (version,) = connection.execute("PRAGMA data_version").fetchone()
            batch = Batch(connection, self.writer_id, self._known, version=version, inline=self._inline)
            told = [item for item in items if not isinstance(item, _Write)]
            if len(told) < len(items):
                for item in items:
                    if isinstance(item, _Write):
                        connection.execute(item.sql, item.parameters)
            lost = batch.add(told)
            batch.write()
            if time.monotonic() - self._last_sign > SIGN_OF_LIFE_S / 2:
                self._sign()
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        self.dropped += lost
        return batch

    def _failed(self, reason: sqlite3.Error) -> None:
        """Keep what could not be written for another attempt, as long as there is room; tell those who wait."""
        error = explain(reason, self._path, writing=True)
        if self._failure is None:
            logger.error("events are not being stored: %s", error)
        self._failure = error
        self.guarded = True
        self._compare_again()
        settle((item.ticket for item in self._pending if isinstance(item, _Write)), error)
        self._pending = [item for item in self._pending if not isinstance(item, _Write)]

    def _recovered(self) -> None:
        """Something was written: if that was impossible before, tell."""
        if self._failure is not None:
            logger.warning("events are being stored again in %s", self._path)
            self._failure = None
        if self.guarded and not self._closing:
            self.guarded = bool(self._broken)

    def _break_off(self, trace_id: str) -> None:
        self._known.pop(trace_id, None)
        try:
            close_trace(self._connection, trace_id, {"reason": "events were lost"}, writer=self.writer_id)
        except sqlite3.Error as error:
            self._failed(error)

    def _do(self, job: _Job) -> None:
        if self._failure is not None:
            _fail(job.future, self._failure)
            return
        try:
            result = None if job.function is None else job.function(self._connection)
        except Exception as error:  # whatever it is, the one who asked must hear of it
            # A `ValueError` is about what was asked for, everything else about the file.
            _fail(job.future, error if isinstance(error, ValueError) else explain(error, self._path, writing=True))
        else:
            _resolve(job.future, result)
        if job.function is not None:
            self._compare_again()

    def _compare_again(self) -> None:
        """What this connection itself may have changed or left undone: `data_version` does not tell of that."""
        for row in self._known.values():
            row.compared = None

    def _give_sign(self) -> None:
        """With nothing to commit: say that the writer is there, or try whether something can be written again."""
        due = self._known and time.monotonic() - self._last_sign > SIGN_OF_LIFE_S / 2
        if due or self._failure is not None:
            try:
                self._sign()
            except sqlite3.Error as error:
                self._failed(error)
            else:
                self._recovered()

    def _sign(self) -> None:
        self._connection.execute("UPDATE writers SET seen = ? WHERE id = ?", (time.time(), self.writer_id))
        self._last_sign = time.monotonic()

    def _end(self) -> None:
        """Write what is left, close the traces that lost events, sign off."""
        while self._queue or self._pending or self._jobs:
            self._step()
            if self._failure is not None:
                self.dropped += self.told_in - self._told_out
                return
        for trace_id in self._broken:
            self._break_off(trace_id)
        try:
            sign_off(self._connection, self.writer_id)
        except sqlite3.Error as error:
            self._failure = explain(error, self._path, writing=True)

    def _give_up(self) -> None:
        error = self._failure or StoreError(f"{self._path}: the store is closed", path=str(self._path))
        left = [*self._pending, *self._jobs, *self._queue]
        for item in left:
            if isinstance(item, _Job):
                _fail(item.future, error)
        settle((item.ticket for item in left if isinstance(item, _Write)), error)
        while self._waiting:
            _resolve(self._waiting.popleft(), None)
        self._tickets.reached()


def _counted(items: Iterable[EventRecord | Stretch | _Write]) -> tuple[int, int]:
    """How many entries these are, and their size."""
    told = size = 0
    for item in items:
        if type(item) is Stretch:
            told += len(item.entries)
            size += size_of(item.entries)
        elif type(item) is EventRecord:
            told += 1
            size += len(item.data) + ENTRY_BYTES
    return told, size


def _resolve(future: Future[Any], result: Any) -> None:
    # One that was cancelled, or answered before, has nobody who waits.
    if not future.done() and future.set_running_or_notify_cancel():
        future.set_result(result)


def _fail(future: Future[Any], error: Exception) -> None:
    if not future.done() and future.set_running_or_notify_cancel():
        future.set_exception(error)
