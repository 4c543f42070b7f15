"""JSON as models write it: single quotes, Python's words, bare keys, trailing commas, comments, odd escapes, no end."""

from __future__ import annotations

import json
import re
from typing import Any

__all__ = ["MAX_DEPTH", "Truncated", "close", "decode_at", "repaired", "string_inside", "without_surrogates"]

MAX_DEPTH = 64
"""Of lists and objects in each other: what is deeper is no reply that anything could be done with."""

_DECODER = json.JSONDecoder(strict=False, parse_constant=lambda _: None)
_WORDS = {"True": "true", "False": "false", "None": "null", "undefined": "null", "NaN": "null"}
_STRICT = r"""(?P<double>"(?:[^"\\]++|\\.)*+")"""
_LOOSE = r"""(?P<double>"(?:[^"\\]++|\\.|"(?!\s*+[,:}\])]))*+")"""
"""A string with quotes in it that are not escaped: it ends where something follows that may stand behind a string."""
_OTHERS = r"""
    |(?P<single>'(?:[^'\\]++|\\.)*+'|\u201c(?:[^\u201d\\]++|\\.)*+\u201d)
    |(?P<open>[{\[(])
    |(?P<close>[}\])])
    |(?P<comment>//[^\n]*+|/\*(?:[^*]++|\*(?!/))*+\*/|\#[^\n]*+)
    |(?P<comma>,(?=\s*+[}\])]))
    |(?P<key>[A-Za-z_$][\w$-]*+(?=\s*+:))
    |(?P<word>[A-Za-z_]\w*+)
    |(?P<other>[\s\d.:+-]++|,)
    """
_TOKEN = re.compile(_STRICT + _OTHERS, re.VERBOSE | re.DOTALL)
_LOOSE_TOKEN = re.compile(_LOOSE + _OTHERS, re.VERBOSE | re.DOTALL)
_LOOSE_CHARS = 20_000  # it is slow, and what is longer is better said again
_ESCAPE = re.compile(r"""\\(?:(u[0-9a-fA-F]{4}|["\\/bfnrt])|x([0-9a-fA-F]{2})|U([0-9a-fA-F]{8})|(.))|(")""", re.DOTALL)
_STRUCTURE = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[{}\[\]]', re.DOTALL)
_QUOTES = "\"'\u201c"
_OPENING = {"{": "}", "[": "]", "(": "]"}
_ENDS_WHOLE = re.compile(r'(?:["}\]]|true|false|null)\s*\Z')


class Truncated(ValueError):
    """The text ends before the value does."""


def decode_at(text: str, start: int) -> tuple[Any, int]:
    """The JSON value that begins at `start`, and where it ends. Line breaks in strings are taken.

    Raises:
        Truncated: when the text ends in the middle of it.
        ValueError: when it is no JSON.
    """
    try:
        value, end = _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        if error.msg.startswith("Unterminated string") or error.pos >= len(text.rstrip()):
            raise Truncated(error.msg) from None
        raise
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return value, end


def repaired(text: str, start: int, limit: int) -> tuple[Any, int]:
    """Read what begins at `start` as JSON after its usual faults are mended; at most `limit` characters of it.

    Raises:
        Truncated: when the text ends in the middle of it.
        ValueError: when it is not to be mended.
    """
    try:
        return _mend(text, start, limit, _TOKEN)
    except Truncated:
        raise
    except ValueError:
        try:
            return _mend(text, start, min(limit, _LOOSE_CHARS), _LOOSE_TOKEN)
        except Truncated as error:
            raise ValueError(str(error)) from None


def _mend(text: str, start: int, limit: int, tokens: re.Pattern[str]) -> tuple[Any, int]:
    pieces: list[str] = []
    closers: list[str] = []
    position, stop = start, min(len(text), start + limit)
    while position < stop:
        token = tokens.match(text, position, stop)
        if token is None:
            if text[position] in _QUOTES and stop == len(text):
                raise Truncated("a string has no end")
            raise ValueError(f"unexpected {text[position]!r}")
        kind, part = token.lastgroup, token[0]
        position = token.end()
        if kind == "open":
            closers.append(_OPENING[part])
            if len(closers) > MAX_DEPTH:
                raise ValueError("it is nested too deeply")
            pieces.append("[" if part == "(" else part)
        elif kind == "close":
            if not closers or closers[-1] != ("]" if part == ")" else part):
                raise ValueError(f"unexpected {part!r}")
            pieces.append(closers.pop())
            if not closers:
                return json.loads("".join(pieces), strict=False, parse_constant=lambda _: None), position
        elif kind not in ("comment", "comma"):
            pieces.append(_mended(str(kind), part))
    if stop < len(text):
        raise ValueError("it is too long")
    raise Truncated("it has no end")


def close(text: str) -> str | None:
    """The text with the brackets that are missing at its end; None when more is missing than these."""
    if _ENDS_WHOLE.search(text[-16:]) is None:
        return None
    closers: list[str] = []
    part = ""
    for token in _STRUCTURE.finditer(text):
        part = token[0]
        if part in _OPENING:
            closers.append(_OPENING[part])
            if len(closers) > MAX_DEPTH:
                return None
        elif part in ("}", "]") and (not closers or closers.pop() != part):
            return None
    return text + "".join(reversed(closers)) if closers else None


def string_inside(text: str) -> str:
    """The text that stands for this between quotes; quotes in it need not be escaped, its end may be missing."""
    text = text[:-1] if (len(text) - len(text.rstrip("\\"))) % 2 else text
    try:
        value = json.loads(f'"{_ESCAPE.sub(_escape, text)}"', strict=False)
    except ValueError:
        return text
    return without_surrogates(value) if isinstance(value, str) else text


def without_surrogates(text: str) -> str:
    """The text as UTF-8 can have it: halves of pairs are put together, or are replaced when they are alone."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _mended(kind: str, part: str) -> str:
    if kind in ("double", "single"):
        return '"' + _ESCAPE.sub(_escape, part[1:-1]) + '"'
    if kind == "key":
        return json.dumps(part)
    if kind == "word":
        return _WORDS.get(part, part)
    return part


def _escape(found: re.Match[str]) -> str:
    """An escape that JSON knows: Python's are rewritten, others are taken as they stand."""
    known, two, eight, other, quote = found.groups()
    if known is not None:
        return found[0]
    if two is not None:
        return f"\\u00{two}"
    if eight is not None:
        code = int(eight, 16)
        return chr(code) if code < 0x110000 else "\ufffd"
    if quote is not None:
        return '\\"'
    if other == "'":
        return "'"
    return "" if other == "\n" else "\\\\" + other
