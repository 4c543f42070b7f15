"""Edges that reach beyond one process: what every bus of this kind does, whatever engine is behind it.

A message is put once (its id is the key by which repeats are told), and delivered at least once: to one receiver at a
time, who holds a lease on it. Whoever acknowledges it within the lease takes it off the edge. A lease that runs out, or
is given back, makes it available again; what has been delivered too often goes to the dead letters of its edge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from penguiflow.bus.envelope import MessageBus

__all__ = ["PRIVATE_S", "BusMessage", "DeadLetter", "Delivery", "Depth", "EdgeBus", "Limits"]


PRIVATE_S = 60.0
"""For how long an edge of one process is kept when nobody gets from it, in seconds."""


@dataclass(frozen=True, slots=True)
class BusMessage:
    """One message to put on an edge."""

    id: str
    """The same id on the same edge is the same message: within the bus's window a repeat changes nothing."""
    body: bytes
    """As `Codec` writes it; the bus does not look into it."""


@dataclass(frozen=True, slots=True, eq=False)
class Delivery:
    """One message, leased to whoever got it."""

    edge: str
    id: str
    body: bytes
    attempt: int
    """Which delivery of this message it is; 1 is the first."""
    put_at: float
    """When it was put on the edge, in unix seconds."""
    until: float
    """When the lease ends that it came with, in seconds of the event loop's clock."""
    receipt: Any = field(repr=False)
    """By which the bus knows the lease; its own matter."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that nobody could handle."""

    edge: str
    id: str
    body: bytes
    reason: str
    attempts: int
    """How often it had been delivered."""
    key: str
    """By which `retry_dead` and `drop_dead` find it."""


@dataclass(frozen=True, slots=True)
class Depth:
    """How many messages of an edge are where."""

    waiting: int
    """Nobody has them."""
    leased: int
    """Somebody has them, or gave them back for later."""
    dead: int
    """Dead letters of the edge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a bus promises for each of its edges."""

    capacity: int = 64
    """Messages on one edge, leased ones included, before its senders wait; 0: any number."""
    lease_s: float = 30.0
    """How long a receiver has, in seconds, until it acknowledges or extends."""
    max_deliveries: int = 5
    """Deliveries of one message before it is a dead letter."""
    dedupe_s: float = 120.0
    """For how long a message id is remembered after it was put, in seconds."""
    away_s: float = 60.0
    """For how long operations wait for a server that went away, in seconds, before they raise `BusAway`."""
    start_s: float = 5.0
    """The same for opening: for how long a server may say nothing. One that goes on answering is waited for."""

    def __post_init__(self) -> None:
        if self.capacity < 0:
            raise ValueError("capacity must not be negative")
        if self.max_deliveries < 1:
            raise ValueError("max_deliveries must be at least 1")
        for name in ("lease_s", "dedupe_s", "away_s", "start_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be more than 0 seconds")


@runtime_checkable
class EdgeBus(MessageBus, Protocol):
    """A bus that carries edges. Every method raises `BusError` when the engine fails for good.

    A server that goes away is waited for, up to `Limits.away_s`: nothing is lost meanwhile.
    """

    limits: Limits

    async def open(self, flow: str, edges: Sequence[str]) -> None:
        """Connect, and make what the edges of this flow (`source->target`) need on the server.

        Who opens the same flow with other edges adds them: two versions of a flow may run side by side. Raises
        `BusAway`, `BusRefused`, `BusTooOld`, and `BusForeign` where none of the flow's edges is known there.
        """
        ...

    async def close(self) -> None:
        """Disconnect; whoever waits gets `BusClosed`. Leases go on: give back what is not done before."""
        ...

    async def put(self, edge: str, *messages: BusMessage) -> None:
        """Put them on the edge in this order and return when all are stored; waits for room.

        Cancelled while it waits, it has put the first of them or none: put again, repeats are told by their ids.
        """
        ...

    async def get(self, edge: str, *, limit: int = 1, wait_s: float | None = None) -> list[Delivery]:
        """Up to `limit` messages, at least one; none after `wait_s` seconds (None: waits for ever, 0: not at all)."""
        ...

    async def ack(self, *deliveries: Delivery) -> list[bool]:
        """Done: take them off their edges. For each, False when the lease was over: then nothing has changed.

        Whoever is killed right after may not have been heard: such a message comes again.
        """
        ...

    async def nack(self, delivery: Delivery, delay_s: float = 0.0) -> bool:
        """Not done: deliver it again after `delay_s`. On the last delivery it becomes a dead letter.

        False when the lease was over.
        """
        ...

    async def extend(self, *deliveries: Delivery) -> list[bool]:
        """Begin the leases anew; for each, False when it was over."""
        ...

    async def dead_letter(self, delivery: Delivery, reason: str) -> bool:
        """Move it to the dead letters of its edge. False when the lease was over."""
        ...

    async def listen(self, edge: str) -> None:
        """Make an edge of one's own, by which others tell this process something; `get` and `ack` work on it.

        It is gone with `leave`, or when nobody got from it for `PRIVATE_S`, with what is on it.
        """
        ...

    async def tell(self, edge: str, *messages: BusMessage) -> None:
        """As `put`, on an edge that somebody listens to; where nobody does, they are dropped."""
        ...

    async def leave(self, edge: str) -> None:
        """Listen no more: whoever tells something there from now on is not held up."""
        ...

    async def depth(self, edge: str) -> Depth:
        """How many messages of the edge are where, as far as the server has counted."""
        ...

    async def dead_letters(self, edge: str, *, limit: int = 100) -> list[DeadLetter]:
        """The oldest dead letters of the edge."""
        ...

    async def retry_dead(self, letter: DeadLetter) -> bool:
        """Put a dead letter back on its edge, as if it were new; waits for room. False when it is gone."""
        ...

    async def drop_dead(self, letter: DeadLetter) -> bool:
        """Forget a dead letter. False when it is gone."""
        ...
