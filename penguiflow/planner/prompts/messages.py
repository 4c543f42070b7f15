"""The messages of a decision: what the model is told of a run, as it stands."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from penguiflow.llm.types import LLMMessage, TextPart, ToolCallPart, ToolResultPart
from penguiflow.planner.kept import kept_for
from penguiflow.planner.native import mode_of, wire_name, wire_names
from penguiflow.planner.prompts.system import build_system_prompt, tool_records
from penguiflow.planner.prompts.texts import (
    as_json,
    merge_prompt_extras,
    render_arg_fill_guidance,
    render_finish_guidance,
    render_multi_action_guidance,
    render_observation,
    render_read_only_conversation_memory,
    render_read_only_external_memory,
    render_resume_user_input,
    render_steering_input,
    render_summary,
)

if TYPE_CHECKING:
    from penguiflow.catalog import NodeSpec
    from penguiflow.planner.run import PlannerRun
    from penguiflow.planner.settings import PlannerSettings
    from penguiflow.planner.trajectory import TrajectoryStep

__all__ = ["ToldStep", "build_messages", "build_user_prompt", "render_run", "shortened_messages", "static_prompt"]

_SEPARATE = frozenset({"conversation_memory", "external_memory"})
"""Keys of `llm_context` that have messages of their own."""
_TODAY = "<today>"
_REMINDERS = (
    ("finish_repair_attempts", render_finish_guidance),
    ("arg_fill_attempts", render_arg_fill_guidance),
    ("multi_action_replies", render_multi_action_guidance),
)


class ToldStep:
    """The messages of a step, and what they were made of."""

    __slots__ = ("_parts", "_step", "messages")

    def __init__(self, step: TrajectoryStep, mode: str, messages: Sequence[LLMMessage]) -> None:
        self._step = step
        action = step.action
        self._parts = (mode, action, action.args, step.observation, step.llm_observation, step.error, step.failure)
        self.messages = messages

    def still_of(self, step: TrajectoryStep, mode: str) -> bool:
        """Whether they are the messages of this step, as it stands."""
        if step is not self._step or mode != self._parts[0]:
            return False
        _, action, args, observation, shown, error, failure = self._parts
        return (
            step.action is action
            and action.args is args
            and step.observation is observation
            and step.llm_observation is shown
            and step.error is error
            and step.failure is failure
        )


def build_messages(run: PlannerRun) -> list[LLMMessage]:
    """What the model is told before it decides: the whole run, each step of it."""
    return [*_before(run), *_steps(run, run.trajectory.steps, 0), *_after(run)]


def shortened_messages(run: PlannerRun, summary: Mapping[str, Any]) -> list[LLMMessage]:
    """The same with a summary in the place of all steps but the last one."""
    steps = run.trajectory.steps
    told = LLMMessage.of("system", render_summary(summary))
    return [*_before(run), told, *_steps(run, steps[-1:], max(0, len(steps) - 1)), *_after(run)]


def build_user_prompt(query: str, llm_context: Mapping[str, Any] | None = None) -> str:
    """The query, and what the program says with it, as JSON."""
    context = {key: value for key, value in (llm_context or {}).items() if key not in _SEPARATE}
    return as_json({"query": query, "context": context} if context else {"query": query})


def render_run(run: PlannerRun, most_chars: int = 40_000) -> str:
    """Query, context and steps as one text, for small questions about the run. Of long runs the latest steps."""
    trajectory = run.trajectory
    context = {key: value for key, value in (trajectory.llm_context or {}).items() if key not in _SEPARATE}
    told: dict[str, Any] = {"query": trajectory.query, **({"context": context} if context else {})}
    left = most_chars - len(as_json(told))
    steps: list[Any] = []
    for step in reversed(trajectory.steps):
        seen = {"error": step.error} if step.error is not None else {"observation": step.serialise_for_llm()}
        text = as_json({"next_node": step.action.next_node, "args": step.action.args, **seen})
        left -= len(text)
        if left < 0:
            if not steps:
                steps.append(text[:most_chars])
            break
        steps.append(json.loads(text))
    return as_json({**told, "steps": steps[::-1]})


def static_prompt(settings: PlannerSettings, specs: Mapping[str, NodeSpec], mode: str) -> str:
    """The system prompt with `<today>` in the place of the date. Built once for each planner and set of tools."""

    def make() -> str:
        form = settings.final_response_model
        return build_system_prompt(
            tool_records(specs),
            extra=settings.system_prompt_extra,
            planning_hints=settings.planning_hints,
            current_date=_TODAY,
            tool_examples=settings.tool_examples,
            structured_final_schema=None if form is None else form.model_json_schema(),
            tool_call_mode=mode,
        )

    return kept_for(settings, specs, f"prompt/{mode}", make)


def _before(run: PlannerRun) -> Iterator[LLMMessage]:
    """System prompt, reminders, memories, query."""
    if run.today is None:
        run.today = datetime.fromtimestamp(run.site.now(), UTC).date().isoformat()
    prompt = static_prompt(run.settings, run.specs, mode_of(run))
    if run.told_system is None or run.told_system[0] is not prompt:
        run.told_system = prompt, LLMMessage.of("system", prompt.replace(_TODAY, run.today, 1))
    yield run.told_system[1]
    if run.counters:
        reminders = merge_prompt_extras(*(render(run.counters.get(name, 0)) for name, render in _REMINDERS))
        if reminders is not None:
            yield LLMMessage.of("system", reminders)
    trajectory = run.trajectory
    context = dict(trajectory.llm_context or {})
    if context.get("external_memory"):
        yield LLMMessage.of("system", render_read_only_external_memory(context["external_memory"]))
    remembered = context.get("conversation_memory")
    if run.memory is not None:
        remembered = run.memory.context().get("conversation_memory") or remembered
    if remembered:
        yield LLMMessage.of("system", render_read_only_conversation_memory(remembered))
    background = trajectory.get_unconsumed_background() if trajectory.background_results else {}
    if background:
        context["background_results"] = {key: result.to_payload() for key, result in background.items()}
    text = TextPart(build_user_prompt(trajectory.query, context))
    yield LLMMessage("user", (text, *trajectory.input_parts))


def _after(run: PlannerRun) -> Iterator[LLMMessage]:
    """What came in since the last step, and what is said of the last reply."""
    for text in run.trajectory.steering_inputs:
        yield LLMMessage.of("user", render_steering_input(text))
    if run.trajectory.resume_user_input:
        yield LLMMessage.of("user", render_resume_user_input(run.trajectory.resume_user_input))
    for note in run.notes:
        yield LLMMessage.of("system", note)


def _steps(run: PlannerRun, steps: Sequence[TrajectoryStep], first: int) -> Iterator[LLMMessage]:
    """Each step with what came of it: as JSON, or as calls of tools and their results."""
    mode, told = mode_of(run), run.told
    for place, step in enumerate(steps, first):
        if place < len(told) and told[place].still_of(step, mode):
            yield from told[place].messages
            continue
        messages = _prompted_step(step) if mode != "native" else list(_native_step(step, place, _wire_names(run)))
        del told[place:]
        if place == len(told):
            told.append(ToldStep(step, mode, messages))
        yield from messages


def _wire_names(run: PlannerRun) -> Mapping[str, str]:
    return kept_for(run.settings, run.specs, "wire_names", lambda: wire_names(run.specs))


def _prompted_step(step: TrajectoryStep) -> list[LLMMessage]:
    told = {"args": step.action.args, "next_node": step.action.next_node}
    return [LLMMessage.of("assistant", as_json(told)), LLMMessage.of("user", _came_of(step))]


def _came_of(step: TrajectoryStep) -> str:
    return render_observation(observation=step.serialise_for_llm(), error=step.error, failure=step.failure)


def _native_step(step: TrajectoryStep, place: int, names: Mapping[str, str]) -> Iterator[LLMMessage]:
    action = step.action
    thought = (TextPart(action.thought),) if action.thought else ()
    plan = action.get_plan_steps()
    calls: list[ToolCallPart] = []
    results: list[ToolResultPart] = []
    rest: str | None = None
    if plan is not None:
        branches = step.observation.get("branches") if isinstance(step.observation, Mapping) else None
        for number, call in enumerate(plan):
            branch = branches[number] if isinstance(branches, list) and number < len(branches) else None
            made = _call(call["node"], call["args"], f"call_{place}_{number}", names)
            calls.append(made)
            text, failed = (_came_of(step), True) if branch is None else _of_branch(branch)
            results.append(ToolResultPart(made.name, text, made.call_id, is_error=failed))
        joined = step.observation.get("join") if isinstance(step.observation, Mapping) else None
        rest = None if joined is None else as_json({"join": joined})
    elif action.is_tool_call():
        made = _call(action.next_node, action.args, f"call_{place}", names)
        calls.append(made)
        results.append(ToolResultPart(made.name, _came_of(step), made.call_id, is_error=step.error is not None))
    if not calls:
        said = action.get_answer() or as_json({"args": action.args, "next_node": action.next_node})
        yield LLMMessage.of("assistant", said)
        yield LLMMessage.of("user", _came_of(step))
        return
    yield LLMMessage("assistant", (*thought, *calls))
    yield LLMMessage("tool", tuple(results))
    if rest is not None:
        yield LLMMessage.of("user", rest)


def _call(node: str, args: Mapping[str, Any], call_id: str, names: Mapping[str, str]) -> ToolCallPart:
    return ToolCallPart(names.get(node) or wire_name(node), as_json(args), call_id)


def _of_branch(branch: Mapping[str, Any]) -> tuple[str, bool]:
    told = {key: value for key, value in branch.items() if key not in ("node", "args")}
    return json.dumps(told, ensure_ascii=False, default=str), "error" in told
