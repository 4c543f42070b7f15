"""How an attempt ends that did not succeed: tried again, given up, out of time, out of budget."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
from collections.abc import Coroutine, Mapping
from pathlib import Path
from time import perf_counter, time
from typing import TYPE_CHECKING, Any, ClassVar

from penguiflow.channels import payload_of, whole
from penguiflow.controller import DEADLINE_EXCEEDED_TEXT
from penguiflow.coroutines import Closed
from penguiflow.errors import FlowError, FlowErrorCode
from penguiflow.failures import DeadlinePassed, InterceptorFailed, NodeTimeout, cancelled_error, flow_error, text_of
from penguiflow.traces import TraceCancelled
from penguiflow.types import FinalAnswer, Message, StreamChunk
from penguiflow.validation import rewrap

if TYPE_CHECKING:
    from penguiflow.context import Context
    from penguiflow.core import PenguiFlow
    from penguiflow.worker import Worker

__all__ = ["Endings", "forget_timeout"]

logger = logging.getLogger("penguiflow.core")
_OURS = str(Path(__file__).parent) + os.sep


class Endings:
    """Reports failures and says how to go on."""

    interrupts_end_loop: ClassVar[bool] = True
    """Whether a `KeyboardInterrupt` in a node may be a Ctrl-C. A program with its own handler for SIGINT sets this to
    False: there it is a failure like any other.
    """

    def __init__(self, flow: PenguiFlow) -> None:
        self.flow = flow
        self.broadcast = flow._broadcast
        self.table = flow._table

    async def attempt_failed(
        self, worker: Worker, context: Context, failure: BaseException, attempt: int, span: str, started: float
    ) -> FlowError | None:
        """Report a failed attempt and wait for the next one (None), or give up (the error)."""
        latency_ms = (perf_counter() - started) * 1e3
        trace = context._trace
        log = None if trace is None else trace.log
        cancelled = context._cancel_reason is not None or (
            isinstance(failure, TraceCancelled) and trace is not None and trace.cancelled
        )
        timed_out = isinstance(failure, NodeTimeout | DeadlinePassed)
        shown = text_of(failure, repr)
        if log is not None:
            status = "cancelled" if cancelled else "timeout" if timed_out else "error"
            late = "the trace's deadline" if isinstance(failure, DeadlinePassed) else f"{worker.policy.timeout_s} s"
            cause = TimeoutError(f"no answer within {late}") if timed_out else failure
            described = log.describe(cause) if timed_out else _with_place(log.describe(cause), worker.func)
            data = {"latency_ms": latency_ms, "error": described}
            log.end("attempt", worker.port.name, span, context._span, status, data)
        interrupted = isinstance(failure, KeyboardInterrupt) and self.interrupts_end_loop
        if not cancelled and (interrupted or isinstance(failure, Closed)) and trace is not None and trace.error is None:
            how = "interrupted" if interrupted else "left by its event loop"
            trace.error = cancelled_error(trace, f"node '{worker.port.name}' was {how}")
        if cancelled or interrupted or isinstance(failure, Closed):
            raise failure
        task = context._task
        if isinstance(failure, asyncio.CancelledError) and task is not None and task.cancelling() > context._cancels:
            # Not by us: the loop is shutting down, or the node cancelled its own task.
            if trace is not None and trace.error is None:
                trace.error = cancelled_error(trace, f"the task of node '{worker.port.name}' was cancelled")
            raise failure
        forget_timeout(context)
        if isinstance(failure, DeadlinePassed):
            return await self.expired(context, context.message)
        event = "node_timeout" if timed_out else "node_error"
        await self.broadcast.tell(
            event,
            context,
            attempt=attempt,
            latency_ms=latency_ms,
            level=logging.WARNING if timed_out else logging.ERROR,
            extra={"exception": shown},
            exc=failure,
        )
        may_retry = worker.policy.retries(failure) and not isinstance(failure, InterceptorFailed)
        if attempt < worker.policy.max_retries and may_retry:
            delay = worker.policy.backoff(attempt + 1)
            retry = {"sleep_s": delay, "exception": shown}
            if log is not None:
                about = {"attempt": attempt + 1, "sleep_s": delay, "error": shown}
                log.event("node.retry", worker.port.name, context._span, about)
            await self.broadcast.tell("node_retry", context, attempt=attempt + 1, extra=retry)
            await asyncio.sleep(delay if trace is None or trace.tape is None else trace.tape.pause(delay))
            return None
        error = flow_error(worker.node, context.trace_id, failure, attempt, latency_ms)
        if trace is not None and trace.error is None:
            trace.error = error
        await self.broadcast.tell(
            "node_failed",
            context,
            attempt=attempt,
            latency_ms=latency_ms,
            level=logging.ERROR,
            extra={"exception": shown, "flow_error": error.to_payload()},
            exc=failure,
        )
        if self.table.errors_are_results:
            await self.flow._to_rookery(context, error)
        return error

    def ends_invocation(self, context: Context, failure: BaseException) -> bool:
        """Whether it ends the whole invocation: a cancellation, a deadline, Ctrl-C, an interceptor's own failure.

        Whatever else is raised ends an attempt, and then counts as `NODE_EXCEPTION` or `NODE_TIMEOUT`.
        """
        trace, task = context._trace, context._task
        if context._cancel_reason is not None or isinstance(failure, Closed | DeadlinePassed | InterceptorFailed):
            return True
        if isinstance(failure, TraceCancelled):
            return trace is not None and trace.cancelled
        if isinstance(failure, KeyboardInterrupt):
            return self.interrupts_end_loop
        # By somebody else than us: the loop is shutting down, or the node cancelled its own task.
        by_others = task is not None and task.cancelling() > context._cancels
        return by_others and isinstance(failure, asyncio.CancelledError)

    async def expired(self, context: Context, message: Message) -> FlowError:
        """The trace's time is up: answer in the node's place, whoever else's turn it is."""
        context._late = True
        return await self.stopped(context, _late_answer(message), FlowErrorCode.DEADLINE_EXCEEDED)

    def late_answer(
        self, context: Context, message: Message, payload: Any, late: bool
    ) -> Coroutine[Any, Any, None] | None:
        """What to await in place of sending a result that had to wait (`late`: until after its deadline).

        None when it is not late, or when it may be sent all the same.
        """
        if not late and (message.deadline_s is None or message.deadline_s > time()):
            return None
        if isinstance(payload_of(message, payload), FinalAnswer | StreamChunk):
            return None
        return self._overtaken(context, whole(message, payload))

    async def _overtaken(self, context: Context, message: Message) -> None:
        context._late = True
        try:
            await self.stopped(context, _late_answer(message), FlowErrorCode.DEADLINE_EXCEEDED)
        finally:
            context._late = False

    async def stopped(self, context: Context, answer: Message, code: FlowErrorCode) -> FlowError:
        """A deadline or budget ends the trace with an answer."""
        error = self._end_trace(context, answer, code)
        event = "deadline_skip" if code is FlowErrorCode.DEADLINE_EXCEEDED else "budget_exhausted"
        extra = {**error.metadata, "flow_error": error.to_payload()}
        await self.broadcast.tell(event, context, extra=extra)
        await self.flow._to_rookery(context, answer)
        return error

    def _end_trace(self, context: Context, answer: Message, code: FlowErrorCode) -> FlowError:
        trace = context._trace
        late = code is FlowErrorCode.DEADLINE_EXCEEDED
        about: dict[str, Any] = {"deadline_s": answer.deadline_s} if late else {}
        error = FlowError(
            trace_id=context.trace_id,
            node_name=context._port.name,
            node_id=context._port.owner.node_id,
            code=code,
            message=answer.payload.text,
            metadata=about,
        )
        if trace is not None:
            trace.error = trace.error or error
            trace.stopped = True
            if trace.log is not None:
                logged = {"message_id": context._item[4], "code": error.code, **about}
                kind = "deadline.exceeded" if late else "budget.exhausted"
                trace.log.event(kind, context._port.name, context._span, logged)
        return error

    def give_up(self, worker: Worker, context: Context, too_late: type[Exception]) -> None:
        """A function goes on after its time is over and it was cancelled: nobody waits for it any longer."""
        about = {"event": "node_ignores_cancellation", "node_name": worker.port.name, "trace_id": context.trace_id}
        logger.error("node_ignores_cancellation", extra=about)
        trace = context._trace
        if trace is None or trace.cancelled:
            return
        if too_late is NodeTimeout:
            error = flow_error(worker.node, trace.id, NodeTimeout(), 0, 0.0)
        else:
            answer = _late_answer(context.message)
            error = self._end_trace(context, answer, FlowErrorCode.DEADLINE_EXCEEDED)
            if trace.sink is not None:
                trace.sink.put(answer)
        self.flow._cancel(trace, error.message, error)


def forget_timeout(context: Context) -> None:
    """An attempt that ran out of time is over: what was done to end it is taken back."""
    if context._timed_out and context._task is not None:
        context._task.uncancel()
        context._cancels -= 1
        context._timed_out = False


def _with_place(described: Mapping[str, Any], func: Any) -> Mapping[str, Any]:
    """What failed in our own code, as a check of what the function gave, has the place of the function."""
    code = getattr(inspect.unwrap(func), "__code__", None)
    if code is None or code.co_filename.startswith(_OURS) or not str(described.get("file") or "").startswith(_OURS):
        return described
    return {**described, "file": code.co_filename, "line": code.co_firstlineno}


def _late_answer(message: Message) -> Message:
    if isinstance(message.payload, FinalAnswer):
        return message
    return rewrap(message, FinalAnswer(text=DEADLINE_EXCEEDED_TEXT))
