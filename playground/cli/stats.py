"""`pf stats`: numbers over the runs of flows."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from penguiflow.state.statistics import FlowStatistics, PartStatistics, StatisticsQuery
from playground.cli.console import Console
from playground.cli.failures import ExitCode, Failure
from playground.cli.inputs import read_moment
from playground.cli.stores import reading
from playground.cli.waiting import waiting
from playground.dashboard.text import cells, clip, duration, one_line, pad
from playground.render.paint import Paint

__all__ = ["StatsOptions", "StatsOutput", "show_stats"]

MAX_PARTS = 20
"""Lines about the parts of one flow, unless all are asked for."""
_SHORT_MS = 0.95
_PART_HEAD = ("", "COUNT", "FAILED", "RETRIES", "P50", "P90", "P99", "MAX", "TOKENS", "COST")


class StatsOptions(NamedTuple):
    """What `pf stats` was asked for, as it was typed."""

    flow: str | None = None
    since: str | None = None
    session: str | None = None
    limit: int = 10_000
    full: bool = False
    json: bool = False


class StatsOutput(BaseModel):
    """`pf stats --json`: numbers over runs, by flow, the one that ran last first."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    schema_: Literal[1] = Field(1, alias="schema")
    since: float | None
    """Only runs that started then or later, unix seconds."""
    flows: list[FlowStatistics]


def show_stats(options: StatsOptions) -> int:
    """Print the numbers; returns the exit code."""
    if options.limit < 1:
        raise Failure("--limit must be at least 1")
    since = None if options.since is None else read_moment(options.since)
    query = StatisticsQuery(flow=options.flow, session=options.session, since=since, limit=options.limit)
    console = Console()
    flows = asyncio.run(_ask(console, query))
    if options.json:
        console.json(StatsOutput(schema=1, since=since, flows=flows).model_dump(mode="json", by_alias=True))
        return ExitCode.DONE
    for index, flow in enumerate(flows):
        if index:
            console.line()
        for line in _lines(flow, console.out_paint, console.width, full=options.full or len(flows) == 1):
            console.line(line)
    if not flows:
        narrowed = options.session is not None or since is not None
        console.tell("no runs match" if narrowed else "no runs yet: `pf run TARGET` makes one")
    return ExitCode.DONE


async def _ask(console: Console, query: StatisticsQuery) -> list[FlowStatistics]:
    async with reading() as store, waiting(console, "counting") as say:
        flows = await store.statistics(query, progress=lambda done, total: say(f"counting {done:,} of {total:,} runs"))
        if flows or query.flow is None:
            return flows
        known = [each.flow for each in await store.statistics(StatisticsQuery(limit=query.limit))]
    if query.flow in known:
        return []
    near = get_close_matches(query.flow, known, n=1)
    hint = f"did you mean {near[0]}?" if near else (f"there are {', '.join(known)}" if known else None)
    raise Failure(f"no run of a flow named {query.flow!r}", ExitCode.NOT_FOUND, hint=hint)


def _lines(flow: FlowStatistics, paint: Paint, width: int | None, *, full: bool) -> Iterator[str]:
    runs = f"{flow.runs:,} run{'' if flow.runs == 1 else 's'}"
    by_status = ", ".join(f"{count:,} {status}" for status, count in flow.by_status.items())
    yield f"{paint('bold', one_line(flow.flow or '-'))}  {runs}: {by_status}"
    if flow.failed:
        yield paint("error", f"{flow.error_rate:.1%} failed")
    if flow.times_ms is not None:
        times = flow.times_ms
        told = (("p50", times.p50), ("p90", times.p90), ("p99", times.p99), ("mean", times.mean), ("max", times.max))
        yield "  ".join(f"{paint('dim', name)} {_took(ms)}" for name, ms in told)
    if flow.llm_calls:
        over = max(1, flow.runs)
        yield (
            f"{flow.llm_calls:,} calls of models, {flow.tokens:,} tokens ({flow.tokens // over:,} a run)"
            f"{f', {_cost(flow.cost)} ({_cost(flow.cost / over)} a run)' if flow.cost else ''}"
        )
    parts = flow.parts if full else flow.parts[:MAX_PARTS]
    yield from _table(parts, paint, width)
    if len(parts) < len(flow.parts):
        yield paint("dim", f"… {len(flow.parts) - len(parts)} more: --full")


def _table(parts: Sequence[PartStatistics], paint: Paint, width: int | None) -> Iterator[str]:
    if not parts:
        return
    rows = [_row(part) for part in parts]
    shown = [index for index in range(len(_PART_HEAD)) if index == 0 or any(row[index] for row in rows)]
    widths = [max(cells(row[index]) for row in (_PART_HEAD, *rows)) for index in range(len(_PART_HEAD))]
    if width is not None:
        rest = sum(widths[index] + 2 for index in shown[1:])
        widths[0] = max(12, min(widths[0], width - rest))
    for number, row in enumerate((_PART_HEAD, *rows)):
        first, *others = shown
        line = pad(clip(row[first], widths[first]), widths[first])
        line += "".join("  " + " " * (widths[index] - cells(row[index])) + row[index] for index in others)
        if number == 0:
            yield paint("dim", line.rstrip())
        else:
            yield paint("error", line.rstrip()) if parts[number - 1].failed else line.rstrip()


def _row(part: PartStatistics) -> tuple[str, ...]:
    times = part.times_ms
    return (
        one_line(f"{part.kind} {part.name}"),
        f"{part.count:,}",
        f"{part.failed:,} ({part.error_rate:.0%})" if part.failed else "",
        f"{part.retries:,}" if part.retries else "",
        *(_took(ms) for ms in (times.p50, times.p90, times.p99, times.max)),
        f"{part.tokens:,}" if part.tokens else "",
        _cost(part.cost) if part.cost else "",
    )


def _took(ms: float) -> str:
    """As `duration`; what is quick is told in microseconds."""
    return f"{ms * 1000:.0f} µs" if 0 < ms < _SHORT_MS else duration(ms / 1000)


def _cost(dollars: float) -> str:
    return f"${dollars:.2f}" if dollars >= 1 else f"${dollars:.4f}"
