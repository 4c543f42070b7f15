"""How messages come into a distributed flow from outside: a trace is begun in the store, then they go on edges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from penguiflow.bus.protocol import BusMessage
from penguiflow.callers import NO_ENTRY
from penguiflow.distributed.header import Header
from penguiflow.distributed.names import CALLER, COUNT, HOLDS, IDS, bus_id, number_of, run_id
from penguiflow.ids import new_id, send_id
from penguiflow.state.shared import SharedChange
from penguiflow.traces import trace_id_of

if TYPE_CHECKING:
    from penguiflow.bus.codec import Codec
    from penguiflow.channels import Floe
    from penguiflow.core import PenguiFlow
    from penguiflow.distributed.answers import Answers, Waiting
    from penguiflow.distributed.share import Share
    from penguiflow.distributed.writing import Writing
    from penguiflow.ports import Targets
    from penguiflow.results import LastResult, ResultQueue

__all__ = ["Entry", "trace_of"]


class Entry:
    """Begins traces, and sends messages in."""

    def __init__(self, flow: PenguiFlow, share: Share, writing: Writing, codec: Codec, answers: Answers) -> None:
        self._flow = flow
        self._share = share
        self._writing = writing
        self._codec = codec
        self._answers = answers

    async def begin(self, trace_id: str, edge: str, sink: LastResult | ResultQueue) -> Waiting:
        """Begin a trace that somebody waits for. Raises `RuntimeError` where that is in flight."""
        epoch = 0
        while True:
            header = Header(trace_id, run_id(trace_id, epoch), edge, asked=True, epoch=epoch)
            waiting = self._answers.expect(header, sink)
            try:
                outcome = await self._share.commit(_beginning(header))
            except BaseException:
                self._answers.forget(header.run)
                raise
            if outcome.done:
                waiting.header = await self._writing.begin(header)
                return waiting
            self._answers.forget(header.run)
            if outcome.stale:
                raise RuntimeError(f"trace {trace_id} is in flight already: fetch its results, or use another trace_id")
            epoch += 1

    async def join(self, trace_id: str, edge: str, *, apart: bool = False) -> Header:
        """Begin a trace that nobody waits for, or go on with it; with `apart` only where nodes wait for more of it."""
        epoch = 0
        while True:
            header = Header(trace_id, run_id(trace_id, epoch), edge, asked=False, epoch=epoch)
            outcome = await self._share.commit(_beginning(header))
            if outcome.done:
                return await self._writing.begin(header)
            if outcome.stale:
                memory = await self._share.load(header.run, (CALLER,))
                known = memory.rows.get(CALLER)
                if known is not None and (not apart or memory.counters.get(HOLDS)):
                    return Header.of(known.value, "its caller")
            epoch += 1

    async def submit(self, message: Any, header: Header, to: Targets, origin: str = "") -> None:
        """Put a message on the edges from outside. `origin` makes its ids: empty for what is sent in once for a run."""
        floes: Sequence[Floe] = self._flow._open_sea.floes_to(to)
        if not floes:
            if self._flow.nodes:
                raise RuntimeError(NO_ENTRY)
            return
        body = self._codec.encode(message, "OpenSea", about=header.about())
        # As in one process: a replay of it there finds what was recorded.
        origin = origin or header.root or "0"
        ids = [send_id("OpenSea", origin, floe.name, ordinal) for ordinal, floe in enumerate(floes)]
        self._writing.sent(header, floes, ids, message)
        await self._writing.flush()
        add = {COUNT: len(ids), IDS: sum(map(number_of, ids))}
        outcome = await self._share.commit(SharedChange(trace_id=header.run, add=add))
        if not outcome.done:
            return  # it was cancelled before it began
        for floe, message_id in zip(floes, ids, strict=True):
            await self._share.post.put(floe.name, BusMessage(bus_id(header.run, message_id), body))


def trace_of(message: Any, trace_id: str | None = None) -> str:
    """The id of the trace that a message begins. Raises `ValueError` where it says another one than `trace_id`."""
    own_id = trace_id_of(message)
    if trace_id is not None and own_id is not None and own_id != trace_id:
        raise ValueError("trace_id differs from the message's own; give one of them")
    return trace_id if trace_id is not None else own_id if own_id is not None else new_id()


def _beginning(header: Header) -> SharedChange:
    """Succeeds where the run was not begun."""
    return SharedChange(trace_id=header.run, expect={CALLER: 0}, put={CALLER: to_json(header.about())})
