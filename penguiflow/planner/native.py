"""Tools as a provider's own function calling has them, and what such a reply says."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from penguiflow.llm.types import CompletionResponse, ToolCallPart, ToolSpec
from penguiflow.planner.actions import FINAL_RESPONSE, PARALLEL, PlannerAction
from penguiflow.planner.extraction import read_reply
from penguiflow.planner.kept import kept_for
from penguiflow.planner.legacy import action_of

if TYPE_CHECKING:
    from penguiflow.catalog import NodeSpec
    from penguiflow.llm.providers.base import Provider
    from penguiflow.planner.run import PlannerRun

__all__ = [
    "FINISH_TOOL_NAME",
    "build_native_tools",
    "mode_of",
    "read_native",
    "resolve_native_eligibility",
    "wire_name",
    "wire_names",
]

FINISH_TOOL_NAME = "final_response"
_MODE = "tool_call_mode"
_MAX_NAME = 128
_UNSAFE = re.compile(r"[^a-zA-Z0-9_-]")


def resolve_native_eligibility(provider: Provider) -> str | None:
    """Why a model cannot be given tools; None when it can."""
    profile = provider.profile
    if not profile.supports_tools:
        return f"{provider.model} takes no tools"
    if not profile.supports_native_tool_calls:
        return f"{provider.model} has no native tool calls"
    return None


def mode_of(run: PlannerRun) -> str:
    """`native` or `prompted`. A run that cannot be native is told of once (`tool_call_mode_downgraded`)."""
    if run.settings.tool_call_mode != "native":
        return "prompted"
    mode: str | None = run.trajectory.metadata.get(_MODE)
    if mode is None:
        reason = resolve_native_eligibility(run.models.main)
        if reason is None:
            return "native"
        mode = run.trajectory.metadata[_MODE] = "prompted"
        about: dict[str, Any] = {"from": "native", "to": "prompted", "reason": reason}
        run.events.emit("tool_call_mode_downgraded", **about)
    return mode


def wire_name(name: str) -> str:
    """The name as every provider takes it."""
    return _UNSAFE.sub("_", name)[:_MAX_NAME] or "_"


def wire_names(specs: Mapping[str, NodeSpec]) -> dict[str, str]:
    """The name on the wire of each tool; no two have the same, and none is that of the answer."""
    names: dict[str, str] = {}
    taken = {FINISH_TOOL_NAME}
    for name in specs:
        safe = wire_name(name)
        unique, number = safe, 2
        while unique in taken:
            suffix = f"_{number}"
            unique, number = safe[: _MAX_NAME - len(suffix)] + suffix, number + 1
        names[name] = unique
        taken.add(unique)
    return names


def build_native_tools(run: PlannerRun) -> tuple[list[ToolSpec], dict[str, str]]:
    """The tools of a run as a provider takes them, and the real name of each name on the wire.

    With a `final_response_model` there is one more, by which the answer is given.
    """

    def make() -> tuple[list[ToolSpec], dict[str, str]]:
        names = wire_names(run.specs)
        tools = [ToolSpec(names[name], _described(spec), _schema(spec)) for name, spec in run.specs.items()]
        form = run.settings.final_response_model
        if form is not None:
            tools.append(ToolSpec(FINISH_TOOL_NAME, "Give the answer. Ends the work.", _answer_schema(form)))
        return tools, {wire: name for name, wire in names.items()}

    return kept_for(run.settings, run.specs, "tools", make)


def read_native(response: CompletionResponse, real_names: Mapping[str, str]) -> tuple[PlannerAction | None, str]:
    """The action of a reply, and the problem of one that cannot be read.

    No call is an answer; one is the call of a tool; several are a parallel plan without a join.
    """
    text = response.message.text
    calls = response.message.tool_calls
    if not calls:
        return PlannerAction(next_node=FINAL_RESPONSE, args={"answer": text}, raw_llm_response=text), ""
    made: list[tuple[str, dict[str, Any]]] = []
    for call in calls:
        args = _arguments(call)
        if args is None:
            return None, f"the arguments of {call.name!r} are no JSON object"
        made.append((real_names.get(call.name, call.name), args))
    ending = next((args for name, args in made if name == FINISH_TOOL_NAME), None)
    if ending is not None:
        if len(made) > 1:
            return None, f"{FINISH_TOOL_NAME} was called together with other tools; call it alone, when they are done"
        args = {**ending} if "answer" in ending or not text.strip() else {**ending, "answer": text}
        return PlannerAction(next_node=FINAL_RESPONSE, args=args, raw_llm_response=_raw(text, calls)), ""
    if len(made) == 1:
        [(name, args)] = made
        if name == PARALLEL:
            return _read_plan(args, text, calls)
        return PlannerAction(next_node=name, args=args, thought=text, raw_llm_response=_raw(text, calls)), ""
    steps = [{"node": name, "args": args} for name, args in made]
    plan = PlannerAction(next_node=PARALLEL, args={"steps": steps}, thought=text, raw_llm_response=_raw(text, calls))
    return plan, ""


def _read_plan(args: Mapping[str, Any], text: str, calls: Sequence[ToolCallPart]) -> tuple[PlannerAction | None, str]:
    """The plan of a model that calls `parallel` as if it were a tool; it may be of any form."""
    try:
        plan = action_of({"next_node": PARALLEL, "args": args, "thought": text})
    except ValueError as error:
        return None, str(error)
    return plan.model_copy(update={"raw_llm_response": _raw(text, calls)}), ""


def _arguments(call: ToolCallPart) -> dict[str, Any] | None:
    if not call.arguments_json.strip():
        return {}
    found = read_reply(call.arguments_json).objects
    return found[0].data if len(found) == 1 and found[0].how != "partial" else None


def _raw(text: str, calls: Sequence[ToolCallPart]) -> str:
    return "\n".join([*([text] if text else []), *(f"{call.name}({call.arguments_json})" for call in calls)])


def _described(spec: NodeSpec) -> str:
    text = spec.desc
    if spec.side_effects != "pure":
        text += f"\nSide effects: {spec.side_effects}."
    return f"{text}\n{spec.safety_notes}" if spec.safety_notes else text


def _schema(spec: NodeSpec) -> dict[str, Any]:
    return spec.args_model.model_json_schema()


def _answer_schema(form: Any) -> dict[str, Any]:
    """Of `{structured, answer?}`; definitions stay at the top, where references look for them."""
    schema = form.model_json_schema()
    definitions = schema.pop("$defs", None)
    made: dict[str, Any] = {
        "type": "object",
        "properties": {
            "structured": schema,
            "answer": {"type": "string", "description": "The answer in words."},
        },
        "required": ["structured"],
        "additionalProperties": False,
    }
    if definitions:
        made["$defs"] = definitions
    return made
