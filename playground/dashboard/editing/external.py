"""Editing in the editor that people know: the screen is theirs until it ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from textual.app import SuspendNotSupported

if TYPE_CHECKING:
    from textual.app import App

KNOWN = ("nano", "vim", "vi")
"""Tried in this order where neither $VISUAL nor $EDITOR says something."""


class EditorFailed(Exception):
    """The text could not be edited; the message says why. What there was stays."""


def editor_command() -> list[str]:
    """The command of `$VISUAL`, or `$EDITOR`. Raises `EditorFailed` where there is none."""
    for name in ("VISUAL", "EDITOR"):
        if text := os.environ.get(name, "").strip():
            try:
                command = shlex.split(text)
            except ValueError as error:
                raise EditorFailed(f"${name} cannot be read: {error}") from None
            if shutil.which(command[0]) is None:
                raise EditorFailed(f"${name} is {text}, and there is no command {command[0]}")
            return command
    for name in KNOWN:
        if shutil.which(name) is not None:
            return [name]
    raise EditorFailed("$EDITOR says no editor, and nano, vim and vi are not here")


async def edit_externally(app: App[object], text: str, *, suffix: str = ".json") -> str:
    """Let the user edit a text in their editor; gives what it is then. Raises `EditorFailed`.

    The file is readable by its owner only, and gone afterwards. The app goes on behind it, without drawing: whoever
    sends to us must not have to wait.
    """
    command = editor_command()
    name = ""
    try:
        name = _write(text, suffix)
        with app.batch_update(), _leave_interrupts(), app.suspend():
            process = await asyncio.create_subprocess_exec(*command, name)
            code = await process.wait()
        if code:
            raise EditorFailed(f"{command[0]} ended with {code}: nothing was changed")
        return _read(name)
    except SuspendNotSupported:
        raise EditorFailed("there is no terminal here to give to an editor") from None
    except OSError as error:
        raise EditorFailed(f"{command[0]} cannot be used: {error}") from None
    except UnicodeError:
        raise EditorFailed("what was written is no UTF-8: nothing was changed") from None
    finally:
        if name:
            _remove(name)
        app.refresh(layout=True)


def _write(text: str, suffix: str) -> str:
    handle, name = tempfile.mkstemp(prefix="pf-", suffix=suffix)
    with os.fdopen(handle, "w", encoding="utf-8", errors="surrogatepass") as file:
        file.write(text)
    return name


def _read(name: str) -> str:
    return Path(name).read_text(encoding="utf-8")


@contextlib.contextmanager
def _leave_interrupts() -> Iterator[None]:
    """An interrupt from the keyboard is the editor's: this process only hears of it."""
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _remove(name: str) -> None:
    Path(name).unlink(missing_ok=True)
