"""`pf traces`: the runs of this and earlier days."""

from __future__ import annotations

import asyncio
from difflib import get_close_matches
from typing import NamedTuple, cast, get_args

from penguiflow.state.traces import TraceQuery, TraceStatus, TraceSummary
from playground.cli.console import Console
from playground.cli.failures import Failure
from playground.cli.inputs import read_moment
from playground.cli.outputs import TracesOutput
from playground.cli.stores import reading
from playground.render.tracelist import trace_lines

__all__ = ["TracesOptions", "list_traces"]


class TracesOptions(NamedTuple):
    """What `pf traces` was asked for, as it was typed."""

    flow: str | None = None
    status: str | None = None
    text: str | None = None
    since: str | None = None
    session: str | None = None
    limit: int = 50
    background: bool = False
    json: bool = False


def list_traces(options: TracesOptions) -> int:
    """Print the traces that match; returns the exit code."""
    query = _query(options)
    found = asyncio.run(_find(query))
    console = Console()
    if options.json:
        console.json(TracesOutput(schema=1, traces=found).model_dump(mode="json", by_alias=True), indent=2)
    elif found:
        for line in trace_lines(found, paint=console.out_paint, width=console.width):
            console.line(line)
    else:
        narrowed = any((options.flow, options.status, options.text, options.since, options.session))
        console.tell("no traces match" if narrowed else "no traces yet: `pf run TARGET` makes one")
    return 0


async def _find(query: TraceQuery) -> list[TraceSummary]:
    async with reading() as store:
        return await store.find_traces(query)


def _query(options: TracesOptions) -> TraceQuery:
    known = get_args(TraceStatus)
    if options.status is not None and options.status not in known:
        near = get_close_matches(options.status, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"one of {', '.join(known)}"
        raise Failure(f"--status: {options.status!r} is no status of a trace", hint=hint)
    if options.limit < 1:
        raise Failure("--limit must be at least 1")
    return TraceQuery(
        flow=options.flow,
        status=cast("TraceStatus | None", options.status),
        session=options.session,
        text=options.text,
        since=None if options.since is None else read_moment(options.since),
        background=options.background,
        limit=options.limit,
    )
