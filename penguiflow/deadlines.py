"""Deadlines of messages that wait: for a node, for room, for their turn."""

from __future__ import annotations

import asyncio
import math
from time import perf_counter, time
from typing import TYPE_CHECKING, Any

from penguiflow.failures import DeadlinePassed
from penguiflow.validation import is_message

if TYPE_CHECKING:
    from penguiflow.channels import Item
    from penguiflow.worker import Engine, Worker

__all__ = ["Deadlines", "deadline_of", "pass_at"]

PAUSE = 20
"""A look at very many messages is followed by a pause of so many times its duration: it is not to take all the time."""


def deadline_of(message: Any) -> float | None:
    """When the message must be done, in unix seconds."""
    deadline_s: float | None = message.deadline_s if is_message(message) else None
    return deadline_s


def pass_at(waiter: asyncio.Future[None], deadline_s: float) -> asyncio.TimerHandle:
    """Have whoever awaits `waiter` get `DeadlinePassed` when the deadline has passed."""
    return waiter.get_loop().call_later(max(deadline_s - time(), 0.0), _pass, waiter)


def _pass(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_exception(DeadlinePassed())


class Deadlines:
    """Has messages answered at their deadline that still wait for a node then.

    One timer for the whole flow, for the earliest deadline; none while no message has one.
    """

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._next = math.inf
        """For when the timer is set, in unix seconds."""
        self._not_before = 0.0

    def start(self, engine: Engine) -> None:
        """The flow runs: look at what waits already."""
        self._engine = engine
        self._not_before = 0.0
        self._look()

    def stop(self) -> None:
        """What waits from now on is looked at after the next start."""
        if self._timer is not None:
            self._timer.cancel()
        self._engine = self._timer = None
        self._next = math.inf

    def watch(self, deadline_s: float) -> None:
        """A message with this deadline waits for a node."""
        engine = self._engine
        if engine is None or not deadline_s < self._next:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._next = deadline_s
        due = engine.loop.time() + max(deadline_s - time(), 0.0)
        self._timer = engine.loop.call_at(max(due, self._not_before), self._look)

    def _look(self) -> None:
        """Answer what is late, and set the timer for what is late next."""
        engine = self._engine
        if engine is None:
            return
        began = perf_counter()
        # The timer counts, not the clock: that may have been set back.
        now = time() if self._timer is None else max(time(), self._next)
        self._timer, self._next = None, math.inf
        soonest = math.inf
        for worker in engine.workers:
            late: list[Item] = []
            for item in worker.items:
                deadline_s = deadline_of(item[1])
                if deadline_s is None or (item[3] is not None and item[3].cancelled):
                    continue
                if deadline_s <= now:
                    late.append(item)
                else:
                    soonest = min(soonest, deadline_s)
            if late:
                self._answer(engine, worker, late)
        self._not_before = engine.loop.time() + PAUSE * (perf_counter() - began)
        self.watch(soonest)

    def _answer(self, engine: Engine, worker: Worker, late: list[Item]) -> None:
        """Take late messages out of the inbox of a node that may be busy for a long time."""
        known = {id(item) for item in late}
        kept = [item for item in worker.items if id(item) not in known]
        worker.items.clear()
        worker.items.extend(kept)
        for item in late:
            item[0].release()
            engine.skip(worker, item)
