"""The simplest reading of replies: one JSON object, no repairs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from penguiflow.llm.types import LLMMessage, LLMRequest
from penguiflow.planner.actions import FINAL_RESPONSE, PlannerAction
from penguiflow.planner.legacy import action_of
from penguiflow.planner.model_calls import ask_model
from penguiflow.planner.outcomes import FinalPayload

if TYPE_CHECKING:
    from penguiflow.callsite import CallSite
    from penguiflow.catalog import NodeSpec
    from penguiflow.planner.run import PlannerRun


@dataclass(frozen=True, slots=True)
class ArgsRefused:
    """Arguments that a tool is not called with."""

    error: str
    finish: Any = None
    """The payload of the run that ends for it; None: the model decides again."""


async def decide(run: PlannerRun, site: CallSite) -> PlannerAction:
    trajectory = run.trajectory
    asked = {"query": trajectory.query, "context": dict(trajectory.llm_context or {})}
    messages = [
        LLMMessage.of("system", "Answer with JSON: {next_node, args}. Tools: " + ", ".join(run.specs)),
        LLMMessage.of("user", json.dumps(asked)),
    ]
    for step in trajectory.steps:
        action = {"next_node": step.action.next_node, "args": step.action.args}
        messages.append(LLMMessage.of("assistant", json.dumps(action)))
        told = {"error": step.error} if step.error else {"observation": step.serialise_for_llm()}
        messages.append(LLMMessage.of("user", json.dumps(told)))
    messages += [LLMMessage.of("user", note) for note in (*run.notes, *trajectory.steering_inputs)]
    run.notes.clear()
    request = LLMRequest(run.models.main.model, tuple(messages), temperature=run.settings.temperature)
    response = await ask_model(run, site, request, purpose="decision")
    text = response.message.text
    try:
        return action_of(json.loads(text))
    except ValueError:
        return PlannerAction(next_node=FINAL_RESPONSE, args={"answer": text})


async def prepare_args(
    run: PlannerRun, site: CallSite, action: PlannerAction, spec: NodeSpec
) -> BaseModel | ArgsRefused:
    try:
        return spec.args_model.model_validate(action.args)
    except ValidationError as error:
        return ArgsRefused(str(error))


async def finish(run: PlannerRun, site: CallSite, action: PlannerAction) -> FinalPayload:
    return FinalPayload(raw_answer=action.get_answer() or "")


async def reflect(run: PlannerRun, site: CallSite, payload: FinalPayload) -> FinalPayload:
    return payload
