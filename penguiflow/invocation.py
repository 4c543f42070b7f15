"""One message in one node, from its arrival to its results."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Coroutine, Sequence
from time import perf_counter, time
from typing import TYPE_CHECKING, Any

from penguiflow.channels import UNCHANGED, Floe, Item, payload_of, whole
from penguiflow.checkpoints import Checkpoint, CheckpointKind, Decision, decide
from penguiflow.context import Context
from penguiflow.controller import CONTROLLER_PAYLOADS, next_round, next_step, snapshot
from penguiflow.coroutines import raised, resume_in, returned
from penguiflow.endings import Endings, forget_timeout
from penguiflow.errors import FlowError
from penguiflow.failures import DeadlinePassed, InterceptorFailed, NodeTimeout, flow_error
from penguiflow.ids import send_id
from penguiflow.node_state import log_changes
from penguiflow.observer import Payload
from penguiflow.traces import STUBBORN_GRACE_S, TraceCancelled, trace_id_of, trace_status
from penguiflow.turns import take_turn
from penguiflow.types import WM, FinalAnswer, Message, StreamChunk
from penguiflow.validation import is_message, rewrap

if TYPE_CHECKING:
    from penguiflow.core import PenguiFlow
    from penguiflow.observer import TraceHop
    from penguiflow.traces import Trace
    from penguiflow.worker import Engine, Worker

logger = logging.getLogger("penguiflow.core")
_new_context = Context.__new__


class Invoker:
    """Handles messages for the nodes of one engine."""

    def __init__(self, engine: Engine, flow: PenguiFlow) -> None:
        self.engine = engine
        self.flow = flow
        self.broadcast = flow._broadcast
        self.table = flow._table
        self.base_context = contextvars.copy_context()
        """What every invocation's context variables begin with."""
        self.interceptors = flow._interceptors
        self.endings = Endings(flow)
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
        hop = None
        if trace is not None:
            trace.queued -= 1
            trace.inflight += 1
            if not trace.plain:
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
                context._item = (item[0], value, UNCHANGED, trace, item[4])
        if kind is not worker.trusted_in and not (worker.unchecked and (kind is Message or not is_message(value))):
            return context, self.activate(worker, context)
        if trace is not None and trace.log is not None:
            hop = trace.log.begin(item[0].name, item[4], port.name, worker.node.node_id)
            if hop is None:
                return context, self.activate(worker, context)
            context._span, context._attempt_span = hop.span, hop.attempt_span
        if self.listeners and (telling := self.broadcast.tell_now("node_start", context, trace, 0.0)) is not None:
            if hop is not None:
                hop.settle()
            return context, self.activate(worker, context, telling=telling)
        started = perf_counter()
        variables = self.base_context.copy()
        try:
            coro = worker.func(value, context)
            pending = variables.run(coro.send, None)
        except StopIteration as stop:
            result = stop.value
        except BaseException as failure:
            return context, self.activate(worker, context, started, raised(failure))
        else:
            if hop is not None:
                hop.settle()
            first = self._await_function(worker, context, variables, coro, pending)
            return context, self.activate(worker, context, started, first)
        if hop is not None and trace is not None:
            if not self._send_recorded(worker, context, trace, hop, result):
                return context, self.activate(worker, context, started, returned(result))
        elif result is not None:
            if trace is not None and not trace.plain:
                return context, self.activate(worker, context, started, returned(result))
            outgoing = port.outgoing
            kind = type(result)
            if kind is worker.plain_out and envelope is not None:
                message = envelope
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

    def _send_recorded(self, worker: Worker, context: Context, trace: Trace, hop: TraceHop, result: Any) -> bool:
        """Send a result on and write what the invocation did; False, and nothing done, where that is not so simple."""
        port = worker.port
        if not trace.plain or context._keeps or worker.loop or len(port.outgoing) > 1:
            return False
        if result is None or not port.outgoing:
            hop.done(None, "", None, None, given=False)
            return True
        message, payload, envelope = result, UNCHANGED, context._envelope
        kind = type(result)
        if kind is worker.plain_out and envelope is not None:
            message, payload = envelope, result
        elif kind is not worker.plain_out and not (
            (kind is Message or worker.unchecked) and _goes_on(result, trace, worker)
        ):
            return False
        floe = port.outgoing[0]
        sink = trace.sink if floe.is_exit else None
        content = payload_of(message, payload)
        full = sink.full if sink is not None else 0 < floe.maxsize <= floe.size
        if full or StreamChunk in type(content).__mro__:
            return False
        message_id = send_id(port.name, context._item[4], floe.name, context._ordinal)
        envelope = message if is_message(message) else None
        hop.done(floe.name, message_id, content, envelope, given=sink is not None)
        if sink is not None:
            sink.put(whole(message, payload))
            return True
        if floe.is_exit:
            trace.parked += 1
        else:
            trace.queued += 1
        floe.put((floe, message, payload, trace, message_id))
        return True

    async def activate(  # noqa: C901 - all that can happen to a message in a node
        self,
        worker: Worker,
        context: Context,
        started: float = 0.0,
        first: Coroutine[Any, Any, Any] | None = None,
        unsent: tuple[Sequence[Floe], Any, Any] | None = None,
        telling: Coroutine[Any, Any, None] | None = None,
    ) -> None:
        """Handle one message from beginning to end, or from where `step` left it. Raises nothing.

        `first` is the rest of the first attempt, begun at `started`; `unsent` is what is left to be sent, and where;
        `telling` is what is left to be told of its start (or of its success, when nothing is left to be sent).
        """
        floe, message, payload, trace, message_id = context._item
        log = None
        attempt_span = ""
        expiring = is_message(message) and message.deadline_s is not None
        late = expiring and message.deadline_s <= time()
        if trace is not None:
            log = trace.log
            if trace.turns is not None and worker.limit > 1:
                context._turn = take_turn(trace, worker.node.node_id)
            if log is not None:
                name, node_id = worker.port.name, worker.node.node_id
                if context._span:
                    attempt_span = context._attempt_span
                elif late:
                    log.event("message.dequeued", floe.name, log.root, {"message_id": message_id})
                    about = {"message_id": message_id, "node_id": node_id}
                    context._span = log.start("node", name, log.root, about)
                else:
                    context._span, attempt_span = log.taken(floe.name, log.root, message_id, name, node_id)
                    context._attempt_span = attempt_span
                if trace.reruns is not None:
                    context._again = trace.reruns.pop(message_id, None)
        validators = worker.validators
        status = "cancelled"
        error: FlowError | None = None
        attempt = 0
        try:
            if log is not None and (recorder := self.table.recorder) is not None and recorder.congested:
                await recorder.wait_ready()
            while unsent is None:
                if late:
                    error = await self.endings.expired(worker, context, context.message)
                    break
                if first is None:
                    started = perf_counter()
                if log is not None and attempt:
                    attempt_span = log.start("attempt", worker.port.name, context._span, {"attempt": attempt})
                    context._attempt, context._attempt_span = attempt, attempt_span
                try:
                    if telling is not None:
                        untold, telling = telling, None
                        await context._shield(untold)
                    elif self.told and first is None:
                        await self.broadcast.tell(
                            "node_start", context, attempt=attempt, latency_ms=0.0, level=logging.DEBUG
                        )
                    envelope = context._envelope
                    if first is not None:
                        rest, first = first, None
                        result = await rest
                    else:
                        value = message
                        if validators.unwraps and is_message(message):
                            context._envelope = envelope = message
                            value = message.payload if payload is UNCHANGED else payload
                        elif payload is not UNCHANGED:
                            value = context.message
                        if validators.check_in is not None and type(value) is not validators.trusted_in:
                            value = validators.check_in(value)
                        if self.interceptors:
                            result = await self._intercepted(worker, context, value)
                        else:
                            coro = worker.func(value, context)
                            variables = self.base_context.copy()
                            try:
                                pending = variables.run(coro.send, None)
                            except StopIteration as stop:
                                result = stop.value
                            else:
                                result = await self._await_function(worker, context, variables, coro, pending)
                    if expiring and message.deadline_s <= time():
                        raise DeadlinePassed
                    made: Any = UNCHANGED
                    if envelope is not None and result is not None and type(result) is validators.plain_out:
                        # It travels beside the envelope.
                        result, made = envelope, result
                    elif result is not None:
                        result = validators.finish(result, envelope)
                except BaseException as failure:
                    error = await self.endings.attempt_failed(worker, context, failure, attempt, attempt_span, started)
                    if error is not None:
                        break
                    attempt += 1
                    late = expiring and message.deadline_s <= time()
                    continue
                if log is not None and (log := trace.log) is not None:  # type: ignore[union-attr]
                    latency_ms = (perf_counter() - started) * 1e3
                    log.end("attempt", worker.port.name, attempt_span, context._span, "ok", {"latency_ms": latency_ms})
                if made is not UNCHANGED:
                    if worker.port.outgoing:
                        await self._ready_to_record()
                        await context._send_to(worker.port.outgoing, result, made, trace)
                elif result is not None:
                    error = await self._deliver(worker, context, result)
                    if error is not None or _is_answer(result):
                        break
                if self.told:
                    latency_ms = (perf_counter() - started) * 1e3
                    await self.broadcast.tell("node_success", context, attempt=attempt, latency_ms=latency_ms)
                break
            if unsent is not None:
                if unsent[0]:
                    await context._send_to(*unsent, trace)
                if telling is not None:
                    await context._shield(telling)
                elif self.told:
                    latency_ms = (perf_counter() - started) * 1e3
                    await self.broadcast.tell("node_success", context, attempt=0, latency_ms=latency_ms)
            status = "ok" if error is None else trace_status(error)
        except (asyncio.CancelledError, TraceCancelled):
            context._cancel_sent = True
            event = "node_cancelled" if context._cancel_reason == "stop" else "node_trace_cancelled"
            level = logging.DEBUG if context._cancel_reason == "stop" else logging.INFO
            await self.broadcast.tell(event, context, attempt=attempt, level=level)
        except Exception as failure:  # whatever goes wrong around a function: the caller is told, the carrier lives on
            error = flow_error(worker.node, context.trace_id, failure, attempt, 0.0)
            if trace is not None and trace.error is None:
                trace.error = error
            status = "error"
            logger.exception("node_failed", extra={"event": "node_failed", "flow_error": error.to_payload()})
        finally:
            if first is not None:
                first.close()  # its time was over before it was looked at
            if trace is not None:
                if log is not None and log is trace.log:
                    if context._keeps:
                        log_changes(context, trace, log)
                    data = None if error is None else {"error": error.to_payload()}
                    log.end("node", worker.port.name, context._span, log.root, status, data)
                if context._held is not None:
                    self._release_held(context)
                if context._turn is not None:
                    context._turn.end(trace, worker.node.node_id)
                trace.inflight -= 1
                if not trace.inflight and not trace.queued and not trace.ended:
                    self.table.finish(trace)

    def _release_held(self, context: Context) -> None:
        """What the function fetched by itself is done with."""
        for held in context._held or ():
            self.table.release(held)

    async def _ready_to_record(self) -> None:
        recorder = self.table.recorder
        if recorder is not None and recorder.congested:
            await recorder.wait_ready()

    async def _intercepted(self, worker: Worker, context: Context, value: Any) -> Any:
        """Call the function between its checkpoints."""
        while True:
            decision = await self._consult("before_node", worker, context, value)
            if decision.action == "skip":
                return decision.value
            if decision.action == "edit":
                value = decision.value
            try:
                coro = worker.func(value, context)
                variables = self.base_context.copy()
                try:
                    pending = variables.run(coro.send, None)
                except StopIteration as stop:
                    result = stop.value
                else:
                    result = await self._await_function(worker, context, variables, coro, pending)
            except Exception as failure:
                decision = await self._consult("on_error", worker, context, failure)
                if decision.action == "skip":
                    return decision.value
                if decision.action not in ("retry", "edit"):
                    raise
                forget_timeout(context)
                value = decision.value if decision.action == "edit" else value
                continue
            decision = await self._consult("after_node", worker, context, result)
            if decision.action != "retry":
                return decision.value if decision.action in ("edit", "skip") else result

    async def _consult(self, kind: CheckpointKind, worker: Worker, context: Context, payload: Any) -> Decision:
        """Ask the interceptors; what they decide is recorded."""
        trace = context._trace
        checkpoint = Checkpoint(kind, context.trace_id, context._span, worker.port.name, payload)
        try:
            decision = await decide(self.interceptors, checkpoint)
        except Exception as error:
            raise InterceptorFailed(kind) from error
        action = decision.action
        if action == "proceed":
            return decision
        if trace is not None and trace.log is not None:
            about = {"checkpoint": kind, "decision": action}
            trace.log.event("checkpoint.hit", worker.port.name, context._span, about)
            if action in ("edit", "skip", "inject"):
                shown = trace.log.describe(payload) if isinstance(payload, BaseException) else Payload(payload)
                edit = {"before": shown, "after": Payload(decision.value), "by": "interceptor"}
                trace.log.event("edit", worker.port.name, context._span, edit)
            trace.log.event("checkpoint.resolved", worker.port.name, context._span, about)
        if action == "inject":
            await context.emit(decision.value)
        elif action == "abort":
            reason = f"aborted at {kind} of '{worker.port.name}': {decision.value}"
            if trace is None:
                raise InterceptorFailed(reason)
            self.flow._cancel(trace, reason)
            raise TraceCancelled(trace.id)
        return decision

    async def _deliver(self, worker: Worker, context: Context, result: Any) -> FlowError | None:
        """Send a result on: to the successors, round the controller's loop, or straight to Rookery."""
        if not is_message(result) or not isinstance(result.payload, CONTROLLER_PAYLOADS):
            await context.emit(result)
            return None
        if isinstance(result.payload, FinalAnswer):
            await self.flow._to_rookery(context, result)
            return None
        step = next_step(payload_of(*context._item[1:3]), result)
        if step.code is not None:
            return await self.endings.stopped(worker, context, step.message, step.code)
        itself = [floe.target for floe in worker.port.outgoing if floe.target == worker.node and floe.target]
        await context.emit(step.message, to=itself or None)
        if step.unbounded and itself and context._trace is not None:
            context._trace.last_hops = step.message.payload.hops
            context._trace.last_query = step.message.payload.query
            await self.flow._to_rookery(context, snapshot(step.message))
        return None

    async def _await_function(
        self, worker: Worker, context: Context, variables: contextvars.Context, coro: Any, pending: Any
    ) -> Any:
        """Go on with a function that has to wait, within the policy's time and the trace's."""
        bound = worker.policy.timeout_s
        too_late: type[Exception] = NodeTimeout
        message = context._item[1]
        if is_message(message) and message.deadline_s is not None:
            left = message.deadline_s - time()
            if bound is None or left < bound:
                bound, too_late = left, DeadlinePassed
        rest = resume_in(variables, coro, pending)
        if bound is None:
            return await rest
        timer = self.engine.loop.call_later(bound, self._expire, worker, context, too_late)
        try:
            return await rest
        except asyncio.CancelledError:
            if context._timed_out and context._cancel_reason is None:
                raise too_late from None
            raise
        finally:
            timer.cancel()
            if context._give_up is not None:
                context._give_up.cancel()

    def _expire(self, worker: Worker, context: Context, too_late: type[Exception]) -> None:
        """The time of an attempt is over."""
        context._timed_out = True
        if context._task is not None:
            context._cancels += 1
            context._task.cancel()
            context._give_up = self.engine.loop.call_later(
                STUBBORN_GRACE_S, self.endings.give_up, worker, context, too_late
            )


_MAX_KNOWN_TYPES = 4096
_steers_controller: dict[type, bool] = {}


def _goes_on(result: Any, trace: Trace | None, worker: Worker) -> bool:
    """Whether a result simply goes to the successors, in the trace that it was made in."""
    if type(result) is not Message:
        return not is_message(result) and trace_id_of(result) is None
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


def _is_answer(result: Any) -> bool:
    """Whether a result ended a controller's loop, which is told by no event of its own."""
    return is_message(result) and isinstance(result.payload, FinalAnswer)
