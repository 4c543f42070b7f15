"""Commands that the README names and this version does not have: one clear message, and no traceback."""

from __future__ import annotations

from collections.abc import Callable

import typer

from peagen.errors import PeagenError

_ANYTHING = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


class NotYet(PeagenError):
    """A command that comes with a later version."""

    exit_code = 2


def add_later(app: typer.Typer, local: typer.Typer) -> None:
    """Adds what is not there yet to the groups that it belongs to."""
    app.command("remote", context_settings=_ANYTHING, short_help="Submit work to a gateway; not in this version.")(
        _later("peagen remote", "`peagen local` does the same work here")
    )
    app.command("tui", context_settings=_ANYTHING, short_help="The dashboard of a gateway; not in this version.")(
        _later("peagen tui", "a run is shown by `pf tui`, where it was recorded with --record")
    )
    local.command("db", context_settings=_ANYTHING, hidden=True)(
        _later("peagen local db", "there is no database to migrate without the gateway")
    )


def _later(name: str, instead: str) -> Callable[[], None]:
    def refuse() -> None:
        raise NotYet(f"{name} is not in this version", hint=instead)

    refuse.__doc__ = f"Not in this version: {instead}."
    return refuse
