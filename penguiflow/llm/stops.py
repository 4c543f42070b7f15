"""`before_llm` of a call that a node makes: where it can be stopped, looked at and decided upon.

The payload, and what `edit` and `skip` take, are those of a planner's calls: see `penguiflow.planner.checkpoints`.
`inject` puts a message behind those of the request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from pydantic_core import to_jsonable_python

from penguiflow.checkpoints import Action, Checkpoint, Part, Unfit, decide, wanted
from penguiflow.failures import InterceptorFailed, text_of
from penguiflow.llm.types import LLMMessage, LLMRequest
from penguiflow.llm.wire import REQUEST_SCHEMA, dump_request, fitting_request
from penguiflow.node_place import change_envelope, envelope_parts
from penguiflow.observer import Payload
from penguiflow.traces import TraceCancelled
from penguiflow.unfit import fitting

if TYPE_CHECKING:
    from penguiflow.callsite import CallSite
    from penguiflow.checkpoints import Interceptor
    from penguiflow.context import Context

__all__ = ["before_llm"]

_KIND: Literal["before_llm"] = "before_llm"


async def before_llm(
    context: Context, site: CallSite, name: str, request: LLMRequest, purpose: str
) -> LLMRequest | str:
    """The request as it is to be sent, or the text that takes the place of the reply.

    Raises:
        InterceptorFailed: an interceptor raised, or gave what is no request.
        TraceCancelled: on `abort`.
    """
    interceptors = () if context.runtime is None else context.runtime._interceptors
    # What stands in a recording is told apart by how often it was passed.
    number = 0 if site.scope is None else site.scope.count(f"checkpoint {_KIND} {name}")
    replays = context._trace is not None and context._trace.tape is not None
    if not interceptors and not replays:
        return request
    shown = to_jsonable_python({**dump_request(request), "purpose": purpose}, fallback=str)
    place = _Place(context, shown)
    checkpoint = Checkpoint(_KIND, site.trace_id, site.span, name, deepcopy(shown), site.path, place)
    asked = _asked(interceptors, checkpoint)

    async def ask() -> dict[str, Any]:
        site.event("checkpoint.hit", name, {"checkpoint": _KIND, "payload": Payload(shown)})
        try:
            decision = await decide(asked, checkpoint)
        except Exception as error:  # whatever a program's interceptor raises
            raise _failed(error) from error
        value = to_jsonable_python(decision.value, fallback=str)
        return {"action": decision.action, "value": value, "by": decision.by}

    told = await site.consult(
        name,
        f"{_KIND}[{number}]" if number else _KIND,
        ask if asked else None,
        about=lambda told: {"checkpoint": _KIND, "decision": told["action"]},
    )
    return request if told is None else _done(context, site, name, request, shown, told)


def _asked(interceptors: Sequence[Interceptor], checkpoint: Checkpoint) -> Sequence[Interceptor]:
    try:
        return wanted(interceptors, checkpoint)[0]
    except Exception as error:  # whatever a program's interceptor raises
        raise _failed(error) from error


def _done(
    context: Context, site: CallSite, name: str, request: LLMRequest, shown: Any, told: Mapping[str, Any]
) -> LLMRequest | str:
    action, value = told["action"], told["value"]
    if action == "abort":
        _abort(context, name, str(value))
    if action == "inject":
        return replace(request, messages=(*request.messages, LLMMessage.of("user", str(value))))
    if action not in ("edit", "skip"):
        return request
    about = {"before": Payload(shown), "after": Payload(value), "checkpoint": _KIND, "by": told.get("by", "")}
    site.event("edit", name, about)
    if action == "skip":
        return str(value)
    try:
        return fitting_request(value)
    except (TypeError, ValueError) as error:
        raise InterceptorFailed(f"what an interceptor gave at {_KIND} is no request: {error!r}") from error


def _abort(context: Context, name: str, why: str) -> None:
    reason = f"aborted at {_KIND} of '{name}': {why}"
    if context._trace is None or context.runtime is None:
        raise InterceptorFailed(reason)
    context.runtime._cancel(context._trace, reason)
    raise TraceCancelled(context._trace.id)


def _failed(error: Exception) -> InterceptorFailed:
    return InterceptorFailed(f"an interceptor failed at {_KIND}: {type(error).__name__}: {text_of(error, str)}")


class _Place:
    """This is a `penguiflow.checkpoints.Place`."""

    actions: Sequence[Action] = ("proceed", "edit", "skip", "inject", "abort")
    editable = ""

    def __init__(self, context: Context, shown: Any) -> None:
        self._context = context
        self._shown = shown

    def shown(self) -> Any:
        return self._shown

    def schema(self, action: Literal["edit", "skip"]) -> dict[str, Any] | None:
        return {"type": "string"} if action == "skip" else REQUEST_SCHEMA

    def checked(self, action: Action, value: Any) -> Any:
        if action == "skip" and not isinstance(value, str):
            raise Unfit([("", "in place of the model's reply there must be its text")])
        if action == "edit":
            fitting(lambda: fitting_request(value))
        return value

    def parts(self) -> Mapping[str, Part]:
        return envelope_parts(self._context)

    def change(self, part: str, value: Any, by: str) -> None:
        change_envelope(self._context, part, value, by)

    def memory(self) -> None:
        return None

    def kv(self) -> None:
        return None
