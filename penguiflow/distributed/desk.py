"""One node of a worker: it gets messages from the node's edges while there is a free slot, and has them handled."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from penguiflow.bus.errors import BusAway, BusClosed, BusError, CannotRead, NewerVersion
from penguiflow.distributed.graves import failed_by
from penguiflow.distributed.handling import Handling, LeaseLost
from penguiflow.distributed.header import Fault, Header
from penguiflow.distributed.turns import Turns, names_state
from penguiflow.state.errors import StoreError
from penguiflow.worker import GATHERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from penguiflow.bus.protocol import Delivery
    from penguiflow.distributed.share import Share
    from penguiflow.node import Node

__all__ = ["Desk"]

logger = logging.getLogger("penguiflow.distributed")
NEWER_S = 1.0
"""After how long a message is offered again that only a newer worker can read, in seconds."""
MOST_PARKED = 64
"""Deliveries of a node that wait for others, where the edges' capacity does not say how many may."""
_AGAIN_S = 0.5


class Desk:
    """Takes messages for one node, as many at once as it has slots."""

    def __init__(self, share: Share, owner: Node, edges: Sequence[str], slots: int) -> None:
        self.share = share
        self.owner = owner
        self.node = str(owner.name)
        self.edges = edges
        self.slots = slots
        self.done = 0
        """Deliveries that were handled."""
        self.redelivered = 0
        """Those that were no first deliveries."""
        self.under_way: dict[Handling, asyncio.Task[None]] = {}
        """Deliveries that are leased here."""
        self._free = asyncio.Semaphore(slots)
        self._changed = asyncio.Event()
        self._parked = 0
        self.gathers = bool(getattr(owner.func, GATHERS, 0))
        """Whether the node does nothing but keep: what it does twice nobody sees."""
        self.keeps = self.gathers or names_state(owner.func)
        """Whether the node is known to keep something for its traces: messages of one trace go one by one then."""
        self.turns = Turns(share, self.node)
        self.piece_done = asyncio.Event()
        """Set when a piece of a stream was done here; another one each time."""

    async def serve(self, edge: str) -> None:
        """Get messages from one edge, until cancelled. Raises `BusError` when the bus fails for good."""
        told = False
        while True:
            # A message that is not handled at once is better left to somebody else.
            while self.full:
                self._changed.clear()
                await self._changed.wait()
            try:
                got = await self.share.bus.get(edge, limit=self._room)
            except BusAway as error:
                if not told:
                    logger.warning("bus_away", extra={"event": "bus_away", "edge": edge, "reason": str(error)})
                told = True
                await asyncio.sleep(_AGAIN_S)
                continue
            told = False
            for delivery in got:
                self.redelivered += delivery.attempt > 1
                await self._take(delivery)

    async def _take(self, delivery: Delivery) -> None:
        try:
            header = Header.of(delivery.body, delivery.edge)
        except CannotRead as error:
            await self.share.bus.dead_letter(delivery, str(error))
            return
        handling = Handling(self, delivery, header)
        task = asyncio.get_running_loop().create_task(self._handle(handling), name="penguiflow:delivery")
        self.under_way[handling] = task
        task.add_done_callback(lambda _: self._over(handling))

    @property
    def full(self) -> bool:
        """Whether it takes no more messages now."""
        return self._room <= 0

    @property
    def _room(self) -> int:
        return self.slots - len(self.under_way) + self._parked

    def tell_piece_done(self) -> None:
        """Have those look whose turn it may be now."""
        self.piece_done.set()
        self.piece_done = asyncio.Event()

    @asynccontextmanager
    async def parked(self, *, replaced: bool = True) -> AsyncIterator[None]:
        """A delivery has to wait for another one: it needs no slot meanwhile.

        Where it is `replaced` the worker takes another message in its place, unless too many wait.
        """
        replaced = replaced and self._parked < (self.share.bus.limits.capacity or MOST_PARKED)
        self._parked += replaced
        self._free.release()
        self._changed.set()
        try:
            yield
        finally:
            self._parked -= replaced
            await self._free.acquire()

    def _over(self, handling: Handling) -> None:
        self.under_way.pop(handling, None)
        self._changed.set()

    async def _handle(self, handling: Handling) -> None:
        bus, delivery = self.share.bus, handling.delivery
        try:
            try:
                async with self._free:
                    await handling.run()
            except NewerVersion:
                await bus.nack(delivery, NEWER_S)
            except CannotRead as error:
                if await bus.dead_letter(delivery, str(error)):
                    fault = Fault(failed_by(handling.header.trace_id, self.node, str(error)))
                    await self.share.end(handling.header, "error", fault, dead=handling.key)
            except LeaseLost:
                pass  # it is somebody else's
            else:
                await self.share.ack(delivery)
                self.done += 1
        except BusClosed:
            pass  # the lease ends by itself
        except (BusError, StoreError) as error:
            about = {"event": "delivery_failed", "edge": delivery.edge, "reason": str(error)}
            logger.warning("delivery_failed", extra=about)
        except Exception:  # a listener's, or that of a store of one's own: the message comes again, the worker lives on
            logger.exception("delivery_failed", extra={"event": "delivery_failed", "edge": delivery.edge})

    async def give_back(self) -> None:
        """Cancel what is under way, and leave its messages to others."""
        held = dict(self.under_way)
        for task in held.values():
            task.cancel()
        if held:
            await asyncio.wait(held.values())
        for handling in held:
            if not handling.lost:
                try:
                    await self.share.bus.nack(handling.delivery)
                except BusError as error:
                    logger.debug("a message was not given back, its lease runs out: %s", error)
        await self.turns.close()
