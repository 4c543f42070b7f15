"""What people type, as values: JSON from a flag, a file or stdin, and moments in time."""

from __future__ import annotations

import json
import math
import re
import sys
import time
from pathlib import Path
from typing import Any

from playground.cli.failures import ExitCode, Failure
from playground.dashboard.run_filter import read_time

__all__ = ["read_json", "read_json_object", "read_moment"]


def read_json(text: str, flag: str) -> Any:
    """The value of `JSON`, `@file` or `-` (stdin). Raises `Failure`: what is wrong with it, and where."""
    if text == "-":
        return _parse(_decode(sys.stdin.buffer.read(), "stdin"), "stdin", flag)
    if text.startswith("@"):
        return _parse(_read_file(text[1:], flag), text[1:], flag)
    return _parse(text, flag, flag)


def read_json_object(text: str | None, flag: str) -> dict[str, Any]:
    """As `read_json`, for flags that take an object; nothing given is an empty one."""
    if text is None:
        return {}
    value = read_json(text, flag)
    if not isinstance(value, dict):
        raise Failure(f"{flag} must be a JSON object, not {_kind(value)}", hint=f'{flag} \'{{"key": "value"}}\'')
    return value


def _read_file(name: str, flag: str) -> str:
    try:
        content = Path(name).read_bytes()
    except FileNotFoundError:
        raise Failure(f"{flag}: no such file: {name}", ExitCode.NOT_FOUND) from None
    except OSError as error:
        raise Failure(f"{flag}: {name} cannot be read: {error.strerror}") from None
    return _decode(content, name)


def _decode(content: bytes, place: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Failure(f"{place} is not UTF-8 text (byte {error.start})", hint="convert it to UTF-8") from None


def _parse(text: str, place: str, flag: str) -> Any:
    try:
        value = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        hint = None
        if place == flag:
            hint = f"""quote the whole value for the shell: {flag} '{{"path": "."}}', or use {flag} @file.json"""
        raise Failure(f"{place} is not JSON: {error.msg} ({where})", hint=hint) from None
    except ValueError as error:
        raise Failure(f"{place} is not JSON: {error}") from None
    except RecursionError:
        raise Failure(f"{place} is nested too deeply") from None
    # A surrogate stands in the text itself when the shell gave bytes that are not UTF-8, else as an escape.
    if _SURROGATE.search(text) is not None and not _encodable(value):
        raise Failure(f"{place} has text that is not Unicode: half of a surrogate pair, or bytes that are not UTF-8")
    return value


_SURROGATE = re.compile(r"[\ud800-\udfff]|\\u[dD][89a-fA-F]")


def _encodable(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"{digits[:20]} is too large for a number")
    return number


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, str):
        return "a string"
    return "an array" if isinstance(value, list) else "a number"


def read_moment(text: str, *, now: float | None = None) -> float:
    """`30m`, `2h`, `3d` ago, `today`, `yesterday`, or an ISO date or time (local unless it names a zone), as seconds.

    Raises `Failure`.
    """
    found = read_time(text.strip(), time.time() if now is None else now)
    if found is None:
        raise Failure(f"--since: {text!r} is no time", hint="use 30m, 2h, 3d, today, yesterday or 2026-01-31T12:00")
    return found
