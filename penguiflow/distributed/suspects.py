"""Messages that come again and again: whoever had them has died, one of them maybe the cause of it.

Those that a worker held beside a message that kills come back with it, at the same moment, and would be taken together
once more, until all are dead letters. So they run one after the other, those first that were not tried alone yet.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from penguiflow.state.shared import SharedChange

if TYPE_CHECKING:
    from penguiflow.distributed.share import Share

__all__ = ["Suspects"]

FROM_ATTEMPT = 3
"""One worker that died says nothing about what it held. Where messages may not come that often, they are suspect
earlier: each has to be tried alone twice, once to find out which it is."""
_BEHIND_S = 0.5
_MOST_BEHIND_S = 3.0
"""For how long a message lets others go ahead that came with it: those that were handled already have only to be
acknowledged. Longer for each time that it was tried, in seconds."""


class Suspects:
    """Lets messages of a worker that came too often run one at a time."""

    def __init__(self, share: Share) -> None:
        self._share = share
        self._from = max(2, min(FROM_ATTEMPT, share.bus.limits.max_deliveries - 1))
        self._busy = False
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()

    @asynccontextmanager
    async def alone(self, run: str, key: str, attempt: int) -> AsyncIterator[None]:
        """While within, no other such message runs here; one that came seldom enough runs as it likes.

        Nobody waits longer than a lease for it: the one that runs might wait for what comes after it.
        """
        if attempt < self._from:
            yield
            return
        scope = f"tried:{key}"
        row = (await self._share.load(run, (scope,))).rows.get(scope)
        tried = 0 if row is None else int(row.value)
        await asyncio.sleep(min((tried + 1) * _BEHIND_S, _MOST_BEHIND_S))
        mine = await self._turn(tried)
        try:
            await self._share.commit(SharedChange(trace_id=run, put={scope: str(tried + 1).encode()}))
            yield
        finally:
            if mine:
                self._next()

    async def _turn(self, tried: int) -> bool:
        """Wait for it; False when that took too long."""
        if not self._busy:
            self._busy = True
            return True
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (tried, next(self._numbers), turn))
        try:
            async with asyncio.timeout(self._share.bus.limits.lease_s):
                await turn
        except TimeoutError:
            return turn.done() and not turn.cancelled()  # it may have come at that very moment
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._next()
            raise
        return True

    def _next(self) -> None:
        while self._waiting:
            _, _, turn = heapq.heappop(self._waiting)
            if not turn.done():
                turn.set_result(None)
                return
        self._busy = False
