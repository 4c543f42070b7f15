"""`pf diff`: where two traces differ."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from penguiflow.recording.diff import DEFAULT_LIMIT, TraceDiff, diff_traces
from penguiflow.state.traces import TraceSummary
from playground.cli.console import Console
from playground.cli.failures import ExitCode, Failure
from playground.cli.outputs import DiffOutput
from playground.cli.stores import open_trace
from playground.cli.waiting import waiting
from playground.render.difference import diff_lines, side_by_side_lines

__all__ = ["DiffOptions", "diff"]


class DiffOptions(NamedTuple):
    """What `pf diff` was asked for, as it was typed."""

    a: str
    b: str
    json: bool = False
    side_by_side: bool = False
    limit: int = DEFAULT_LIMIT


def diff(options: DiffOptions) -> int:
    """Print how two traces compare; returns the exit code, which does not tell whether they are equal."""
    if options.json and options.side_by_side:
        raise Failure("choose one of --json and --side-by-side")
    if options.limit < 1:
        raise Failure("--limit must be at least 1")
    console = Console()
    found, a, b = asyncio.run(_compare(console, options))
    if options.json:
        output = DiffOutput(schema=1, a=a, b=b, **dict(found))
        console.json(output.model_dump(mode="json", by_alias=True), indent=2)
        return ExitCode.DONE
    lines = side_by_side_lines if options.side_by_side else diff_lines
    for line in lines(found, a, b, paint=console.out_paint, width=console.width):
        console.line(line)
    return ExitCode.DONE


async def _compare(console: Console, options: DiffOptions) -> tuple[TraceDiff, TraceSummary, TraceSummary]:
    async with (
        waiting(console, "comparing") as say,
        open_trace(options.a, say=say) as (one, a),
        open_trace(options.b, say=say) as (other, b),
    ):
        say("comparing")
        return await diff_traces((one, a.trace_id), (other, b.trace_id), limit=options.limit), a, b
