"""The shortest way of a message through a node, which nearly all take."""

from __future__ import annotations

import contextvars
import logging
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

from penguiflow.channels import UNCHANGED, Floe, Item, whole
from penguiflow.context import Context
from penguiflow.controller import next_round
from penguiflow.coroutines import DONE, Runner, raised, returned
from penguiflow.current import CURRENT
from penguiflow.endings import Endings
from penguiflow.interception import Interception
from penguiflow.lost_logs import lose_log
from penguiflow.traces import trace_id_of
from penguiflow.types import WM, FinalAnswer, Message
from penguiflow.validation import is_message, is_stream_chunk, rewrap

if TYPE_CHECKING:
    from penguiflow.core import PenguiFlow
    from penguiflow.observer import TraceHop
    from penguiflow.traces import Trace
    from penguiflow.worker import Engine, Worker

__all__ = ["FastPath"]

logger = logging.getLogger("penguiflow.core")
_new_context = Context.__new__


class FastPath(ABC):
    """Handles messages without waiting; hands over to `activate` whatever needs more."""

    def __init__(self, engine: Engine, flow: PenguiFlow) -> None:
        self.engine = engine
        self.flow = flow
        self.broadcast = flow._broadcast
        self.table = flow._table
        self.base_context = contextvars.copy_context()
        flow._draining.mark(self.base_context)
        """What every invocation's context variables begin with."""
        self.interceptors = flow._interceptors
        self.interception = Interception(self)
        self.endings = Endings(flow)
        self.runner = Runner()
        self.told = False
        """Whether anybody listens to the events of successful invocations."""
        self.watched = False
        """Whether there is more to every invocation than its function and its listeners."""
        self.listeners = False
        """Whether middlewares are told of every invocation."""

    def refresh(self) -> None:
        """Notice who listens or intercepts, from now on."""
        broadcast = self.broadcast
        self.told = broadcast.wanted(logging.INFO)
        self.watched = bool(self.interceptors) or self.flow._mirror is not None or broadcast.kept(logging.INFO)
        self.listeners = bool(broadcast.middlewares)

    def step(self, worker: Worker, item: Item) -> tuple[Context, Coroutine[Any, Any, None]] | None:  # noqa: C901
        """Handle one message without waiting. Where that does not do: the invocation, and what is left of it.

        Every hop takes this path. What most have in common is written out, because a call costs as much as the work:
        input and result of the registered types, a function that does not wait, nobody who listens, room on the edges.
        """
        _, message, payload, trace, _ = item
        context = _new_context(Context)
        context._port = port = worker.port
        context._item = item
        if trace is not None:
            trace.queued -= 1
            trace.inflight += 1
            if not trace.plain:
                if trace.hops and not self.watched:
                    return self._step_recorded(worker, context, trace)
                return context, self.activate(worker, context)
        if self.watched:
            return context, self.activate(worker, context)
        envelope: Message | None = None
        value = message
        kind = type(message)
        if kind is Message:
            if worker.unwraps:
                context._envelope = envelope = message
                value = message.payload if payload is UNCHANGED else payload
                kind = type(value)
            elif payload is not UNCHANGED:
                value = rewrap(message, payload)
                context._item = (item[0], value, UNCHANGED, trace, "")
        if kind is not worker.trusted_in and not (worker.unchecked and (kind is Message or not is_message(value))):
            return context, self.activate(worker, context)
        if self.listeners and (telling := self.broadcast.tell_now("node_start", context, trace, 0.0)) is not None:
            return context, self.activate(worker, context, telling=telling)
        started = perf_counter()
        variables = self.base_context.copy()
        runner = self.runner
        try:
            coro: Any = worker.func(value, context)
            # One that waited the last time will wait again: it is not worth a runner.
            pending = variables.run(coro.send, None) if worker.waits else variables.run(runner.send, coro)
        except StopIteration as stop:
            result = stop.value
            worker.waits = False
        except BaseException as failure:
            self.runner = Runner()
            return context, self.activate(worker, context, started, raised(failure))
        else:
            if pending is not DONE:
                if not worker.waits:
                    coro = runner.hand_over()
                    self.runner = Runner()
                    worker.waits = True
                first = self._await_function(worker, context, variables, coro, pending)
                return context, self.activate(worker, context, started, first)
            result, runner.result = runner.result, None
        if result is not None:
            if trace is not None and not trace.plain:
                return context, self.activate(worker, context, started, returned(result))
            outgoing = port.outgoing
            kind = type(result)
            if kind is worker.plain_out and envelope is not None:
                message = context._envelope
                payload = result
            elif (
                worker.loop
                and trace is not None
                and (kind is Message or envelope is not None)
                and (following := next_round(context, value, result, trace.id)) is not None
            ):
                message = following if envelope is None else envelope
                payload = UNCHANGED if envelope is None else following
                outgoing = worker.loop
            elif kind is worker.plain_out or (
                (kind is Message or worker.unchecked) and _goes_on(result, trace, worker)
            ):
                message = result
                payload = UNCHANGED
            else:
                return context, self.activate(worker, context, started, returned(result))
            ready = self.engine.ready
            for floe in outgoing:
                size = floe.size
                if 0 < floe.maxsize <= size:
                    unsent = (outgoing[outgoing.index(floe) :], message, payload)
                    return context, self.activate(worker, context, started, unsent=unsent)
                if trace is not None:
                    if not floe.is_exit:
                        trace.queued += 1
                    elif trace.sink is None:
                        trace.parked += 1
                    elif trace.sink.full:
                        unsent = (outgoing[outgoing.index(floe) :], message, payload)
                        return context, self.activate(worker, context, started, unsent=unsent)
                    else:
                        trace.sink.put(whole(message, payload))
                        continue
                floe.size = size + 1
                inbox = floe.inbox
                inbox.items.append((floe, message, payload, trace, ""))
                target = inbox.worker
                if target is None or inbox.getters:
                    inbox.arrived(floe)
                elif not target.listed and target.running < target.limit:
                    # A carrier is at it: nobody needs to be woken.
                    target.listed = True
                    ready.append(target)
        if self.listeners:
            latency_ms = (perf_counter() - started) * 1e3
            telling = self.broadcast.tell_now("node_success", context, trace, latency_ms)
            if telling is not None:
                return context, self.activate(worker, context, started, unsent=((), None, None), telling=telling)
        if trace is not None:
            if context._held is not None:
                self._release_held(context)
            trace.inflight -= 1
            if not trace.inflight and not trace.queued and not trace.ended:
                self.table.finish(trace)
        return None

    def gather(self, worker: Worker, item: Item) -> tuple[Context, Coroutine[Any, Any, None]] | None:
        """As `step`, for a node that puts messages together: most of them need no invocation to be put with the others.

        The first and the last of them do, and those that are looked at.
        """
        _, message, payload, trace, _ = item
        if trace is not None and trace.plain and trace.state and not (self.watched or self.listeners):
            state = trace.state.get(worker.node.node_id)
            bucket = None if state is None else state.get("bucket")
            if bucket and len(bucket) < worker.gathers - 1 and worker.unchecked:
                bucket.append(message if payload is UNCHANGED else rewrap(message, payload))
                trace.queued -= 1
                if not trace.inflight and not trace.queued and not trace.ended:
                    self.table.finish(trace)
                return None
        return self.step(worker, item)

    def _step_recorded(  # noqa: C901 - as above
        self, worker: Worker, context: Context, trace: Trace
    ) -> tuple[Context, Coroutine[Any, Any, None]] | None:
        """As `step`, of a trace that is recorded: all that the invocation does is one entry in the log."""
        floe, message, payload, _, message_id = context._item
        value = message
        if worker.unwraps and is_message(message):
            context._envelope = message
            value = message.payload if payload is UNCHANGED else payload
        elif payload is not UNCHANGED:
            value = context.message
        kind = type(value)
        if kind is not worker.trusted_in and not (worker.unchecked and (kind is Message or not is_message(value))):
            return context, self.activate(worker, context)
        assert trace.log is not None
        hop = trace.log.begin(floe.name, message_id, worker.port.name, worker.node.node_id)
        if hop is None:
            return context, self.activate(worker, context)
        context._span, context._attempt_span = hop.span, hop.attempt_span
        if self.listeners and (telling := self.broadcast.tell_now("node_start", context, trace, 0.0)) is not None:
            hop.settle()
            return context, self.activate(worker, context, telling=telling)
        started = perf_counter()
        variables = self.base_context.copy()
        if CURRENT.wanted:
            CURRENT.enter(variables, context)
        runner = self.runner
        try:
            coro: Any = worker.func(value, context)
            # One that waited the last time will wait again: it is not worth a runner.
            pending = variables.run(coro.send, None) if worker.waits else variables.run(runner.send, coro)
        except StopIteration as stop:
            result = stop.value
            worker.waits = False
        except BaseException as failure:
            self.runner = Runner()
            return context, self.activate(worker, context, started, raised(failure))
        else:
            if pending is not DONE:
                if not worker.waits:
                    coro = runner.hand_over()
                    self.runner = Runner()
                    worker.waits = True
                hop.settle()
                first = self._await_function(worker, context, variables, coro, pending)
                return context, self.activate(worker, context, started, first)
            result, runner.result = runner.result, None
        if not self._send_recorded(worker, context, trace, hop, result):
            return context, self.activate(worker, context, started, returned(result))
        if self.listeners:
            latency_ms = (perf_counter() - started) * 1e3
            telling = self.broadcast.tell_now("node_success", context, trace, latency_ms)
            if telling is not None:
                return context, self.activate(worker, context, started, unsent=((), None, None), telling=telling)
        if context._held is not None:
            self._release_held(context)
        trace.inflight -= 1
        if not trace.inflight and not trace.queued and not trace.ended:
            self.table.finish(trace)
        return None

    def _send_recorded(  # noqa: C901 - as above
        self, worker: Worker, context: Context, trace: Trace, hop: TraceHop, result: Any
    ) -> bool:
        """Send a result on and write what the invocation did; False, and nothing done, where that is not so simple."""
        outgoing = worker.port.outgoing
        if not trace.hops or context._keeps or worker.loop or len(outgoing) > 1:
            return False
        if result is None or not outgoing:
            hop.done(None, "", None, None, given=False)
            return True
        envelope = context._envelope
        if envelope is not None and envelope.deadline_s is not None:
            return False  # the function has given it one
        message, payload, content = result, UNCHANGED, result
        kind = type(result)
        if kind is Message:
            if not _goes_on(result, trace, worker):
                return False
            envelope, content = result, result.payload
        elif kind is worker.plain_out:
            if envelope is not None:
                message, payload = envelope, result
        elif worker.unchecked and _goes_on(result, trace, worker):
            envelope = None
        else:
            return False
        floe = outgoing[0]
        sink = trace.sink if floe.is_exit else None
        full = sink.full if sink is not None else 0 < floe.maxsize <= floe.size
        if full or is_stream_chunk(content):
            return False
        origin = context._item[4]
        message_id = worker.sent.get(origin)
        if message_id is None or context._ordinal:
            message_id = worker.send_id(origin, floe, context._ordinal)
        hop.done(floe.name, message_id, content, envelope, given=sink is not None)
        if sink is not None:
            sink.put(whole(message, payload))
            return True
        if floe.is_exit:
            trace.parked += 1
        else:
            trace.queued += 1
        floe.size += 1
        inbox = floe.inbox
        inbox.items.append((floe, message, payload, trace, message_id))
        target = inbox.worker
        if target is None or inbox.getters:
            inbox.arrived(floe)
        elif not target.listed and target.running < target.limit:
            # As in `step`.
            target.listed = True
            self.engine.ready.append(target)
        return True

    def lose(self, trace: Trace | None, failure: Exception) -> None:
        """`step` has failed, as only a recorder can make it: what it was at is lost, and its trace ends with that."""
        if trace is None:
            logger.error("message_lost", exc_info=failure, extra={"event": "message_lost"})
            return
        self.flow._cancel(trace, lose_log(trace, failure))
        if not trace.ended:
            self.table.release(trace)

    @abstractmethod
    async def activate(
        self,
        worker: Worker,
        context: Context,
        started: float = 0.0,
        first: Coroutine[Any, Any, Any] | None = None,
        unsent: tuple[Sequence[Floe], Any, Any] | None = None,
        telling: Coroutine[Any, Any, None] | None = None,
    ) -> None:
        """Handle one message from beginning to end, or from where `step` left it."""

    @abstractmethod
    async def call(self, worker: Worker, context: Context, value: Any) -> Any:
        """Call the function, in context variables of its own."""

    @abstractmethod
    def _await_function(
        self, worker: Worker, context: Context, variables: contextvars.Context, coro: Any, pending: Any
    ) -> Coroutine[Any, Any, Any]:
        """Go on with a function that has to wait."""

    def _look_at_envelope(self, context: Context) -> None:
        """The function has had the message in its hands: it may have a deadline now."""
        trace = context._trace
        envelope = context._envelope
        if trace is None or envelope is None or envelope.deadline_s is None:
            return
        if trace.plain or trace.hops:
            trace.slow_down()
            self.table.deadlines.watch(envelope.deadline_s)

    def _release_held(self, context: Context) -> None:
        """What the function fetched by itself is done with."""
        self._look_at_envelope(context)
        for held in context._held or ():
            self.table.release(held)


_MAX_KNOWN_TYPES = 4096
_steers_controller: dict[type, bool] = {}


def _goes_on(result: Any, trace: Trace | None, worker: Worker) -> bool:
    """Whether a result simply goes to the successors, in the trace that it was made in."""
    if type(result) is not Message:
        try:
            return not is_message(result) and trace_id_of(result) is None
        except Exception:  # the object's own: it ends the node where the object is sent
            return False
    values = result.__dict__
    if trace is None or values["trace_id"] != trace.id or values["deadline_s"] is not None:
        return False
    kind = type(values["payload"])
    steers = _steers_controller.get(kind)
    if steers is None:
        if len(_steers_controller) >= _MAX_KNOWN_TYPES:
            _steers_controller.clear()
        steers = _steers_controller[kind] = WM in kind.__mro__ or FinalAnswer in kind.__mro__
    return not steers and (worker.validators.check_out is None or kind is worker.validators.trusted_out)
