"""What is done about a decision: a tool is called, a plan is carried out, the answer is given, the run pauses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from penguiflow.failures import InterceptorFailed
from penguiflow.planner.actions import PlannerAction
from penguiflow.planner.arguments import ArgsRefused, prepare_args
from penguiflow.planner.checkpoints import consult
from penguiflow.planner.constraints import refusal
from penguiflow.planner.execution import ToolOutcome, execute, name_of, tool_named
from penguiflow.planner.finishing import finish
from penguiflow.planner.legacy import action_of
from penguiflow.planner.outcomes import FinalPayload, PlannerFinish, PlannerPause
from penguiflow.planner.parallel import run_plan
from penguiflow.planner.protocols import PauseRecord, PendingCall
from penguiflow.planner.reflection import reflect
from penguiflow.planner.results import finished
from penguiflow.planner.run import StepKind
from penguiflow.planner.signals import AskSignal, LimitReached, PauseSignal
from penguiflow.planner.trajectory import TrajectoryStep

if TYPE_CHECKING:
    from penguiflow.callsite import CallSite
    from penguiflow.catalog import NodeSpec
    from penguiflow.planner.run import PlannerRun

__all__ = ["Done", "do", "go_on_with"]


@dataclass(slots=True)
class Done:
    """What came of a decision."""

    kind: StepKind
    action: PlannerAction | None
    step: TrajectoryStep | None = None
    """To be added to the trajectory."""
    result: PlannerFinish | PlannerPause | None = None


async def do(run: PlannerRun, site: CallSite, action: PlannerAction, number: int) -> Done:
    """Do what was decided."""
    refused = refusal(run, action)
    if refused is not None:
        return _error(action, refused)
    if action.is_terminal():
        return await _answer(run, site, action)
    if action.is_parallel():
        return await _plan(run, site, action, None)
    return await _tool(run, site, action, number)


async def go_on_with(run: PlannerRun, site: CallSite, pending: PendingCall) -> Done:
    """Go on with a call that waited for an answer: it is made again with the same arguments, and its journal."""
    action = PlannerAction.model_validate(pending.action)
    if pending.branch is not None:
        return await _plan(run, site, action, pending)
    spec = tool_named(run, pending.tool)
    if spec is None:
        return _error(action, f"the tool '{pending.tool}' that was waiting is gone")
    try:
        args = spec.args_model.model_validate(pending.args)
    except ValidationError as error:
        return _error(action, f"the tool '{pending.tool}' that was waiting takes other arguments now: {error}")
    outcome = await execute(run, site, spec, args, call_id=pending.call_id, journal=pending.journal)
    return await _called(run, site, action, outcome)


def _error(action: PlannerAction, text: str, failure: Mapping[str, Any] | None = None) -> Done:
    return Done("error", action, TrajectoryStep(action, error=text, failure=failure))


# One tool


async def _tool(run: PlannerRun, site: CallSite, action: PlannerAction, number: int) -> Done:
    spec = run.specs.get(action.next_node)
    if spec is None:
        found = _alternate(run, action)
        if found is None:
            return _error(action, _unknown(run, action.next_node))
        action, spec = found
        refused = refusal(run, action)
        if refused is not None:
            return _error(action, refused)
    args = await prepare_args(run, site, action, spec)
    if isinstance(args, ArgsRefused):
        return await _refused(run, action, args)
    if not run.budgets.take_hops():
        return _error(action, "the run has no hops left: no tool can be called any more; answer with what is known")
    if not run.budgets.take_tool_calls():
        run.budgets.give_back_hops(1)
        return _error(action, "the run has no calls of tools left; answer with what is known")
    call_id = f"call_{run.action_seq}_{number}"
    outcome = await execute(run, site, spec, args, call_id=call_id)
    return await _called(run, site, action, outcome)


async def _refused(run: PlannerRun, action: PlannerAction, args: ArgsRefused) -> Done:
    made = _error(action, args.error)
    if args.finish is not None and made.step is not None:
        run.trajectory.steps.append(made.step)
        result = await finished(run, "no_path", args.finish, thought=action.thought, error=args.error)
        run.trajectory.steps.pop()  # whoever asked for the step adds it
        return Done("finish", action, made.step, result)
    return made


def _unknown(run: PlannerRun, name: str) -> str:
    if name in ("task.subagent", "task.tool"):
        return f"'{name}' cannot be used here: tasks beside the run are not available"
    return f"there is no tool '{name}'; there are {', '.join(sorted(run.specs)) or 'none'}"


def _alternate(run: PlannerRun, action: PlannerAction) -> tuple[PlannerAction, NodeSpec] | None:
    """Another action of the same reply, one that there is a tool for."""
    for data in action.alternate_actions or ():
        try:
            other = action_of(data)
        except ValueError:
            continue
        spec = run.specs.get(other.next_node)
        if spec is not None:
            about: dict[str, Any] = {"from": action.next_node, "to": other.next_node, "reason": "unknown_tool"}
            run.events.emit("multi_action_fallback_used", tool=other.next_node, **about)
            return other, spec
    return None


async def _called(run: PlannerRun, site: CallSite, action: PlannerAction, outcome: ToolOutcome) -> Done:
    called = outcome.called
    if called is not None:
        # The model is told of the call that was made: what it had asked for would not go with the observation.
        action = action.model_copy(update={"next_node": name_of(run, called), "args": dict(called["args"])})
    step = TrajectoryStep(
        action, outcome.observation, outcome.llm_observation, outcome.error, outcome.failure, outcome.streams
    )
    if outcome.pause is not None:
        return await _pause(run, site, step, outcome.pause, called or {})
    if outcome.error is not None:
        run.queued.clear()
        return Done("error", action, step)
    _completed(run, action.next_node)
    return Done("tool", action, step)


def _completed(run: PlannerRun, *nodes: str) -> None:
    if run.hints.ordering:
        run.trajectory.hint_state.setdefault("completed", []).extend(nodes)


# Several at once


async def _plan(run: PlannerRun, site: CallSite, action: PlannerAction, pending: PendingCall | None) -> Done:
    made = await run_plan(run, site, action, pending=pending)
    if made.error is not None:
        return _error(action, made.error, made.failure)
    step = TrajectoryStep(action, made.observation, made.llm_observation, streams=made.streams or None)
    if made.pause is not None:
        return await _pause(run, site, step, made.pause, made.paused)
    assert made.observation is not None
    _completed(run, *(branch["node"] for branch in made.observation["branches"] if "observation" in branch))
    return Done("parallel", action, step)


# The answer


async def _answer(run: PlannerRun, site: CallSite, action: PlannerAction) -> Done:
    steered = run.steering is not None and run.steering.has_event()
    if await site.consult("steering.waits", [], _yes if steered else None, about=_steering):
        told = {"status": "deferred", "reason": "something came in meanwhile: look at it, then answer"}
        return Done("deferred", action, TrajectoryStep(action, told))
    payload = await finish(run, site, action)
    with suppress(LimitReached):  # the answer is there; it could not be looked over
        payload = await reflect(run, site, payload)
    decision = await consult(run, site, "before_finish", action.next_node, lambda: payload.model_dump(mode="json"))
    if decision.action == "retry":
        told = {"status": "not_accepted", "reason": "the answer was not accepted: go on, or give another one"}
        return Done("deferred", action, TrajectoryStep(action, told))
    if decision.action in ("edit", "skip"):
        payload = _given(decision.value)
    result = await finished(run, "answer_complete", payload.model_dump(mode="json"), thought=action.thought)
    return Done("finish", action, result=result)


def _yes() -> bool:
    return True


def _steering(_: Any) -> Mapping[str, Any]:
    return {"checkpoint": "steering", "decision": "edit"}


def _given(value: Any) -> FinalPayload:
    """An answer from outside."""
    if not isinstance(value, Mapping):
        return FinalPayload(raw_answer=value if isinstance(value, str) else json.dumps(value, default=str))
    try:
        return FinalPayload.model_validate(value)
    except ValidationError as error:
        raise InterceptorFailed(f"what an interceptor gave at before_finish is no answer: {error}") from error


# The pause


async def _pause(
    run: PlannerRun, site: CallSite, step: TrajectoryStep, signal: PauseSignal, call: Mapping[str, Any]
) -> Done:
    """Keep the run, and give a token out for it."""
    if run.pauses is None:
        return _error(step.action, "the run cannot pause: pausing is off")
    pending: PendingCall | None = None
    if isinstance(signal, AskSignal):
        pending = PendingCall(
            action=step.action.model_dump(),
            tool=call["tool"],
            args=dict(call["args"]),
            call_id=call["call_id"],
            branch=call.get("branch"),
            done=list(call.get("done") or ()),
            journal=signal.journal,
        )
    else:
        if step.observation is None:
            step.observation = {"pause": signal.reason, "payload": signal.payload}
        run.trajectory.steps.append(step)
    record = PauseRecord(
        reason=signal.reason,
        payload=signal.payload,
        trajectory={**run.trajectory.serialise(), "input_parts": run.request.input_parts},
        constraints=run.budgets.snapshot(),
        tool_context=run.request.tool_context,
        memory_key=None if run.memory is None else run.memory.key,
        action_seq=run.action_seq,
        pending=pending,
        trace_id=run.trace_id,
        created=site.now(),
        counters=dict(run.counters),
    )
    if pending is None:
        run.trajectory.steps.pop()  # whoever asked for the step adds it
    pauses = run.pauses()
    token = await site.call("record", "planner.pause", [signal.reason], pauses.save, run, record)
    result = PlannerPause(reason=signal.reason, payload=signal.payload, resume_token=token)
    about = {"reason": signal.reason, "payload": signal.payload, "lasting": pauses.lasting}
    site.event("planner.pause", signal.reason, about)
    run.events.emit("pause", node_name=call["tool"], reason=signal.reason, payload=signal.payload)
    return Done("pause", step.action, None if pending is not None else step, result)
