"""Exceptions as data: what happened, and where in the user's code."""

from __future__ import annotations

import site
import sysconfig
from collections.abc import Callable
from functools import cache
from pathlib import Path
from traceback import TracebackException, walk_tb
from types import TracebackType
from typing import Any

from penguiflow.recording.plain import MAX_REPR_CHARS
from penguiflow.recording.text import clean_text

__all__ = ["MAX_FRAMES", "MAX_TRACEBACK_CHARS", "exception_to_data", "is_user_file"]

MAX_FRAMES = 30
"""Innermost frames that a traceback shows, of each exception in the chain."""
MAX_TRACEBACK_CHARS = 16 * 1024
_PACKAGE_FOLDERS = {"site-packages", "dist-packages"}


def exception_to_data(exc: BaseException, clean: Callable[[str], str] = str) -> dict[str, Any]:
    """`{type, message, traceback, file, line}`; never raises.

    `file` and `line` are those of the innermost frame of the user's code; without one, of the innermost frame; None
    for an exception that was never raised. `clean` gets message and traceback before they are cut, so that no half of a
    secret is left.
    """
    file, line = _user_frame(exc.__traceback__)
    return {
        "type": type(exc).__qualname__,
        "message": _message(exc, clean),
        "traceback": _traceback(exc, clean),
        "file": file,
        "line": line,
    }


def is_user_file(filename: str) -> bool:
    """Whether a frame's file is neither this project's, the standard library's nor an installed package's."""
    if filename.startswith("<frozen"):
        return False
    if _PACKAGE_FOLDERS.intersection(Path(filename).parts):
        return False
    return not any(filename.startswith(folder) for folder in _library_folders())


@cache
def _library_folders() -> tuple[str, ...]:
    here = Path(__file__).resolve().parents[1]
    folders = {here, here.with_name("playground")}
    folders.update(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    folders.update(Path(folder) for folder in site.getsitepackages())
    # As written and resolved: a virtual environment's files appear under either name.
    return tuple({f"{name}/" for folder in folders for name in (folder, folder.resolve())})


def _user_frame(tb: TracebackType | None) -> tuple[str | None, int | None]:
    innermost: tuple[str | None, int | None] = (None, None)
    of_user = None
    for frame, line in walk_tb(tb):
        innermost = (clean_text(frame.f_code.co_filename), line)
        if is_user_file(frame.f_code.co_filename):
            of_user = innermost
    return of_user or innermost


def _message(exc: BaseException, clean: Callable[[str], str]) -> str:
    try:
        text = clean(str(exc))
    except Exception as error:  # the user's __str__: any failure of it is told in place of the message
        text = f"<its str raised {type(error).__name__}>"
    return clean_text(text[:MAX_REPR_CHARS] + "…" if len(text) > MAX_REPR_CHARS else text)


def _traceback(exc: BaseException, clean: Callable[[str], str]) -> str:
    try:
        text = clean("".join(TracebackException.from_exception(exc, limit=-MAX_FRAMES, compact=True).format()))
    except Exception as error:  # formatting runs the user's code (str, notes): any failure of it is told instead
        text = f"<the traceback cannot be shown: {type(error).__name__}>"
    if len(text) > MAX_TRACEBACK_CHARS:
        # The end says what happened; the beginning is how it came there.
        text = "…\n" + text[-MAX_TRACEBACK_CHARS:]
    return clean_text(text)
