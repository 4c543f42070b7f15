"""Failures of user code, as data that can be shown: what, where, and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from playground.loader.usercode import shown_path, user_frames
from playground.project import Project
from playground.protocol import CodeError

ErrorKind = Literal[
    "syntax", "import", "missing_dependency", "no_flow", "cycle", "factory", "exit", "not_found", "stall"
]

DISTRIBUTIONS = {
    "attr": "attrs",
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python",
    "dateutil": "python-dateutil",
    "docx": "python-docx",
    "dotenv": "python-dotenv",
    "fitz": "pymupdf",
    "git": "gitpython",
    "jwt": "pyjwt",
    "magic": "python-magic",
    "OpenSSL": "pyopenssl",
    "PIL": "pillow",
    "psycopg2": "psycopg2-binary",
    "serial": "pyserial",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
"""Packages whose distribution has another name than what is imported."""

MAX_TEXT = 500


class LoadProblem(Exception):
    """A problem that the loader itself found; it carries its `CodeError`."""

    def __init__(self, error: CodeError) -> None:
        super().__init__(error.message)
        self.error = error


def describe_error(exc: BaseException, project: Project, *, during: ErrorKind = "import") -> CodeError:
    """Turn what user code raised into a `CodeError`; `during` is the kind for errors with no kind of their own."""
    if isinstance(exc, LoadProblem):
        return exc.error
    if isinstance(exc, SyntaxError):
        return _syntax(exc, project)
    frames = user_frames(exc.__traceback__, project.root)
    error = CodeError(kind=during, message=error_text(exc), frames=frames)
    if frames:
        error.file, error.line = frames[-1].file, frames[-1].line
    if isinstance(exc, SystemExit):
        error.kind, error.message = "exit", f"called sys.exit({_code(exc)}) while it was loaded"
        error.hint = 'Put what runs as a program under `if __name__ == "__main__":`.'
    elif isinstance(exc, ModuleNotFoundError) and exc.name and not _in_project(exc.name, project):
        package = exc.name.partition(".")[0]
        distribution = DISTRIBUTIONS.get(package, package)
        error.kind = "missing_dependency"
        error.message = f"needs the package {package!r}, which is not installed"
        error.hint = f"Install it (uv add {distribution}, or pip install {distribution}), or correct the import."
    elif type(exc).__name__ == "CycleError":
        error.kind = "cycle"
        error.hint = "Remove an edge of the cycle, or pass allow_cycles=True."
    return error


def error_text(exc: BaseException) -> str:
    """`ValueError: text`, on one line."""
    try:
        text = str(exc)
    except Exception as error:  # the exception's own __str__ is user code
        text = f"<its text raised {type(error).__name__}>"
    text = " ".join(text.split())
    if len(text) > MAX_TEXT:
        text = text[:MAX_TEXT] + "…"
    return f"{type(exc).__name__}: {text}" if text else type(exc).__name__


def _syntax(exc: SyntaxError, project: Project) -> CodeError:
    file = shown_path(exc.filename, project.root) if exc.filename else None
    frames = user_frames(exc.__traceback__, project.root)
    return CodeError(
        kind="syntax", message=f"{type(exc).__name__}: {exc.msg}", file=file, line=exc.lineno, frames=frames
    )


def _code(exc: SystemExit) -> str:
    return "" if exc.code is None else repr(exc.code)[:MAX_TEXT]


def _in_project(name: str, project: Project) -> bool:
    """A module of the project that is not there is the project's own mistake, not a missing dependency."""
    top = name.partition(".")[0]
    folders: tuple[Path, ...] = (project.root, project.root / "src")
    return any((folder / top).is_dir() or (folder / f"{top}.py").is_file() for folder in folders)
