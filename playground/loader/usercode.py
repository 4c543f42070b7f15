"""Whose code is it: the user's own, or that of a library?"""

from __future__ import annotations

import linecache
import sys
import sysconfig
from pathlib import Path
from types import FrameType, TracebackType

import penguiflow
import playground
from playground.protocol import CodeFrame

MAX_FRAMES = 30

LIBRARY_FOLDERS = tuple(
    {
        str(Path(folder).resolve()) + "/"
        for name in ("stdlib", "platstdlib", "purelib", "platlib")
        if (folder := sysconfig.get_path(name))
    }
)
OWN_FOLDERS = tuple(
    str(Path(module.__file__).resolve().parent) + "/" for module in (penguiflow, playground) if module.__file__
)
FOREIGN_PARTS = ("/site-packages/", "/dist-packages/", "/.venv/", "/node_modules/")


def is_user_code(filename: str) -> bool:
    """True for source files that belong to no library, not to Python and not to penguiflow."""
    if filename.startswith("<") or not filename.endswith((".py", ".pyw")):
        return False
    if filename.startswith((*LIBRARY_FOLDERS, *OWN_FOLDERS)):
        return False
    return not any(part in filename for part in FOREIGN_PARTS)


def shown_path(filename: str, root: Path) -> str:
    """The path as people know it: relative to the project when it is inside."""
    try:
        return Path(filename).relative_to(root).as_posix()
    except ValueError:
        return filename


def user_frames(traceback: TracebackType | None, root: Path) -> list[CodeFrame]:
    """The frames of a traceback that are the user's own, innermost last, at most `MAX_FRAMES` of the innermost."""
    frames: list[CodeFrame] = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if is_user_code(code.co_filename):
            frames.append(_describe(code.co_filename, traceback.tb_lineno, code.co_qualname, root))
        traceback = traceback.tb_next
    return frames[-MAX_FRAMES:]


def blocking_frame(thread_id: int, root: Path) -> CodeFrame | None:
    """Where a thread is right now: its innermost frame in user code, or None when it runs none."""
    frame: FrameType | None = sys._current_frames().get(thread_id)
    while frame is not None:
        code = frame.f_code
        if is_user_code(code.co_filename):
            return _describe(code.co_filename, frame.f_lineno, code.co_qualname, root)
        frame = frame.f_back
    return None


def _describe(filename: str, line: int, function: str, root: Path) -> CodeFrame:
    text = linecache.getline(filename, line).strip()
    return CodeFrame(file=shown_path(filename, root), line=line, function=function, text=text)
