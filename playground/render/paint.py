"""Color for a terminal, by role; nothing at all when there is none."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TextIO

__all__ = ["Paint", "painter", "plain", "wants_color"]

Paint = Callable[[str, str], str]
"""Takes a role and a text that is safe to show; gives back the text, colored or not."""

_CODES = {
    "ok": "32",
    "error": "31",
    "warn": "33",
    "busy": "36",
    "dim": "2",
    "bold": "1",
    "bar": "34",
}
_STATUS_ROLES = {
    "ok": "ok",
    "error": "error",
    "timeout": "error",
    "cancelled": "warn",
    "interrupted": "warn",
    "paused": "warn",
    "running": "busy",
}


def plain(role: str, text: str) -> str:
    """No color."""
    return text


def _colored(role: str, text: str) -> str:
    code = _CODES.get(_STATUS_ROLES.get(role, role))
    return f"\x1b[{code}m{text}\x1b[0m" if code and text else text


def painter(color: bool) -> Paint:
    """Roles: those of a status (`ok`, `error`, `running` …), and `dim`, `bold`, `warn`, `bar`."""
    return _colored if color else plain


def wants_color(stream: TextIO) -> bool:
    """True for a terminal that can show color, unless `NO_COLOR` is set."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
