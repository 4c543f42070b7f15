"""One message in one node, from its arrival to its results."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import math
from collections.abc import Coroutine, Sequence
from time import perf_counter, time
from typing import TYPE_CHECKING, Any

from penguiflow.channels import UNCHANGED, Floe, payload_of
from penguiflow.context import Context
from penguiflow.controller import CONTROLLER_PAYLOADS, next_step, snapshot
from penguiflow.coroutines import resume_in
from penguiflow.current import CURRENT
from penguiflow.errors import FlowError
from penguiflow.failures import DeadlinePassed, NodeTimeout, flow_error
from penguiflow.fast_path import FastPath
from penguiflow.lost_logs import lose_log
from penguiflow.node_state import log_changes
from penguiflow.traces import STUBBORN_GRACE_S, TraceCancelled, trace_status
from penguiflow.turns import take_turn
from penguiflow.types import FinalAnswer
from penguiflow.validation import is_message

if TYPE_CHECKING:
    from penguiflow.observer import TraceLog
    from penguiflow.traces import Trace
    from penguiflow.worker import Worker

logger = logging.getLogger("penguiflow.core")
_new_context = Context.__new__


class Invoker(FastPath):
    """Handles messages for the nodes of one engine."""

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
        _, message, _, trace, _ = context._item
        # A deadline that a function has given its own message while `step` ran it holds for what is sent.
        begun = first is not None or unsent is not None
        expiring = not begun and is_message(message) and message.deadline_s is not None
        late = expiring and (context._late or message.deadline_s <= time())
        log = None if trace is None else trace.log
        validators = worker.validators
        status = "cancelled"
        error: FlowError | None = None
        attempt = 0
        finished = False
        try:
            if trace is not None:
                self._take(worker, context, trace, late)
            if log is not None:
                await self._ready_to_record()
            while unsent is None:
                if late:
                    error = await self.endings.expired(context, context.message)
                    break
                if first is None:
                    started = perf_counter()
                if log is not None and attempt:
                    self._begin_again(worker, context, log, attempt)
                try:
                    if telling is not None:
                        untold, telling = telling, None
                        await context._shield(untold)
                    elif self.told and first is None:
                        await self.broadcast.tell(
                            "node_start", context, attempt=attempt, latency_ms=0.0, level=logging.DEBUG
                        )
                    if first is not None:
                        rest, first = first, None
                        result = await rest
                    else:
                        result = await self._call(worker, context)
                        finished = bool(self.interceptors)
                    if expiring and message.deadline_s <= time():
                        raise DeadlinePassed
                    made: Any = UNCHANGED
                    envelope = context._envelope
                    if envelope is not None and result is not None and type(result) is validators.plain_out:
                        # It travels beside the envelope.
                        result, made = envelope, result
                    elif result is not None and not finished:
                        result = validators.finish(result, envelope)
                    if context._held is not None:
                        self._look_at_envelope(context)
                except BaseException as failure:
                    span = context._attempt_span
                    error = await self.endings.attempt_failed(worker, context, failure, attempt, span, started)
                    if error is not None:
                        break
                    attempt += 1
                    late = expiring and message.deadline_s <= time()
                    continue
                if log is not None and (log := trace.log) is not None:  # type: ignore[union-attr]
                    about = {"latency_ms": (perf_counter() - started) * 1e3}
                    log.end("attempt", worker.port.name, context._attempt_span, context._span, "ok", about)
                if made is not UNCHANGED:
                    if worker.port.outgoing:
                        await self._ready_to_record()
                        await context._send_to(worker.port.outgoing, result, made, trace)
                elif result is not None:
                    error = await self._deliver(worker, context, result)
                    if error is not None or _is_answer(result):
                        break
                if self.told:
                    await self._tell_success(context, attempt, started)
                break
            if unsent is not None:
                await self._send_rest(context, unsent, telling, started)
            status = "ok" if error is None else trace_status(error)
        except (asyncio.CancelledError, TraceCancelled):
            await self._tell_cancelled(context, attempt)
        except Exception as failure:  # whatever goes wrong around a function: the caller is told, the carrier lives on
            status = "error"
            error = self._broke(worker, context, failure, attempt)
        finally:
            if first is not None:
                first.close()  # its time was over before it was looked at
            if trace is not None:
                self._leave(worker, context, trace, log, status, error)

    def _begin_again(self, worker: Worker, context: Context, log: TraceLog, attempt: int) -> None:
        """Write that another attempt begins."""
        context._attempt = attempt
        context._attempt_span = log.start("attempt", worker.port.name, context._span, {"attempt": attempt})

    async def _send_rest(
        self,
        context: Context,
        unsent: tuple[Sequence[Floe], Any, Any],
        telling: Coroutine[Any, Any, None] | None,
        started: float,
    ) -> None:
        """Send and tell what `step` did not."""
        if unsent[0]:
            await context._send_to(*unsent, context._trace)
        if telling is not None:
            await context._shield(telling)
        elif self.told:
            await self._tell_success(context, 0, started)

    async def _tell_cancelled(self, context: Context, attempt: int) -> None:
        context._cancel_sent = True
        event = "node_cancelled" if context._cancel_reason == "stop" else "node_trace_cancelled"
        level = logging.DEBUG if context._cancel_reason == "stop" else logging.INFO
        await self.broadcast.tell(event, context, attempt=attempt, level=level)

    def _broke(self, worker: Worker, context: Context, failure: Exception, attempt: int) -> FlowError:
        """Something around the function has failed, while that is handled."""
        error = flow_error(worker.node, context.trace_id, failure, attempt, 0.0)
        trace = context._trace
        if trace is not None and trace.error is None:
            trace.error = error
        logger.exception("node_failed", extra={"event": "node_failed", "flow_error": error.to_payload()})
        return error

    def _take(self, worker: Worker, context: Context, trace: Trace, late: bool) -> None:
        """A message has arrived: give it its turn, and write that."""
        floe, _, _, _, message_id = context._item
        if trace.turns is not None and worker.limit > 1 and not late:
            context._turn = take_turn(trace, worker.node.node_id)
        log = trace.log
        if log is None:
            return
        name, node_id = worker.port.name, worker.node.node_id
        if late:
            log.event("message.dequeued", floe.name, log.root, {"message_id": message_id})
            context._span = log.start("node", name, log.root, {"message_id": message_id, "node_id": node_id})
        elif not context._span:
            context._span, context._attempt_span = log.taken(floe.name, log.root, message_id, name, node_id)
        if trace.reruns is not None:
            context._again = trace.reruns.pop(message_id, None)

    async def _call(self, worker: Worker, context: Context) -> Any:
        """Check the input and call the function with it."""
        _, message, payload, _, _ = context._item
        validators = worker.validators
        value = message
        if validators.unwraps and is_message(message):
            context._envelope = message
            value = message.payload if payload is UNCHANGED else payload
        elif payload is not UNCHANGED:
            value = context.message
        if self.interceptors:
            return await self.interception.attempt(worker, context, value)
        if validators.check_in is not None and type(value) is not validators.trusted_in:
            value = validators.check_in(value)
        return await self.call(worker, context, value)

    async def call(self, worker: Worker, context: Context, value: Any) -> Any:
        """Call the function, in context variables of its own."""
        coro = worker.func(value, context)
        variables = self.base_context.copy()
        if CURRENT.wanted and context._trace is not None and context._trace.log is not None:
            CURRENT.enter(variables, context)
        try:
            pending = variables.run(coro.send, None)
        except StopIteration as stop:
            return stop.value
        return await self._await_function(worker, context, variables, coro, pending)

    async def _tell_success(self, context: Context, attempt: int, started: float) -> None:
        latency_ms = (perf_counter() - started) * 1e3
        await self.broadcast.tell("node_success", context, attempt=attempt, latency_ms=latency_ms)

    def _leave(
        self,
        worker: Worker,
        context: Context,
        trace: Trace,
        log: TraceLog | None,
        status: str,
        error: FlowError | None,
    ) -> None:
        """The invocation is over: write that, let the next one have its turn, and count it out of the trace."""
        if log is not None and log is trace.log:
            try:
                if context._keeps:
                    log_changes(context, trace, log)
                data = None if error is None else {"error": error.to_payload()}
                log.end("node", worker.port.name, context._span, log.root, status, data)
            except Exception as failure:  # the message is done with, whether that is written or not
                self.flow._cancel(trace, lose_log(trace, failure))
        if context._held is not None:
            self._release_held(context)
        if context._turn is not None:
            context._turn.end(trace, worker.node.node_id)
        trace.inflight -= 1
        # What a node has sent that stopped its own flow waits for the next run; who called does not.
        if not trace.inflight and (not trace.queued or trace.condemned) and not trace.ended:
            self.table.finish(trace)

    async def _ready_to_record(self) -> None:
        recorder = self.table.recorder
        if recorder is not None and recorder.congested:
            await recorder.wait_ready()

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
            return await self.endings.stopped(context, step.message, step.code)
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
        if bound is None or bound == math.inf:
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


def _is_answer(result: Any) -> bool:
    """Whether a result ended a controller's loop, which is told by no event of its own."""
    return is_message(result) and isinstance(result.payload, FinalAnswer)
