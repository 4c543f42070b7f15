"""One delivery in a worker, from its lease to its acknowledgment."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json, to_json

from penguiflow.bus.errors import BusError, CannotSend
from penguiflow.bus.protocol import BusMessage, Delivery
from penguiflow.channels import ROOKERY
from penguiflow.distributed.cell import DeliveredTrace, Outlet
from penguiflow.distributed.header import Fault, Header
from penguiflow.distributed.journal import DeliveryLog
from penguiflow.distributed.memory import NodeMemory
from penguiflow.distributed.names import (
    COUNT,
    FAULT,
    HOLDS,
    IDS,
    LAST,
    bus_id,
    dead_scope,
    handled_key,
    id_on_bus,
    number_of,
    outbox,
    state_scope,
)
from penguiflow.distributed.streams import Place
from penguiflow.distributed.taking import Taking
from penguiflow.failures import flow_error, said
from penguiflow.results import is_chunk
from penguiflow.state.shared import SharedChange, SharedMemory, SharedOutcome
from penguiflow.traces import trace_status
from penguiflow.validation import is_message, is_stream_chunk

if TYPE_CHECKING:
    from penguiflow.calls import Tape
    from penguiflow.distributed.desk import Desk

__all__ = ["Handling", "LeaseLost"]


class LeaseLost(Exception):
    """Somebody else has the message now, or will have: nothing more is to be said about it."""


class Handling:
    """What becomes of one delivery; the `Outputs` of its invocations."""

    def __init__(self, desk: Desk, delivery: Delivery, header: Header) -> None:
        self.desk = desk
        self.delivery = delivery
        self.header = header
        self.message_id = id_on_bus(delivery.id)
        self.key = handled_key(desk.node, self.message_id)
        self.scope = state_scope(desk.node)
        self.lost = False
        """Whether the lease is over."""
        self.memory = SharedMemory({}, {}, False, None, None)
        self._trace: DeliveredTrace | None = None
        self._over: asyncio.Future[None] | None = None
        self._kept: NodeMemory | None = None
        """What the node keeps, once it was looked at: from then on outputs wait for the commit."""
        self._before = NodeMemory()
        self._touched = False
        self._sent: dict[str, int] = {}
        """Numbers of what goes to other nodes, by message id."""
        self._pieces: dict[tuple[str, str], int] = {}
        """How many pieces of each stream were sent, by edge and stream."""
        self._held: list[tuple[str, BusMessage]] = []
        """What goes out after the commit: edge and message; an empty edge is the caller's."""
        self._last: bytes | None = None
        self._failed: BusError | None = None
        self._tape: Tape | None = None
        """Answers to what the node asked when it worked on this message before."""
        self.turn = Taking(self)
        self.place = Place(self)

    async def run(self) -> None:
        """Handle it. Raises `LeaseLost`, `BusError`, `StoreError`; `CannotRead` for what nobody can read."""
        message = self.desk.share.codec.decode(self.delivery.body, self.delivery.edge)
        async with AsyncExitStack() as stack:
            if self.desk.keeps and not self.header.piece:
                await self._take_turn(stack)
            await self._handle(message, stack)

    async def _take_turn(self, stack: AsyncExitStack) -> None:
        """Of two messages of a trace that are with the same node at once, one would lose its commit."""
        await self.turn.enter(stack)
        if self.lost:
            raise LeaseLost

    async def _handle(self, message: Any, stack: AsyncExitStack) -> None:
        share = self.desk.share
        known = self.delivery.attempt == 1
        again = not known
        while True:
            await self.load()
            if self.memory.ended is not None and dead_scope(self.key) in self.memory.rows:
                self.header = await share.revive(self.header, self.message_id)
                await self.turn.leave(stack)
                await self.load()
            if not known:
                known = True
                await share.take_over(self.header, self.message_id, self.desk.node, done=self.memory.handled)
            if self.memory.handled or self.memory.ended is not None:
                await self._repeat()
                return
            if self.memory.cancelled is not None:
                await share.end(self.header, "cancelled", Fault(share.cancelled_error(self.header, self.memory)))
                return
            if self.place.is_early:
                await self.place.wait()
                if self.lost:
                    raise LeaseLost
                continue
            if self.desk.keeps and not self.turn.entered:
                await self._take_turn(stack)
                continue
            if not await self.turn.may_begin():
                if self.lost:
                    raise LeaseLost
                continue
            if again:
                # What was asked and answered before is not asked twice.
                self._tape = await share.tape(self.header, self.message_id)
            async with share.suspects.alone(self.header.run, self.key, self.delivery.attempt):
                trace = await self._invoke(message)
                try:
                    # Before the next suspect begins: it may be the one that kills this worker.
                    await share.flush()
                    outcome = await self._commit(trace)
                finally:
                    self._log.settle(counts=False)
            if outcome is not None:
                await self._after(outcome)
                return
            again = self._log.asked

    async def load(self) -> None:
        """Read what is remembered of the trace, as far as this delivery needs it."""
        share = self.desk.share
        own = (self.scope, self.desk.turns.scope, outbox(self.key), dead_scope(self.key))
        scopes = (FAULT, *own, *self.place.scopes)
        self.memory = await share.load(self.header.run, scopes, self.key)
        if self.desk.turns.scope in self.memory.rows:
            self.desk.keeps = True  # another worker has found that out
        row = self.memory.rows.get(self.scope)
        self._before = NodeMemory() if row is None else NodeMemory.load(row.value, share.codec, self.desk.node)

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing to do any more: the message was handled, or its trace is over or cancelled."""
        memory = self.memory
        return memory.handled or memory.ended is not None or memory.cancelled is not None

    # The invocation

    async def _invoke(self, message: Any) -> DeliveredTrace:
        share, header = self.desk.share, self.header
        log = self._log = DeliveryLog(share.log_of(header), self.delivery)
        trace = self._trace = DeliveredTrace(header.trace_id, self, log)
        self._over = asyncio.get_running_loop().create_future()
        self._kept, self._touched, self._last, self._failed = None, False, None, None
        self._sent.clear()
        self._pieces.clear()
        self._held.clear()
        if self._before.hold is not None:
            trace.holds = {self.desk.owner.node_id: self._before.hold}
        trace.tape = self._tape
        share.cell.begin(self.desk.node, self.delivery.edge, trace, message, self.message_id)
        try:
            await self._over
        except asyncio.CancelledError:
            log.interrupted = True
            share.cell.abort(trace, "the worker stops")
            log.settle(counts=False)
            raise
        if self._failed is not None or self.lost:
            log.settle(counts=False)
            raise self._failed or LeaseLost
        return trace

    def abort(self, reason: str, *, lost: bool = False) -> None:
        """Cancel the invocation; with `lost` another worker does it again."""
        self.lost = self.lost or lost
        if self._trace is not None:
            if lost and isinstance(self._trace.log, DeliveryLog):
                self._trace.log.interrupted = True
            self.desk.share.cell.abort(self._trace, reason)

    # What the engine tells

    def send(self, outlet: Outlet, message: Any, message_id: str) -> None:
        """A message leaves the node."""
        share, trace = self.desk.share, self._trace
        assert trace is not None
        body = share.codec.encode(message, self.desk.node, about=self._header_of(outlet, message).about())
        most = share.post.most_bytes
        if most is not None and len(body) > most:
            # Said now it is the node's failure. The bus refuses it each time that the node runs again.
            large = f"Node '{self.desk.node}' sent a message of {len(body)} bytes"
            raise CannotSend(f"{large}: the server takes {most}; raise its max_payload")
        out = BusMessage(bus_id(self.header.run, message_id), body)
        private = outlet.target is ROOKERY
        if not private:
            self._sent[message_id] = number_of(message_id)
        else:
            self._given(trace, outlet.name, message_id)
            if not is_chunk(message):
                self._last = body
        if self._touched:
            self._held.append(("" if private else outlet.name, out))
            outlet.left(trace)
            return

        def told(error: BusError | None) -> None:
            self._failed = self._failed or error
            outlet.left(trace)
            share.cell.settle(trace)

        share.post.send(self.header.answer if private else outlet.name, out, told, private=private)

    def _given(self, trace: DeliveredTrace, edge: str, message_id: str) -> None:
        """Whoever waits for the trace takes a result at once."""
        if trace.log is not None and self.header.asked:
            trace.log.event("message.dequeued", edge, trace.log.root, {"message_id": message_id})

    def _header_of(self, outlet: Outlet, message: Any) -> Header:
        """What goes with a message; pieces of a stream say which they are."""
        header = self.header
        payload = message.payload if is_message(message) else message
        if not is_stream_chunk(payload) or outlet.target is ROOKERY:
            return header if not header.piece else replace(header, piece="", place=0)
        piece = f"{self.message_id}/{payload.stream_id}"
        place = self._pieces.get((outlet.name, piece), 0)
        self._pieces[outlet.name, piece] = place + 1
        return replace(header, piece=piece, place=place)

    def _memory_of_node(self) -> NodeMemory:
        if self._kept is None:
            self._log.uncertain = True
            # A copy: what is not committed is not remembered.
            row = self.memory.rows.get(self.scope)
            share = self.desk.share
            self._kept = NodeMemory() if row is None else NodeMemory.load(row.value, share.codec, self.desk.node)
        return self._kept

    def touched(self, node: str) -> dict[str, Any]:
        """The node looks at what it keeps: what it sends from now on depends on that."""
        self._touched = self.desk.keeps = True
        return self._memory_of_node().state

    def next_chunk(self, stream_id: str, seq: int | None, done: bool) -> int:
        """The `seq` of the next chunk of a stream."""
        streams = self._memory_of_node().streams
        if seq is None:
            seq = streams.get(stream_id, 0)
        if done:
            streams.pop(stream_id, None)
        else:
            streams[stream_id] = seq + 1
        return seq

    def finish(self) -> None:
        """The invocation is over, and all that it sent is on its edges."""
        if self._over is not None and not self._over.done():
            self._over.set_result(None)

    # The commit

    async def _commit(self, trace: DeliveredTrace) -> SharedOutcome | None:
        """Make it count; None when the node has to run again, because what it keeps was changed meanwhile."""
        share = self.desk.share
        try:
            expect, put, add = self._changes(trace)
        except CannotSend as error:
            # It cannot be kept: that is a failure of the node.
            trace.error = trace.error or flow_error(self.desk.owner, trace.id, error, 0, 0.0)
            self._kept = None
            expect, put, add = self._changes(trace)
        while True:
            row = self.memory.rows.get(FAULT)
            before = Fault() if row is None else Fault.load(row.value)
            fault = before.with_(trace.error, trace.stopped)
            expect[FAULT] = 0 if row is None else row.version
            if fault != before:
                put[FAULT] = fault.dump()
            else:
                put.pop(FAULT, None)
            status = "ok" if fault.error is None else trace_status(fault.error)
            change = SharedChange(
                trace_id=self.header.run, handled=self.key, expect=expect, put=put, add=add, end_at_zero=status
            )
            if self.lost:
                raise LeaseLost
            outcome = await share.commit(change)
            if outcome.done:
                self._log.settle(counts=True)
                self.turn.committed(put, outcome)
            if outcome.done or not outcome.stale:
                if outcome.ended and outcome.done:
                    await self._send_held()
                    await share.tell_end(self.header, status, fault)
                return outcome
            if list(outcome.stale) != [FAULT]:
                self.desk.turns.lost(self.header.run)
                return None
            await self.load()

    def _changes(self, trace: DeliveredTrace) -> tuple[dict[str, int], dict[str, bytes | None], dict[str, int]]:
        """Versions that rows must have, their new values, and what is added to counters."""
        expect: dict[str, int] = {}
        put: dict[str, bytes | None] = {}
        add = {COUNT: len(self._sent) - 1, IDS: sum(self._sent.values()) - number_of(self.message_id)}
        kept = self._kept
        if kept is not None:
            why = trace.held.get(self.desk.owner.node_id)
            kept.hold = None if why is None else said(why)
            value = None if kept.empty else kept.dump(self.desk.share.codec, self.desk.node)
            row = self.memory.rows.get(self.scope)
            if value != (None if row is None else row.value):
                put[self.scope] = value
            if put or self._touched:
                self.desk.keeps = True
                expect[self.scope] = 0 if row is None else row.version
            changed = (kept.hold is not None) - (self._before.hold is not None)
            if changed:
                add[HOLDS] = changed
        self.turn.pass_on(expect, put)
        if self._held:
            put[outbox(self.key)] = _dump_held(self._held)
        self.place.pass_on(expect, put)
        if self._last is not None:
            put[LAST] = to_json(self._last.decode())
        return expect, put, add

    async def _after(self, outcome: SharedOutcome) -> None:
        if self.header.piece:
            self.desk.tell_piece_done()
        if outcome.repeat or not outcome.done:
            await self.load()
            await self._repeat()
            return
        if not outcome.ended:
            await self._send_held()
            await self._starved(outcome.counters)

    async def _send_held(self) -> None:
        """Put what had to wait for the commit."""
        post = self.desk.share.post
        for edge, message in self._held:
            await post.put(edge or self.header.answer, message, private=not edge)

    async def _repeat(self) -> None:
        """It was handled before, or its trace is over: see to it that what follows from that has happened."""
        share, memory = self.desk.share, self.memory
        if not memory.handled:
            return
        row = memory.rows.get(outbox(self.key))
        if row is not None:
            self._held = _load_held(row.value)
            await self._send_held()
        if memory.ended is not None:
            fault = memory.rows.get(FAULT)
            await share.tell_end(self.header, memory.ended, Fault() if fault is None else Fault.load(fault.value))
        else:
            await self._starved(memory.counters)

    async def _starved(self, counters: Any) -> None:
        """Nothing is on an edge any more: a caller need not wait for nodes that do."""
        if self.header.asked and not counters.get(COUNT) and not counters.get(IDS) and counters.get(HOLDS):
            await self.desk.share.starve(self.header)


def _dump_held(held: list[tuple[str, BusMessage]]) -> bytes:
    return to_json([[edge, message.id, message.body.decode()] for edge, message in held])


def _load_held(value: bytes) -> list[tuple[str, BusMessage]]:
    return [(edge, BusMessage(known, body.encode())) for edge, known, body in from_json(value)]
