"""Values that are changed in the editor of whoever sits there."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playground.cli.console import json_text

__all__ = ["EditorError", "NotJson", "edit_text", "parse_edited"]

_FALLBACKS = ("nano", "vi", "vim")


class EditorError(Exception):
    """There is no editor, or it failed; the text says which."""


class NotJson(ValueError):
    """What was written is no JSON; the text says where."""


async def edit_text(text: str, *, suffix: str = ".json") -> str:
    """Open `$VISUAL` or `$EDITOR` on a text that nobody else can read; returns what was left. Raises `EditorError`."""
    command = _command()
    with _written(text, suffix) as path:
        try:
            process = await asyncio.create_subprocess_exec(*command, path)
        except OSError as error:
            raise EditorError(f"{command[0]} cannot be started: {error.strerror}") from None
        code = await process.wait()
        if code != 0:
            raise EditorError(f"{command[0]} ended with exit code {code}; nothing was changed")
        return _read(path, command[0])


@contextmanager
def _written(text: str, suffix: str) -> Iterator[Path]:
    """A file of mode 0600 with the text, which is removed afterwards."""
    handle, name = tempfile.mkstemp(prefix="penguiflow-", suffix=suffix)
    path = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        yield path
    finally:
        path.unlink(missing_ok=True)


def _read(path: Path, editor: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise EditorError(f"what {editor} wrote cannot be read: {error}") from None


def parse_edited(text: str) -> Any:
    """The value of a JSON text. Raises `NotJson`."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise NotJson(f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        raise NotJson(str(error)) from None


def as_text(value: Any) -> str:
    """A value as it is given to an editor."""
    return json_text(value, indent=2) + "\n"


def _command() -> list[str]:
    for name in ("VISUAL", "EDITOR"):
        told = os.environ.get(name, "").strip()
        if told:
            try:
                return shlex.split(told)
            except ValueError as error:
                raise EditorError(f"{name} cannot be understood: {error}") from None
    found = next((each for each in _FALLBACKS if shutil.which(each)), None)
    if found is None:
        raise EditorError("no editor is known: set EDITOR")
    return [found]
