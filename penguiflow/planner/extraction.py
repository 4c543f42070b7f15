"""The JSON objects that stand in a reply, whatever stands around them. Takes time in proportion to its length."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Literal

from pydantic_core import from_json

from penguiflow.planner.relaxed_json import MAX_DEPTH, Truncated, close, decode_at, repaired, without_surrogates

__all__ = ["Found", "Reading", "read_reply"]

MAX_OBJECTS = 64
"""How many places of a reply are tried; as many again where an action seems to begin."""
MAX_REPAIR_CHARS = 200_000
"""An object that is longer is read as JSON or not at all: mending is slow."""
_MAX_REPAIRS = 8
_MAX_UNWRAPS = 3  # a JSON string that holds a JSON string that holds …

_OBJECT = re.compile(r"""\{(?=\s*+(?:["'\w}\u201c]|//|/\*))""")
_LIKELY = re.compile(r"""\{(?=\s*+["'\u201c]?(?:next_node|thought|action|args|plan|answer|raw_answer|tool)\b)""")
_HUGE = re.compile(r"\d[eE]\+?\d{3}|(?<!\d)\d{300}")
"""Where a number may be too large for a float."""

How = Literal["whole", "inside", "mended", "closed", "partial"]


@dataclass(slots=True)
class Found:
    """One object."""

    data: dict[str, Any]
    how: How
    """`whole`: the reply is nothing else. `mended`: it was no JSON. `closed`: brackets were missing at its end.
    `partial`: the reply ends before it does, and what is read may be a part of a value."""
    start: int = 0
    end: int = 0


@dataclass(slots=True)
class Reading:
    """What was found in a reply, in order."""

    objects: list[Found] = field(default_factory=list)
    text: str = ""
    """The reply as it was read: a JSON string is taken for what it holds."""

    @property
    def ignored_chars(self) -> int:
        """How much of it stands outside of the objects, spaces at its ends not counted."""
        return max(0, len(self.text.strip()) - sum(found.end - found.start for found in self.objects))


def read_reply(text: str) -> Reading:
    """Find the objects of a reply: alone, in a list, in prose, in fences, quoted as strings, cut off at the end."""
    text = without_surrogates(text)
    for _ in range(_MAX_UNWRAPS):
        stripped = text.strip()
        try:
            value = from_json(stripped, allow_inf_nan=False)
        except ValueError:
            break
        if isinstance(value, str):
            text = value
            continue
        objects = value if isinstance(value, list) else [value]
        if stripped.count("{") + stripped.count("[") > MAX_DEPTH:
            objects = [each for each in objects if _shallow(each)]
        if _HUGE.search(stripped):
            objects = _clean(objects)
        found = [Found(each, "whole") for each in objects if isinstance(each, dict)]
        if found:
            found[0].end = len(stripped)
        return Reading(found, text)
    reading = Reading(list(_search(text)), text)
    if not reading.objects:
        unquoted = _unquoted(text)
        if unquoted is not None:
            reading = Reading([Found(each.data, "mended") for each in _search(unquoted)], unquoted)
    return reading


def _search(text: str) -> Iterator[Found]:
    """Objects in order of their place; none inside another one."""
    budget = _Budget()
    position = 0
    while (start := _next_start(text, position, budget)) is not None:
        found = _object_at(text, start, budget)
        if found is None:
            position = start + 1
            continue
        yield found
        position = found.end


class _Budget:
    """What is still tried: it keeps the time for hostile replies in proportion to their length."""

    __slots__ = ("likely", "partials", "repairs", "tries")

    def __init__(self) -> None:
        self.tries = MAX_OBJECTS
        self.likely = MAX_OBJECTS
        self.repairs = _MAX_REPAIRS
        self.partials = 2


def _next_start(text: str, position: int, budget: _Budget) -> int | None:
    if budget.tries > 0:
        budget.tries -= 1
        found = _OBJECT.search(text, position)
    elif budget.likely > 0:
        budget.likely -= 1
        found = _LIKELY.search(text, position)
    else:
        return None
    return None if found is None else found.start()


def _object_at(text: str, start: int, budget: _Budget) -> Found | None:
    how: How = "inside"
    truncated = False
    try:
        value, end = decode_at(text, start)
    except ValueError as error:
        truncated = isinstance(error, Truncated)
        if budget.repairs <= 0:
            return None
        budget.repairs -= 1
        how = "mended"
        try:
            value, end = repaired(text, start, MAX_REPAIR_CHARS)
        except Truncated:
            return _cut_off(text, start, budget)
        except ValueError:
            return _cut_off(text, start, budget) if truncated else _cut_off_by_fence(text, start, budget)
    return _as_found(value, how, start, end)


def _cut_off(text: str, start: int, budget: _Budget) -> Found | None:
    """An object that the reply ends in the middle of."""
    if budget.partials <= 0:
        return None
    budget.partials -= 1
    rest = text[start:].rstrip()
    found = _closed(rest, start)
    if found is not None:
        return found
    try:
        value = from_json(rest, allow_partial="trailing-strings", allow_inf_nan=False)
    except ValueError:
        return None
    return _as_found(value, "partial", start, len(text))


def _cut_off_by_fence(text: str, start: int, budget: _Budget) -> Found | None:
    """An object that lacks its last brackets before the fence that it stands in ends."""
    fence = text.find("\n```", start)
    if fence < 0 or budget.partials <= 0:
        return None
    budget.partials -= 1
    return _closed(text[start:fence].rstrip(), start)


def _closed(rest: str, start: int) -> Found | None:
    closed = close(rest)
    if closed is None:
        return None
    try:
        value = decode_at(closed, 0)[0]
    except ValueError:
        return None
    return _as_found(value, "closed", start, start + len(rest))


def _as_found(value: Any, how: How, start: int, end: int) -> Found | None:
    if isinstance(value, dict) and value and _shallow(value):
        return Found(_clean(value), how, start, end)
    return None


def _unquoted(text: str) -> str | None:
    r"""The text without one level of escapes: `{\"next_node\": …}`."""
    if '\\"' not in text:
        return None
    try:
        value = from_json('"' + text.strip().removeprefix('"').removesuffix('"').replace("\n", "\\n") + '"')
    except ValueError:
        return None
    return value if isinstance(value, str) else None


def _shallow(value: Any) -> bool:
    """Whether lists and objects are not nested deeper than `MAX_DEPTH`."""
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        deeper: list[Any] = []
        for each in level:
            items = each.values() if isinstance(each, dict) else each
            deeper.extend(item for item in items if isinstance(item, (dict, list)))
        if not deeper:
            return True
        level = deeper
    return False


def _clean(value: Any) -> Any:
    """The value without halves of surrogate pairs and without infinities: what the log cannot have."""
    if isinstance(value, str):
        return value if value.isascii() else without_surrogates(value)
    if isinstance(value, dict):
        return {_clean(key): _clean(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_clean(each) for each in value]
    return None if isinstance(value, float) and not isfinite(value) else value
