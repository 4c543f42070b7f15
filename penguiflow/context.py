"""What a node's function gets as its second argument."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from time import time
from typing import TYPE_CHECKING, Any

from penguiflow.calls import call_now, call_out, chance
from penguiflow.channels import NOWHERE, UNCHANGED, Endpoint, Floe, Item, payload_of, whole
from penguiflow.deadlines import deadline_of
from penguiflow.failures import DeadlinePassed
from penguiflow.ids import send_id
from penguiflow.ports import Port
from penguiflow.traces import Trace, TraceCancelled
from penguiflow.types import Message, StreamChunk
from penguiflow.validation import is_message, new_chunk

if TYPE_CHECKING:
    from random import Random

    from penguiflow.calls import Scope
    from penguiflow.core import PenguiFlow
    from penguiflow.node import Node
    from penguiflow.playbooks import PlaybookFactory
    from penguiflow.ports import Targets
    from penguiflow.reruns import Again
    from penguiflow.turns import Turn


__all__ = ["Context", "Port"]


class Context:
    """A node's view of the flow during one invocation: send, receive, and know the trace."""

    # Class attributes are the defaults of an invocation: most invocations never touch them, and so do not pay for them.
    _item: Item = (NOWHERE, None, UNCHANGED, None, "")
    _span = ""
    _envelope: Message | None = None
    _ordinal = 0
    _task: asyncio.Task[Any] | None = None
    _cancel_reason: str | None = None
    _cancel_sent = False
    _cancels = 0  # `Task.cancel` calls of ours that are not yet taken back; others' must stay
    _timed_out = False
    _give_up: asyncio.TimerHandle | None = None  # fires when the function does not end after its timeout
    _shielded = False
    _forced = False  # cancelled out of a listener that does not return: tell it no more
    _held: list[Trace] | None = None
    _attempt = 0
    _attempt_span = ""
    _scope: Scope | None = None  # where the calls of the attempt are counted
    _keeps = False  # what it keeps for the trace may have changed
    _joins = False  # it has said that its node waits for more messages
    _again: Again | None = None  # what it has done before, where it is run again
    _turn: Turn | None = None  # only where invocations of the same trace may overtake each other
    _late = False  # the deadline has passed: what it sends is the answer that says so, which waits for no turn

    def __init__(self, owner: Node | Endpoint, runtime: PenguiFlow | None = None) -> None:
        self._port = Port(owner, runtime)

    @classmethod
    def _of(cls, port: Port) -> Context:
        context = cls.__new__(cls)
        context._port = port
        return context

    @property
    def owner(self) -> Node | Endpoint:
        """The node (or endpoint) this context belongs to."""
        return self._port.owner

    @property
    def runtime(self) -> PenguiFlow | None:
        """The flow, or None for a context that belongs to none."""
        return self._port.runtime

    @property
    def trace_id(self) -> str | None:
        """The trace of the message being handled; None for a bare payload that nobody records."""
        trace = self._item[3]
        return None if trace is None else trace.id

    @property
    def message(self) -> Any:
        """The message as it came, with its envelope even where the function gets the bare payload."""
        floe, message, payload, trace, message_id = self._item
        if payload is not UNCHANGED:
            message = whole(message, payload)
            self._item = (floe, message, UNCHANGED, trace, message_id)
        if self._envelope is not None and trace is not None:
            # What the function changes in it holds for what it sends, and has to be looked at.
            self._envelope = message
            self._held = self._held or []
        return message

    @property
    def trace_state(self) -> dict[str, Any]:
        """A place for what this node must remember between the messages of one trace; dropped when the trace ends."""
        trace = self._item[3]
        if trace is None:
            raise RuntimeError(f"node '{self._port.name}' handles a message without a trace: nothing to keep state for")
        if trace.log is not None:
            self._keeps = True
        node_id = self._port.owner.node_id
        state = None if trace.state is None else trace.state.get(node_id)
        return trace.node_state(node_id) if state is None else state

    def hold_trace(self, why: str | Callable[[], str] | None) -> None:
        """Say that this node waits for more messages of the trace (and why), or no longer does (None).

        `why` may be a function, which is asked when somebody wants to know.

        A trace that comes to rest meanwhile stays open for them; a caller who waits for it gets `FlowError` with `why`.
        """
        if self._trace is not None:
            self._keeps = True
            self._joins = self._joins or why is not None
            self._trace.hold(self._port.owner.node_id, why)

    def add_incoming_floe(self, floe: Floe) -> None:
        """Attach an edge that ends here, with what waits on it."""
        self._port.incoming.append(floe)
        self._port.inbox.take_over(floe)

    def add_outgoing_floe(self, floe: Floe) -> None:
        """Attach an edge that begins here."""
        self._port.outgoing.append(floe)

    def outgoing_count(self) -> int:
        """How many edges begin here."""
        return len(self._port.outgoing)

    def queue_depth_in(self) -> int:
        """How many messages wait for this node."""
        return sum(floe.size for floe in self._port.incoming)

    def queue_depth_out(self) -> int:
        """How many of this node's messages wait for others."""
        return sum(floe.size for floe in self._port.outgoing)

    async def emit(self, msg: Any, to: Targets = None) -> None:
        """Send to all successors, or to those named, one after the other; a full edge is waited for.

        Raises `KeyError` for an unknown target and `TraceCancelled` once the trace is cancelled.
        """
        flow = self._port.runtime or self._flow()
        floes = self._port.outgoing if to is None else self._port.floes_to(to)
        if not floes:
            return
        recorder = flow._table.recorder
        if recorder is not None and recorder.congested:
            # Whoever sends more than can be recorded waits here, a node in the middle of a fan-out too.
            await recorder.wait_ready()
        message, payload, trace = self._addressed(msg, flow)
        await self._send_to(floes, message, payload, trace)

    def emit_nowait(self, msg: Any, to: Targets = None) -> None:
        """As `emit`, without waiting: raises `asyncio.QueueFull`, and then has sent nothing."""
        flow = self._flow()
        floes = self._port.floes_to(to)
        sink = None if self._trace is None else self._trace.sink
        if self._turn is not None and not self._turn.come:
            raise asyncio.QueueFull
        for floe in floes:
            if sink is not None and floe.is_exit:
                if sink.full:
                    raise asyncio.QueueFull
            elif floe.full():
                floe.clear_stones()
                if floe.full():
                    raise asyncio.QueueFull
        if not floes:
            return
        message, payload, trace = self._addressed(msg, flow)
        first_id: str | None = None
        for floe in floes:
            if flow._mirror is not None and (trace is None or not trace.cancelled):
                # Before the node is woken: the bus is to see the message as it was sent.
                flow._mirror.publish_later(floe, whole(message, payload), trace)
            first_id = self._put(floe, message, payload, trace, first_id)
        self._sent(trace)

    async def emit_chunk(
        self,
        *,
        parent: Message | Any,
        text: str,
        stream_id: str | None = None,
        seq: int | None = None,
        done: bool = False,
        meta: dict[str, Any] | None = None,
        to: Targets = None,
    ) -> StreamChunk:
        """Send one piece of a stream, in the parent's envelope; `seq` counts by itself.

        The stream is named after the trace unless `stream_id` says otherwise. A bare payload as the parent sends the
        bare chunk. Raises `TypeError` when there is no trace to name the stream after.
        """
        flow = self._port.runtime or self._flow()
        trace = flow._table.of(parent, self._item[3])
        if trace is None:
            raise TypeError("emit_chunk needs a Message as its parent, or a payload whose run is recorded or called")
        stream = trace.id if stream_id is None else stream_id
        before = None if self._again is None else self._again.next_chunk(stream)
        number = trace.next_chunk(self._port.owner.node_id, stream, seq, done) if before is None else before
        chunk = new_chunk(stream, number, text, done, meta)
        if trace.log is not None and before is None:
            trace.log.event(
                "stream.chunk",
                stream,
                self._span or trace.log.root,
                {"stream_id": stream, "chunk_seq": number, "text": text, "done": done, "meta": chunk.meta},
            )
        floes = self._port.outgoing if to is None else self._port.floes_to(to)
        recorder = flow._table.recorder
        if recorder is not None and recorder.congested:
            await recorder.wait_ready()
        if is_message(parent):
            await self._send_to(floes, parent, chunk, trace)
        elif self._envelope is not None:
            await self._send_to(floes, self._envelope, chunk, trace)
        else:
            await self._send_to(floes, chunk, UNCHANGED, trace)
        return chunk

    def fetch_nowait(self, from_: Targets = None) -> Any:
        """The next message that waits. Raises `asyncio.QueueEmpty`."""
        item = self._port.take(from_)
        if item is None:
            raise asyncio.QueueEmpty("no messages available")
        return self._accept(item)

    async def fetch(self, from_: Targets = None) -> Any:
        """The next message (from the named sources); waits for one. A cancelled fetch loses nothing."""
        if not self._port.incoming:
            raise RuntimeError("context has no incoming floes to fetch from")
        while (item := self._port.take(from_)) is None:
            await self._port.wait_arrival(from_)
        return self._accept(item)

    async def fetch_any(self, from_: Targets = None) -> Any:
        """The same as `fetch`."""
        return await self.fetch(from_)

    async def record(self, name: str, fn: Callable[..., Any], *args: Any) -> Any:
        """`fn(*args)`, awaited if need be: a call that leaves the process, or whose result is not always the same.

        Arguments and result (or exception) go into the trace's log. A replay answers the call from there, as does a
        run that is resumed or forked: `name`, and what it is called with, tell it from the others of its attempt.
        """
        return await call_out(self, "record", name, args, fn, *args)

    async def ask(self, prompt: str, schema: Any = str) -> Any:
        """The answer of somebody who is shown `prompt`, as a `schema`; recorded. Raises `NobodyAnswers`."""
        from penguiflow.asking import ask

        return await ask(self, prompt, schema)

    def may_ask(self, prompt: str, schema: Any = str) -> bool:
        """Whether `ask` would be answered now: by somebody who is there, or by a recording."""
        from penguiflow.asking import node_may_ask

        return node_may_ask(self, prompt, schema)

    def now(self) -> float:
        """Unix seconds; a replay sees the recorded ones."""
        seconds: float = call_now(self, "ctx.now", time)
        return seconds

    def random(self) -> Random:
        """The attempt's own generator; in a replay it draws the same numbers."""
        return chance(self)

    async def call_playbook(
        self, playbook: PlaybookFactory, parent_msg: Message, *, timeout: float | None = None
    ) -> Any:
        """Run a flow built by `playbook` on a message and return its first result: `penguiflow.playbooks`."""
        from penguiflow.playbooks import call_playbook

        return await call_playbook(playbook, parent_msg, timeout, runtime=self.runtime, context=self)

    # -- what follows is between the context and the runtime ---------------------------------------------------------

    @property
    def _trace(self) -> Trace | None:
        return self._item[3]

    def _flow(self) -> PenguiFlow:
        if self._port.runtime is None:
            raise RuntimeError("Context is not attached to a running flow")
        return self._port.runtime

    def _addressed(self, msg: Any, flow: PenguiFlow) -> tuple[Any, Any, Trace | None]:
        """The message and payload to send, and their trace: a bare payload goes in the envelope that its cause had."""
        if self._envelope is not None and not is_message(msg):
            trace = self._item[3]
            if trace is not None and trace.ended and not trace.cancelled:
                trace = flow._table.open(trace.id)
            return self._envelope, msg, trace
        return msg, UNCHANGED, flow._table.of(msg, self._item[3])

    def _accept(self, item: Item) -> Any:
        """Take over a fetched message: it counts as being worked on until this invocation is over."""
        floe, message, payload, trace, message_id = item
        if trace is not None:
            if trace.log is not None:
                about = {"message_id": message_id, "by": self._span}
                trace.log.event("message.dequeued", floe.name, trace.log.root, about)
            trace.queued -= 1
            trace.inflight += 1
            if self._held is None:
                self._held = []
            self._held.append(trace)
        return whole(message, payload)

    async def _send_to(self, floes: Sequence[Floe], message: Any, payload: Any, trace: Trace | None) -> None:
        """Send one message by several edges."""
        first_id: str | None = None
        late = False
        if self._turn is not None and not self._turn.come and not self._late:
            late = not await self._turn.wait(deadline_of(message))
        runtime = self._port.runtime
        if not late and (runtime is None or runtime._mirror is None):
            for position, floe in enumerate(floes):
                sink = None if trace is None or not floe.is_exit else trace.sink
                if sink.full if sink is not None else 0 < floe.maxsize <= floe.size:
                    floes = floes[position:]
                    break
                first_id = self._put(floe, message, payload, trace, first_id)
            else:
                self._sent(trace)
                return
        if trace is None:
            for floe in floes:
                await self._send(floe, message, payload, None, None, late)
            return
        # The trace must not end while this waits for room.
        trace.inflight += 1
        try:
            for floe in floes:
                first_id = await self._send(floe, message, payload, trace, first_id, late)
        finally:
            self._flow()._table.release(trace)

    def _sent(self, trace: Trace | None) -> None:
        """A trace that is begun (again) with what leaves the flow at once has nothing else to do."""
        if trace is not None and not trace.inflight and not trace.queued and not trace.ended:
            self._flow()._table.finish(trace)

    async def _send(
        self,
        floe: Floe,
        message: Any,
        payload: Any,
        trace: Trace | None,
        same_as: str | None,
        late: bool = False,
    ) -> str | None:
        """Send by one edge when there is room; `late`: the message's deadline passed while it waited for its turn."""
        deadline_s = deadline_of(message)
        if not late and self._turn is not None and not self._turn.come and not self._late:
            late = not await self._turn.wait(deadline_s)
        sink = trace.sink if trace is not None and floe.is_exit else None
        waited = late
        if late and not floe.is_exit:
            pass  # it needs no room: it is answered in place of the node
        elif sink is not None:
            while sink.full:
                waited = True
                await sink.wait_room()
        elif 0 < floe.maxsize <= floe.size:
            waited = True
            # An invocation is cancelled through its carrier; a sender from outside through the edge it waits for.
            blocked = trace if self._task is None else None
            if floe.is_exit:
                await floe.wait_room(blocked)
            else:
                with suppress(DeadlinePassed):
                    await floe.wait_room(blocked, deadline_s)
        try:
            if waited and floe.is_exit and deadline_s is not None and not self._late:
                engine = self._flow()._engine
                if engine is not None and (answer := engine.invoker.endings.late_answer(self, message, payload, late)):
                    await answer
                    return same_as
            sent = self._put(floe, message, payload, trace, same_as)
        except (TraceCancelled, asyncio.CancelledError):
            # This sender's turn came and is not taken: the next one must not wait for ever.
            if floe.putters and not floe.full():
                floe.wake_putter()
            raise
        runtime = self._port.runtime
        if runtime is not None and runtime._mirror is not None:
            await self._shield(runtime._mirror.publish(floe, whole(message, payload), trace))
        return sent

    def _put(self, floe: Floe, message: Any, payload: Any, trace: Trace | None, same_as: str | None) -> str | None:
        """Hand one message to an edge (or to whoever waits for the trace's results); returns its id when recorded."""
        if trace is None:
            floe.put((floe, message, payload, None, ""))
            return None
        if trace.cancelled or trace.ended:
            raise TraceCancelled(trace.id)
        message_id = ""
        if trace.log is not None:
            if self._again is not None and self._again.was_sent(self._next_id(floe, trace.log.root)):
                self._ordinal += 1
                return same_as
            message_id = self._log_put(floe, message, payload, trace, same_as)
        if not floe.is_exit:
            trace.queued += 1
            if not trace.plain and (deadline_s := deadline_of(message)) is not None:
                self._flow()._table.deadlines.watch(deadline_s)
        elif trace.sink is not None:
            trace.sink.put(whole(message, payload))
            if trace.log is not None:
                trace.log.event("message.dequeued", floe.name, trace.log.root, {"message_id": message_id})
            return same_as or message_id
        else:
            trace.parked += 1
        floe.put((floe, message, payload, trace, message_id))
        return same_as or message_id

    def _next_id(self, floe: Floe, root: str) -> str:
        """The id of what is sent next by this edge."""
        # A trace that is taken up again has another root: what is sent in then is something else.
        origin = self._item[4] or self._flow()._table.origin or root
        return send_id(self._port.name, origin, floe.name, self._ordinal)

    def _log_put(self, floe: Floe, message: Any, payload: Any, trace: Trace, same_as: str | None) -> str:
        assert trace.log is not None
        message_id = self._next_id(floe, trace.log.root)
        self._ordinal += 1
        content = payload_of(message, payload)
        chunk = StreamChunk in type(content).__mro__
        if not chunk and not same_as:
            envelope = message if is_message(message) else None
            trace.log.put(floe.name, self._span or trace.log.root, message_id, content, envelope)
            return message_id
        source, target = floe.name.split("->", 1)
        data: dict[str, Any] = {"message_id": message_id, "source": source, "target": target}
        if chunk:
            data["stream_id"] = content.stream_id
            data["chunk_seq"] = content.seq
            if is_message(message) and not self._is_own(message):
                data["headers"] = message.headers.model_dump()
                data["meta"] = message.meta
                data["deadline_s"] = message.deadline_s
        else:
            data["same_as"] = same_as
        trace.log.event("message.enqueued", floe.name, self._span or trace.log.root, data)
        return message_id

    def _is_own(self, envelope: Message) -> bool:
        """Whether it says nothing that the message being handled does not say."""
        own = self._item[1]
        if own is envelope or not is_message(own):
            return own is envelope
        # As tuples: what is the same object needs no comparison.
        said = (envelope.headers, envelope.meta, envelope.deadline_s)
        return bool((own.headers, own.meta, own.deadline_s) == said)

    async def _shield(self, telling: Awaitable[None]) -> None:
        """Await a listener out of the reach of the trace's cancellation, which is raised afterwards if it came."""
        shielded, self._shielded = self._shielded, True
        try:
            await telling
        finally:
            self._shielded = shielded
        if self._cancel_reason is not None and not self._cancel_sent:
            self._cancel_sent = True
            raise asyncio.CancelledError

    def _cancel(self, reason: str) -> None:
        """Cancel this invocation at its next (or present) wait."""
        if self._cancel_reason is None:
            self._cancel_reason = reason
        if self._task is None or self._cancel_sent or self._shielded:
            return
        try:
            current = asyncio.current_task()
        except RuntimeError:
            current = None
        if self._task is current:
            # Cancelling the task that is running would hit whatever it does next; wait until it is suspended.
            asyncio.get_running_loop().call_soon(self._deliver_cancel)
        else:
            self._deliver_cancel()

    def _deliver_cancel(self) -> None:
        if self._task is not None and not self._cancel_sent and not self._shielded:
            self._cancel_sent = True
            self._cancels += 1
            self._task.cancel()
