"""Edges within one process, under the same rules as those that leave it."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from heapq import heappop, heappush

from penguiflow.bus.envelope import BusEnvelope
from penguiflow.bus.errors import BusClosed, BusError, BusForeign
from penguiflow.bus.naming import CLOSED, NOT_OPEN, unknown_edge
from penguiflow.bus.protocol import BusMessage, DeadLetter, Delivery, Depth, Limits

__all__ = ["MemoryBus"]

_TICK_S = time.get_clock_info("monotonic").resolution
_FEED = 1000
"""Mirrored envelopes that are kept."""


@dataclass(slots=True, eq=False)
class _Entry:
    """One message on an edge."""

    number: int
    message: BusMessage
    put_at: float
    deliveries: int = 0
    until: float = 0.0
    """When its lease, or the delay that was asked for, is over; 0 while it waits."""


@dataclass(slots=True, eq=False)
class _Edge:
    """One edge: what waits in order of arrival, what is leased, and when leases end."""

    waiting: deque[_Entry] = field(default_factory=deque)
    leased: dict[int, _Entry] = field(default_factory=dict)
    ends: list[tuple[float, int]] = field(default_factory=list)
    """Ends of leases, the nearest first; those of leases that were given up or extended are stepped over."""
    seen: dict[str, float] = field(default_factory=dict)
    """When each message id was put, the oldest first."""
    dead: dict[str, DeadLetter] = field(default_factory=dict)
    getters: deque[asyncio.Future[None]] = field(default_factory=deque)
    putters: deque[asyncio.Future[None]] = field(default_factory=deque)
    timer: asyncio.TimerHandle | None = None
    """Fires when the next lease ends."""
    number: int = 0

    @property
    def size(self) -> int:
        return len(self.waiting) + len(self.leased)


class _Left(BusClosed):
    """Whoever listened to the edge does so no more."""


class MemoryBus:
    """An `EdgeBus` for one event loop: nothing leaves the process, and nothing survives it."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.feed: deque[BusEnvelope] = deque(maxlen=_FEED)
        """The latest envelopes that `publish` was given."""
        self.flow = ""
        """Whose edges these are, from the first `open` on."""
        self._edges: dict[str, _Edge] = {}
        self._private: set[str] = set()
        """Edges that somebody listens to, for as long as he does."""
        self._open = False

    async def open(self, flow: str, edges: Sequence[str]) -> None:
        """As `EdgeBus.open`; there is nothing to connect to."""
        if self._edges and (self.flow != flow or self._edges.keys().isdisjoint(edges)):
            raise BusForeign(f"'{self.flow}' in this bus is another flow: make a bus of its own for '{flow}'")
        self.flow = flow
        self._open = True
        for name in edges:
            self._arm(name, self._edges.setdefault(name, _Edge()))

    async def close(self) -> None:
        """Whoever waits is told; what is on the edges stays for the next `open`."""
        self._open = False
        for edge in self._edges.values():
            if edge.timer is not None:
                edge.timer.cancel()
                edge.timer = None
            for waiter in (*edge.getters, *edge.putters):
                if not waiter.done():
                    waiter.set_exception(BusClosed(CLOSED))

    async def publish(self, envelope: BusEnvelope) -> None:
        """Keep the envelope in `feed`."""
        self.feed.append(envelope)

    async def put(self, edge: str, *messages: BusMessage) -> None:
        """As `EdgeBus.put`."""
        at = self._edge(edge)
        for message in messages:
            while not self._accept(at, message):
                await _wait(at.putters)
                self._edge(edge)
            _wake(at.getters)
        if not 0 < self.limits.capacity <= at.size:
            _wake(at.putters)

    def _accept(self, at: _Edge, message: BusMessage) -> bool:
        """Take a message if there is room for it; one that was there before needs none."""
        now = time.monotonic()
        while at.seen and (oldest := next(iter(at.seen.items())))[1] <= now - self.limits.dedupe_s:
            del at.seen[oldest[0]]
        if message.id in at.seen:
            return True
        if 0 < self.limits.capacity <= at.size:
            return False
        at.seen[message.id] = now
        at.number += 1
        at.waiting.append(_Entry(at.number, message, time.time()))
        return True

    async def get(self, edge: str, *, limit: int = 1, wait_s: float | None = None) -> list[Delivery]:
        """As `EdgeBus.get`."""
        loop = asyncio.get_running_loop()
        at = self._edge(edge)
        end = None if wait_s is None else loop.time() + wait_s
        while not (got := self._take(edge, at, limit, loop.time())):
            if end is not None and loop.time() >= end:
                return []
            await _wait(at.getters, end)
            self._edge(edge)
        if at.waiting:
            _wake(at.getters)
        return got

    def _take(self, edge: str, at: _Edge, limit: int, now: float) -> list[Delivery]:
        self._reclaim(edge, at, now)
        got: list[Delivery] = []
        while at.waiting and len(got) < limit:
            entry = at.waiting.popleft()
            entry.deliveries += 1
            self._lease(edge, at, entry, now + self.limits.lease_s)
            receipt = (entry, entry.deliveries)
            message = entry.message
            got.append(Delivery(edge, message.id, message.body, entry.deliveries, entry.put_at, entry.until, receipt))
        return got

    def _lease(self, edge: str, at: _Edge, entry: _Entry, until: float) -> None:
        entry.until = until
        at.leased[entry.number] = entry
        heappush(at.ends, (until, entry.number))
        if at.ends[0][0] == until:
            self._arm(edge, at)

    def _arm(self, edge: str, at: _Edge) -> None:
        """Look again when the next lease ends, whoever waits then."""
        if at.timer is not None:
            at.timer.cancel()
        at.timer = None
        if at.ends:
            at.timer = asyncio.get_running_loop().call_at(at.ends[0][0], self._due, edge, at)

    def _due(self, edge: str, at: _Edge) -> None:
        at.timer = None
        self._reclaim(edge, at, asyncio.get_running_loop().time())
        for _ in at.waiting:
            _wake(at.getters)
        self._arm(edge, at)

    def _reclaim(self, edge: str, at: _Edge, now: float) -> None:
        """Make available again what nobody holds any more, the oldest in front; or bury it."""
        back = []
        # A clock's tick early, as the loop's own timers are.
        while at.ends and at.ends[0][0] <= now + _TICK_S:
            until, number = heappop(at.ends)
            entry = at.leased.get(number)
            if entry is None or entry.until != until:
                continue
            del at.leased[number]
            if entry.deliveries >= self.limits.max_deliveries:
                self._bury(edge, at, entry, "its lease ran out")
            else:
                back.append(entry)
        at.waiting.extendleft(sorted(back, key=lambda each: each.number, reverse=True))

    def _bury(self, edge: str, at: _Edge, entry: _Entry, reason: str) -> None:
        message, key = entry.message, str(entry.number)
        at.dead[key] = DeadLetter(edge, message.id, message.body, reason, entry.deliveries, key)
        _wake(at.putters)

    async def ack(self, *deliveries: Delivery) -> list[bool]:
        """As `EdgeBus.ack`."""
        return [self._release(each) for each in deliveries]

    def _release(self, delivery: Delivery) -> bool:
        at = self._edge(delivery.edge)
        entry = self._held(at, delivery)
        if entry is None:
            return False
        del at.leased[entry.number]
        _wake(at.putters)
        return True

    def _held(self, at: _Edge, delivery: Delivery) -> _Entry | None:
        """The entry, if the delivery's lease still holds."""
        entry: _Entry
        entry, deliveries = delivery.receipt
        held = at.leased.get(entry.number) is entry and entry.deliveries == deliveries
        return entry if held and entry.until > asyncio.get_running_loop().time() else None

    async def nack(self, delivery: Delivery, delay_s: float = 0.0) -> bool:
        """As `EdgeBus.nack`."""
        at = self._edge(delivery.edge)
        entry = self._held(at, delivery)
        if entry is None:
            return False
        del at.leased[entry.number]
        if entry.deliveries >= self.limits.max_deliveries:
            self._bury(delivery.edge, at, entry, "given back on its last delivery")
        elif delay_s <= 0:
            at.waiting.appendleft(entry)
            _wake(at.getters)
        else:
            # Nobody's any more: the delivery that gave it back holds it no longer.
            later = _Entry(entry.number, entry.message, entry.put_at, entry.deliveries)
            self._lease(delivery.edge, at, later, asyncio.get_running_loop().time() + delay_s)
        return True

    async def extend(self, *deliveries: Delivery) -> list[bool]:
        """As `EdgeBus.extend`."""
        told = []
        for delivery in deliveries:
            at = self._edge(delivery.edge)
            entry = self._held(at, delivery)
            if entry is not None:
                self._lease(delivery.edge, at, entry, asyncio.get_running_loop().time() + self.limits.lease_s)
            told.append(entry is not None)
        return told

    async def dead_letter(self, delivery: Delivery, reason: str) -> bool:
        """As `EdgeBus.dead_letter`."""
        at = self._edge(delivery.edge)
        entry = self._held(at, delivery)
        if entry is None:
            return False
        del at.leased[entry.number]
        self._bury(delivery.edge, at, entry, reason)
        return True

    async def listen(self, edge: str) -> None:
        """As `EdgeBus.listen`; what is in this process is gone with it, and needs no time."""
        self._check()
        self._private.add(edge)
        self._arm(edge, self._edges.setdefault(edge, _Edge()))

    async def tell(self, edge: str, *messages: BusMessage) -> None:
        """As `EdgeBus.tell`."""
        self._check()
        for message in messages:
            if edge not in self._private:
                return
            with suppress(_Left):
                await self.put(edge, message)

    async def leave(self, edge: str) -> None:
        """As `EdgeBus.leave`."""
        self._private.discard(edge)
        at = self._edges.pop(edge, None)
        if at is None:
            return
        if at.timer is not None:
            at.timer.cancel()
        for waiter in (*at.getters, *at.putters):
            if not waiter.done():
                waiter.set_exception(_Left(f"nobody listens to {edge} any more"))

    async def depth(self, edge: str) -> Depth:
        """As `EdgeBus.depth`."""
        at = self._edge(edge)
        self._reclaim(edge, at, asyncio.get_running_loop().time())
        return Depth(len(at.waiting), len(at.leased), len(at.dead))

    async def dead_letters(self, edge: str, *, limit: int = 100) -> list[DeadLetter]:
        """As `EdgeBus.dead_letters`."""
        at = self._edge(edge)
        self._reclaim(edge, at, asyncio.get_running_loop().time())
        return list(at.dead.values())[:limit]

    async def retry_dead(self, letter: DeadLetter) -> bool:
        """As `EdgeBus.retry_dead`."""
        at = self._edge(letter.edge)
        while letter.key in at.dead and 0 < self.limits.capacity <= at.size:
            await _wait(at.putters)
            self._edge(letter.edge)
        if at.dead.pop(letter.key, None) is None:
            _wake(at.putters)
            return False
        at.number += 1
        at.waiting.append(_Entry(at.number, BusMessage(letter.id, letter.body), time.time()))
        _wake(at.getters)
        return True

    async def drop_dead(self, letter: DeadLetter) -> bool:
        """As `EdgeBus.drop_dead`."""
        return self._edge(letter.edge).dead.pop(letter.key, None) is not None

    def _check(self) -> None:
        if not self._open:
            raise BusClosed(NOT_OPEN)

    def _edge(self, name: str) -> _Edge:
        self._check()
        edge = self._edges.get(name)
        if edge is None:
            raise BusError(unknown_edge(name, self._edges))
        return edge


async def _wait(waiters: deque[asyncio.Future[None]], until: float | None = None) -> None:
    """Return when woken, or at `until`. A waiter that is cancelled passes its turn on."""
    loop = asyncio.get_running_loop()
    waiter: asyncio.Future[None] = loop.create_future()
    waiters.append(waiter)
    timer = None if until is None else loop.call_at(until, _finish, (waiter,))
    try:
        await waiter
    except asyncio.CancelledError:
        if waiter.done() and not waiter.cancelled():
            _wake(waiters)
        raise
    finally:
        if timer is not None:
            timer.cancel()
        if waiter in waiters:
            waiters.remove(waiter)


def _finish(waiters: Iterable[asyncio.Future[None]]) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)


def _wake(waiters: deque[asyncio.Future[None]]) -> None:
    """Let the first who waits look again."""
    while waiters:
        waiter = waiters.popleft()
        if not waiter.done():
            waiter.set_result(None)
            return
