"""The last line of every command: failures become one message and an exit code."""

from __future__ import annotations

import os
import sys
from typing import Any

import typer

from peagen.cli.console import Console, configure_logging
from peagen.errors import PeagenError

FAILED, USAGE, INTERRUPTED = 1, 2, 130

# Typer does not name its root of usage errors, and moved it between its versions.
_USAGE_ERRORS: tuple[type[BaseException], ...] = tuple(
    kind for kind in typer.BadParameter.__mro__ if issubclass(kind, Exception) and kind.__name__ == "ClickException"
)


def guard(arguments: list[str]) -> int:
    """Parse and run; returns the exit code, whatever happens."""
    console = Console()
    mark = "[ERROR] "
    debug = False
    try:
        parsed = _parse(arguments)
        if isinstance(parsed, int):
            return parsed
        mark, debug = parsed.mark, parsed.options.debug
        configure_logging(parsed.options.level)
        code = parsed.run() or 0
        sys.stdout.flush()
    except _USAGE_ERRORS as error:
        console.error(f"{_usage_message(error)}; see `peagen {_command_of(arguments)}--help`")
        code = USAGE
    except PeagenError as error:
        console.error(error.report(), mark)
        code = error.exit_code
    except BrokenPipeError:
        # Who read it has gone. What is left in the buffer must not be flushed at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except (KeyboardInterrupt, typer.Abort):  # the second one: in the middle of a question
        console.error("interrupted", "")
        code = INTERRUPTED
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        console.error(f"{place}{error.strerror or error}", mark)
        code = FAILED
    except Exception as error:  # the boundary to the shell: no command ends in a traceback of our own code
        if debug:
            raise
        console.error(f"unexpected {type(error).__name__}: {error}; this is a defect, --debug shows where", mark)
        code = FAILED
    return code


def _parse(arguments: list[str]) -> Any:
    from peagen.cli.app import app

    parsed: Any = app(arguments, prog_name="peagen", standalone_mode=False)
    # The parser answers by itself: 0 for help, 130 for a Ctrl-C in the middle of it.
    return parsed if parsed is not None else 0


def _usage_message(error: BaseException) -> str:
    format_message = getattr(error, "format_message", None)
    return str(format_message() if format_message is not None else error).rstrip(".")


def _command_of(arguments: list[str]) -> str:
    from peagen.cli.app import app

    names: list[str] = []
    groups: Any = app
    for argument in arguments:
        if argument.startswith("-"):
            continue
        inner = next((each.typer_instance for each in groups.registered_groups if each.name == argument), None)
        known = inner is not None or argument in {each.name for each in groups.registered_commands}
        if not known:
            break
        names.append(argument)
        if inner is None:
            break
        groups = inner
    return "".join(f"{name} " for name in names)
