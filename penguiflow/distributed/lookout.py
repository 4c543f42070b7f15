"""Whether a trace is over whose end its caller was not told: an answer may be lost, or all that there was of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from pydantic_core import from_json

from penguiflow.bus.errors import BusError
from penguiflow.distributed.header import End, Fault, Header
from penguiflow.distributed.names import COUNT, FAULT, LAST, edges_of
from penguiflow.errors import FlowError, FlowErrorCode
from penguiflow.results import LastResult
from penguiflow.traces import trace_status

if TYPE_CHECKING:
    from penguiflow.core import PenguiFlow
    from penguiflow.distributed.answers import Answers, Waiting
    from penguiflow.distributed.share import Share
    from penguiflow.state.shared import SharedMemory

__all__ = ["Lookout"]

POLL_S = 3.0
"""A caller that has heard nothing for so long looks whether its trace is over, in seconds; then less and less often."""
_LONGEST_POLL_S = 30.0


class Lookout:
    """Looks after traces that somebody waits for."""

    def __init__(self, flow: PenguiFlow, share: Share, answers: Answers) -> None:
        self._flow = flow
        self._share = share
        self._answers = answers

    async def look_after(self, waiting: Waiting) -> None:
        """Look now and then until the trace is over, and tell who waits."""
        pause = POLL_S
        before: Mapping[str, int] | None = None
        while not waiting.over:
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_POLL_S)
            run = waiting.header.run
            memory = await self._share.load(run, (FAULT, LAST))
            if memory.ended is None:
                quiet = await self._nothing_waits()
                if quiet and before == memory.counters:
                    await self._end_quiet(waiting.header, memory)
                before = memory.counters if quiet else None
                continue
            # What is on its way has time to come.
            await asyncio.sleep(POLL_S)
            if not self._answers.is_awaited(run):
                return
            row = memory.rows.get(LAST)
            if row is not None and isinstance(waiting.sink, LastResult):
                body = str(from_json(row.value)).encode()
                waiting.sink.put(self._share.codec.decode(body, "its last result"))
            self._answers.end(waiting, End(memory.ended, _fault_of(memory)))

    async def _nothing_waits(self) -> bool:
        """Whether all edges of the flow are empty, those who work counted in."""
        with suppress(BusError):
            for edge in edges_of(self._flow):
                depth = await self._share.bus.depth(edge)
                if depth.waiting or depth.leased:
                    return False
            return True
        return False

    async def _end_quiet(self, header: Header, memory: SharedMemory) -> None:
        """A trace that is not over, and of which nothing is left: nobody else would end it.

        Messages were lost with a bus that came back without its data; or a node that was interrupted sent something
        else when it was done again than before, so that more was handled than was sent.
        """
        fault = _fault_of(memory)
        left = memory.counters.get(COUNT, 0)
        if left > 0:
            what, them = ("one message of it is", "it") if left == 1 else (f"{left} messages of it are", "them")
            said = f"{what} on no edge any more: the bus has lost {them}"
            code = FlowErrorCode.NODE_EXCEPTION
            lost = FlowError(trace_id=header.trace_id, node_name=None, code=code, message=said)
            fault = fault.with_(lost, stopped=False)
        status = "ok" if fault.error is None else trace_status(fault.error)
        await self._share.end(header, status, fault)


def _fault_of(memory: SharedMemory) -> Fault:
    row = memory.rows.get(FAULT)
    return Fault() if row is None else Fault.load(row.value)
