"""The commands of `pf memory`, their arguments and their help."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import typer

from playground.cli.help import PlainCommand, stored

__all__ = ["memory_app"]

Command = Callable[[], int]

memory_app = typer.Typer(
    help="Show and change what planners remember of conversations.",
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_SESSION = typer.Argument(metavar="SESSION", help="tenant:user:session, the session alone, or a beginning.")
_VERSION = typer.Option(metavar="N", help="Only if it still has this version.")
_JSON = typer.Option("--json", help="Print it as one object.")


def _command(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return lambda function: memory_app.command(cls=PlainCommand, **options)(stored(function))


@memory_app.callback(invoke_without_command=True)
@stored
def listed(context: typer.Context, json: Annotated[bool, _JSON] = False) -> Command | None:
    """Show and change what planners remember of conversations, in the project's store."""
    from playground.cli.memory import list_memories

    return None if context.invoked_subcommand else partial(list_memories, json=json)


@_command(name="list", short_help="List the conversations that are remembered.")
def listing(json: Annotated[bool, _JSON] = False) -> Command:
    """List the conversations that are remembered."""
    from playground.cli.memory import list_memories

    return partial(list_memories, json=json)


@_command(short_help="Show what is remembered of a conversation.")
def show(session: Annotated[str, _SESSION], json: Annotated[bool, _JSON] = False) -> Command:
    """Show what is remembered of a conversation: summary and turns."""
    from playground.cli.memory import show_memory

    return partial(show_memory, session, json=json)


@_command(short_help="Change what is remembered of a conversation.")
def edit(
    session: Annotated[str, _SESSION],
    edits: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="/summary=…, /turns/0/user_message=…; $EDITOR by default."),
    ] = None,
    version: Annotated[int | None, _VERSION] = None,
    json: Annotated[bool, _JSON] = False,
) -> Command:
    """Change summary and turns, in $EDITOR or with --set. Turns can be changed and removed."""
    from playground.cli.memory import EditOptions, edit_memory

    return partial(edit_memory, EditOptions(session, edits or (), version, json))


@_command(short_help="Forget a conversation.")
def clear(
    session: Annotated[str, _SESSION],
    version: Annotated[int | None, _VERSION] = None,
    json: Annotated[bool, _JSON] = False,
) -> Command:
    """Forget a conversation: its summary and all its turns."""
    from playground.cli.memory import clear_memory

    return partial(clear_memory, session, version=version, json=json)
