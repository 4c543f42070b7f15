"""The commands of `pf kv`, their arguments and their help."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import typer

from playground.cli.help import PlainCommand, stored

__all__ = ["kv_app"]

Command = Callable[[], int]

kv_app = typer.Typer(
    help="Show and change what tools of planners keep in sessions.",
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_SESSION = typer.Argument(metavar="SESSION", help="tenant:user:session, the session alone, or a beginning.")
_ONE = typer.Argument(metavar="[SESSION]", help="tenant:user:session, the session alone, or a beginning; all of them.")
_KEY = typer.Argument(metavar="KEY", help="The key of the value.")
_NAMESPACE = typer.Option("--namespace", "-n", metavar="NAME", help="The namespace that it is in.")
_TASK = typer.Option("--task", metavar="ID", help="What this task keeps, in place of the session.")
_ETAG = typer.Option(metavar="ETAG", help="Only if it still has this etag.")
_JSON = typer.Option("--json", help="Print it as one object.")


def _command(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return lambda function: kv_app.command(cls=PlainCommand, **options)(stored(function))


@kv_app.callback(invoke_without_command=True)
@stored
def listed(context: typer.Context, json: Annotated[bool, _JSON] = False) -> Command | None:
    """Show and change what tools of planners keep in sessions (`ctx.kv`), in the project's store."""
    from playground.cli.kv import list_values

    return None if context.invoked_subcommand else partial(list_values, None, json=json)


@_command(name="list", short_help="List what tools keep.")
def listing(session: Annotated[str | None, _ONE] = None, json: Annotated[bool, _JSON] = False) -> Command:
    """List what tools keep, in one session or in all. Secrets are masked."""
    from playground.cli.kv import list_values

    return partial(list_values, session, json=json)


@_command(short_help="Show one value.")
def get(
    session: Annotated[str, _SESSION],
    key: Annotated[str, _KEY],
    namespace: Annotated[str, _NAMESPACE] = "",
    task: Annotated[str | None, _TASK] = None,
    json: Annotated[bool, _JSON] = False,
) -> Command:
    """Show one value, as JSON. Secrets are masked."""
    from playground.cli.kv import KvPlace, show_value

    return partial(show_value, KvPlace(session, key, namespace, task), json=json)


@_command(name="set", short_help="Change a value, or keep a new one.")
def put(
    session: Annotated[str, _SESSION],
    key: Annotated[str, _KEY],
    value: Annotated[str | None, typer.Argument(metavar="[VALUE]", help="JSON, else text; @file; -; $EDITOR.")] = None,
    edits: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Change one place of it: /theme=dark."),
    ] = None,
    namespace: Annotated[str, _NAMESPACE] = "",
    task: Annotated[str | None, _TASK] = None,
    etag: Annotated[str | None, _ETAG] = None,
    json: Annotated[bool, _JSON] = False,
) -> Command:
    """Change a value: as a whole, in places, or in $EDITOR. Secrets that stay as they are shown stay what they are."""
    from playground.cli.kv import KvPlace, KvSet, set_value

    return partial(set_value, KvSet(KvPlace(session, key, namespace, task), value, edits or (), etag, json))


@_command(short_help="Forget a value.")
def delete(
    session: Annotated[str, _SESSION],
    key: Annotated[str, _KEY],
    namespace: Annotated[str, _NAMESPACE] = "",
    task: Annotated[str | None, _TASK] = None,
    etag: Annotated[str | None, _ETAG] = None,
    json: Annotated[bool, _JSON] = False,
) -> Command:
    """Forget one value."""
    from playground.cli.kv import KvPlace, delete_value

    return partial(delete_value, KvPlace(session, key, namespace, task), etag=etag, json=json)
