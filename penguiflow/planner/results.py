"""How a run ends: its result, with everything that is told of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic_core import to_jsonable_python

from penguiflow.planner.outcomes import FinishReason, PlannerFinish

if TYPE_CHECKING:
    from penguiflow.planner.run import PlannerRun

__all__ = ["COUNTERS", "finished", "last_observation"]

COUNTERS = (
    "validation_failures_count",
    "repair_attempts",
    "salvage_used",
    "args_invalid_count",
    "args_suspect_count",
    "consecutive_arg_failures",
    "autofill_rejection_count",
    "arg_fill_success_count",
    "arg_fill_failure_count",
    "finish_repair_success_count",
    "finish_repair_failure_count",
)
"""What `finish.metadata` counts, also where it is 0."""
_OF_THIS_TIME = frozenset({"span_id", "started", "latency_ms"})
"""Of a step; left out of the result, so that a replay gives the same."""


def last_observation(run: PlannerRun) -> Any:
    """The payload of a run that ends without an answer: what the model was shown last."""
    for step in reversed(run.trajectory.steps):
        if step.error is None and step.observation is not None:
            return to_jsonable_python(step.serialise_for_llm(), fallback=str)
    return None


async def finished(
    run: PlannerRun, reason: FinishReason, payload: Any, *, thought: str = "", error: str | None = None
) -> PlannerFinish:
    """The result of a run, which is told of."""
    budgets, trajectory = run.budgets, run.trajectory
    if budgets.deadline_at is None:
        constraints = budgets.snapshot()
    else:
        # It tells how much time was left: that is asked of the clock.
        constraints = await run.site.call("record", "planner.constraints", [], budgets.snapshot)
    cost = budgets.cost_snapshot()
    metadata: dict[str, Any] = {
        "reason": reason,
        "thought": thought,
        "steps": [_step(step.dump()) for step in trajectory.steps],
        "step_count": len(trajectory.steps),
        "artifacts": to_jsonable_python(trajectory.artifacts, fallback=str),
        "sources": to_jsonable_python(trajectory.sources, fallback=str),
        "llm_context": to_jsonable_python(trajectory.llm_context, fallback=str),
        "tool_context": dict(run.request.tool_context or {}),
        "cost": cost,
        "constraints": constraints,
        **{name: run.counters.get(name, 0) for name in COUNTERS},
        **{name: count for name, count in run.counters.items() if name not in COUNTERS},
    }
    if error is not None:
        metadata["error"] = error
    if trajectory.metadata:
        metadata["trajectory_metadata"] = to_jsonable_python(trajectory.metadata, fallback=str)
        if "reflection" in trajectory.metadata:
            metadata["reflection"] = metadata["trajectory_metadata"]["reflection"]
        if "confidence" in trajectory.metadata:
            metadata["confidence"] = trajectory.metadata["confidence"]
    if reason == "answer_complete":
        metadata["answer_action_seq"] = run.action_seq
    run.events.emit("finish", thought=thought, error=error, reason=reason, cost=cost, answer_action_seq=run.action_seq)
    return PlannerFinish(reason=reason, payload=payload, metadata=metadata)


def _step(dump: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in dump.items() if key not in _OF_THIS_TIME}
