"""The commands of `pf break`, their arguments and their help."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated

import typer

from playground.cli.help import PlainCommand

__all__ = ["break_app"]

Command = Callable[[], int]

break_app = typer.Typer(
    help="List, add and remove the breakpoints of the project.",
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_command = partial(break_app.command, cls=PlainCommand)
_IDS = typer.Argument(metavar="[ID]...", help="Ids, or the beginnings of ids; `pf break` lists them.")
_ALL = typer.Option("--all", help="All of them.")
_JSON = typer.Option("--json", help="Print all breakpoints as one object.")


@break_app.callback(invoke_without_command=True)
def listed(context: typer.Context, json: Annotated[bool, _JSON] = False) -> Command | None:
    """List, add and remove the breakpoints of the project: runs of the dashboard stop there."""
    from playground.cli.breakpoints import list_breakpoints

    return None if context.invoked_subcommand else partial(list_breakpoints, json=json)


@_command(short_help="Stop runs at a place.")
def add(
    place: Annotated[
        str,
        typer.Argument(metavar="SPEC", help="tool:NAME, node:NAME, kind:after_decision, error or any."),
    ],
    condition: Annotated[
        str | None, typer.Option("--if", metavar="EXPR", help="Only when this is true of the payload: args.url == 'b'.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Only the first time; then it is off.")] = False,
    flow: Annotated[str | None, typer.Option(metavar="TARGET", help="Only in this flow.")] = None,
    disabled: Annotated[bool, typer.Option("--disabled", help="Keep it, and do not stop there yet.")] = False,
    json: Annotated[bool, _JSON] = False,
) -> Command:
    """Stop runs at a place. One that is there already, with the same condition, is changed."""
    from playground.cli.breakpoints import AddOptions, add_breakpoint

    options = AddOptions(place=place, condition=condition, once=once, flow=flow, disabled=disabled, json=json)
    return partial(add_breakpoint, options)


@_command(short_help="Remove breakpoints.")
def rm(
    ids: Annotated[list[str] | None, _IDS] = None,
    every: Annotated[bool, _ALL] = False,
    json: Annotated[bool, _JSON] = False,
) -> Command:
    """Remove breakpoints."""
    from playground.cli.breakpoints import remove_breakpoints

    return partial(remove_breakpoints, ids or [], every=every, json=json)


@_command(short_help="Enable breakpoints.")
def on(
    ids: Annotated[list[str] | None, _IDS] = None,
    every: Annotated[bool, _ALL] = False,
    json: Annotated[bool, _JSON] = False,
) -> Command:
    """Enable breakpoints."""
    from playground.cli.breakpoints import switch_breakpoints

    return partial(switch_breakpoints, ids or [], on=True, every=every, json=json)


@_command(short_help="Disable breakpoints, and keep them.")
def off(
    ids: Annotated[list[str] | None, _IDS] = None,
    every: Annotated[bool, _ALL] = False,
    json: Annotated[bool, _JSON] = False,
) -> Command:
    """Disable breakpoints, and keep them."""
    from playground.cli.breakpoints import switch_breakpoints

    return partial(switch_breakpoints, ids or [], on=False, every=every, json=json)
