"""Order per trace in a node that handles several messages at a time: what each sends waits for those before it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from penguiflow.deadlines import pass_at
from penguiflow.failures import DeadlinePassed

if TYPE_CHECKING:
    from penguiflow.traces import Trace

__all__ = ["Turn", "take_turn"]


class Turn:
    """The place of one invocation among those of the same node and trace."""

    __slots__ = ("over", "previous", "waiters")

    def __init__(self, previous: Turn | None) -> None:
        self.previous = previous
        self.over = False
        self.waiters: list[asyncio.Future[None]] | None = None

    @property
    def come(self) -> bool:
        """Whether all invocations before this one are over."""
        previous = self.previous
        while previous is not None and previous.over:
            previous = previous.previous
        self.previous = previous
        return previous is None

    async def wait(self, until: float | None = None) -> bool:
        """Return once they are; False when `until` (unix seconds) came first."""
        while not self.come:
            assert self.previous is not None
            waiter = asyncio.get_running_loop().create_future()
            if self.previous.waiters is None:
                self.previous.waiters = []
            self.previous.waiters.append(waiter)
            timer = None if until is None else pass_at(waiter, until)
            try:
                await waiter
            except DeadlinePassed:
                return False
            finally:
                if timer is not None:
                    timer.cancel()
        return True

    def end(self, trace: Trace, node_id: str) -> None:
        """This invocation is over: the next may send."""
        self.over = True
        for waiter in self.waiters or ():
            if not waiter.done():
                waiter.set_result(None)
        if trace.turns is not None and trace.turns.get(node_id) is self:
            del trace.turns[node_id]
            if not trace.turns:
                trace.turns = None


def take_turn(trace: Trace, node_id: str) -> Turn:
    """A place behind all invocations of this node for this trace that are under way."""
    trace.slow_down()
    if trace.turns is None:
        trace.turns = {}
    turn = trace.turns[node_id] = Turn(trace.turns.get(node_id))
    return turn
