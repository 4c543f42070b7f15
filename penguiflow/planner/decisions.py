"""A model is asked what to do next, until its reply can be read. Prompted and native replies become one action."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from penguiflow.llm.types import CompletionResponse, LLMMessage, LLMRequest, StructuredOutputSpec
from penguiflow.planner.actions import FINAL_RESPONSE, PlannerAction
from penguiflow.planner.answer_stream import answer_stream
from penguiflow.planner.migration import ReadAction, parse_debug, read_action
from penguiflow.planner.model_calls import ask_model
from penguiflow.planner.native import build_native_tools, mode_of, read_native
from penguiflow.planner.prompts.messages import build_messages
from penguiflow.planner.prompts.texts import render_repair_message
from penguiflow.planner.recovery import with_recovery
from penguiflow.planner.relaxed_json import string_inside
from penguiflow.planner.summaries import fit

if TYPE_CHECKING:
    from penguiflow.callsite import CallSite
    from penguiflow.planner.run import PlannerRun

__all__ = ["decide", "decision_request", "read_decision"]

ACTION_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "next_node": {"type": "string", "description": "A tool, 'parallel', or 'final_response'."},
        "args": {"type": "object", "description": "Arguments of next_node."},
    },
    "required": ["next_node", "args"],
    "additionalProperties": False,
}
_ANSWER_CHARS = 1000  # of a reply that could not be read and is given as the answer
_ANSWER = re.compile(
    r""""(?:raw_answer|answer)"\s*+:\s*+"((?:[^"\\]++|\\.|"(?!\s*+(?:[}\]]|,\s*+")))*+)""", re.DOTALL
)  # quotes in it need not be escaped: it ends where the object goes on
_NODE = re.compile(r'"next_node"\s*+:\s*+"([^"\\]{1,128})"')
_KEPT_EXTRAS = 10


async def decide(run: PlannerRun, site: CallSite) -> PlannerAction:
    """The next action. A reply that cannot be read is asked for again, `repair_attempts` calls in all; what cannot be
    read then is the answer.

    Raises:
        LimitReached: a limit of the run is reached.
        LLMError: the model failed, and `error_recovery` knows no way out.
        RunAborted: an interceptor decided so.
    """
    seen = _Seen()
    action = await with_recovery(run, site, lambda: _decided(run, site, seen))
    del run.notes[: seen.notes]
    return action


class _Seen:
    """How many of the run's notes stood in a prompt; what was injected meanwhile is for the next one."""

    notes = 0


async def _decided(run: PlannerRun, site: CallSite, seen: _Seen) -> PlannerAction:
    mode = mode_of(run)
    messages = build_messages(run)
    seen.notes = len(run.notes)
    messages = await fit(run, site, messages)
    stream = answer_stream(run, site, mode)
    replies: list[ReadAction | str] = []
    repair: LLMMessage | None = None
    for attempt in range(max(1, run.settings.repair_attempts)):
        messages.extend(LLMMessage.of("system", note) for note in run.notes[seen.notes :])
        seen.notes = len(run.notes)
        request = decision_request(run, mode, messages if repair is None else [*messages, repair])
        response = await ask_model(
            run,
            site,
            request,
            purpose="decision" if repair is None else "repair",
            on_event=stream,
            on_restart=None if stream is None else stream.void,
        )
        action, problem, read = read_decision(run, mode, response)
        _tell_extras(run, read, attempt)
        if action is not None:
            if read is not None and read.how in ("mended", "closed"):
                run.count("salvage_used")
            if stream is not None:
                stream.end(action, response)
            return action
        replies.append(response.message.text if read is None else read)
        run.count("validation_failures_count")
        if attempt + 1 < run.settings.repair_attempts:
            _tell_repair(run, site, attempt + 1, problem, response.message.text)
            repair = LLMMessage.of("system", render_repair_message(problem, response.message.text, tool_call_mode=mode))
        if stream is not None:
            stream.void()
    action = _salvaged(replies)
    run.count("salvage_used")
    if stream is not None:
        stream.end(action)
    return action


def decision_request(run: PlannerRun, mode: str, messages: list[LLMMessage]) -> LLMRequest:
    """The request for a decision: with a schema for the action, or with tools."""
    settings, model = run.settings, run.models.main
    extra: dict[str, Any] = {}
    if settings.use_native_reasoning and settings.reasoning_effort is not None:
        extra["reasoning_effort"] = settings.reasoning_effort
    if settings.use_native_reasoning and settings.reasoning_display is not None:
        extra["reasoning_display"] = settings.reasoning_display
    about: dict[str, Any] = {"temperature": settings.temperature, "extra": extra or None}
    if mode == "native":
        tools = build_native_tools(run)[0]
        if tools:
            about.update(tools=tuple(tools), tool_choice="auto")
    elif settings.json_schema_mode:
        about["structured_output"] = StructuredOutputSpec("planner_action", _action_schema(run), strict=False)
    return LLMRequest(model=model.model, messages=tuple(messages), **about)


def read_decision(
    run: PlannerRun, mode: str, response: CompletionResponse
) -> tuple[PlannerAction | None, str, ReadAction | None]:
    """The action of a reply, or what is wrong with it; and how its text was read, where that was necessary."""
    text, calls = response.message.text, response.message.tool_calls
    if mode == "native":
        action, problem = read_native(response, build_native_tools(run)[1])
        if calls or action is None:
            return action, problem, None
        if not text.strip():
            return None, "the reply is empty", None
        if '"next_node"' not in text:
            return action, "", None
    read = read_action(text, run.specs)
    if mode == "native" and read.action is None:
        return PlannerAction(next_node=FINAL_RESPONSE, args={"answer": text}, raw_llm_response=text), "", read
    cut_off = response.finish_reason == "length"
    if read.action is not None and read.how != "partial" and not (cut_off and read.how == "closed"):
        return read.action, "", read
    problem = read.problem
    if read.action is not None:
        problem = "it ends in the middle of the JSON object"
    if cut_off:
        problem += "; it was cut off at the limit of tokens: reply with less"
    return None, problem, read


def _action_schema(run: PlannerRun) -> dict[str, Any]:
    """The schema of an action. Google's models leave the answer out unless it is demanded."""
    model = run.models.main
    if model.provider_name not in ("google", "gemini") and "gemini" not in model.model.lower():
        return ACTION_SCHEMA
    args: dict[str, Any] = {"properties": {"answer": {"type": "string", "minLength": 1}}, "required": ["answer"]}
    form = run.settings.final_response_model
    if form is not None:
        args["properties"]["structured"] = {"type": "object"}
        args["required"].append("structured")
    ending = {
        "if": {"properties": {"next_node": {"const": FINAL_RESPONSE}}},
        "then": {"properties": {"args": args}},
    }
    return {**ACTION_SCHEMA, "allOf": [ending]}


def _salvaged(replies: list[ReadAction | str]) -> PlannerAction:
    """The answer that is made of replies that could not be read: the last one that says something."""
    for reply in reversed(replies):
        if isinstance(reply, ReadAction) and reply.action is not None and reply.action.get_answer():
            return reply.action
    texts = [reply if isinstance(reply, str) else reply.reading.text for reply in replies]
    text = next((each for each in reversed(texts) if each.strip()), "")
    args: dict[str, Any] = {}
    if text:
        found = _ANSWER.search(text)
        answer = string_inside(found[1]) if found else text.strip()[:_ANSWER_CHARS]
        args = {"answer": answer or text.strip()[:_ANSWER_CHARS]}
    args["warnings"] = ["the reply of the model could not be read as an action"]
    return PlannerAction(next_node=FINAL_RESPONSE, args=args, raw_llm_response=text)


def _tell_repair(run: PlannerRun, site: CallSite, attempt: int, problem: str, text: str) -> None:
    run.count("repair_attempts")
    site.event("planner.repair", "decision", {"purpose": "decision", "attempt": attempt, "problem": problem})
    if not run.events.listening:
        return
    node = _NODE.search(text)
    run.events.emit(
        "planner_repair_attempt",
        attempt=attempt,
        error_type="unreadable_reply",
        error_summary=problem,
        next_node_detected=None if node is None else node[1],
        response_len=len(text),
        had_code_fence="```" in text,
        had_non_json_prefix=not text.lstrip().startswith(("{", "[")),
    )


def _tell_extras(run: PlannerRun, read: ReadAction | None, attempt: int) -> None:
    """What a reply held besides its action."""
    if read is None or read.action is None:
        return
    if read.action.alternate_actions and not run.settings.multi_action_sequential:
        run.count("multi_action_replies")
    if len(read.reading.objects) < 2 and not read.reading.ignored_chars:
        return
    told = {**parse_debug(read), "attempt": attempt}
    run.events.emit("llm_parse_extras", **told)
    kept = run.trajectory.metadata.setdefault("llm_parse_extras", [])
    kept.append(told)
    del kept[:-_KEPT_EXTRAS]
