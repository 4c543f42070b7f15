"""The newest events in memory: for clients that come back, and for what the store has not committed yet."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

MAX_BYTES = 16 * 1024 * 1024
MAX_EVENTS = 50_000


class Sent(NamedTuple):
    """One event that went out."""

    trace_id: str
    seq: int
    data: bytes
    """The event as JSON."""
    is_chunk: bool


class Tail:
    """A bounded log of the newest events of all traces."""

    def __init__(self, max_bytes: int = MAX_BYTES, max_events: int = MAX_EVENTS) -> None:
        self._max_bytes = max_bytes
        self._max_events = max_events
        self._events: deque[Sent] = deque()
        self._bytes = 0

    def add(self, event: Sent) -> None:
        """Keep one more, and forget the oldest for it."""
        self._events.append(event)
        self._bytes += len(event.data)
        while self._bytes > self._max_bytes or len(self._events) > self._max_events:
            self._bytes -= len(self._events.popleft().data)

    def after(self, trace_id: str, seq: int) -> list[Sent]:
        """What is kept of a trace after `seq`, in order."""
        return [event for event in self._events if event.trace_id == trace_id and event.seq > seq]
