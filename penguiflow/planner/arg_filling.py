"""Models are asked about arguments: for values that are missing, and for words when a call is given up."""

from __future__ import annotations

import re
from time import perf_counter
from typing import TYPE_CHECKING, Any

from penguiflow.llm.errors import LLMError
from penguiflow.llm.types import LLMMessage, LLMRequest, StructuredOutputSpec
from penguiflow.planner.extraction import read_reply
from penguiflow.planner.model_calls import ask_model
from penguiflow.planner.prompts.messages import build_user_prompt
from penguiflow.planner.prompts.texts import (
    render_arg_fill_prompt,
    render_graceful_failure_prompt,
    render_observation,
)
from penguiflow.planner.replies import text_of_reply

if TYPE_CHECKING:
    from penguiflow.callsite import CallSite
    from penguiflow.catalog import NodeSpec
    from penguiflow.planner.actions import PlannerAction
    from penguiflow.planner.run import PlannerRun

__all__ = ["fill_request", "give_up", "values_of"]

_SHOWN_CHARS = 4000  # of the last observation
_QUOTED = re.compile(r'"[^"\n]+"')
_BARE = re.compile(r"[^\s{}]+(?: [^\s{}]+){0,4}(?<![.!?:,;])")
"""A value without quotes: a few words that are no sentence."""


def fill_request(run: PlannerRun, action: PlannerAction, spec: NodeSpec, missing: list[str]) -> LLMRequest:
    """The request for the values of a few fields."""
    schema = spec.args_model.model_json_schema()
    wanted = {name: schema["properties"][name] for name in missing if name in schema.get("properties", {})}
    form: dict[str, Any] = {"type": "object", "properties": wanted, "required": missing, "additionalProperties": False}
    if "$defs" in schema:
        form["$defs"] = schema["$defs"]
    about = {name: str(each.get("description", "")) for name, each in wanted.items()}
    trajectory = run.trajectory
    messages = [
        LLMMessage.of("system", render_arg_fill_prompt(action.next_node, missing, about)),
        LLMMessage.of("user", build_user_prompt(trajectory.query, trajectory.llm_context)),
    ]
    if trajectory.steps:
        last = trajectory.steps[-1]
        text = render_observation(observation=last.serialise_for_llm(), error=last.error, failure=last.failure)
        messages.append(LLMMessage.of("user", text[:_SHOWN_CHARS]))
    return LLMRequest(
        model=run.models.main.model,
        messages=tuple(messages),
        structured_output=StructuredOutputSpec("arguments", form, strict=False),
        temperature=run.settings.temperature,
    )


def values_of(text: str, missing: list[str]) -> dict[str, Any]:
    """The values of a reply; a bare text is that of the one field that is asked for."""
    for found in read_reply(text).objects:
        data = found.data.get("args") if isinstance(found.data.get("args"), dict) else found.data
        assert isinstance(data, dict)
        given = {name: data[name] for name in missing if data.get(name) is not None}
        if given:
            return given
    bare = text.strip()
    if len(missing) == 1 and bare and (_QUOTED.fullmatch(bare) or _BARE.fullmatch(bare)):
        return {missing[0]: bare.strip('"')}
    return {}


async def give_up(
    run: PlannerRun, site: CallSite, action: PlannerAction, error: str, missing: list[str]
) -> dict[str, Any]:
    """What the run ends with: words for the user from a model if it has any, and what is known."""
    payload: dict[str, Any] = {
        "requires_followup": True,
        "failure_reason": "consecutive_arg_failures",
        "tool": action.next_node,
        "last_error": error,
        "missing_fields": missing,
    }
    run.events.emit("graceful_failure_attempt", node_name=action.next_node)
    started = perf_counter()
    request = LLMRequest(
        model=run.models.main.model,
        messages=(
            LLMMessage.of("system", render_graceful_failure_prompt()),
            LLMMessage.of("user", build_user_prompt(run.trajectory.query, run.trajectory.llm_context)),
        ),
        temperature=run.settings.temperature,
    )
    try:
        response = await ask_model(run, site, request, purpose="graceful_failure")
    except LLMError:
        return payload
    answer = text_of_reply(response.message.text)
    if answer:
        latency_ms = (perf_counter() - started) * 1e3
        run.events.emit("graceful_failure_success", latency_ms=latency_ms, answer_len=len(answer))
        payload["raw_answer"] = answer
    return payload
