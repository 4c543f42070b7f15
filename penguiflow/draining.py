"""A stop that finishes first what the flow has: who may still send, what it waits for, what it has to leave."""

from __future__ import annotations

import asyncio
import logging
from contextvars import Context as Variables
from contextvars import ContextVar
from typing import TYPE_CHECKING

from penguiflow.context import Context
from penguiflow.failures import held_error
from penguiflow.results import ResultQueue

if TYPE_CHECKING:
    from penguiflow.core import PenguiFlow
    from penguiflow.worker import Engine

__all__ = ["Draining"]

logger = logging.getLogger("penguiflow.core")
NOTICE_S = 1.0
"""How long results may wait for room while the flow drains, in seconds, before the log says so."""
_inside: ContextVar[tuple[object, ...]] = ContextVar("penguiflow_inside", default=())
"""The flows whose nodes the running code was begun by, each by its mark."""


class Draining:
    """Who has the flow finish what it has, and what that comes to."""

    def __init__(self, flow: PenguiFlow) -> None:
        self._flow = flow
        self._mark = object()
        self.asked: set[object] = set()
        """One for each `stop(drain=True)` that has not given up."""
        self._timer: asyncio.TimerHandle | None = None

    def mark(self, variables: Variables) -> None:
        """What begins with these context variables belongs to the flow: it may send while the flow drains."""
        variables.run(_inside.set, (*_inside.get(), self._mark))

    def refuse(self) -> None:
        """Raise `RuntimeError` while the flow drains, except to nodes and to tasks that they began."""
        engine = self._flow._engine
        if not self.asked or self._mark in _inside.get():
            return
        if engine is None or asyncio.current_task() not in engine.carriers:
            raise RuntimeError("PenguiFlow is stopping: it takes no more messages")

    async def drain(self, engine: Engine, timeout: float | None) -> None:
        """Take no more messages from outside and return when those that are there are done, or after `timeout`."""
        if asyncio.current_task() in engine.carriers:
            raise RuntimeError("a node cannot wait until its own flow is drained")
        asked = object()
        self.asked.add(asked)
        if self._timer is None:
            self._timer = engine.loop.call_later(NOTICE_S, self._notice, engine)
        try:
            async with asyncio.timeout(timeout):
                await engine.quiet()
        except TimeoutError:
            left = sum(trace.pending for trace in self._flow._table.traces.values())
            about = {"event": "drain_timeout", "timeout_s": timeout, "pending": left, "reason": self._obstacle()}
            logger.warning("drain_timeout", extra=about)
        except BaseException:
            self.asked.discard(asked)
            if not self.asked:
                self.over()
            raise
        await self._tell_unfinished()

    def over(self) -> None:
        """The flow has stopped, or goes on."""
        self.asked.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _notice(self, engine: Engine) -> None:
        """Say once that results wait for somebody to fetch them."""
        reason = self._obstacle()
        if reason is None:
            self._timer = engine.loop.call_later(NOTICE_S, self._notice, engine)
        else:
            logger.warning("drain_waits", extra={"event": "drain_waits", "reason": reason})

    def _obstacle(self) -> str | None:
        """Why the flow cannot finish by itself, if it cannot."""
        flow = self._flow
        exits = [*flow._rookery.incoming, *(port.side_exit for port in flow._ports.values())]
        blocked = sum(not putter.done() for floe in exits if floe is not None for putter in floe.putters)
        full = [t.id for t in flow._table.traces.values() if isinstance(t.sink, ResultQueue) and t.sink.full]
        if not blocked and not full:
            return None
        return (
            f"{len(flow._rookery.inbox.items)} results were not fetched and {blocked} wait for room;"
            f" traces with a full stream: {len(full)}. Fetch the results, or give `stop` a timeout"
        )

    async def _tell_unfinished(self) -> None:
        """Joins that are not complete get nothing more: what they have is dropped, and that is said."""
        flow = self._flow
        nodes = {node.node_id: node for node in flow.nodes}
        for trace in list(flow._table.traces.values()):
            if not trace.holds or not trace.idle or trace.cancelled or trace.ended:
                continue
            error = held_error(trace)
            owners = [nodes[node_id] for node_id in trace.holds if node_id in nodes]
            if not flow._table.errors_are_results:
                trace.error = trace.error or error
            for owner in owners:
                context = Context._of(flow._ports[owner])
                event = flow._broadcast.event("drain_dropped", context, trace, extra={"reason": error.message})
                await flow._broadcast.publish(event, logging.WARNING)
