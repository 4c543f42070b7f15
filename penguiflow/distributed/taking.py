"""How one delivery takes its turn, where its node keeps something for the trace."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import TYPE_CHECKING

from penguiflow.bus.waiting import Backoff
from penguiflow.distributed.names import COUNT, IDS, number_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from penguiflow.distributed.handling import Handling
    from penguiflow.distributed.turns import Turn
    from penguiflow.state.shared import SharedOutcome, SharedRow

__all__ = ["LOOK_S", "MOST_LOOK_S", "Taking"]

LOOK_S = 0.005
MOST_LOOK_S = 0.2
"""How long somebody who waits for others lets pass before he looks again, in seconds: at first, and at most."""


class Taking:
    """A delivery's part in the turns of its trace: first in its worker, then among all of them."""

    def __init__(self, handling: Handling) -> None:
        self._handling = handling
        self._turns = handling.desk.turns
        self._turn: Turn | None = None
        self._committed = False

    @property
    def entered(self) -> bool:
        """Whether no other message of the trace is at work in this worker."""
        return self._turn is not None

    @property
    def held(self) -> bool:
        """Whether other workers wait until this message is done."""
        return self._turn is not None and self._turn.ours and not self._committed

    @property
    def _row(self) -> SharedRow | None:
        return self._handling.memory.rows.get(self._turns.scope)

    async def enter(self, stack: AsyncExitStack) -> None:
        """Wait until no other message of the trace is at work in this worker; so it is until the stack is left."""
        handling = self._handling
        waiting = self._turns.one_by_one(handling.header.run, handling.key, self._aside())
        self._turn = await stack.enter_async_context(waiting)

    async def leave(self, stack: AsyncExitStack) -> None:
        """The message goes on in another run."""
        self._turn = None
        await stack.aclose()

    async def may_begin(self) -> bool:
        """Whether no other worker is at work for the trace; False when one was: what was loaded is old then."""
        turn, row, handling = self._turn, self._row, self._handling
        if turn is None:
            return True
        turn.ours = row is not None and self._turns.is_ours(row)
        if turn.ours or not self._has_company:
            return True
        if row is not None and not self._is_over(turn, row):
            await self._wait(turn)
            return False
        if turn.yields:
            turn.yields = False
            async with self._aside():
                await asyncio.sleep(MOST_LOOK_S)
            return False
        kept = handling.memory.rows.get(handling.scope)
        expect = {self._turns.scope: _version(row), handling.scope: _version(kept)}
        return await self._turns.claim(handling.header.run, handling.key, turn, expect)

    def pass_on(self, expect: dict[str, int], put: dict[str, bytes | None]) -> None:
        """Have a commit say whose turn it is then; whoever has none respects that of another worker."""
        if self._turn is not None and self._turn.ours:
            put[self._turns.scope] = self._turns.handed_on(self._turn, may_come=self._handling.desk.full)
        elif self._handling.scope in expect:
            expect[self._turns.scope] = _version(self._row)

    def committed(self, put: Mapping[str, bytes | None], outcome: SharedOutcome) -> None:
        """The commit was made."""
        self._committed = True
        if self._turn is not None:
            self._turn.ours = put.get(self._turns.scope) is not None and not outcome.ended

    def _is_over(self, turn: Turn, row: SharedRow) -> bool:
        """Whether somebody else's turn is: a message of his came here, or nothing has moved for long."""
        handling = self._handling
        came_here = self._turns.message_of(row) in (handling.key, *turn.waiting)
        return turn.is_dead(row.version, handling.desk.share.bus.limits.lease_s) or came_here

    def _aside(self) -> AbstractAsyncContextManager[None]:
        """Where to wait for other messages of the trace, without a slot.

        Those that came before are not replaced: if this worker dies, too, they would take more with them each time.
        """
        return self._handling.desk.parked(replaced=self._handling.delivery.attempt == 1)

    @property
    def _has_company(self) -> bool:
        """Whether another worker may be at work for the trace."""
        handling = self._handling
        counters = handling.memory.counters
        if counters.get(COUNT) == 1 and counters.get(IDS) == number_of(handling.message_id):
            return False
        # Pieces of a stream wait for each other anyway; and that a join runs twice nobody sees.
        careful = not (handling.desk.gathers or handling.header.piece)
        return careful or self._row is not None or self._turns.is_contended(handling.header.run)

    async def _wait(self, turn: Turn) -> None:
        """Look until nobody has the turn, whoever has it is dead, or the message has nothing to wait for."""
        handling, backoff = self._handling, Backoff(LOOK_S, MOST_LOOK_S)
        async with self._aside():
            while not handling.lost:
                await asyncio.sleep(backoff())
                await handling.load()
                memory, row = handling.memory, self._row
                if row is None or memory.handled or memory.ended is not None or memory.cancelled is not None:
                    return
                if self._is_over(turn, row):
                    return


def _version(row: SharedRow | None) -> int:
    return 0 if row is None else row.version
