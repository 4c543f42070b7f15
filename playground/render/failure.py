"""An error of a flow in a few lines: what, where in the user's code, how often it was tried."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from playground.dashboard.text import one_line

__all__ = ["Frame", "describe_error", "short_path", "user_frames"]

_FRAME = re.compile(r'^\s*File "(?P<file>.+)", line (?P<line>\d+), in (?P<function>.+)$')
_LIBRARY = re.compile(r"[/\\](site-packages|dist-packages|lib[/\\]python3\.\d+)[/\\]|^<frozen ")
_ADDRESS = "For further information visit https://errors.pydantic.dev/"
_OURS = tuple(str(Path(__file__).resolve().parents[2] / name) for name in ("penguiflow", "playground"))


class Frame(NamedTuple):
    """One line of a traceback."""

    file: str
    line: int
    function: str
    text: str


def user_frames(traceback: str) -> list[Frame]:
    """The frames of a traceback's text that are in the user's own code, innermost last."""
    lines = traceback.splitlines()
    frames: list[Frame] = []
    for index, line in enumerate(lines):
        match = _FRAME.match(line)
        if match is None or _is_library(match["file"]):
            continue
        following = lines[index + 1].strip() if index + 1 < len(lines) else ""
        text = "" if _FRAME.match(following) or set(following) <= set("^~ ") else following
        frames.append(Frame(short_path(match["file"]), int(match["line"]), match["function"], text))
    return frames


def _is_library(file: str) -> bool:
    if _LIBRARY.search(file):
        return True
    return any(file.startswith((f"{folder}/", f"{folder}\\")) for folder in _OURS)


def short_path(file: str) -> str:
    """A path relative to the working directory when it lies below it."""
    path = Path(file)
    if not path.is_absolute():
        return file
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return file


def describe_error(error: object) -> str:
    """One line for any error that events carry: `{type, message, file, line}`, `FlowError.to_payload()`, or text."""
    if not error:
        return ""
    if not isinstance(error, Mapping):
        return one_line(_joined(str(error)))
    kind = error.get("type") or error.get("exception_type") or error.get("code")
    message = one_line(_joined(str(error.get("message") or "")))
    text = f"{kind}: {message}" if kind and message else message or str(kind or "")
    if error.get("file"):
        text += f"  at {one_line(short_path(str(error['file'])))}:{error.get('line')}"
    return text


def _joined(text: str) -> str:
    """The lines of a message in one, without pydantic's addresses."""
    lines = [line.strip() for line in text.splitlines()]
    kept = [line for line in lines if line and not line.startswith(_ADDRESS)]
    return "".join(line + (" " if line.endswith((":", ";", ",")) else "; ") for line in kept[:-1]) + "".join(kept[-1:])
