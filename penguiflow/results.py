"""What waits for the results of one trace."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Protocol

from penguiflow.egress import Durable, Hold
from penguiflow.errors import FlowError
from penguiflow.validation import is_message, is_stream_chunk

__all__ = ["LastResult", "ResultQueue", "ResultSink", "Unheard"]


class ResultSink(Protocol):
    """Takes what a trace delivers, in place of the common egress queue."""

    takes_children: bool
    """Whether it also takes what traces deliver that were made in its own."""

    @property
    def full(self) -> bool:
        """Whether the next result has to wait."""
        ...

    async def wait_room(self) -> None:
        """Return once a result fits."""
        ...

    def put(self, result: Any) -> None:
        """Take one result."""
        ...

    def finish(self, error: FlowError | None) -> None:
        """The trace is over; `error` is why it failed, if it did."""
        ...


def is_chunk(result: Any) -> bool:
    """Whether a result is a piece of a stream."""
    return is_stream_chunk(result.payload if is_message(result) else result)


class LastResult:
    """Keeps the last result that is no chunk; for `PenguiFlow.call`.

    With `hold` the caller goes on once the events behind the result are committed.
    """

    __slots__ = ("_hold", "done", "result")

    full = False
    takes_children = True

    def __init__(self, hold: Hold | None = None) -> None:
        self.result: Any = None
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._hold = hold

    async def wait_room(self) -> None:
        """There is always room."""

    def put(self, result: Any) -> None:
        """Keep it unless it is a chunk."""
        if not is_chunk(result):
            self.result = result

    def finish(self, error: FlowError | None) -> None:
        """Let the caller go on."""
        if self.done.done():
            return
        if error is not None:
            self.done.set_exception(error)
        elif self._hold is None or not self._hold(self.done):
            self.done.set_result(None)

    def close(self) -> None:
        """Nobody waits any more: an error that came too late is no warning."""
        if self.done.done() and not self.done.cancelled():
            self.done.exception()


class Unheard:
    """Takes what comes of a question that was given up."""

    full = False
    takes_children = True

    async def wait_room(self) -> None:
        """There is always room."""

    def put(self, result: Any) -> None:
        """Nobody wants it any more."""

    def finish(self, error: FlowError | None) -> None:
        """Nobody waits for it."""


class ResultQueue:
    """Holds results until they are asked for, at most `maxsize` of them (0: any number)."""

    def __init__(self, maxsize: int, *, takes_children: bool = True) -> None:
        self.maxsize = maxsize
        self.takes_children = takes_children
        self.results: deque[Any] = deque()
        self.finished = False
        self.cancelled = False
        """Nothing more is to come by it: the trace was cancelled."""
        self.error: FlowError | None = None
        self.awaited = 0
        """How many wait for a result."""
        self._changed: deque[asyncio.Future[None]] = deque()

    @property
    def full(self) -> bool:
        """Whether the next result has to wait."""
        return 0 < self.maxsize <= len(self.results)

    async def wait_room(self) -> None:
        """Return once something was taken."""
        await self._wait()

    def put(self, result: Any) -> None:
        """Add one result."""
        self.results.append(result)
        self._notify()

    def clear(self) -> None:
        """Drop what nobody has asked for."""
        self.results.clear()
        self._notify()

    def finish(self, error: FlowError | None) -> None:
        """No more results will come."""
        self.finished = True
        self.error = error
        self._notify()

    async def get(self, durable: Durable | None = None) -> Any:
        """The next result. Once there is none left: raises the trace's error, or `StopAsyncIteration`.

        With `durable` not before the events behind it are committed.
        """
        while True:
            if self.results and durable is not None and (commit := durable()) is not None:
                await commit
            if self.results:
                break
            if self.finished:
                if self.error is not None:
                    raise self.error
                raise StopAsyncIteration
            self.awaited += 1
            try:
                await self._wait()
            finally:
                self.awaited -= 1
        result = self.results.popleft()
        self._notify()
        return result

    async def _wait(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self._changed.append(future)
        await future

    def _notify(self) -> None:
        while self._changed:
            future = self._changed.popleft()
            if not future.done():
                future.set_result(None)
