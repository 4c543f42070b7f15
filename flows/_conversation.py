"""What a scripted model reads out of a request: the question, what was remembered, what was done and what came of it.

It reads what any model is told, in either form: decisions as JSON in texts, or tool calls and their results.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from penguiflow.llm.types import LLMMessage, LLMRequest, ToolResultPart

_MEMORY = re.compile(r"<conversation_memory>\n(.*)\n</conversation_memory>", re.DOTALL)
_RESUMED = "Resume input: "


@dataclass(frozen=True, slots=True)
class Call:
    """One tool that was called, alone or in a plan."""

    tool: str
    args: Mapping[str, Any]
    observation: Any = None
    error: str | None = None


@dataclass(slots=True)
class Conversation:
    """A request of a planner, taken apart."""

    query: str = ""
    context: Mapping[str, Any] = field(default_factory=dict)
    """What the program said with the question: `llm_context`."""
    summary: str = ""
    """Of earlier turns, as the memory has it."""
    turns: list[tuple[str, str]] = field(default_factory=list)
    """Earlier turns that are remembered in full: question and answer."""
    calls: list[Call] = field(default_factory=list)
    """Everything that was called, in order; the join of a plan after its branches."""
    planned: bool = False
    """Whether several tools were called at once."""
    decisions: int = 0
    resumed: str | None = None
    """What somebody said when the run went on after a pause."""

    def of(self, *tools: str) -> list[Call]:
        """The calls of these tools that gave something."""
        return [call for call in self.calls if call.tool in tools and call.error is None]

    def given(self, *tools: str) -> list[Mapping[str, Any]]:
        """What these tools gave, as far as it is an object: somebody may have put anything in its place."""
        return [call.observation for call in self.of(*tools) if isinstance(call.observation, Mapping)]

    def failed(self, *tools: str) -> list[Call]:
        """The calls of these tools that failed."""
        return [call for call in self.calls if call.tool in tools and call.error is not None]


def objects_in(data: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """The objects of a list; none where there is no such list."""
    found = data.get(key)
    return [each for each in found if isinstance(each, Mapping)] if isinstance(found, list) else []


def texts_in(data: Mapping[str, Any], key: str) -> list[str]:
    """The texts of a list; none where there is no such list."""
    found = data.get(key)
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []


def is_decision(request: LLMRequest) -> bool:
    """Whether a planner asks what to do next; else it asks for something smaller."""
    return any(message.role == "system" and "<available_tools>" in message.text for message in request.messages)


def read_conversation(request: LLMRequest) -> Conversation:
    """Take a request apart. What is in no known form is passed over."""
    found = Conversation()
    messages = list(request.messages)
    asked = next((place for place, message in enumerate(messages) if message.role == "user"), len(messages))
    for message in messages[:asked]:
        _remember(found, message.text)
    if asked < len(messages):
        told = _json(messages[asked].text)
        found.query = str(told.get("query", messages[asked].text))
        context = told.get("context")
        found.context = context if isinstance(context, Mapping) else {}
    _read_steps(found, messages[asked + 1 :])
    return found


def _remember(found: Conversation, text: str) -> None:
    match = _MEMORY.search(text)
    told = _json(match.group(1)) if match else {}
    found.summary = str(told.get("summary") or found.summary)
    for turn in [*objects_in(told, "pending_turns"), *objects_in(told, "recent_turns")]:
        found.turns.append((str(turn.get("user") or ""), str(turn.get("assistant") or "")))


def _read_steps(found: Conversation, messages: Sequence[LLMMessage]) -> None:
    for place, message in enumerate(messages):
        if message.role == "user" and message.text.startswith(_RESUMED):
            found.resumed = message.text.removeprefix(_RESUMED)
        if message.role != "assistant":
            continue
        found.decisions += 1
        came = messages[place + 1] if place + 1 < len(messages) else None
        if message.tool_calls:
            calls = list(_native(message, came))
        else:
            calls = list(_prompted(_json(message.text), _json(came.text if came is not None else "")))
        found.planned = found.planned or len(calls) > 1
        found.calls.extend(calls)


def _native(message: LLMMessage, came: LLMMessage | None) -> Iterator[Call]:
    parts = came.parts if came is not None else ()
    results = {part.call_id: part.result_json for part in parts if isinstance(part, ToolResultPart)}
    for call in message.tool_calls:
        yield _call(call.name, _json(call.arguments_json), _json(results.get(call.call_id, "")))


def _prompted(action: Mapping[str, Any], came: Mapping[str, Any]) -> Iterator[Call]:
    name, args = str(action.get("next_node", "")), _mapping(action.get("args"))
    observation = came.get("observation")
    if name != "parallel":
        yield _call(name, args, came)
    elif isinstance(observation, Mapping):
        for branch in objects_in(observation, "branches"):
            yield _call(str(branch.get("node", "")), _mapping(branch.get("args")), branch)
        join = observation.get("join")
        if isinstance(join, Mapping) and join.get("observation") is not None:
            yield _call(str(join.get("node", "")), _mapping(join.get("args")), join)


def _call(tool: str, args: Mapping[str, Any], came: Mapping[str, Any]) -> Call:
    error = came.get("error")
    return Call(tool, args, came.get("observation"), None if error is None else str(error))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _json(text: str | None) -> dict[str, Any]:
    try:
        data = json.loads(text or "")
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}
