"""`pf dead-letters`: messages that nobody could handle, shown, put back on their edges, or forgotten."""

from __future__ import annotations

import asyncio
import shlex
import sys
from collections.abc import Sequence
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from playground.cli.console import Console, json_text
from playground.cli.failures import ExitCode, Failure
from playground.cli.queues import asking
from playground.cli.tables import print_table
from playground.cli.targets import check_target
from playground.dashboard.text import one_line
from playground.protocol import LettersEdit, Queues, QueuesGet
from playground.queue_frames import LetterShown

__all__ = ["ChangedLettersOutput", "LettersChange", "LettersOptions", "LettersOutput", "change_letters", "list_letters"]

MAX_SHORT_CHARS = 200
SHORT_TRACE = 12
SHORT_PART = 8


class LettersOptions(NamedTuple):
    """What `pf dead-letters` was asked for, as it was typed."""

    target: str | None = None
    edge: str | None = None
    limit: int = 100
    json: bool = False


class LettersChange(NamedTuple):
    """What `pf dead-letters retry` or `drop` was asked for, as it was typed."""

    change: Literal["retry", "drop"]
    ids: Sequence[str] = ()
    all: bool = False
    edge: str | None = None
    target: str | None = None
    yes: bool = False
    json: bool = False


class LettersOutput(BaseModel):
    """`pf dead-letters --json`: messages that nobody could handle, by edge, the oldest first."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    schema_: Literal[1] = Field(1, alias="schema")
    target: str
    flow: str
    """Its name on the bus."""
    letters: list[LetterShown]


class ChangedLettersOutput(BaseModel):
    """`pf dead-letters retry --json` and `drop --json`: what was put back, or forgotten."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    schema_: Literal[1] = Field(1, alias="schema")
    change: Literal["retry", "drop"]
    letters: list[LetterShown]
    problem: str | None
    """Why that is not all that was asked for."""


def list_letters(options: LettersOptions) -> int:
    """Print the dead letters; returns the exit code."""
    if options.target is not None:
        check_target(options.target)
    if options.limit < 1:
        raise Failure("--limit must be at least 1")
    found = asyncio.run(_ask(options.target, QueuesGet(letters=True, edge=options.edge, limit=options.limit)))
    console = Console()
    if options.json:
        output = LettersOutput(schema=1, target=found.target, flow=found.flow, letters=found.letters)
        console.json(output.model_dump(mode="json", by_alias=True), indent=2)
        return ExitCode.DONE
    head = ("ID", "EDGE", "ATTEMPTS", "TRACE", "REASON", "PAYLOAD")
    print_table(console, head, [_row(letter) for letter in found.letters])
    if not found.letters:
        console.tell("there are no dead letters")
        return ExitCode.DONE
    target = shlex.quote(found.target)
    more = sum(edge.dead for edge in found.edges if options.edge in (None, edge.edge)) - len(found.letters)
    if more > 0:
        console.tell(f"and {more:,} more: --limit shows them")
    console.tell(f"`pf dead-letters retry ID --target {target}` puts one back, `drop` forgets it")
    return ExitCode.DONE


def change_letters(options: LettersChange) -> int:
    """Put letters back, or forget them; returns the exit code."""
    if options.target is not None:
        check_target(options.target)
    if options.all == bool(options.ids):
        raise Failure(f"name the letters to {options.change}, or say --all", hint="`pf dead-letters` lists their ids")
    console = Console()
    if options.all and not options.yes and not _confirmed(options):
        console.tell("nothing was changed")
        return ExitCode.DONE
    request = LettersEdit(change=options.change, edge=options.edge, ids=list(options.ids))
    done = asyncio.run(_ask(options.target, request))
    if options.json:
        output = ChangedLettersOutput(schema=1, change=options.change, letters=done.changed, problem=done.problem)
        console.json(output.model_dump(mode="json", by_alias=True), indent=2)
    else:
        word = "put back" if options.change == "retry" else "dropped"
        for letter in done.changed:
            console.line(f"{word} {one_line(_short(letter.id))} on {one_line(letter.edge)}")
        if not done.changed:
            console.tell("there are no dead letters")
    console.flush()
    if done.full:
        edges = ", ".join(map(one_line, done.full))
        raise Failure(
            f"{edges} has no room, and nobody makes any: not all letters were put back",
            ExitCode.FLOW_FAILED,
            hint="start a worker that consumes it, then try again",
        )
    return ExitCode.DONE


def _confirmed(options: LettersChange) -> bool:
    """Whether somebody at the terminal wants all of them changed. Raises `Failure` where nobody is there."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise Failure(f"--all would {options.change} every dead letter", hint="--yes says that this is wanted")
    found = asyncio.run(_ask(options.target, QueuesGet()))
    counts = {edge.edge: edge.dead for edge in found.edges if edge.dead and options.edge in (None, edge.edge)}
    total = sum(counts.values())
    if not total:
        return True
    where = ", ".join(f"{one_line(edge)} ({count:,})" for edge, count in counts.items())
    verb = "Put back" if options.change == "retry" else "Forget for good"
    Console().tell(f"{verb} {total:,} dead letter{'' if total == 1 else 's'} of {where}? [y/N] ", end="")
    try:
        return input().strip().lower() in ("y", "yes")
    except EOFError:
        return False


async def _ask(target: str | None, request: QueuesGet | LettersEdit) -> Queues:
    async with asking(target) as host:
        return await host.ask(request)


def _row(letter: LetterShown) -> Sequence[str]:
    payload = f"({letter.bytes:,} bytes)" if letter.payload is None and letter.bytes else json_text(letter.payload)
    return (
        one_line(_short(letter.id)),
        one_line(letter.edge),
        str(letter.attempts),
        one_line((letter.trace_id or "")[:SHORT_TRACE]),
        one_line(letter.reason)[:MAX_SHORT_CHARS],
        one_line(payload)[:MAX_SHORT_CHARS],
    )


def _short(letter_id: str) -> str:
    """The beginnings of both its parts, the trace's and the message's: the latter is the same in other traces."""
    trace, slash, own = letter_id.rpartition("/")
    return trace[:SHORT_PART] + slash + own[:SHORT_PART]
