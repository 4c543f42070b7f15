"""Where a run can be stopped and decided upon: what is shown there, and what a decision does.

Payloads are JSON, so that they can be shown, edited and kept; a decision's value is brought into JSON too.

| kind | payload | `edit` | `skip` | `retry` |
| --- | --- | --- | --- | --- |
| `before_llm` | the request, as `penguiflow.llm.wire` writes it | another request | the text of a reply | proceeds |
| `after_decision` | `{next_node, args, thought}` | another decision | its observation | asks the model again |
| `before_tool` | `{tool, args, call_id}` | other arguments, another tool | the observation | proceeds |
| `after_tool` | `{tool, args, call_id, observation}` | another observation | as `edit` | calls it again |
| `before_join` | `{tool, args, call_id, branches}` | other arguments | the observation | proceeds |
| `before_finish` | the answer, as `FinalPayload` | another answer | as `edit` | lets the model go on |
| `on_error` | `{where, name, error}` and `args` of a tool | again with other `args` | a result | once more |

For `edit` of `after_tool` and `before_finish` the value is the observation, or the answer, itself. `inject` puts a
message into the next prompt and proceeds. `abort` ends the run: it raises `RunAborted`. Steps tell of calls as they
were made, edits included; a call that is made again counts as another one for `UsageLimits.tool_calls`.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

from pydantic_core import to_jsonable_python

from penguiflow.checkpoints import Checkpoint, CheckpointKind, Decision, decide, wanted
from penguiflow.failures import InterceptorFailed, text_of
from penguiflow.observer import Payload
from penguiflow.planner.signals import RunAborted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from penguiflow.callsite import CallSite
    from penguiflow.checkpoints import Interceptor
    from penguiflow.planner.run import PlannerRun

__all__ = ["consult"]


async def consult(
    run: PlannerRun, site: CallSite, kind: CheckpointKind, name: str, payload: Callable[[], Any]
) -> Decision:
    """Ask the interceptors, or the recording; `Decision.proceed` without both. `payload` is made when it is needed.

    Raises:
        RunAborted: on `abort`.
        InterceptorFailed: when an interceptor raised; nothing may go on that somebody wanted to decide upon.
    """
    interceptors = run.interceptors
    if not interceptors and not site.recorded:
        return Decision.proceed
    planned = run.planned if run.planned is not None and run.planned.wants(site, kind) else None
    # Where nobody stops, nothing is written: what stands in a recording is told apart by how often it was passed.
    number = 0 if site.scope is None else site.scope.count(f"checkpoint {kind} {name}")
    request = kind if not number else f"{kind}[{number}]"
    shown: list[Any] = []
    asked: Sequence[Interceptor] = ()
    checkpoint: Checkpoint | None = None
    if planned is None and interceptors:
        from penguiflow.planner.place import RunPlace

        shown.append(to_jsonable_python(payload(), fallback=str))
        place = RunPlace(run, site, kind, shown[0])
        checkpoint = Checkpoint(kind, site.trace_id, site.span, name, deepcopy(shown[0]), site.path, place)
        try:
            asked, _ = wanted(interceptors, checkpoint)
        except Exception as error:  # whatever a program's interceptor raises
            raise _failed(kind, error) from error

    async def ask() -> dict[str, Any]:
        if not shown:
            shown.append(to_jsonable_python(payload(), fallback=str))
        site.event("checkpoint.hit", name, {"checkpoint": kind, "payload": Payload(shown[0])})
        if planned is not None:
            decision = planned.decide(kind, shown[0])
            return {"action": decision.action, "value": decision.value}
        assert checkpoint is not None
        try:
            decision = await decide(asked, checkpoint)
        except Exception as error:  # whatever a program's interceptor raises
            raise _failed(kind, error) from error
        value = to_jsonable_python(decision.value, fallback=str)
        return {"action": decision.action, "value": value, "by": decision.by}

    def about(told: dict[str, Any]) -> dict[str, Any]:
        return {"checkpoint": kind, "decision": told["action"]}

    told = await site.consult(name, request, ask if asked or planned else None, about=about)
    if told is None or told["action"] == "proceed":
        return Decision.proceed
    action, value = told["action"], told["value"]
    if action == "abort":
        raise RunAborted(kind, str(value))
    if action in ("edit", "skip"):
        before = shown[0] if shown else to_jsonable_python(payload(), fallback=str)
        where = {"checkpoint": kind, "by": told.get("by", "fork" if planned is not None else "interceptor")}
        site.event("edit", name, {"before": Payload(before), "after": Payload(value), **where})
    if action == "inject":
        run.notes.append(value if isinstance(value, str) else str(value))
        return Decision.proceed
    return Decision(action, value)


def _failed(kind: CheckpointKind, error: Exception) -> InterceptorFailed:
    return InterceptorFailed(f"an interceptor failed at {kind}: {type(error).__name__}: {text_of(error, str)}")
