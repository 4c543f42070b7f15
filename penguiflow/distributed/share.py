"""What the deliveries of a worker have in common: its bus, its store, its nodes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from pydantic_core import to_json

from penguiflow.bus.errors import BusClosed
from penguiflow.bus.naming import CLOSED
from penguiflow.bus.waiting import Backoff
from penguiflow.distributed.header import Fault, Header, end_message
from penguiflow.distributed.journal import SilentLog
from penguiflow.distributed.memory import NodeMemory
from penguiflow.distributed.names import CALLER, COUNT, FAULT, IDS, dead_scope, number_of, state_scope
from penguiflow.distributed.posting import Post
from penguiflow.distributed.suspects import Suspects
from penguiflow.distributed.together import Together
from penguiflow.errors import FlowError, FlowErrorCode
from penguiflow.ids import new_id
from penguiflow.state.errors import StoreError
from penguiflow.state.shared import SharedChange, SharedMemory, SharedOutcome, SupportsSharedState

if TYPE_CHECKING:
    from penguiflow.bus.codec import Codec
    from penguiflow.bus.protocol import Delivery, EdgeBus
    from penguiflow.distributed.cell import Cell
    from penguiflow.distributed.writing import Writing
    from penguiflow.observer import TraceLog

__all__ = ["Share", "patiently", "trace_cancelled"]

logger = logging.getLogger("penguiflow.distributed")
T = TypeVar("T")


def trace_cancelled(trace_id: str, reason: str) -> FlowError:
    """What a caller gets who waits for a trace that was cancelled."""
    code = FlowErrorCode.TRACE_CANCELLED
    return FlowError(trace_id=trace_id, node_name=None, code=code, message=f"trace cancelled: {reason}")


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """Ask a store, and again while it cannot answer: nothing goes on without it, and nothing is lost meanwhile."""
    backoff = Backoff(0.05, 2.0)
    told = False
    while True:
        try:
            answer = await call()
        except StoreError as error:
            if not told:
                told = True
                logger.warning("the store does not answer, and is asked again and again: %s", error)
            await asyncio.sleep(backoff())
        else:
            if told:
                logger.warning("the store answers again")
            return answer


class Share:
    """The bus, the store and what is written, as deliveries see them."""

    cell: Cell
    nodes: Sequence[str] = ()
    """Names of all nodes of the flow."""

    def __init__(self, bus: EdgeBus, store: SupportsSharedState, codec: Codec, writing: Writing) -> None:
        self.bus = bus
        self.token = new_id()
        """Of whoever holds a turn: no other worker has it, not even one that goes on under the same name."""
        self.codec = codec
        self.post = Post(bus)
        self.suspects = Suspects(self)
        self._store = store
        self.commit = Together(self._commit_all, closed=lambda: StoreError("the flow was stopped"))
        """Make a `SharedChange`, together with others; a store that does not answer is waited for."""
        self._acks: dict[str, Together[Delivery, bool]] = {}
        self._writing = writing
        self.take_over = writing.take_over
        self.tape = writing.tape

    async def flush(self) -> None:
        """Return once all that was written is committed, however long the store is away."""
        await patiently(self._writing.flush)

    def log_of(self, header: Header) -> TraceLog:
        """The log of the trace that a message belongs to."""
        return self._writing.join(header) or SilentLog()

    async def load(self, run: str, scopes: Sequence[str], handled: str | None = None) -> SharedMemory:
        """What is remembered of a trace."""
        return await patiently(lambda: self._store.load_shared(run, scopes, handled))

    async def _commit_all(self, changes: Sequence[SharedChange]) -> Sequence[SharedOutcome]:
        return await patiently(lambda: self._store.commit_shared(*changes))

    async def ack(self, delivery: Delivery) -> bool:
        """Acknowledge a delivery, with others of its edge. Raises `BusError`."""
        together = self._acks.get(delivery.edge)
        if together is None:
            together = Together(lambda said: self.bus.ack(*said), closed=lambda: BusClosed(CLOSED))
            self._acks[delivery.edge] = together
        return await together(delivery)

    async def cancelled_of(self, runs: Sequence[str]) -> dict[str, str]:
        """Those of the traces that were cancelled, with the reason."""
        return await patiently(lambda: self._store.cancelled_of(runs))

    async def cancel(self, run: str, trace_id: str, reason: str) -> bool:
        """Cancel a trace on all workers, and tell its caller; False when there is nothing to cancel."""
        memory = await self.load(run, (CALLER,))
        caller = memory.rows.get(CALLER)
        if memory.ended is not None or caller is None:
            return False
        await patiently(lambda: self._store.cancel_shared(run, reason))
        header = Header.of(caller.value, "its caller")
        self.log_of(header).event("cancel.requested", "", header.root, {"reason": reason})
        return await self.end(header, "cancelled", Fault(trace_cancelled(trace_id, reason)))

    async def end(self, header: Header, status: str, fault: Fault, *, dead: str | None = None) -> bool:
        """End a trace, whatever of it is under way; False when it has ended before.

        `dead` is the `handled_key` of a message that became a dead letter: it may be sent again some day.
        """
        put: dict[str, bytes | None] = {FAULT: fault.dump()}
        if dead is not None:
            put[dead_scope(dead)] = b"1"
        change = SharedChange(trace_id=header.run, put=put, end=status)
        outcome = await self.commit(change)
        if outcome.done:
            await self.tell_end(header, status, fault)
        elif dead is not None:
            await self._tell_again(header)
        return outcome.done

    async def _tell_again(self, header: Header) -> None:
        """Whoever ended a trace may have died before it was told; then its last message became a dead letter."""
        memory = await self.load(header.run, (FAULT,))
        row = memory.rows.get(FAULT)
        if memory.ended is not None:
            await self.tell_end(header, memory.ended, Fault() if row is None else Fault.load(row.value))

    async def tell_end(self, header: Header, status: str, fault: Fault) -> None:
        """Write the end of a trace, and tell its caller."""
        await self._writing.close(header, status, fault)
        await self.post.put(header.answer, end_message(header, status, fault), private=True)

    async def revive(self, header: Header, message_id: str) -> Header:
        """A dead letter was sent again, of a trace that has ended with it: go on in a run of its own.

        Nothing else of a stream that it was a piece of comes there.
        """
        run = f"{header.run}+{message_id}"
        again = replace(header, run=run, asked=False, epoch=header.epoch + 1, piece="", place=0)
        add = {COUNT: 1, IDS: number_of(message_id)}
        value = to_json(again.about())
        change = SharedChange(trace_id=again.run, expect={CALLER: 0}, put={CALLER: value}, add=add)
        outcome = await self.commit(change)
        if outcome.done:
            return await self._writing.begin(again)
        return again

    async def starve(self, header: Header) -> None:
        """Nodes wait for messages of a trace that will not come: it has failed."""
        scopes = [state_scope(name) for name in self.nodes]
        memory = await self.load(header.run, (FAULT, *scopes))
        row = memory.rows.get(FAULT)
        if memory.ended is not None:
            return
        fault = Fault() if row is None else Fault.load(row.value)
        holds = [
            NodeMemory.load(memory.rows[scope].value, self.codec, scope).hold
            for scope in scopes
            if scope in memory.rows
        ]
        why = "; ".join(hold for hold in holds if hold is not None)
        starved = FlowError(trace_id=header.trace_id, node_name=None, code=FlowErrorCode.NODE_EXCEPTION, message=why)
        await self.end(header, "error", fault.with_(starved, stopped=False))

    def cancelled_error(self, header: Header, memory: SharedMemory) -> FlowError:
        """What a caller gets whose trace was cancelled."""
        return trace_cancelled(header.trace_id, memory.cancelled or "")

    async def forget(self, older_than_s: float) -> None:
        """Forget what is remembered of traces that ended so long ago."""
        await patiently(lambda: self._store.forget_shared(older_than_s=older_than_s))

    async def close(self) -> None:
        """Send and commit nothing more."""
        await self.post.close()
        await self.commit.close()
        for acks in self._acks.values():
            await acks.close()
