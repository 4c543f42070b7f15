"""Commands about distributed flows, their arguments and their help."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from playground.cli.help import PlainCommand, bused, stored

__all__ = ["add_distributed_commands"]

Command = Callable[[], int]

_TARGET = typer.Argument(metavar="[TARGET]", help="The flow; the project's only distributed one by default.")
_JSON = typer.Option("--json", help="Print it as one object.")


class _Letters(TyperGroup):
    """`pf dead-letters TARGET` is `pf dead-letters list TARGET`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `list` where no command is named."""
        first = next((each for each in args if not each.startswith("-")), None)
        if first not in self.commands and not {"-h", "--help"} & set(args):
            args = ["list", *args]
        return super().parse_args(ctx, args)


letters_app = typer.Typer(
    cls=_Letters,
    help="Show, put back and forget messages that nobody could handle.",
    rich_markup_mode=None,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def add_distributed_commands(app: typer.Typer) -> None:
    """Add them to `pf`."""
    command = partial(app.command, cls=PlainCommand)
    command(name="worker", short_help="Run nodes of a distributed flow.")(_both(worker))
    command(name="queues", short_help="Show the edges of a distributed flow.")(_both(queues))
    command(name="workers", short_help="List the workers of distributed flows.")(_both(workers))
    part = partial(letters_app.command, cls=PlainCommand)
    part(name="list", short_help="List them (the default).")(_both(listed))
    part(name="retry", short_help="Put some back on their edges.")(_both(retry))
    part(name="drop", short_help="Forget some for good.")(_both(drop))
    app.add_typer(letters_app, name="dead-letters", short_help="Show, put back and forget what nobody could handle.")


def _both(function: Callable[..., Any]) -> Callable[..., Any]:
    return stored(bused(function))


def worker(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="A file, a module, or either with :name.")],
    nodes: Annotated[str | None, typer.Option(metavar="A,B", help="Only these nodes; all by default.")] = None,
    concurrency: Annotated[
        int | None, typer.Option(metavar="N", help="Messages at once of each node; one, or as its policy says.")
    ] = None,
    drain_s: Annotated[
        float, typer.Option("--drain-s", metavar="SECONDS", help="How long it may finish what it has at the end.")
    ] = 30.0,
    json: Annotated[
        bool, typer.Option("--json", help="Say that it is ready as one object; log in JSON lines.")
    ] = False,
) -> Command:
    """Run nodes of a distributed flow, until SIGTERM or Ctrl-C; then finish what is under way."""
    from playground.cli.worker import WorkerOptions, run_worker

    return partial(run_worker, WorkerOptions(target, nodes, concurrency, drain_s, json))


def queues(
    target: Annotated[str | None, _TARGET] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Again each second, until Ctrl-C.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print them as one object; with --watch, one a line.")] = False,
) -> Command:
    """Show the edges of a distributed flow: messages that wait, are leased or dead, and the workers that consume."""
    from playground.cli.queues import QueuesOptions, show_queues

    return partial(show_queues, QueuesOptions(target, watch, json))


def workers(
    target: Annotated[str | None, typer.Argument(metavar="[TARGET]", help="The flow; all by default.")] = None,
    json: Annotated[bool, _JSON] = False,
) -> Command:
    """List the workers of distributed flows that told of themselves within the last hour."""
    from playground.cli.queues import list_workers

    return partial(list_workers, target, json=json)


def listed(
    target: Annotated[str | None, _TARGET] = None,
    edge: Annotated[str | None, typer.Argument(metavar="[EDGE]", help="Only of this edge: 'source->target'.")] = None,
    limit: Annotated[int, typer.Option(metavar="N", help="At most so many of an edge, the oldest.")] = 100,
    json: Annotated[bool, _JSON] = False,
) -> Command:
    """List the messages that nobody could handle, with why. Secrets in them are masked."""
    from playground.cli.letters import LettersOptions, list_letters

    return partial(list_letters, LettersOptions(target, edge, limit, json))


_IDS = typer.Argument(metavar="[ID]...", help="Ids of letters, or beginnings of them.")
_ALL = typer.Option("--all", help="All of them.")
_EDGE = typer.Option(metavar="EDGE", help="Only of this edge: 'source->target'.")
_FLOW = typer.Option(metavar="TARGET", help="The flow; the project's only distributed one by default.")
_YES = typer.Option("--yes", "-y", help="With --all: do not ask.")


def retry(
    ids: Annotated[list[str] | None, _IDS] = None,
    everything: Annotated[bool, _ALL] = False,
    edge: Annotated[str | None, _EDGE] = None,
    target: Annotated[str | None, _FLOW] = None,
    yes: Annotated[bool, _YES] = False,
    json: Annotated[bool, _JSON] = False,
) -> Command:
    """Put dead letters back on their edges, as if they were new."""
    return _changing("retry", ids, everything, edge, target, yes, json)


def drop(
    ids: Annotated[list[str] | None, _IDS] = None,
    everything: Annotated[bool, _ALL] = False,
    edge: Annotated[str | None, _EDGE] = None,
    target: Annotated[str | None, _FLOW] = None,
    yes: Annotated[bool, _YES] = False,
    json: Annotated[bool, _JSON] = False,
) -> Command:
    """Forget dead letters for good."""
    return _changing("drop", ids, everything, edge, target, yes, json)


def _changing(
    change: Literal["retry", "drop"],
    ids: list[str] | None,
    everything: bool,
    edge: str | None,
    target: str | None,
    yes: bool,
    json: bool,
) -> Command:
    from playground.cli.letters import LettersChange, change_letters

    return partial(change_letters, LettersChange(change, tuple(ids or ()), everything, edge, target, yes, json))
