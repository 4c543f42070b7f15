"""What waits to be sent to one client: in order, in batches, and never more than fits.

Stream chunks and log lines are dropped when a client is slow, oldest first, and counted. Nothing else is dropped: a
client that cannot even take that is disconnected, and may come back and ask from where it left off.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import NamedTuple

BATCH_EVENTS = 512
BATCH_BYTES = 1024 * 1024
MAX_BYTES = 16 * 1024 * 1024
FRAME, EVENT, CHUNK, LINE = range(4)
DROPPABLE = (CHUNK, LINE)
_HEADS = {
    EVENT: b'{"type":"events","events":[\n',
    CHUNK: b'{"type":"stream","events":[\n',
    LINE: b'{"type":"logs","lines":[',
}
SEPARATOR = b",\n"
"""Between the parts of a batch, which begins with a line break. No part has a line break of its own, so a client can
take a batch apart without parsing it."""


class Entry(NamedTuple):
    """One thing to send, as JSON."""

    kind: int
    data: bytes


class Overflow(Exception):
    """The client is too slow even for what may not be dropped."""


class Outbox:
    """The queue of one client. Lives on the wire's loop."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._entries: deque[Entry] = deque()
        self._weight = 0
        self._dropped = dict.fromkeys(DROPPABLE, 0)
        self._filled = asyncio.Event()
        self._taken = asyncio.Event()

    def put(self, kind: int, data: bytes) -> None:
        """Add one frame, event, chunk or line. Raises `Overflow`."""
        self._entries.append(Entry(kind, data))
        self._weight += _weigh(data)
        if self._weight > self._max_bytes:
            self._make_room()
        self._filled.set()

    async def wait_room(self) -> None:
        """Return once less than half of the room is taken."""
        await self._wait_weight(self._max_bytes // 2)

    async def wait_empty(self) -> None:
        """Return once everything was taken."""
        await self._wait_weight(0)

    async def _wait_weight(self, weight: int) -> None:
        while self._weight > weight:
            self._taken.clear()
            await self._taken.wait()

    async def get(self) -> bytes:
        """The next frame; waits for one."""
        while not self._entries and not any(self._dropped.values()):
            self._filled.clear()
            await self._filled.wait()
        if not self._entries:
            return self._frame(CHUNK if self._dropped[CHUNK] else LINE, [])
        kind = self._entries[0].kind
        if kind == FRAME:
            return self._take().data
        batch: list[bytes] = []
        size = 0
        while self._entries and self._entries[0].kind == kind and len(batch) < BATCH_EVENTS:
            if batch and size + len(self._entries[0].data) > BATCH_BYTES:
                break
            batch.append(self._take().data)
            size += len(batch[-1])
        return self._frame(kind, batch)

    def _take(self) -> Entry:
        entry = self._entries.popleft()
        self._weight -= _weigh(entry.data)
        self._taken.set()
        return entry

    def _frame(self, kind: int, batch: list[bytes]) -> bytes:
        tail = b"]}"
        if kind in DROPPABLE and self._dropped[kind]:
            tail = b'],"dropped":%d}' % self._dropped[kind]
            self._dropped[kind] = 0
        return _HEADS[kind] + SEPARATOR.join(batch) + tail

    def _make_room(self) -> None:
        """Drop the oldest chunks and lines until half of the room is free, or none of them are left."""
        kept: deque[Entry] = deque()
        for entry in self._entries:
            if entry.kind in DROPPABLE and self._weight > self._max_bytes // 2:
                self._weight -= _weigh(entry.data)
                self._dropped[entry.kind] += 1
            else:
                kept.append(entry)
        self._entries = kept
        if self._weight > self._max_bytes:
            raise Overflow


def _weigh(data: bytes) -> int:
    """One payload may be larger than all the room there is, and a healthy client takes it: it counts as one batch."""
    return min(len(data), BATCH_BYTES)
