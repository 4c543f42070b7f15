"""The loop of a run: which action comes next, and when it ends."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from functools import partial
from hashlib import blake2b
from time import perf_counter, time
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from penguiflow.failures import InterceptorFailed
from penguiflow.llm.types import Cost, Usage
from penguiflow.observer import Payload
from penguiflow.planner.actions import PlannerAction
from penguiflow.planner.checkpoints import consult
from penguiflow.planner.constraints import detect_next, read_only
from penguiflow.planner.decisions import decide
from penguiflow.planner.doing import Done, do, go_on_with
from penguiflow.planner.interventions import take_edits, take_steering
from penguiflow.planner.legacy import action_of
from penguiflow.planner.outcomes import PlannerFinish, PlannerPause
from penguiflow.planner.results import finished, last_observation
from penguiflow.planner.run import RunStep
from penguiflow.planner.signals import LimitReached, RunAborted
from penguiflow.planner.trajectory import TrajectoryStep
from penguiflow.steering import SteeringCancelled
from penguiflow.traces import TraceCancelled

if TYPE_CHECKING:
    from penguiflow.callsite import CallSite
    from penguiflow.planner.run import PlannerRun

__all__ = ["steps"]


async def steps(run: PlannerRun) -> AsyncGenerator[RunStep, None]:
    """Go on with a run, step by step; the last one has the result. Close it when you leave early (`aclosing`).

    Raises:
        LLMError: a model failed, and nothing could be done about it.
        RunAborted: an interceptor decided so; the trace is cancelled then.
        SteeringCancelled: the run was cancelled by a steering event.
        InterceptorFailed: an interceptor raised, or gave what cannot be used.
    """
    status, number = "cancelled", 0
    try:
        while run.result is None:
            made = await _step(run, number)
            number += 1
            if made.result is not None:
                run.result = made.result
                await _conclude(run)
                status = "ok"
            yield made
    except RunAborted as stop:
        context = run.site.context
        if context is not None and context._trace is not None:
            context._flow()._cancel(context._trace, str(stop))
        raise
    except Exception as error:
        status = "cancelled" if isinstance(error, TraceCancelled | SteeringCancelled) else "error"
        run.events.emit("error", error=f"{type(error).__name__}: {error}")
        raise
    finally:
        _close(run, status, number)


async def _conclude(run: PlannerRun) -> None:
    """The run has its result: what is said and remembered of it is out before anybody gets it."""
    if run.streams is not None and run.result is not None:
        await run.streams.conclude(run.result, wanted=run.settings.stream_final_response)
    if run.memory is not None and isinstance(run.result, PlannerFinish):
        payload = run.result.payload
        answer = payload.get("raw_answer") if isinstance(payload, Mapping) else None
        await run.memory.add_turn(run, answer if isinstance(answer, str) else to_json(payload).decode())
    if run.settings.state_store is not None or run.site.recorded:
        from penguiflow.planner.persistence import persist

        await persist(run)


def _close(run: PlannerRun, status: str, number: int) -> None:
    if run.streams is not None:
        run.streams.close()
    usage, result = run.budgets.usage, run.result
    about: dict[str, Any] = {
        "steps": number,
        "usage": {
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "total_tokens": usage.total_tokens,
        },
        "cost": run.budgets.cost,
    }
    if result is not None:
        about["reason"] = result.reason
    if isinstance(result, PlannerPause):
        about["paused"] = result.reason
    run.site.close(status, about)


async def _step(run: PlannerRun, number: int) -> RunStep:
    """One decision, and what comes of it."""
    await take_steering(run)
    await take_edits(run, number)
    over = await _over(run)
    if over is not None:
        return RunStep(number, "finish", None, result=over)
    run.action_seq += 1
    run.events.emit("step_start", action_seq=run.action_seq)
    site = run.site.open("step", "step", {"step": number})
    started, began = perf_counter(), time()
    spent = _Spent(run)
    status = "cancelled"
    about: dict[str, Any] = {}
    try:
        try:
            done = await _done(run, site, number)
        except LimitReached as reached:
            result = await finished(run, "budget_exhausted", last_observation(run), error=f"limit: {reached.limit}")
            done = Done("finish", None, result=result)
        status = "error" if done.kind == "error" else "interrupted" if done.kind == "pause" else "ok"
        about = {"kind": done.kind, "next_node": None if done.action is None else done.action.next_node}
        if isinstance(done.result, PlannerPause):
            about["paused"] = done.result.reason
    except (TraceCancelled, SteeringCancelled):
        raise
    except Exception:
        status = "error"
        raise
    finally:
        site.close(status, about)
    latency_ms = (perf_counter() - started) * 1e3
    _add(run, done, site, began, latency_ms)
    return RunStep(
        number,
        done.kind,
        done.action,
        done.step,
        done.result,
        usage=spent.usage(),
        cost=spent.cost(),
        latency_ms=latency_ms,
        span_id=site.span if site is not run.site else "",
    )


class _Spent:
    """What a step uses."""

    def __init__(self, run: PlannerRun) -> None:
        self._budgets = run.budgets
        self._before = (run.budgets.usage, run.budgets.cost, run.budgets.unknown_costs)

    def usage(self) -> Usage:
        now, before = self._budgets.usage, self._before[0]
        if now is before:
            return Usage.zero()
        return Usage(
            now.input_tokens - before.input_tokens,
            now.output_tokens - before.output_tokens,
            now.total_tokens - before.total_tokens,
            now.cached_tokens - before.cached_tokens,
            now.reasoning_tokens - before.reasoning_tokens,
        )

    def cost(self) -> Cost | None:
        """None when that of a call is not known."""
        if self._budgets.unknown_costs != self._before[2]:
            return None
        return Cost(0.0, 0.0, self._budgets.cost - self._before[1])


def _add(run: PlannerRun, done: Done, site: CallSite, began: float, latency_ms: float) -> None:
    """Take a step into the trajectory, and tell of it."""
    step = done.step
    if step is not None:
        step.started, step.latency_ms = began, latency_ms
        if site is not run.site:
            step.span_id = site.span
        run.trajectory.steps.append(step)
        run.events.step = len(run.trajectory.steps)
    run.trajectory.resume_user_input = None
    run.trajectory.steering_inputs.clear()
    if done.action is not None and run.events.listening:
        run.events.emit(
            "step_complete",
            thought=done.action.thought,
            node_name=done.action.next_node,
            latency_ms=latency_ms,
            error=None if step is None else step.error,
            kind=done.kind,
            action_seq=run.action_seq,
        )


async def _over(run: PlannerRun) -> PlannerFinish | None:
    """The result of a run that may not go on."""
    budgets = run.budgets
    if budgets.deadline_at is None:
        limit = budgets.exceeded()
    else:
        # What the clock says is asked of the recording in a replay.
        limit = await run.site.call("record", "planner.limit", [], budgets.exceeded)
        budgets.reached(limit or "")
    if limit is not None:
        return await finished(run, "budget_exhausted", last_observation(run), error=f"limit: {limit}")
    if len(run.trajectory.steps) < run.settings.max_iters:
        return None
    if budgets.hop_exhausted:
        return await finished(run, "budget_exhausted", last_observation(run), error="limit: hops")
    return await finished(run, "no_path", last_observation(run), error="iteration limit reached")


async def _done(run: PlannerRun, site: CallSite, number: int) -> Done:
    """Decide, and do it."""
    if run.resumed is not None and run.resumed.pending is not None:
        pending, run.resumed.pending = run.resumed.pending, None
        return await go_on_with(run, site, pending)
    while True:
        action, source = await _next_action(run, site)
        if site.recorded:
            told = {
                "next_node": action.next_node,
                "args": Payload(action.args),
                "thought": action.thought,
                "source": source,
                "alternates": len(action.alternate_actions or ()),
            }
            site.event("planner.decision", action.next_node, told)
        if run.interceptors or site.recorded:
            decision = await consult(run, site, "after_decision", action.next_node, partial(_shown, action))
            if decision.action == "retry":
                continue
            if decision.action == "skip":
                return Done("tool", action, TrajectoryStep(action, decision.value))
            if decision.action == "edit":
                action = _decided(decision.value)
        return await do(run, site, action, number)


def _shown(action: PlannerAction) -> dict[str, Any]:
    return {"next_node": action.next_node, "args": action.args, "thought": action.thought}


def _decided(value: Any) -> PlannerAction:
    """A decision from outside."""
    try:
        return action_of(value)
    except (ValueError, AttributeError) as error:
        raise InterceptorFailed(f"what an interceptor gave at after_decision is no decision: {error}") from error


async def _next_action(run: PlannerRun, site: CallSite) -> tuple[PlannerAction, str]:
    """The next action, and where it is from: `queue`, `sequence` or `llm`."""
    if run.queued:
        return run.queued.pop(0), "queue"
    if run.settings.auto_seq_enabled:
        action = _in_sequence(run)
        if action is not None:
            return action, "sequence"
    action = await decide(run, site)
    if run.settings.multi_action_sequential and action.is_tool_call():
        _enqueue(run, action)
    return action, "llm"


def _enqueue(run: PlannerRun, action: PlannerAction) -> None:
    """Keep further actions of the same reply for the next steps."""
    settings = run.settings
    for data in action.alternate_actions or ():
        try:
            other = action_of(data)
        except ValueError:
            continue
        spec = run.specs.get(other.next_node)
        if spec is None or (settings.multi_action_read_only_only and not read_only(spec)):
            continue
        if len(run.queued) < settings.multi_action_max_tools:
            run.queued.append(other)
    if run.queued:
        action.alternate_actions = None
        run.events.emit("multi_action_enqueued", count=len(run.queued))


def _in_sequence(run: PlannerRun) -> PlannerAction | None:
    """The one tool that the last observation fits, if it may be called without asking the model."""
    found = detect_next(run)
    about: dict[str, Any] = {"candidates": found.candidates or []}
    if found.status == "skipped":
        run.events.emit("auto_seq_skipped", reason=found.reason)
        return None
    observation = run.trajectory.steps[-1].observation
    about["payload_fingerprint"] = blake2b(to_json(observation, fallback=str), digest_size=8).hexdigest()
    action = found.selected_action
    if action is None:
        run.events.emit(f"auto_seq_detected_{found.status}", **about)
        return None
    run.events.emit("auto_seq_detected_unique", tool_name=action.next_node, **about)
    spec = run.specs[action.next_node]
    if not (run.settings.auto_seq_execute and spec.extra.get("auto_seq_execute")):
        return None
    run.events.emit("auto_seq_executed", tool_name=action.next_node, **about)
    return action
