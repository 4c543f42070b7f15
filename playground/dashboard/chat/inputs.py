"""From what somebody types to the input of a flow, and from what comes out to a text."""

from __future__ import annotations

import json
from collections.abc import Iterable
from copy import deepcopy
from typing import Any, NamedTuple

TEXT_NAMES = ("query", "message", "text", "prompt", "question", "input", "user_message", "content", "utterance")
"""Names of the field that takes what a person says, the likeliest first."""
REPLY_NAMES = (
    "raw_answer", "answer", "reply", "response", "text", "message", "content", "output", "summary", "result",
)  # fmt: skip
"""Names of the field that has the answer, the likeliest first."""
SESSION_NAMES = ("session_id", "session", "conversation_id", "thread_id")
MAX_DEPTH = 6


class Pause(NamedTuple):
    """A run that is over with a question for its result."""

    prompt: str
    token: str
    schema: dict[str, Any] | None


def text_field(schema: dict[str, Any] | None) -> str | None:
    """The field that takes a text: its name, or an empty one when the whole input is a text; None: there is none."""
    if schema is None or schema.get("type") == "string":
        return ""
    fields = _fields(schema)
    texts = [name for name, about in fields.items() if _takes(about, "string")]
    named = next((name for name in TEXT_NAMES if name in texts), None)
    if named is not None:
        return named
    needed = [name for name in schema.get("required", ()) if name in texts]
    return needed[0] if len(needed) == 1 else texts[0] if len(texts) == 1 else None


def chat_input(schema: dict[str, Any] | None, text: str, session: str, bases: Iterable[Any] = ()) -> Any:
    """What a flow takes for what was typed; the first of `bases` that fits gives the other fields.

    Raises `ValueError` when the input has no place for a text.
    """
    field = text_field(schema)
    if field is None:
        raise ValueError("this flow's input has no field for a text: use its form (Enter on it)")
    if not field or schema is None:
        return text
    fields = _fields(schema)
    base = next((base for base in bases if isinstance(base, dict) and field in base), {})
    value = {name: deepcopy(given) for name, given in base.items() if name in fields}
    value[field] = text
    for name in SESSION_NAMES:
        if name in fields and _takes(fields[name], "string"):
            value[name] = session
    if "tool_context" in fields:
        context = value.get("tool_context")
        value["tool_context"] = {**(context if isinstance(context, dict) else {}), "session_id": session}
    return value


def resume_input(pause: Pause, text: str) -> Any:
    """What a planner takes to go on with a paused run."""
    return {"resume": {"pause": pause.token, "answer": answer_value(pause.schema, text)}}


def answer_value(schema: dict[str, Any] | None, text: str) -> Any:
    """An answer as its schema wants it: text as text, everything else as JSON where it can be read as such."""
    if schema is None or _takes(schema, "string"):
        return text
    lowered = text.strip().lower()
    if _takes(schema, "boolean") and lowered in {"y", "yes", "n", "no"}:
        return lowered in {"y", "yes"}
    try:
        return json.loads(text)
    except ValueError:
        return text


def answer_hint(schema: dict[str, Any] | None) -> str:
    """What an answer may be, in a few words; empty for any text."""
    if schema is None:
        return ""
    values = schema.get("enum")
    if isinstance(values, list):
        return " or ".join(map(str, values))
    if _takes(schema, "boolean"):
        return "yes or no"
    if _takes(schema, "string"):
        return ""
    fields = ", ".join(_fields(schema))
    kind = str(schema.get("type") or "JSON")
    return f"{kind}: {fields}" if fields else kind


def reply_text(output: Any) -> str:
    """The answer in what a run gave out; all of it as JSON when nothing in it looks like an answer."""
    if output is None:
        return ""
    found = _text_in(output, MAX_DEPTH)
    return found if found is not None else json.dumps(output, indent=2, ensure_ascii=False)


def user_text(value: Any) -> str:
    """What somebody said, from the input of a run."""
    if isinstance(value, dict):
        resumed = value.get("resume")
        if isinstance(resumed, dict):
            answer = resumed.get("answer")
            answer = resumed.get("user_input") if answer is None else answer
            return answer if isinstance(answer, str) else json.dumps(answer)
        for name in TEXT_NAMES:
            if isinstance(value.get(name), str):
                return str(value[name])
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def pause_of(output: Any) -> Pause | None:
    """The question that a run ended with."""
    if not isinstance(output, dict) or not isinstance(output.get("resume_token"), str):
        return None
    about = output.get("payload")
    about = about if isinstance(about, dict) else {}
    prompt = next((about[name] for name in ("prompt", "question", "message") if isinstance(about.get(name), str)), None)
    schema = about.get("schema")
    text = prompt if prompt is not None else json.dumps(about, ensure_ascii=False) if about else str(output["reason"])
    return Pause(text, output["resume_token"], schema if isinstance(schema, dict) else None)


def _text_in(value: Any, depth: int) -> str | None:
    if isinstance(value, str):
        return value
    if not isinstance(value, dict) or depth == 0:
        return None
    for name in REPLY_NAMES:
        if name in value and (found := _text_in(value[name], depth - 1)) is not None:
            return found
    payload = value.get("payload")
    return _text_in(payload, depth - 1) if isinstance(payload, dict) else None


def _fields(schema: dict[str, Any]) -> dict[str, Any]:
    fields = schema.get("properties")
    return fields if isinstance(fields, dict) else {}


def _takes(about: Any, kind: str) -> bool:
    if not isinstance(about, dict):
        return False
    if about.get("type") == kind:
        return True
    return any(_takes(each, kind) for each in about.get("anyOf", ()) if isinstance(about.get("anyOf"), list))
