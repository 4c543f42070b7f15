"""JSON as somebody types it: what is wrong and where, where a value stands, what may stand at the cursor."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from playground.dashboard.text import unseen_escaped

_TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:[^"\\\n]|\\.)*"?)|(?P<word>-?[\w.+-]+)|(?P<sign>[{}\[\],:])|(?P<other>\S)|$)""", re.DOTALL
)
_COLOR = re.compile(r'"(?:[^"\\]|\\.)*"?|-?\b\d[\w.+-]*|\b(?:true|false|null)\b')


class Problem(NamedTuple):
    """Why a text is no JSON."""

    message: str
    offset: int


class Spot(NamedTuple):
    """What the cursor is at."""

    parts: list[str]
    """Keys from the top to the object (for a key), or to the value."""
    wants: str
    """`key` or `value`."""
    start: int
    """Where what is being typed begins, and where it ends."""
    end: int
    typed: str
    """What stands between its beginning and the cursor."""
    present: frozenset[str]
    """Keys that the object has, this one left out."""


class _Token(NamedTuple):
    kind: str
    text: str
    start: int
    end: int


class _Level:
    """An object or a list that is open at some place of a text."""

    def __init__(self, is_object: bool) -> None:
        self.is_object = is_object
        self.key: str | None = None
        self.index = 0
        self.wants_key = is_object
        self.keys: list[tuple[str, int]] = []
        """With where each begins."""

    @property
    def part(self) -> str:
        return (self.key or "") if self.is_object else str(self.index)


def read(text: str) -> tuple[Any, Problem | None]:
    """The value of a text, or what is wrong with it."""
    try:
        return json.loads(text, parse_constant=_no_constant, object_pairs_hook=_no_twins), None
    except json.JSONDecodeError as error:
        return None, Problem(_plain(error.msg), min(error.pos, len(text)))
    except _Twin as error:
        return None, Problem(f"{error.args[0]} stands there twice", _place_of_twin(text, str(error.args[1])))
    except (ValueError, RecursionError) as error:
        return None, Problem("it is nested too deeply" if isinstance(error, RecursionError) else str(error), 0)


def write(value: Any) -> str:
    """A value as text to be edited. What cannot be seen is escaped: some of it would end lines, or turn them around."""
    return unseen_escaped(json.dumps(value, indent=2, ensure_ascii=False))


def line_of(text: str, offset: int) -> tuple[int, int]:
    """Line and column of an offset, from 0."""
    before = text.count("\n", 0, offset)
    return before, offset - (text.rfind("\n", 0, offset) + 1)


def locate(text: str, parts: list[str]) -> int:
    """Where a value begins; that of the last part that is there when it is not."""
    found = 0
    wanted = [str(part) for part in parts]
    best = -1
    for token, levels, before_value in _walk(text):
        if not before_value:
            continue
        at = [level.part for level in levels]
        if at == wanted[: len(at)] and len(at) > best:
            best, found = len(at), token.start
            if best == len(wanted):
                break
    return found


def spot(text: str, offset: int) -> Spot | None:
    """What may be completed at an offset; None where nothing can stand."""
    levels: list[_Level] = []
    typed: _Token | None = None
    wants_value = True
    for token, open_levels, before_value in _walk(text):
        if token.start >= offset:
            break
        if token.end >= offset and token.kind in {"string", "word"}:
            typed, levels, wants_value = token, [_copy(level) for level in open_levels], before_value
            break
        levels, wants_value = open_levels, False
    else:
        levels = []
    if typed is None:
        levels, wants = _state_at(text, offset)
    else:
        top = levels[-1] if levels else None
        wants = "value" if wants_value else "key" if top is not None and top.is_object and top.wants_key else ""
    if not wants:
        return None
    start, end = (typed.start, typed.end) if typed is not None else (offset, offset)
    parts = [level.part for level in (levels if wants == "value" else levels[:-1])]
    present: frozenset[str] = frozenset()
    if wants == "key" and levels:
        present = frozenset(key for key, at in _keys_around(text, len(levels), offset) if at != start)
    return Spot(parts, wants, start, end, text[start:offset], present)


def colors(line: str) -> Iterator[tuple[int, int, str]]:
    """Parts of one line of JSON with their roles: `key`, `string`, `number`, `literal`."""
    for match in _COLOR.finditer(line):
        text = match.group()
        if text.startswith('"'):
            role = "key" if line[match.end() :].lstrip().startswith(":") else "string"
        else:
            role = "literal" if text in {"true", "false", "null"} else "number"
        yield match.start(), match.end(), role


# -- inside ---------------------------------------------------------------------------------------------------------


def _tokens(text: str) -> Iterator[_Token]:
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            return
        yield _Token(match.lastgroup, match.group(match.lastgroup), match.start(match.lastgroup), match.end())
        position = match.end()


def _walk(text: str) -> Iterator[tuple[_Token, list[_Level], bool]]:
    """Each token, with what is open around it, and whether a value begins with it. The list changes as it goes on."""
    levels: list[_Level] = []
    for token in _tokens(text):
        top = levels[-1] if levels else None
        is_key = top is not None and top.wants_key and token.kind in {"string", "word"}
        begins = not is_key and (token.kind in {"string", "word"} or token.text in {"{", "["})
        if top is not None and is_key:
            top.key = _key(token.text)
            top.keys.append((top.key, token.start))
        yield token, levels, begins
        if token.text in {"{", "["} and token.kind == "sign":
            levels.append(_Level(token.text == "{"))
        elif token.text in {"}", "]"} and token.kind == "sign":
            if levels:
                levels.pop()
        elif token.text == ":" and token.kind == "sign" and top is not None:
            top.wants_key = False
        elif token.text == "," and token.kind == "sign" and top is not None:
            top.index += 1
            top.wants_key = top.is_object


def _copy(level: _Level) -> _Level:
    copied = _Level(level.is_object)
    copied.key, copied.index, copied.wants_key = level.key, level.index, level.wants_key
    return copied


def _state_at(text: str, offset: int) -> tuple[list[_Level], str]:
    """What is open at an offset between tokens, and what may stand there."""
    before = text[:offset]
    levels: list[_Level] = []
    last = ""
    for token, open_levels, _ in _walk(before):
        levels, last = open_levels, token.text if token.kind == "sign" else "x"
    if not last:
        return [], "value"
    top = levels[-1] if levels else None
    if top is None:
        return levels, ""
    if last in {"{", ","} and top.is_object:
        return levels, "key"
    return levels, "value" if last in {":", "[", ","} else ""


def _keys_around(text: str, depth: int, offset: int) -> list[tuple[str, int]]:
    """The keys of the object that is open at an offset, with where they begin."""
    found: list[tuple[str, int]] = []
    inside: _Level | None = None
    for token, levels, _ in _walk(text):
        level = levels[depth - 1] if len(levels) >= depth else None
        if inside is not None and level is not inside:
            break
        if token.start >= offset and inside is None:
            inside = level
            if inside is None:
                break
        if level is not None:
            found = level.keys
    return found


def _key(text: str) -> str:
    try:
        return str(json.loads(text))
    except ValueError:
        return text.strip('"')


class _Twin(ValueError):
    """A key that an object has twice."""


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _Twin(f"the key {json.dumps(key, ensure_ascii=False)}", key)
            seen.add(key)
    return found


def _place_of_twin(text: str, key: str) -> int:
    for token, levels, _ in _walk(text):
        top = levels[-1] if levels else None
        if top is not None and top.wants_key and token.kind == "string":
            same = [at for name, at in top.keys if name == key]
            if len(same) > 1:
                return same[1]
    return 0


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _plain(message: str) -> str:
    words = {
        "Expecting value": "a value is missing",
        "Expecting ',' delimiter": "a comma is missing, or a bracket",
        "Expecting ':' delimiter": "a colon is missing",
        "Expecting property name enclosed in double quotes": "a key is missing, in double quotes",
        "Illegal trailing comma before end of object": "a comma too many",
        "Illegal trailing comma before end of array": "a comma too many",
        "Extra data": "there is more after the value",
        "Invalid control character at": "the text is not closed in its line",
        "Unterminated string starting at": "the text is not closed",
    }
    return words.get(message, message)
