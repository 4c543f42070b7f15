"""One attempt of a node between its checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from penguiflow.callsite import node_path
from penguiflow.checkpoints import Checkpoint, CheckpointKind, Decision, decide, wanted
from penguiflow.endings import forget_timeout
from penguiflow.failures import InterceptorFailed, NodeTimeout, text_of, timeout_error
from penguiflow.node_place import NodePlace
from penguiflow.observer import Payload
from penguiflow.traces import TraceCancelled
from penguiflow.validation import is_message

if TYPE_CHECKING:
    from penguiflow.context import Context
    from penguiflow.fast_path import FastPath
    from penguiflow.worker import Worker

__all__ = ["Interception"]


class Interception:
    """Asks the interceptors of a flow, and does what they decide."""

    def __init__(self, invoker: FastPath) -> None:
        self._invoker = invoker

    async def attempt(self, worker: Worker, context: Context, value: Any) -> Any:
        """Check the input, call the function, check its result; what comes back may leave the node as it is.

        What an interceptor gives is checked as what a message brings and what the function returns. Its own failures
        and mistakes are `InterceptorFailed`, which nobody is asked about.
        """
        validators = worker.validators
        checked = False
        while True:
            try:
                if not checked:
                    value = validators.accept(value)
                    checked = True
                decision = await self._consult("before_node", worker, context, value, value)
                if decision.action == "skip":
                    return _let_out("before_node", worker, context, decision.value)
                if decision.action == "edit":
                    value = _let_in("before_node", worker, context, decision.value)
                result = await self._invoker.call(worker, context, value)
                decision = await self._consult("after_node", worker, context, result, value)
                if decision.action == "retry":
                    continue
                if decision.action in ("edit", "skip"):
                    return _let_out("after_node", worker, context, decision.value)
                return validators.finish(result, context._envelope)
            except BaseException as failure:
                if self._invoker.endings.ends_invocation(context, failure):
                    raise
                forget_timeout(context)
                shown = timeout_error(worker.node) if isinstance(failure, NodeTimeout) else failure
                decision = await self._consult("on_error", worker, context, shown, value)
                if decision.action == "skip":
                    return _let_out("on_error", worker, context, decision.value)
                if decision.action == "edit":
                    value = _let_in("on_error", worker, context, decision.value)
                    checked = True
                elif decision.action != "retry":
                    raise

    async def _consult(
        self, kind: CheckpointKind, worker: Worker, context: Context, payload: Any, given: Any
    ) -> Decision:
        """Ask the interceptors; a stop, and what is decided, are recorded. `given` is what the function got."""
        trace, name = context._trace, worker.port.name
        place = NodePlace(kind, context, payload, given)
        checkpoint = Checkpoint(kind, context.trace_id, context._span, name, payload, node_path(context), place)
        log = None if trace is None else trace.log
        try:
            asked, stops = wanted(self._invoker.interceptors, checkpoint)
            if stops and log is not None:
                log.event("checkpoint.hit", name, context._span, {"checkpoint": kind})
            decision = await decide(asked, checkpoint)
        except BaseException as error:
            if self._invoker.endings.ends_invocation(context, error):
                raise
            raise InterceptorFailed(kind) from error
        action = decision.action
        if log is not None and (stops or action != "proceed"):
            about = {"checkpoint": kind, "decision": action}
            if not stops:
                log.event("checkpoint.hit", name, context._span, about)
            if action in ("edit", "skip", "inject"):
                shown = log.describe(payload) if isinstance(payload, BaseException) else Payload(payload)
                edit = {"before": shown, "after": Payload(decision.value), "by": decision.by}
                log.event("edit", name, context._span, edit)
            log.event("checkpoint.resolved", name, context._span, about)
        if action == "proceed":
            return decision
        if action == "inject":
            await context.emit(decision.value)
        elif action == "abort":
            reason = f"aborted at {kind} of '{worker.port.name}': {decision.value}"
            if trace is None:
                raise InterceptorFailed(reason)
            self._invoker.flow._cancel(trace, reason)
            raise TraceCancelled(trace.id)
        return decision


def _let_in(kind: CheckpointKind, worker: Worker, context: Context, value: Any) -> Any:
    """What an interceptor gives in place of the input, as if a message had brought it.

    A message for a node that takes payloads is unwrapped. The result goes in its envelope, but in the trace that it
    belongs to: whoever waits for that one would wait in vain.
    """
    validators = worker.validators
    if validators.unwraps and is_message(value):
        if context._envelope is not None:
            trace_id = context._envelope.trace_id
            same = value.trace_id == trace_id
            context._envelope = value if same else value.model_copy(update={"trace_id": trace_id})
        value = value.payload
    return _checked(kind, "takes", worker, lambda: validators.accept(value))


def _let_out(kind: CheckpointKind, worker: Worker, context: Context, value: Any) -> Any:
    """What an interceptor gives in place of the result, as if the function had returned it."""
    return _checked(kind, "gives", worker, lambda: worker.validators.finish(value, context._envelope))


def _checked(kind: CheckpointKind, verb: str, worker: Worker, check: Callable[[], Any]) -> Any:
    try:
        return check()
    except Exception as error:  # pydantic's, or whatever a validator of the user raises
        about = f"what an interceptor gave at {kind} is not what node '{worker.port.name}' {verb}"
        raise InterceptorFailed(f"{about}: {text_of(error, str)}") from error
