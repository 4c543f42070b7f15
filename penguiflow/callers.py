"""`flow.call` and `flow.stream`: a message, and whoever waits for what comes of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from penguiflow.channels import NOWHERE, UNCHANGED
from penguiflow.context import Context
from penguiflow.deadlines import deadline_of
from penguiflow.failures import cancelled_error
from penguiflow.ids import new_id, send_id
from penguiflow.results import LastResult, ResultQueue
from penguiflow.traces import Trace, TraceCancelled, TraceTable, trace_id_of
from penguiflow.types import WM, Message, StreamChunk
from penguiflow.validation import is_message, is_stream_chunk

if TYPE_CHECKING:
    from penguiflow.asking import Answerer
    from penguiflow.context import Port
    from penguiflow.distributed.client import Client
    from penguiflow.egress import Egress
    from penguiflow.errors import FlowError
    from penguiflow.mirror import Mirror
    from penguiflow.node import Node
    from penguiflow.worker import Engine

    NodeTargets = Node | Sequence[Node] | None

__all__ = ["NO_ENTRY", "FlowCalls"]

NO_ENTRY = "the flow has no entry: every node is the successor of another one"


class FlowCalls:
    """The part of a flow that callers use; what it needs of the rest is named here."""

    _engine: Engine | None
    _egress: Egress
    _open_sea: Port
    _results_maxsize: int
    _table: TraceTable
    _mirror: Mirror | None
    _client: Client | None = None
    """Who calls its nodes where they run in workers."""
    _answerer: Answerer | None = None
    """Who answers what its nodes ask."""

    if TYPE_CHECKING:

        @property
        def nodes(self) -> tuple[Node, ...]: ...

        def _refuse_if_draining(self) -> None: ...

        def _cancel(self, trace: Trace, reason: str, error: FlowError | None = None) -> None: ...

    def answer_with(self, on_ask: Callable[[str, Any], Awaitable[Any] | Any] | Answerer | None) -> None:
        """Have `on_ask(prompt, schema)` answer what nodes and tools ask with `ctx.ask` from now on; None: nobody."""
        from penguiflow.asking import FromCode

        self._answerer = FromCode(on_ask) if callable(on_ask) else on_ask

    async def call(
        self, message: Any, *, timeout: float | None = None, trace_id: str | None = None, to: NodeTargets = None
    ) -> Any:
        """Send a message in and return the last result of its trace that is no stream chunk (None without one).

        Raises `FlowError` when the trace failed or was cancelled, `TimeoutError` after `timeout` seconds. A caller
        that gives up takes the trace with it.
        """
        if self._client is not None:
            return await self._client.call(message, timeout, trace_id, to)
        hold = self._egress.hold if timeout is None else None
        sink = LastResult(hold)
        trace = self._begin(message, trace_id, sink)
        try:
            if timeout is None:
                await self._submit(message, trace, to)
                await sink.done
            else:
                async with asyncio.timeout(timeout):
                    await self._submit(message, trace, to)
                    await sink.done
        finally:
            self._end(trace, sink)
            sink.close()
        durable = self._egress.durable
        if hold is None and durable is not None and (commit := durable()) is not None:
            await commit
        return sink.result

    async def stream(
        self, message: Any, *, trace_id: str | None = None, to: NodeTargets = None
    ) -> AsyncGenerator[Any, None]:
        """Send a message in and give each result of its trace as it comes, stream chunks included.

        Raises `FlowError` at the end when the trace failed or was cancelled. Leaving early cancels the trace.
        """
        if self._client is not None:
            async with aclosing(self._client.stream(message, trace_id, to)) as results:
                async for result in results:
                    yield result
            return
        sink = ResultQueue(self._results_maxsize)
        trace = self._begin(message, trace_id, sink)
        try:
            await self._submit(message, trace, to)
            while True:
                try:
                    result = await sink.get(self._egress.durable)
                except StopAsyncIteration:
                    return
                yield result
        finally:
            self._end(trace, sink)

    def _begin(self, message: Any, trace_id: str | None, sink: LastResult | ResultQueue) -> Trace:
        if self._engine is None:
            raise RuntimeError("PenguiFlow is not running")
        self._refuse_if_draining()
        own_id = trace_id_of(message)
        if trace_id is not None and own_id is not None and own_id != trace_id:
            raise ValueError("trace_id differs from the message's own; give one of them")
        wanted = trace_id if trace_id is not None else own_id if own_id is not None else new_id()
        known = self._table.traces.get(wanted)
        if known is not None and known.cancelled:
            known = None
        if known is not None and known.sink is not None:
            raise RuntimeError(f"somebody waits for trace {wanted} already")
        if known is not None and known.pending:
            raise RuntimeError(f"trace {wanted} is in flight already: fetch its results, or use another trace_id")
        trace = self._table.open(wanted)
        trace.sink = sink
        return trace

    def _submit_now(self, message: Any, trace: Trace) -> bool:
        """Send in what most calls do: a message of this trace by the one edge, where there is room; else False.

        What happens to it is what `Context.emit` has happen to any message of a trace that is recorded.
        """
        floes, recorder = self._open_sea.outgoing, self._table.recorder
        if type(message) is not Message or not trace.hops or self._mirror is not None or len(floes) != 1:
            return False
        floe, log, values = floes[0], trace.log, message.__dict__
        if log is None or 0 < floe.maxsize <= floe.size or (recorder is not None and recorder.congested):
            return False
        content = values["payload"]
        if values["trace_id"] != trace.id or values["deadline_s"] is not None or is_stream_chunk(content):
            return False
        origin = self._table.origin or log.root
        message_id = send_id(self._open_sea.name, origin, floe.name, trace.submissions)
        trace.submissions += 1
        log.put(floe.name, log.root, message_id, content, message)
        trace.queued += 1
        floe.put((floe, message, UNCHANGED, trace, message_id))
        return True

    async def _submit(self, message: Any, trace: Trace, to: NodeTargets) -> None:
        if to is None and self._submit_now(message, trace):
            return
        floes = len(self._open_sea.floes_to(to))
        if floes:
            recorder = self._table.recorder
            if recorder is not None and recorder.congested:
                await recorder.wait_ready()
            sender = self._sender_for(trace, floes)
            piece = message.payload if is_message(message) else message
            try:
                if trace.log is None or StreamChunk not in type(piece).__mro__:
                    await sender.emit(message, to)
                else:
                    # Its text is to be in the log, too.
                    about: dict[str, Any] = {"text": piece.text, "done": piece.done, "meta": piece.meta}
                    await sender.emit_chunk(parent=message, stream_id=piece.stream_id, seq=piece.seq, to=to, **about)
            except TraceCancelled:
                raise (trace.error or cancelled_error(trace, "before it began")) from None
        else:
            self._table.finish(trace)
            if self.nodes:
                raise RuntimeError(NO_ENTRY)

    def _end(self, trace: Trace, sink: LastResult | ResultQueue) -> None:
        if trace.sink is sink:
            trace.sink = None
        if not trace.ended and not trace.cancelled:
            self._cancel(trace, "the caller stopped waiting")

    # Messages from outside

    def _admit(self, msg: Any, to: NodeTargets) -> bool:
        """Take in a message that nobody records if there is room for it; what most emits are."""
        floes = self._open_sea.outgoing if to is None else self._open_sea.floes_to(to)
        for floe in floes:
            if 0 < floe.maxsize <= floe.size:
                return False
        if not floes:
            return False
        trace = self._table.of(msg, None)
        if trace is not None and trace.last_hops is not None:
            return False
        for floe in floes:
            if trace is not None:
                trace.queued += 1
            floe.put((floe, msg, UNCHANGED, trace, ""))
        if trace is not None and not trace.plain and (deadline_s := deadline_of(msg)) is not None:
            self._table.deadlines.watch(deadline_s)
        return True

    def _is_echo(self, msg: Any) -> bool:
        """Whether this is a round that an unbounded controller delivered and goes on with by itself."""
        if not isinstance(msg, Message) or not isinstance(msg.payload, WM):
            return False
        trace = self._table.traces.get(msg.trace_id)
        # The loop may be some rounds ahead of whoever fetches.
        if trace is None or trace.last_hops is None or msg.payload.hops > trace.last_hops:
            return False
        return trace.last_query is None or trace.last_query == msg.payload.query

    def _sender(self, msg: Any, to: NodeTargets) -> Context | None:
        """A context that sends into the flow; None when the flow has no nodes."""
        port = self._open_sea
        if not port.outgoing:
            if self.nodes:
                raise RuntimeError(NO_ENTRY)
            return None
        floes = port.floes_to(to)
        return self._sender_for(self._table.of(msg, None), len(floes))

    def _sender_for(self, trace: Trace | None, messages: int) -> Context:
        context = Context._of(self._open_sea)
        if trace is not None:
            context._item = (NOWHERE, None, UNCHANGED, trace, self._table.origin)
            context._ordinal = trace.submissions
            trace.submissions += messages
        return context
