"""Dead letters: a message that nobody can handle fails its trace, so that its caller does not wait for it.

One that was handled has only lacked its acknowledgment: what comes after it in a trace may kill one worker after the
other before that is said. It goes back on its edge, where the next worker sees that it is done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from itertools import cycle
from typing import TYPE_CHECKING

from penguiflow.bus.errors import CannotRead
from penguiflow.distributed.header import Fault, Header
from penguiflow.distributed.names import handled_key, id_on_bus
from penguiflow.errors import FlowError, FlowErrorCode

if TYPE_CHECKING:
    from penguiflow.bus.protocol import DeadLetter
    from penguiflow.distributed.desk import Desk
    from penguiflow.distributed.share import Share

__all__ = ["Graves", "failed_by"]

EDGES_AT_ONCE = 10
"""Edges that are looked at each time: a flow may have thousands, and many workers."""
ROOM_S = 1.0
"""For how long a full edge is waited for, in seconds; the next look tries again."""
ANEW = 10
"""An edge with as many dead letters as before is read anew each so many looks: some may have gone, and others come."""


def failed_by(trace_id: str, node: str, reason: str) -> FlowError:
    """What a caller gets whose message became a dead letter."""
    message = f"a message for node '{node}' became a dead letter: {reason}"
    return FlowError(trace_id=trace_id, node_name=node, code=FlowErrorCode.NODE_EXCEPTION, message=message)


class Graves:
    """Looks for dead letters on the edges of a worker's nodes: the bus buries them without a word."""

    def __init__(self, share: Share, desks: Sequence[Desk]) -> None:
        self._share = share
        self._edges = [(edge, desk.node) for desk in desks for edge in desk.edges]
        self._next = cycle(self._edges)
        self._known: dict[str, tuple[set[str], int]] = {}
        """Letters that were told of, by edge, and how often that many were there."""

    async def look(self) -> None:
        """Look at the next edges. Raises `BusError`."""
        for _ in range(min(EDGES_AT_ONCE, len(self._edges))):
            edge, node = next(self._next)
            dead = (await self._share.bus.depth(edge)).dead
            told, times = self._known.get(edge, (set(), 0))
            if dead == len(told) and times % ANEW:
                self._known[edge] = (told, times + 1)
                continue
            letters = await self._share.bus.dead_letters(edge, limit=dead) if dead else []
            stay = {letter.key for letter in letters if letter.key in told or await self._tell(letter, node)}
            self._known[edge] = (stay, 1)

    async def _tell(self, letter: DeadLetter, node: str) -> bool:
        """Fail its trace; False for one that goes back on its edge."""
        try:
            header = Header.of(letter.body, letter.edge)
        except CannotRead:
            return True  # nobody waits for it
        key = handled_key(node, id_on_bus(letter.id))
        if (await self._share.load(header.run, (), key)).handled:
            with suppress(TimeoutError):
                async with asyncio.timeout(ROOM_S):
                    await self._share.bus.retry_dead(letter)
            return False
        fault = Fault(failed_by(header.trace_id, node, letter.reason))
        await self._share.end(header, "error", fault, dead=key)
        return True
