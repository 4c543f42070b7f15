"""A model's reply becomes an action: today's form, earlier ones, and those of other frameworks."""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from typing import Any

from pydantic_core import from_json

from penguiflow.planner.actions import FINAL_RESPONSE, PARALLEL, SPECIAL_NODE_TYPES, PlannerAction
from penguiflow.planner.extraction import Found, Reading, read_reply
from penguiflow.planner.legacy import action_of, dump_action_legacy

__all__ = [
    "MAX_ALTERNATES",
    "ReadAction",
    "dump_action_legacy",
    "normalize_action",
    "normalize_action_with_debug",
    "read_action",
    "try_normalize_action",
]

MAX_ALTERNATES = 5
_PREVIEW_CHARS = 200
_SHAPE = ("thought", "next_node", "args", "plan", "join")
_ANSWERS = ("raw_answer", "answer")
_TOOL_KEYS = ("tool", "tool_name", "name", "function", "action")
_ARGS_KEYS = ("args", "arguments", "tool_input", "action_input", "tool_args", "parameters", "params", "input")
_ENDINGS = frozenset({"final_answer", "finalanswer", "finish", "final", "answer", "respond", "end", "none", "null"})
"""Words for `final_response`, unless a tool has this name."""


class ReadAction:
    """What a reply came to: an action, or what is wrong with it."""

    __slots__ = ("action", "how", "problem", "reading", "source")

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.action: PlannerAction | None = None
        self.how = "whole"
        """As `Found.how`: `partial` for an action that the reply ends in the middle of."""
        self.source = -1
        """Which of the objects it is."""
        self.problem = "the reply holds no JSON object" if reading.text.strip() else "the reply is empty"


def read_action(raw: str, known: Container[str] = ()) -> ReadAction:
    """Find the best action of a reply; the other ones of it become its `alternate_actions`, five at most.

    Args:
        raw: The reply.
        known: Names of tools: an action that calls one of them is the better one.
    """
    reading = read_reply(raw)
    result = ReadAction(reading)
    actions: list[tuple[int, int, PlannerAction]] = []
    for place, found in enumerate(reading.objects):
        try:
            action = _action_of(found.data, known)
        except ValueError as error:
            if not actions:
                result.problem = str(error)
            continue
        actions.append((_score(found, action, known), place, action))
    if not actions:
        return result
    _, best, action = max(actions, key=lambda each: (each[0], -each[1]))
    result.action, result.source, result.how = action, best, reading.objects[best].how
    if result.how == "closed" and not action.args:
        result.how = "partial"  # the arguments were still to come
    action.raw_llm_response = raw
    others = [_plain(each) for _, place, each in actions if place != best and reading.objects[place].how != "partial"]
    action.alternate_actions = others[:MAX_ALTERNATES] or None
    return result


def normalize_action(raw: str | Mapping[str, Any]) -> PlannerAction:
    """The action of a reply, or of a mapping.

    Raises:
        ValueError: when there is none; the text says why. So it is for a call of a tool that the reply ends in the
            middle of: an answer that is cut off is still an answer, half a call is none.
    """
    return normalize_action_with_debug(raw)[0]


def try_normalize_action(raw: str) -> PlannerAction | None:
    """The action of a reply, or None."""
    try:
        return normalize_action(raw)
    except ValueError:
        return None


def normalize_action_with_debug(raw: str | Mapping[str, Any]) -> tuple[PlannerAction, dict[str, Any] | None]:
    """The action, and how it was found in the reply; None for a mapping, in which nothing is searched.

    Raises:
        ValueError: as `normalize_action`.
    """
    if not isinstance(raw, str):
        return _action_of(raw, ()), None
    result = read_action(raw)
    if result.action is None or (result.how == "partial" and not result.action.is_terminal()):
        raise ValueError(f"no action: {'the reply is cut off' if result.action else result.problem}")
    return result.action, parse_debug(result)


def parse_debug(result: ReadAction) -> dict[str, Any]:
    """What `llm_parse_extras` tells of a reply: what stood in it besides its action."""
    reading, action = result.reading, result.action
    others = list(action.alternate_actions or ()) if action is not None else []
    return {
        "selected_source": result.how,
        "selected_index": result.source,
        "candidate_count": len(reading.objects),
        "other_json_count": max(0, len(reading.objects) - 1),
        "other_actions": others,
        "ignored_text_len": reading.ignored_chars,
        "reply_preview": reading.text.strip()[:_PREVIEW_CHARS],
    }


def _plain(action: PlannerAction) -> dict[str, Any]:
    data: dict[str, Any] = {"next_node": action.next_node, "args": action.args}
    if action.thought:
        data["thought"] = action.thought
    return data


def _score(found: Found, action: PlannerAction, known: Container[str]) -> int:
    score = 0 if found.how == "partial" else 8
    if action.next_node in SPECIAL_NODE_TYPES or action.next_node in known:
        score += 4
    if isinstance(found.data.get("next_node"), str):
        score += 2
    return score + ("args" in found.data)


def _action_of(data: Mapping[str, Any], known: Container[str]) -> PlannerAction:
    """Raises `ValueError` for what is no action."""
    data = dict(_canonical(data, known))
    next_node, args = data.get("next_node"), data.get("args")
    if isinstance(next_node, str) and next_node.strip() not in SPECIAL_NODE_TYPES and next_node not in known:
        name = next_node.strip().lower().replace(" ", "_")
        if name == PARALLEL:
            data["next_node"] = PARALLEL
        elif name == FINAL_RESPONSE or name in _ENDINGS:
            data["next_node"] = FINAL_RESPONSE
    if isinstance(args, Mapping) and isinstance(args.get("steps"), list):
        data["args"] = {**args, "steps": [_step(each) for each in args["steps"]]}
    return action_of(data)


def _canonical(data: Mapping[str, Any], known: Container[str]) -> Mapping[str, Any]:
    """The mapping with `next_node` and `args` under these names, as far as it says the same under others."""
    nested = data.get("action")
    if isinstance(nested, Mapping) and "next_node" not in data:
        return _canonical({"thought": data.get("thought"), **nested}, known)
    calls = data.get("tool_calls")
    if "next_node" not in data and isinstance(calls, list) and calls and all(isinstance(each, dict) for each in calls):
        steps = [_foreign(each, known) for each in calls]
        if len(steps) == 1:
            return steps[0]
        return {"next_node": PARALLEL, "args": {"steps": [{"node": s["next_node"], "args": s["args"]} for s in steps]}}
    if "next_node" not in data and not any(key in data for key in ("plan", *_ANSWERS)):
        return _foreign(data, known)
    next_node = data.get("next_node")
    if isinstance(next_node, list) and len(next_node) == 1:
        data = {**data, "next_node": next_node[0]}
    if isinstance(next_node, str) and not next_node.strip():
        data = {**data, "next_node": None}
    if data.get("args") is None and isinstance(next_node, str) and next_node not in (PARALLEL, "plan"):
        others = {key: value for key, value in data.items() if key not in _SHAPE}
        named = next((key for key in _ARGS_KEYS if isinstance(others.get(key), Mapping)), None)
        data = {**data, "args": others[named] if named is not None else others}
    elif data.get("args") is None and next_node in (PARALLEL, "plan") and isinstance(data.get("steps"), list):
        data = {**data, "args": {"steps": data["steps"], "join": data.get("join")}}
    args = _unquoted(data.get("args"))
    if isinstance(args, list) and len(args) == 1 and isinstance(args[0], Mapping):
        args = args[0]
    return {**data, "args": args} if "args" in data else data


def _step(step: Any) -> Any:
    return {**step, "args": _unquoted(step["args"])} if isinstance(step, Mapping) and "args" in step else step


def _foreign(data: Mapping[str, Any], known: Container[str]) -> Mapping[str, Any]:
    """`{"name": …, "arguments": …}` and its kin; both must be there, or any object would be a call."""
    inner = data.get("function")
    if isinstance(inner, Mapping):
        return _foreign(inner, known)
    name = next((data[key] for key in _TOOL_KEYS if isinstance(data.get(key), str)), None)
    key = next((key for key in _ARGS_KEYS if key in data), None)
    if not name or key is None:
        raise ValueError("'next_node' is missing")
    thought = data.get("thought")
    return {"thought": thought, "next_node": name, "args": _unquoted(data[key]) or {}}


def _unquoted(args: Any) -> Any:
    """Arguments that were given as a text of JSON."""
    if not isinstance(args, str) or not args.lstrip().startswith("{"):
        return args
    try:
        value = from_json(args, allow_inf_nan=False)
    except ValueError:
        try:
            value = json.loads(args, strict=False)
        except (ValueError, RecursionError):
            return args
    return value if isinstance(value, dict) else args
