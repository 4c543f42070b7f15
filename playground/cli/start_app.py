"""Commands to begin with, their arguments and their help."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated

import typer

from playground.cli.help import PlainCommand, stored

__all__ = ["add_start_commands"]

Command = Callable[[], int]


def add_start_commands(app: typer.Typer) -> None:
    """Add them to `pf`."""
    command = partial(app.command, cls=PlainCommand)
    command(name="new", short_help="Make a small project that runs.")(new)
    command(name="doctor", short_help="Say what is there, and what does not work.")(stored(doctor))


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The folder to make; its last part is the name.")],
    json: Annotated[bool, typer.Option("--json", help="Say what was made as one object.")] = False,
) -> Command:
    """Make a small project: a flow, a test and a README. It runs, and its test passes, at once."""
    from playground.cli.new import make_project

    return partial(make_project, name, json=json)


def doctor(
    load: Annotated[
        bool, typer.Option("--load/--no-load", help="Load the project's flows, which runs its code.")
    ] = True,
    json: Annotated[bool, typer.Option("--json", help="Print what was looked at as one object.")] = False,
) -> Command:
    """Say what is there, what is missing and what does not work. The exit code is 2 when something does not."""
    from playground.cli.doctor import examine

    return partial(examine, load=load, json=json)
