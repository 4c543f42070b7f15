"""Numbers over the runs of a store: how many, how long, how often they fail, what they cost, and which part it was.

What lists of runs show is asked of the store itself. The numbers of nodes, models and tools are worked out of each
trace's events once, when it is over, and kept: see `derived`.
"""

from __future__ import annotations

import math
import sqlite3
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from functools import partial
from typing import Any, NamedTuple

from pydantic import BaseModel, Field

from penguiflow.recording.text import clean_text
from penguiflow.state.connection import Asks, Connection, transaction
from penguiflow.state.derived import Derived, in_memory
from penguiflow.state.liveness import dead_writers
from penguiflow.state.reader import stored_chunks
from penguiflow.state.tallies import Tally, percentile_ns, tally_of

__all__ = ["FlowStatistics", "PartStatistics", "Progress", "RunPoint", "StatisticsQuery", "Times", "statistics"]

Progress = Callable[[int, int], None]
"""Called with how many traces were counted, and how many there are to be counted."""

MAX_POINTS = 500
_BATCH_S = 0.1
"""How long traces are counted before the others have a turn."""
_FAILED = ("error", "timeout", "interrupted")
_RUNS = "SELECT trace_id, flow, status, started, updated, duration_s, events, writer FROM traces"


class StatisticsQuery(BaseModel):
    """Which runs to count."""

    flow: str | None = None
    session: str | None = None
    since: float | None = None
    """Started at or after, unix seconds."""
    before: float | None = None
    """Started before, unix seconds."""
    limit: int = Field(default=10_000, ge=1)
    """The newest so many."""


class Times(BaseModel):
    """How long something took, in milliseconds; percentiles of parts are right to within 2 %."""

    p50: float
    p90: float
    p99: float
    mean: float
    max: float


class PartStatistics(BaseModel):
    """A node, a model, a tool, …: everything of one kind and name."""

    kind: str
    """`node`, `playbook`, `planner`, `llm`, `tool`, `join`, `remote`, or `record` for calls of `ctx.record`."""
    name: str
    count: int
    failed: int
    """Those that ended in an error or a time-out."""
    error_rate: float
    """From 0 to 1."""
    retries: int
    tokens: int
    cost: float
    """US dollars, as far as they are known."""
    times_ms: Times


class RunPoint(BaseModel):
    """One run, as a point in a plot."""

    trace_id: str
    started: float
    duration_s: float | None
    status: str
    tokens: int
    cost: float


class FlowStatistics(BaseModel):
    """The runs of one flow."""

    flow: str
    runs: int
    by_status: dict[str, int]
    failed: int
    """Those with status `error`, `timeout` or `interrupted`."""
    error_rate: float
    """`failed` among those that are over, from 0 to 1."""
    first: float
    """When the oldest run started, unix seconds."""
    last: float
    times_ms: Times | None
    """Of the runs that are over, interrupted ones left out; None without any."""
    llm_calls: int
    tokens: int
    cost: float
    """US dollars, as far as they are known."""
    parts: list[PartStatistics]
    """Those that took most time together first."""
    points: list[RunPoint]
    """The newest 500, oldest first."""


class _Run(NamedTuple):
    trace_id: str
    flow: str
    status: str
    started: float
    duration_s: float | None
    events: int

    @property
    def is_over(self) -> bool:
        return self.status != "running"


async def statistics(
    reader: Asks,
    opening: Callable[[], sqlite3.Connection],
    query: StatisticsQuery,
    progress: Progress | None = None,
) -> list[FlowStatistics]:
    """The numbers of each flow that has runs, the one that ran last first. Raises `StoreError`.

    `opening` opens what is worked out of traces and kept: see `derived`.
    """
    nothing: list[_Run] = []
    runs = await reader.ask(lambda connection: _runs(connection, query), nothing)
    try:
        with closing(Derived(opening)) as kept:
            return await _counted(reader, kept, runs, progress)
    except sqlite3.Error:
        # It cannot be written: a full disk, or another program has it. The numbers do not depend on it.
        with closing(Derived(in_memory)) as kept:
            return await _counted(reader, kept, runs, progress)


async def _counted(
    reader: Asks, kept: Derived, runs: Sequence[_Run], progress: Progress | None
) -> list[FlowStatistics]:
    missing = await kept.ask(partial(_missing, runs=runs))
    if missing:
        no_ids: list[str] = []
        known = set(await reader.ask(_all_ids, no_ids))
        await kept.ask(partial(_forget, known=known))
    nothing: list[dict[tuple[str, str], Tally]] = []
    total = len(missing)
    while missing:
        if progress is not None:
            progress(total - len(missing), total)
        tallies = await reader.ask(partial(_tally, runs=missing), nothing)
        if not tallies:
            break
        await kept.ask(partial(_keep, runs=missing[: len(tallies)], tallies=tallies))
        missing = missing[len(tallies) :]
    return await kept.ask(partial(_sum_up, runs=runs))


def _runs(connection: Connection, query: StatisticsQuery) -> list[_Run]:
    """The runs that match, newest first."""
    wanted = {
        "flow = ?": None if query.flow is None else clean_text(query.flow),
        "session = ?": None if query.session is None else clean_text(query.session),
        "started >= ?": query.since,
        "started < ?": query.before,
    }
    given = {condition: value for condition, value in wanted.items() if value is not None}
    where = f"WHERE {' AND '.join(given)}" if given else ""
    dead = set(dead_writers(connection))
    rows = connection.execute(
        " ".join((_RUNS, where, "ORDER BY started DESC, id DESC LIMIT ?")), [*given.values(), query.limit]
    )
    found: list[_Run] = []
    for trace_id, flow, told, started, updated, took, events, writer in rows:
        status, duration_s = told, took
        if status == "running" and writer in dead:
            status, duration_s = "interrupted", max(0.0, updated - started)
        found.append(_Run(trace_id, flow or "", status, started, duration_s, events))
    return found


def _all_ids(connection: Connection) -> list[str]:
    return [str(trace_id) for (trace_id,) in connection.execute("SELECT trace_id FROM traces")]


def _missing(connection: sqlite3.Connection, runs: Sequence[_Run]) -> list[_Run]:
    """Runs that are over and of which the numbers are not known, or not as they are now."""
    known = {row[0]: row[1:] for row in connection.execute("SELECT trace_id, started, events FROM counted")}
    return [run for run in runs if run.is_over and known.get(run.trace_id) != (run.started, run.events)]


def _forget(connection: sqlite3.Connection, known: set[str]) -> None:
    """Forget the numbers of traces that were removed from the store."""
    rows = connection.execute("SELECT id, trace_id FROM counted").fetchall()
    gone = [(row_id,) for row_id, trace_id in rows if trace_id not in known]
    if not gone:
        return
    with transaction(connection):
        connection.executemany("DELETE FROM counted WHERE id = ?", gone)


def _tally(connection: Connection, runs: Sequence[_Run]) -> list[dict[tuple[str, str], Tally]]:
    """The numbers of the first of these runs: as many as can be counted in a moment, and at least one."""
    until = time.monotonic() + _BATCH_S
    tallies: list[dict[tuple[str, str], Tally]] = []
    for run in runs:
        with closing(stored_chunks(connection, run.trace_id)) as chunks:
            tallies.append(tally_of(chunks))
        if time.monotonic() > until:
            break
    return tallies


def _keep(
    connection: sqlite3.Connection, runs: Sequence[_Run], tallies: Sequence[dict[tuple[str, str], Tally]]
) -> None:
    with transaction(connection):
        parts = _part_ids(connection, {key for tally in tallies for key in tally})
        for run, tally in zip(runs, tallies, strict=True):
            connection.execute("DELETE FROM counted WHERE trace_id = ?", (run.trace_id,))
            row = connection.execute(
                "INSERT INTO counted (trace_id, started, events) VALUES (?, ?, ?)",
                (run.trace_id, run.started, run.events),
            )
            trace = row.lastrowid
            connection.executemany(
                "INSERT INTO counts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (trace, parts[key], of.count, of.failed, of.retries, of.tokens, of.cost, of.total_ns, of.longest_ns)
                    for key, of in tally.items()
                ],
            )
            connection.executemany(
                "INSERT INTO times VALUES (?, ?, ?, ?)",
                [(trace, parts[key], bucket, n) for key, of in tally.items() for bucket, n in of.times.items()],
            )


def _part_ids(connection: sqlite3.Connection, wanted: Iterable[tuple[str, str]]) -> dict[tuple[str, str], int]:
    connection.executemany("INSERT OR IGNORE INTO parts (kind, name) VALUES (?, ?)", sorted(wanted))
    return {(kind, name): number for number, kind, name in connection.execute("SELECT id, kind, name FROM parts")}


def _sum_up(connection: sqlite3.Connection, runs: Sequence[_Run]) -> list[FlowStatistics]:
    """One question for all parts of all flows; runs of one flow are told apart by its number."""
    flows: dict[str, list[_Run]] = defaultdict(list)
    for run in runs:
        flows[run.flow].append(run)
    numbers = {flow: number for number, flow in enumerate(flows)}
    connection.execute("CREATE TEMP TABLE IF NOT EXISTS wanted (trace INTEGER PRIMARY KEY, flow INTEGER NOT NULL)")
    connection.execute("DELETE FROM temp.wanted")
    with transaction(connection):
        connection.executemany(
            "INSERT INTO temp.wanted SELECT id, ? FROM counted WHERE trace_id = ?",
            [(numbers[run.flow], run.trace_id) for run in runs if run.is_over],
        )
    parts: dict[int, dict[int, tuple[Any, ...]]] = defaultdict(dict)
    for flow, part, *row in connection.execute(
        "SELECT flow, part, kind, name, sum(count), sum(failed), sum(retries), sum(tokens), sum(cost), sum(total_ns),"
        " max(longest_ns) FROM temp.wanted JOIN counts USING (trace) JOIN parts ON parts.id = part GROUP BY flow, part"
    ):
        parts[flow][part] = tuple(row)
    times: dict[tuple[int, int], Counter[int]] = defaultdict(Counter)
    for flow, part, bucket, count in connection.execute(
        "SELECT flow, part, bucket, sum(count) FROM temp.wanted JOIN times USING (trace) GROUP BY flow, part, bucket"
    ):
        times[flow, part][bucket] = count
    spent = {
        trace_id: (tokens, cost)
        for trace_id, tokens, cost in connection.execute(
            "SELECT trace_id, sum(tokens), sum(cost) FROM temp.wanted JOIN counts USING (trace)"
            " JOIN counted ON counted.id = trace GROUP BY trace"
        )
    }
    return [
        _flow(
            flow,
            those,
            [_part(row, times[numbers[flow], part]) for part, row in parts[numbers[flow]].items()],
            spent,
        )
        for flow, those in flows.items()
    ]


def _flow(
    name: str, runs: Sequence[_Run], parts: list[PartStatistics], spent: dict[str, tuple[int, float]]
) -> FlowStatistics:
    by_status = Counter(run.status for run in runs)
    failed = sum(by_status[status] for status in _FAILED)
    over = sum(run.is_over for run in runs)
    took = [
        run.duration_s * 1e3
        for run in runs
        if run.is_over and run.status != "interrupted" and run.duration_s is not None
    ]
    return FlowStatistics(
        flow=name,
        runs=len(runs),
        by_status=dict(sorted(by_status.items())),
        failed=failed,
        error_rate=failed / over if over else 0.0,
        first=min(run.started for run in runs),
        last=max(run.started for run in runs),
        times_ms=_exact(took),
        llm_calls=sum(part.count for part in parts if part.kind == "llm"),
        tokens=sum(part.tokens for part in parts),
        cost=sum(part.cost for part in parts),
        parts=sorted(parts, key=lambda part: (-part.times_ms.mean * part.count, part.kind, part.name)),
        points=[
            RunPoint(
                trace_id=run.trace_id,
                started=run.started,
                duration_s=run.duration_s,
                status=run.status,
                tokens=spent.get(run.trace_id, (0, 0.0))[0],
                cost=spent.get(run.trace_id, (0, 0.0))[1],
            )
            for run in reversed(runs[:MAX_POINTS])
        ],
    )


def _part(row: Sequence[Any], times: Counter[int]) -> PartStatistics:
    kind, name, count, failed, retries, tokens, cost, total_ns, longest_ns = row
    longest = longest_ns / 1e6
    p50, p90, p99 = (min(longest, (percentile_ns(times, share) or 0.0) / 1e6) for share in (0.5, 0.9, 0.99))
    return PartStatistics(
        kind=kind,
        name=name,
        count=count,
        failed=failed,
        error_rate=failed / count if count else 0.0,
        retries=retries,
        tokens=tokens,
        cost=cost,
        times_ms=Times(p50=p50, p90=p90, p99=p99, mean=total_ns / 1e6 / count if count else 0.0, max=longest),
    )


def _exact(took_ms: list[float]) -> Times | None:
    if not took_ms:
        return None
    took_ms.sort()
    p50, p90, p99 = (took_ms[max(0, math.ceil(share * len(took_ms)) - 1)] for share in (0.5, 0.9, 0.99))
    return Times(p50=p50, p90=p90, p99=p99, mean=sum(took_ms) / len(took_ms), max=took_ms[-1])
