"""What writers of stores have in common: a queue that is bounded, and an account of what became of what was in it."""

from __future__ import annotations

import asyncio
import logging
import sys
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple, Protocol

from penguiflow.recording.events import EventRecord
from penguiflow.recording.hops import ENTRY_BYTES, Track, size_of, take_entries
from penguiflow.state.batch import Stretch
from penguiflow.state.errors import StoreError
from penguiflow.state.rows import TraceRow
from penguiflow.state.tickets import Ticket, Tickets, settle

__all__ = ["Closing", "Intake", "Item", "Job", "Write", "fail", "resolve"]

logger = logging.getLogger("penguiflow.state")

MAX_BATCH_EVENTS = 4_000
MAX_QUEUED_EVENTS = 100_000
MAX_QUEUED_BYTES = 64 * 1024 * 1024
_ROOM = 0.5
"""Share of what it may hold at which those who wait go on."""


class Write(NamedTuple):
    """A statement that goes into the next transaction."""

    sql: str
    parameters: Sequence[Any]
    ticket: Ticket


class Job(NamedTuple):
    """A function that gets the connection after everything before it is committed; with None it only waits for that."""

    function: Callable[[Any], Any] | None
    future: Future[Any]


class Closing(NamedTuple):
    """A trace that lost events is over: it is closed when what was taken of it is committed."""

    trace_id: str


Item = EventRecord | Stretch | Write


class Signal(Protocol):
    """An `Event` of threads or of a loop."""

    def set(self) -> None:
        """Let those go on who wait for it."""
        ...


class Intake:
    """Takes what is written, and says when there is too much of it.

    `write` may be called on any one thread. Whoever derives from it takes what there is, commits it and says so.
    """

    def __init__(self, place: str, wake: Signal) -> None:
        self.dropped = 0
        """Events that could not be kept because nothing could be written."""
        self._place = place
        self._queue: deque[EventRecord | Track | Write | Job | Closing] = deque()
        self._pending: list[Item] = []
        """Taken from the queue and not committed."""
        self._jobs: deque[Job | Closing] = deque()
        """Taken from the queue and not done."""
        # What it was given, was taken from the queue, and is committed.
        self.told_in = 0
        self._told_taken = 0
        self._told_out = 0
        self.bytes_in = 0
        self._bytes_out = 0
        self._known: dict[str, TraceRow] = {}
        self._wake = wake
        self._idle = False
        self.guarded = False
        """True when it is to be looked before an event is taken: failing, closed, or traces are broken off."""
        self._closing = False
        self._failure: StoreError | None = None
        self._broken: set[str] = set()
        """Traces that lost events: what is stored of them stays a beginning, without gaps."""
        self._waiting: deque[Future[None]] = deque()
        self._tickets = Tickets(self._commit_now, lambda: self.told_in)

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
            self._hasten()
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
        self._put(Write(sql, parameters, ticket))
        return ticket.future

    def submit(self, function: Callable[[Any], Any] | None) -> Future[Any]:
        """Commit what was written so far, then call the function with the connection."""
        future: Future[Any] = Future()
        self._put(Job(function, future))
        self._hasten()
        return future

    def admits(self, trace_id: str, kind: str) -> bool:
        """Whether it takes one more event of a trace; implements `HopSink`."""
        full = self._closing or (self._failure is not None and self._is_full())
        if not full and trace_id not in self._broken:
            return True
        # From the first event that is lost to the trace's end, all are.
        self.dropped += 1
        if kind == "trace.end":
            self._broken.discard(trace_id)
            self._queue.append(Closing(trace_id))
        else:
            self._broken.add(trace_id)
        return False

    @property
    @abstractmethod
    def _can_write(self) -> bool:
        """False once nobody is there who would commit."""

    @abstractmethod
    def _commit_now(self) -> None:
        """Somebody waits for what is there."""

    @abstractmethod
    def _hasten(self) -> None:
        """As `_commit_now`, where whoever writes is awake."""

    def _put(self, item: Write | Job) -> None:
        if self._closing or not self._can_write:
            raise self._closed()
        self._queue.append(item)
        self._idle = False
        self._wake.set()

    def _closed(self) -> StoreError:
        return StoreError(f"{self._place}: the store is closed", path=self._place)

    # -- called by whoever commits -------------------------------------------------------------------------------------

    def _is_full(self, share: float = 1.0) -> bool:
        return (
            self.told_in - self._told_out > MAX_QUEUED_EVENTS * share
            or self.bytes_in - self._bytes_out > MAX_QUEUED_BYTES * share
        )

    def _is_batch(self) -> bool:
        """Whether there is as much as goes into one transaction."""
        return self.told_in - self._told_taken >= MAX_BATCH_EVENTS

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
            elif isinstance(item, Write):
                pending.append(item)
                room -= 1
            elif isinstance(item, Job | Closing):
                jobs.append(item)

    def _some(self) -> list[Item]:
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

    def _committed(self, items: Sequence[Item]) -> None:
        """The first of those that are pending are committed."""
        del self._pending[: len(items)]
        self._recovered()
        told, size = _counted(items)
        self._told_out += told
        self._bytes_out += size
        settle(item.ticket for item in items if isinstance(item, Write))

    def _failed(self, error: StoreError) -> None:
        """Keep what could not be written for another attempt, as long as there is room; tell those who wait."""
        if self._failure is None:
            logger.error("events are not being stored: %s", error)
        self._failure = error
        self.guarded = True
        self._compare_again()
        settle((item.ticket for item in self._pending if isinstance(item, Write)), error)
        self._pending = [item for item in self._pending if not isinstance(item, Write)]

    def _recovered(self) -> None:
        """Something was written: if that was impossible before, tell."""
        if self._failure is not None:
            logger.warning("events are being stored again in %s", self._place)
            self._failure = None
        if self.guarded and not self._closing:
            self.guarded = bool(self._broken)

    def _compare_again(self) -> None:
        """What may have changed or was left undone in the database: the rows that are known are looked up again."""
        for row in self._known.values():
            row.compared = None

    def _wake_up(self) -> None:
        """Let those go on who waited for room, or for a commit."""
        while self._waiting and (self._failure is not None or not self._is_full(_ROOM)):
            resolve(self._waiting.popleft(), None)
        self._tickets.reached(None if self._failure is not None else self._told_out)

    def _give_up(self) -> None:
        """Nothing is written any more: whoever waits for something is told."""
        error = self._failure or self._closed()
        left = [*self._pending, *self._jobs, *self._queue]
        for item in left:
            if isinstance(item, Job):
                fail(item.future, error)
        settle((item.ticket for item in left if isinstance(item, Write)), error)
        while self._waiting:
            resolve(self._waiting.popleft(), None)
        self._tickets.reached()


def _counted(items: Iterable[Item]) -> tuple[int, int]:
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


def resolve(future: Future[Any], result: Any) -> None:
    """Answer; one that was cancelled, or answered before, has nobody who waits."""
    if not future.done() and future.set_running_or_notify_cancel():
        future.set_result(result)


def fail(future: Future[Any], error: Exception) -> None:
    """As `resolve`, with an error."""
    if not future.done() and future.set_running_or_notify_cancel():
        future.set_exception(error)
