"""Who waits for traces, and what comes for them by the edges of a caller's own."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from penguiflow.bus.errors import BusAway, BusClosed, BusError
from penguiflow.distributed.header import End, Header, read_end
from penguiflow.distributed.share import trace_cancelled

if TYPE_CHECKING:
    from penguiflow.bus.codec import Codec
    from penguiflow.bus.protocol import Delivery, EdgeBus
    from penguiflow.core import PenguiFlow
    from penguiflow.errors import FlowError
    from penguiflow.results import LastResult, ResultQueue

__all__ = ["Answers", "Waiting"]

logger = logging.getLogger("penguiflow.distributed")
_AGAIN_S = 0.5
_BATCH = 100


class Waiting:
    """Who waits for a trace."""

    def __init__(self, header: Header, sink: LastResult | ResultQueue) -> None:
        self.header = header
        self.sink = sink
        self.seen: set[str] = set()
        """Ids of results that came: what a worker did twice comes twice."""
        self.over = False
        self.fetched = asyncio.Event()
        """Set when its result was fetched, where it is one to be fetched."""

    async def put(self, message_id: str, result: Any) -> None:
        """Give a result, once there is room."""
        if message_id in self.seen or self.over:
            return
        while self.sink.full:
            await self.sink.wait_room()
        self.seen.add(message_id)
        self.sink.put(result)

    def finish(self, error: FlowError | None) -> None:
        """The trace is over."""
        self.over = True
        self.sink.finish(error)


class Answers:
    """Hands results and ends of traces to whoever waits for them."""

    def __init__(self, flow: PenguiFlow, bus: EdgeBus, codec: Codec) -> None:
        self._flow = flow
        self._bus = bus
        self._codec = codec
        self._waiting: dict[str, Waiting] = {}
        """By run."""

    def expect(self, header: Header, sink: LastResult | ResultQueue) -> Waiting:
        """What comes of a run goes to this sink. Raises `RuntimeError` where it goes to another one."""
        waiting = self._waiting.setdefault(header.run, Waiting(header, sink))
        if waiting.sink is not sink:
            raise RuntimeError(f"somebody waits for trace {header.trace_id} already")
        return waiting

    def redirect(self, header: Header, sink: LastResult | ResultQueue) -> Waiting:
        """What comes of a run goes to this sink from now on, whoever waited for it."""
        waiting = self._waiting[header.run] = Waiting(header, sink)
        return waiting

    def forget(self, run: str) -> None:
        """Nobody waits for a run: it was not begun."""
        del self._waiting[run]

    def is_awaited(self, run: str) -> bool:
        """Whether somebody waits for a run."""
        return run in self._waiting

    def runs_of(self, trace_id: str) -> list[str]:
        """The runs of a trace that somebody waits for."""
        return [run for run, each in self._waiting.items() if each.header.trace_id == trace_id]

    async def read(self, edge: str) -> None:
        """Hand on what comes by an edge, until cancelled or the bus is closed."""
        while True:
            try:
                got = await self._bus.get(edge, limit=_BATCH)
            except BusAway as error:
                logger.warning("bus_away", extra={"event": "bus_away", "edge": edge, "reason": str(error)})
                await asyncio.sleep(_AGAIN_S)
                continue
            except BusClosed:
                return
            for delivery in got:
                await self._take(delivery)
            with suppress(BusError):
                await self._bus.ack(*got)

    async def _take(self, delivery: Delivery) -> None:
        try:
            header = Header.of(delivery.body, delivery.edge)
            waiting = self._waiting.get(header.run)
            if waiting is None:
                return
            end = read_end(delivery.body)
            if end is None:
                await waiting.put(delivery.id, self._codec.decode(delivery.body, delivery.edge))
        except BusError as error:
            logger.warning("result_lost", extra={"event": "result_lost", "edge": delivery.edge, "reason": str(error)})
            return
        if end is not None:
            self.end(waiting, end)

    def end(self, waiting: Waiting, end: End) -> None:
        """Tell who waits how the trace has ended."""
        # A deadline's answer, and errors that are delivered as results, are no exceptions.
        quiet = end.fault.stopped or (self._flow._emit_errors_to_rookery and end.status != "cancelled")
        self.finish(waiting, None if quiet else end.fault.error)

    def finish(self, waiting: Waiting, error: FlowError | None) -> None:
        """Nothing more comes for who waits; with an error, that."""
        self._waiting.pop(waiting.header.run, None)
        waiting.finish(error)

    def stop(self) -> None:
        """Tell all who wait that the flow was stopped."""
        for waiting in list(self._waiting.values()):
            self.finish(waiting, trace_cancelled(waiting.header.trace_id, "the flow was stopped"))
