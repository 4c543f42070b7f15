"""Commands that ask the project's store, their arguments and their help."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated

import typer

from playground.cli.help import PlainCommand, stored
from playground.cli.kv_app import kv_app
from playground.cli.memory_app import memory_app

__all__ = ["add_store_commands"]

Command = Callable[[], int]

_SINCE = typer.Option(metavar="WHEN", help="Only runs that started since: 2h, 3d, today, 2026-01-31.")
_SESSION = typer.Option(metavar="KEY", help="Only runs of this session.")


def add_store_commands(app: typer.Typer) -> None:
    """Add them to `pf`."""
    command = partial(app.command, cls=PlainCommand)
    command(name="stats", short_help="Count runs: how long, how often they fail, what they cost.")(stored(stats))
    command(name="search", short_help="Find events by their text and kind.")(stored(search))
    command(name="sessions", short_help="List the sessions that runs belong to.")(stored(sessions))
    app.add_typer(kv_app, name="kv", short_help="Show and change what tools keep in sessions.")
    app.add_typer(memory_app, name="memory", short_help="Show and change what planners remember.")


def stats(
    flow: Annotated[str | None, typer.Argument(metavar="[FLOW]", help="Name of a flow; all by default.")] = None,
    since: Annotated[str | None, _SINCE] = None,
    session: Annotated[str | None, _SESSION] = None,
    limit: Annotated[int, typer.Option(metavar="N", help="The newest so many runs.")] = 10_000,
    full: Annotated[bool, typer.Option("--full", help="All parts of each flow.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the numbers as one object.")] = False,
) -> Command:
    """Count the runs of flows: status, error rate, how long they and their parts took, tokens and cost."""
    from playground.cli.stats import StatsOptions, show_stats

    return partial(show_stats, StatsOptions(flow, since, session, limit, full, json))


def search(
    text: Annotated[str, typer.Argument(metavar="[TEXT]", help="Found in the names and data of events.")] = "",
    regex: Annotated[bool, typer.Option("--regex", "-e", help="TEXT is a regular expression.")] = False,
    kinds: Annotated[
        list[str] | None, typer.Option("--kind", "-k", metavar="KIND", help="Only events of this kind: tool.*")
    ] = None,
    trace: Annotated[str | None, typer.Option(metavar="ID", help="Only in this trace: an id, or `last`.")] = None,
    flow: Annotated[str | None, typer.Option(metavar="NAME", help="Only in runs of this flow.")] = None,
    session: Annotated[str | None, _SESSION] = None,
    since: Annotated[str | None, _SINCE] = None,
    limit: Annotated[int, typer.Option(metavar="N", help="At most so many.")] = 50,
    json: Annotated[bool, typer.Option("--json", help="Print what was found as one object.")] = False,
) -> Command:
    """Find events by their text and kind, in all runs or in one. The newest run comes first."""
    from playground.cli.search import SearchOptions, find_events

    options = SearchOptions(text, regex, tuple(kinds or ()), trace, flow, session, since, limit, json)
    return partial(find_events, options)


def sessions(
    limit: Annotated[int, typer.Option(metavar="N", help="At most so many.")] = 50,
    json: Annotated[bool, typer.Option("--json", help="Print them as one object.")] = False,
) -> Command:
    """List the sessions that runs belong to, the one that was active last first, with their memories."""
    from playground.cli.memory import list_sessions

    return partial(list_sessions, limit=limit, json=json)
