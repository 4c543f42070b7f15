"""Payloads of steering events: what they must hold, and how large they may be."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Set
from typing import Any

from pydantic import BaseModel

from penguiflow.state.models import SteeringEvent, SteeringEventType

__all__ = [
    "MAX_STEERING_DEPTH",
    "MAX_STEERING_KEYS",
    "MAX_STEERING_LIST_ITEMS",
    "MAX_STEERING_PAYLOAD_BYTES",
    "MAX_STEERING_STRING",
    "SteeringValidationError",
    "sanitize_payload",
    "sanitize_steering_event",
    "validate_steering_event",
]

MAX_STEERING_PAYLOAD_BYTES = 16384
"""Of the payload as JSON, in UTF-8."""
MAX_STEERING_DEPTH = 6
"""Levels of nesting; the payload is the first."""
MAX_STEERING_KEYS = 64
MAX_STEERING_LIST_ITEMS = 50
MAX_STEERING_STRING = 4096
"""Characters."""

_MARK = "<truncated>"
_LEFT_OUT = "__truncated_keys__"
_SUMMARY_CHARS = 1000
_TEXT_FIELDS = {
    SteeringEventType.INJECT_CONTEXT: ("text",),
    SteeringEventType.REDIRECT: ("instruction", "goal", "query"),
    SteeringEventType.USER_MESSAGE: ("text",),
}
"""By type: the fields of which one must be a text that says something."""
_TOGETHER = {
    SteeringEventType.APPROVE: "APPROVE/REJECT",
    SteeringEventType.REJECT: "APPROVE/REJECT",
    SteeringEventType.PAUSE: "PAUSE/RESUME",
    SteeringEventType.RESUME: "PAUSE/RESUME",
}
_OPTIONAL: dict[str, dict[str, tuple[str, Callable[[Any], bool]]]] = {
    "INJECT_CONTEXT": {
        "scope": ("'foreground' or 'task_only'", lambda value: value in ("foreground", "task_only")),
        "severity": ("'note' or 'correction'", lambda value: value in ("note", "correction")),
    },
    "REDIRECT": {"constraints": ("an object", lambda value: isinstance(value, Mapping))},
    "CANCEL": {
        "reason": ("a string", lambda value: isinstance(value, str)),
        "hard": ("a boolean", lambda value: isinstance(value, bool)),
    },
    "APPROVE/REJECT": {"decision": ("a string", lambda value: isinstance(value, str))},
    "PAUSE/RESUME": {"reason": ("a string", lambda value: isinstance(value, str))},
    "USER_MESSAGE": {"active_tasks": ("a list", lambda value: isinstance(value, list))},
}
"""What fields must be that may be left out, or be null."""


class SteeringValidationError(ValueError):
    """A steering event's payload is not what its type needs; `errors` says why."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("Invalid steering payload")
        self.errors = errors


def sanitize_payload(payload: dict[str, Any]) -> dict[str, Any]:
    """The payload as plain JSON data within the limits; what is cut is marked. Doing it again changes nothing."""
    return _within(payload, MAX_STEERING_PAYLOAD_BYTES)


def sanitize_steering_event(
    event: SteeringEvent, *, max_payload_bytes: int = MAX_STEERING_PAYLOAD_BYTES
) -> SteeringEvent:
    """The event with a payload within the limits: the same object when it was."""
    payload = _within(event.payload, max_payload_bytes)
    return event if _same(payload, event.payload) else event.model_copy(update={"payload": payload})


def validate_steering_event(event: SteeringEvent) -> None:
    """Raise `SteeringValidationError` when the payload lacks what the event's type needs."""
    errors = []
    kind, payload = event.event_type, event.payload
    name = _TOGETHER.get(kind, kind.value)
    fields = _TEXT_FIELDS.get(kind)
    if fields is not None and not any(_says_something(payload.get(field)) for field in fields):
        first, *others = (repr(field) for field in fields)
        errors.append(f"{name} requires non-empty {first}" + (f" (or {'/'.join(others)})" if others else ""))
    if kind is SteeringEventType.PRIORITIZE:
        priority = payload.get("priority")
        if not isinstance(priority, int) or isinstance(priority, bool):
            errors.append("PRIORITIZE requires integer 'priority'")
    decides = kind in (SteeringEventType.APPROVE, SteeringEventType.REJECT)
    if decides and not any(_says_something(payload.get(field)) for field in ("resume_token", "patch_id")):
        errors.append("APPROVE/REJECT requires 'resume_token' or 'patch_id'")
    for field, (wanted, fits) in _OPTIONAL.get(name, {}).items():
        value = payload.get(field)
        if value is not None and not fits(value):
            errors.append(f"{name} {field!r} must be {wanted}")
    if errors:
        raise SteeringValidationError(errors)


def _says_something(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _within(payload: Mapping[str, Any], max_bytes: int) -> dict[str, Any]:
    # No payload that fits has more values than bytes: what has more is not looked at to its end.
    cut = _Cutter(max_bytes).mapping(payload, 1)
    text = json.dumps(cut, ensure_ascii=False)
    if len(text.encode("utf-8", "replace")) <= max_bytes:
        return cut
    summary = text[: min(_SUMMARY_CHARS, max(0, max_bytes // 8 - len(_MARK)))]
    return {"truncated": True, "summary": summary + _MARK}


class _Cutter:
    """Makes plain, bounded data of anything."""

    def __init__(self, max_values: int) -> None:
        self._left = max_values

    def value(self, value: Any, depth: int) -> Any:
        self._left -= 1
        if isinstance(value, BaseModel):
            value = value.model_dump(mode="python")
        if value is None or isinstance(value, bool | int):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else str(value)
        if isinstance(value, str):
            return _text(value)
        if isinstance(value, Mapping):
            return self.mapping(value, depth + 1) if depth < MAX_STEERING_DEPTH else _MARK
        if isinstance(value, list | tuple | Set):
            return self.items(value, depth + 1) if depth < MAX_STEERING_DEPTH else _MARK
        return _text(str(value))

    def mapping(self, value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        known = value.get(_LEFT_OUT)
        left_out = known if isinstance(known, int) else 0
        for key, item in value.items():
            if key == _LEFT_OUT and isinstance(item, int):
                continue
            if len(result) == MAX_STEERING_KEYS or self._left <= 0:
                left_out += len(value) - len(result) - isinstance(known, int)
                break
            result[_text(str(key))] = self.value(item, depth)
        if left_out:
            result[_LEFT_OUT] = left_out
        return result

    def items(self, value: list[Any] | tuple[Any, ...] | Set[Any], depth: int) -> list[Any]:
        result: list[Any] = []
        for item in value:
            if len(result) == MAX_STEERING_LIST_ITEMS or self._left <= 0:
                result.append(_MARK)
                break
            result.append(self.value(item, depth))
        return result


def _text(text: str) -> str:
    # Lone surrogates cannot be sent or stored.
    text = text[: MAX_STEERING_STRING + 1].encode("utf-8", "replace").decode()
    return text if len(text) <= MAX_STEERING_STRING else text[: MAX_STEERING_STRING - len(_MARK)] + _MARK


def _same(one: Any, other: Any) -> bool:
    """Whether they are equal down to their types: `True` is not `1` here, nor a tuple a list."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)
