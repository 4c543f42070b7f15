"""`emit(trace_id=…)` and `fetch(trace_id=…)`: one question and its answer at a time for each trace."""

from __future__ import annotations

import asyncio
from typing import Any

from penguiflow.channels import UNCHANGED, whole
from penguiflow.egress import Egress
from penguiflow.errors import FlowError, FlowErrorCode
from penguiflow.results import ResultQueue, Unheard
from penguiflow.traces import TraceTable
from penguiflow.types import Message

__all__ = ["Roundtrips", "with_trace"]

MAX_UNFETCHED = 4096
"""Answers that are kept for a `fetch(trace_id=…)` which may never come."""


def with_trace(msg: Any, trace_id: str) -> Any:
    """The message with another trace id. Raises `TypeError` for an object that can carry none."""
    if isinstance(msg, Message):
        return msg.model_copy(update={"trace_id": trace_id})
    try:
        msg.trace_id = trace_id
    except (AttributeError, TypeError, ValueError):
        raise TypeError("emit(trace_id=...) requires a Message (or object with writable .trace_id)") from None
    return msg


class Roundtrips:
    """Who waits for the result of which trace."""

    def __init__(self, table: TraceTable, egress: Egress, maxsize: int) -> None:
        self.table = table
        self.egress = egress
        self.rookery = egress.rookery
        self.maxsize = maxsize
        self.enabled = False
        """Whether anything was ever emitted for a named trace."""
        self._open: dict[str, asyncio.Event] = {}
        """Set when the first result of the trace was fetched."""
        self._stops = 0

    async def begin(self, trace_id: str) -> None:
        """Subscribe to the trace, once an earlier roundtrip of the same trace is over.

        Raises `RuntimeError` when the flow stops meanwhile.
        """
        self.enabled = True
        stops = self._stops
        while trace_id in self._open:
            await self._open[trace_id].wait()
            if self._stops != stops:
                raise RuntimeError("PenguiFlow is not running: it was stopped while the message waited for its turn")
        self._open[trace_id] = asyncio.Event()
        self._set_aside(trace_id)
        self._forget_finished(trace_id)
        self._subscribe(trace_id)

    def _set_aside(self, trace_id: str) -> None:
        """Late answers to an earlier question are none to the one that begins.

        A trace in which nodes wait for more messages goes on: those may be what is sent now. So does one that was not
        begun by a question.
        """
        trace = self.table.traces.get(trace_id)
        if trace is None or trace.cancelled or trace.holds:
            return
        queue = self.table.sinks.get(trace_id)
        given_up = queue is not None and trace.sink is queue
        called = trace.sink is not None and not given_up
        if not (trace.asked or trace.ended or called):
            return
        self.table.set_aside(trace)
        if queue is not None and given_up:
            trace.sink = Unheard()
            queue.clear()

    def rejoin(self, trace_id: str) -> None:
        """Whoever asks goes on waiting for a trace that goes on by itself."""
        self.enabled = True
        self._subscribe(trace_id)

    def abandon(self, trace_id: str) -> None:
        """The message of this roundtrip could not be sent, or not to all entries."""
        self._end(trace_id)
        queue = self.table.sinks.get(trace_id)
        if queue is None or queue.awaited:
            return
        del self.table.sinks[trace_id]
        trace = self.table.traces.get(trace_id)
        if trace is not None and trace.sink is queue:
            trace.sink = Unheard()
        queue.clear()

    async def fetch(self, trace_id: str) -> Any:
        """The next result of the trace. Raises its `FlowError`; None when it ended without a result."""
        if self._position(trace_id) is not None:
            await self.egress.kept()
        # Somebody else may have been faster meanwhile.
        if (position := self._position(trace_id)) is not None:
            floe, message, payload, trace, _ = self.rookery.inbox.items[position]
            del self.rookery.inbox.items[position]
            self.egress.forget()
            floe.release()
            if trace is not None:
                self.table.collected(trace)
            self._end(trace_id)
            return whole(message, payload)
        queue = self._subscribe(trace_id)
        try:
            result = await queue.get(self.egress.durable)
        except asyncio.CancelledError:
            # The result is kept for a fetch that is repeated. A new emit for the trace need not wait for this one.
            if self.table.sinks.get(trace_id) is queue:
                self._end(trace_id)
                if not (trace_id in self.table.traces or queue.results or queue.finished or queue.awaited):
                    del self.table.sinks[trace_id]
            raise
        except StopAsyncIteration:
            self._unsubscribe(trace_id, queue)
            return None
        except FlowError:
            self._unsubscribe(trace_id, queue)
            raise
        self._unsubscribe(trace_id, queue)
        return result

    def _position(self, trace_id: str) -> int | None:
        """Where in the common queue a result of the trace is."""
        for position, item in enumerate(self.rookery.inbox.items):
            trace = item[3]
            if trace is not None and trace.id == trace_id and not trace.cancelled and not trace.aside:
                return position
        return None

    def cancelled(self, trace_id: str) -> None:
        """The trace was cancelled: its roundtrip is over, and the next emit need not wait for it."""
        old = self.table.sinks.get(trace_id)
        if isinstance(old, ResultQueue):
            old.cancelled = True
            old.clear()
        self._end(trace_id)

    def drop(self, trace_id: str) -> bool:
        """Cancel a roundtrip whose result is there and was not fetched; False when there is none."""
        old = self.table.sinks.get(trace_id)
        if not isinstance(old, ResultQueue) or not old.results:
            return False
        self.cancelled(trace_id)
        old.finish(
            FlowError(trace_id=trace_id, node_name=None, code=FlowErrorCode.TRACE_CANCELLED, message="trace cancelled")
        )
        return True

    def clear(self) -> None:
        """Turn everybody away who waits for a turn."""
        self._stops += 1
        for ended in self._open.values():
            ended.set()
        self._open.clear()

    def _forget_finished(self, trace_id: str) -> None:
        """Make room: an answer that nobody fetched gives way to a new question, or to very many others."""
        sinks = self.table.sinks
        old = sinks.get(trace_id)
        if old is not None and (old.finished or old.cancelled):
            self._forget(trace_id, old)
        if len(sinks) >= MAX_UNFETCHED:
            oldest = next(((key, sink) for key, sink in sinks.items() if sink.finished), None)
            if oldest is not None:
                self._forget(*oldest)
                self._end(oldest[0])

    def _forget(self, trace_id: str, queue: ResultQueue) -> None:
        """Drop an answer. A trace that was begun again meanwhile must not go on filling its queue."""
        del self.table.sinks[trace_id]
        trace = self.table.traces.get(trace_id)
        if trace is not None and trace.sink is queue and not trace.cancelled:
            trace.sink = None
        queue.clear()

    def _end(self, trace_id: str) -> None:
        ended = self._open.pop(trace_id, None)
        if ended is not None:
            ended.set()

    def _subscribe(self, trace_id: str) -> ResultQueue:
        queue = self.table.sinks.get(trace_id)
        if not isinstance(queue, ResultQueue):
            queue = ResultQueue(self.maxsize, takes_children=False)
            self.table.sinks[trace_id] = queue
            trace = self.table.traces.get(trace_id)
            if trace is not None and trace.sink is None and not trace.ended and not trace.cancelled:
                trace.sink = queue
        return queue

    def _unsubscribe(self, trace_id: str, queue: ResultQueue) -> None:
        """A fetch is over. Results that nobody asked for go to the common queue."""
        if self.table.sinks.get(trace_id) is queue:
            self._end(trace_id)
            if queue.awaited:
                return
            del self.table.sinks[trace_id]
        trace = self.table.traces.get(trace_id)
        if trace is not None and trace.sink is queue:
            trace.sink = None
        if self.rookery.incoming:
            floe = self.rookery.incoming[0]
            while queue.results:
                if trace is not None:
                    trace.parked += 1
                floe.put((floe, queue.results.popleft(), UNCHANGED, trace, ""))
