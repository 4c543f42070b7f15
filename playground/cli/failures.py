"""What can go wrong in a command, as one message and one exit code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import TypeVar

__all__ = ["ExitCode", "Failure", "explain", "one_of"]

T = TypeVar("T")


class ExitCode(IntEnum):
    """What `pf` answers to the shell."""

    DONE = 0
    FLOW_FAILED = 1
    """The flow failed, timed out or was cancelled."""
    USAGE = 2
    """Flag, input, target, cycle, no terminal, port, newer database, missing extra."""
    NOT_FOUND = 3
    """File, trace, ambiguous prefix."""
    DIVERGED = 4
    """A replay asked something else than was recorded."""
    STORE = 5
    """The store cannot be read or written."""
    HOST_DIED = 6
    INTERRUPTED = 130


class Failure(Exception):
    """A command cannot do what was asked of it."""

    def __init__(
        self, message: str, code: ExitCode = ExitCode.USAGE, *, hint: str | None = None, details: Sequence[str] = ()
    ) -> None:
        super().__init__(message)
        self.message = message
        """What happened, and where: one line."""
        self.code = code
        self.hint = hint
        """What to do about it."""
        self.details = list(details)
        """More lines: fields that do not fit, frames of the user's code, candidates."""


def explain(error: BaseException) -> Failure | None:
    """The failure behind an error of a lower layer; None when it is none that users can do something about."""
    if isinstance(error, Failure):
        return error
    # By module, so that nothing is imported to explain an error that cannot be one of its kinds.
    origins = {kind.__module__ for kind in type(error).__mro__}
    if "penguiflow.state.errors" in origins:
        return _explain_store(error)
    if "penguiflow.bus.errors" in origins:
        return Failure(str(error))
    if origins & {"playground.project", "playground.session", "playground.sources"}:
        return _explain_host(error)
    return None


def _explain_store(error: BaseException) -> Failure | None:
    from penguiflow.state.errors import AmbiguousTrace, StoreError, StoreTooNew, TraceNotFound

    if isinstance(error, AmbiguousTrace):
        more = len(error.candidates) - _MAX_CANDIDATES
        shown = [*error.candidates[:_MAX_CANDIDATES], *([f"… and {more} more"] if more > 0 else [])]
        # The reader's own message has all of them in its line.
        told = f"several traces begin with {error.prefix}"
        return Failure(told, ExitCode.NOT_FOUND, hint="give more of the id", details=shown)
    if isinstance(error, TraceNotFound):
        told = str(error).partition("; `pf traces`")[0]
        return Failure(told, ExitCode.NOT_FOUND, hint="`pf traces` lists the traces of this project")
    if isinstance(error, StoreTooNew):
        return Failure(str(error), ExitCode.USAGE)
    if isinstance(error, StoreError):
        return Failure(str(error), ExitCode.STORE)
    return None


_MAX_CANDIDATES = 10


def _explain_host(error: BaseException) -> Failure | None:
    from playground.project import ProjectError
    from playground.session import AmbiguousTarget, HostDied, LoadFailed
    from playground.sources import RunRefused

    if isinstance(error, ProjectError):
        return Failure(str(error))
    if isinstance(error, AmbiguousTarget):
        return Failure(str(error).partition(": ")[0], hint="name one of them", details=error.candidates)
    if isinstance(error, LoadFailed):
        return _explain_load(error)
    if isinstance(error, RunRefused):
        fields = [f"{detail.get('path') or '/'}: {detail.get('message')}" for detail in error.details]
        return Failure(str(error), details=[field for field in fields if field not in str(error)])
    if isinstance(error, HostDied):
        return Failure(str(error), ExitCode.HOST_DIED, details=[] if error.heard else _last_words(error.stderr))
    return None


_STDERR_LINES = 20


def _last_words(stderr: str) -> list[str]:
    return stderr.strip().splitlines()[-_STDERR_LINES:]


def _explain_load(failed: BaseException) -> Failure:
    from playground.cli.targets import suggestion
    from playground.session import LoadFailed

    assert isinstance(failed, LoadFailed)
    error = failed.error
    message = error.message
    if error.file is not None:
        place = f"{error.file}:{error.line}" if error.line is not None else error.file
        message = message if place in message else f"{place}: {message}"
    elif failed.module.path not in message:
        message = f"{failed.module.path}: {message}"
    frames = []
    for frame in error.frames:
        frames.append(f"{frame.file}:{frame.line} in {frame.function}")
        if frame.text.strip():
            frames.append(f"    {frame.text.strip()}")
    code = ExitCode.NOT_FOUND if error.kind == "not_found" else ExitCode.USAGE
    meant = suggestion(failed.module.path) if code == ExitCode.NOT_FOUND else None
    return Failure(message, code, hint=meant or error.hint, details=frames)


def one_of(asked: Mapping[T, bool]) -> T | None:
    """The one of these options that was given; None for none. Raises `Failure` for several."""
    given = [name for name, is_given in asked.items() if is_given]
    if len(given) > 1:
        *others, last = (f"--{name}" for name in asked)
        raise Failure(f"choose one of {', '.join(others)} and {last}")
    return given[0] if given else None
