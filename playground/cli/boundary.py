"""The last line of every command: failures become one message, and a reader that went away is no failure."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from playground.cli.console import Console
from playground.cli.failures import ExitCode, Failure, explain

__all__ = ["guard"]

DEBUG_VARIABLE = "PENGUIFLOW_DEBUG"
"""When set, a defect of `pf` itself shows its traceback."""

_EXTRAS = {
    **dict.fromkeys(("rich", "textual", "typer", "watchfiles", "websockets"), ("the playground", "playground")),
    **dict.fromkeys(("aiohttp", "aiohttp_jinja2", "textual_serve"), ("the dashboard in a browser", "web")),
    "asyncpg": ("the driver of PostgreSQL", "postgres"),
    "nats": ("the client of NATS", "nats"),
    "redis": ("the client of Redis", "redis"),
    "opentelemetry": ("OpenTelemetry", "otel"),
}
"""What the base install does not bring: its name, and the extra that brings it."""


def guard(command: Callable[[], int]) -> int:
    """Run a command and return its exit code, whatever happens in it."""
    console = Console()
    try:
        code = command()
        console.flush()
    except BrokenPipeError:
        code = ExitCode.DONE
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    except Exception as error:  # the boundary to the shell: no command ends in a traceback of our own code
        if os.environ.get(DEBUG_VARIABLE):
            raise
        failure = _missing_extra(error) or explain(error) or _defect(error)
        console.fail(failure)
        code = failure.code
    finally:
        console.abandon()
    return int(code)


def _missing_extra(error: Exception) -> Failure | None:
    package = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if package not in _EXTRAS:
        return None
    name, extra = _EXTRAS[package]
    return Failure(f"{name} is not installed ({package} is missing)", hint=f'pip install "penguiflow[{extra}]"')


def _defect(error: Exception) -> Failure:
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        return Failure(f"{place}{error.strerror}", ExitCode.FLOW_FAILED)
    import traceback

    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(frame.filename).name}:{frame.lineno}"
    return Failure(
        f"unexpected {type(error).__name__}: {error} (at {place})",
        ExitCode.FLOW_FAILED,
        hint=f"this is a defect of pf; {DEBUG_VARIABLE}=1 shows the traceback",
    )
