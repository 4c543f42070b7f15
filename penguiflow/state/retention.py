"""Forgetting old traces, and giving their space back."""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from penguiflow.state.connection import Connection, any_of, transaction
from penguiflow.state.liveness import SEVERAL, dead_writers
from penguiflow.state.spill import remove_orphans

__all__ = ["Pruned", "Retention", "Storage", "prune", "shrink"]

_TRACES_AT_ONCE = 100
_BYTES_AT_ONCE = 64 * 1024 * 1024
"""Removed in one transaction: others must be able to write in between."""
_PAGES_AT_ONCE = 4096
_OVERHEAD_BYTES = 512
"""What a trace takes beside its chunks, roughly."""
_SELECT = "SELECT id, trace_id, events, bytes, updated FROM traces"
_DELETE = "DELETE FROM traces WHERE id = ? AND updated = ? AND events = ?"
_ORPHANED = "NOT EXISTS (SELECT 1 FROM traces WHERE traces.trace_id = {0}.trace_id)"
_TASK_VALUES_S = 3600.0
"""For how long at least what a task has kept is kept."""
_OTHERS = {
    "flow_events": f"ts < ? AND {_ORPHANED.format('flow_events')}",
    "planner_events": f"saved < ? AND {_ORPHANED.format('planner_events')}",
    "trajectories": f"saved < ? AND {_ORPHANED.format('trajectories')}",
    "session_log": "saved < ?",
    "memory_states": "updated < ? AND key >= 'kv:task:' AND key < 'kv:task;'",
    "tasks": "saved < ? AND {status} IN ('COMPLETE', 'FAILED', 'CANCELLED')",
}
"""What belongs to no trace that is kept and has had its time, by table.

Memories and values of sessions belong to nobody and are kept; what a task has kept lives for an hour.
"""


class Storage(NamedTuple):
    """What a database says in its own way."""

    used_bytes: Callable[[Connection], int]
    task_status: str
    """Of a row of `tasks`."""
    lock_payloads: str | None = None
    """A question that keeps out who refers to payloads at the same time; None where nobody can."""


@dataclass(frozen=True, slots=True)
class Retention:
    """What a store keeps. Whatever is beyond a limit is forgotten, the oldest first; a running trace never is."""

    max_age_s: float | None = None
    """Seconds since the last event of a trace."""
    max_traces: int | None = None
    max_bytes: int | None = None
    """Of the database's file, after it was shrunk."""

    def __post_init__(self) -> None:
        for name in ("max_age_s", "max_traces", "max_bytes"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ValueError(f"{name} must not be negative")

    @property
    def keeps_everything(self) -> bool:
        """Whether there is no limit."""
        return self.max_age_s is None and self.max_traces is None and self.max_bytes is None


_SILENCE_S = 24 * 3600.0
"""A trace that several processes write, and nobody has written to for so long, may be too old."""
_WITH_TRACES = (
    "flow_events", "planner_events", "trajectories", "remote_bindings",
    "shared_traces", "shared_rows", "shared_handled",
)  # fmt: skip
"""Tables with rows of a trace, which go with it."""


class _Victim(NamedTuple):
    id: int
    trace_id: str
    events: int
    bytes: int
    updated: float


@dataclass(slots=True)
class Pruned:
    """What was removed."""

    traces: int = 0
    events: int = 0
    bytes: int = 0
    """Of events, as they were stored."""

    def add(self, other: Pruned) -> None:
        """Count another piece of work in."""
        self.traces += other.traces
        self.events += other.events
        self.bytes += other.bytes


def prune(
    connection: Connection,
    retention: Retention,
    *,
    now: float | None = None,
    dry_run: bool = False,
    storage: Storage | None = None,
) -> tuple[Pruned, bool]:
    """Remove one transaction's worth of what is beyond the limits; also says whether more of it is left.

    With `dry_run` all of it is found, in one go, and nothing is changed.
    """
    now = time.time() if now is None else now
    storage = storage or _SQLITE
    # Looked for without keeping others out.
    victims = _victims(connection, retention, now, storage)
    some = victims if dry_run else _first(victims)
    removed = Pruned(len(some), sum(victim.events for victim in some), sum(victim.bytes for victim in some))
    if dry_run:
        return removed, False
    more = len(some) < len(victims)
    others = [] if retention.max_age_s is None else list(_others(now, retention.max_age_s, storage))
    if some or _any(connection, others):
        with transaction(connection):
            if storage.lock_payloads is not None:
                connection.execute(storage.lock_payloads).fetchone()
            removed = _remove(connection, some, _removable(connection, retention, now))
            for where, values in () if more else others:
                connection.execute(" ".join(("DELETE FROM", where)), values)
    return removed, more


def shrink(connection: sqlite3.Connection, *, rewrite: bool = False) -> bool:
    """Give free pages back to the disk; False when some stay: others use the file, or an old version made it.

    With `rewrite` the file of an old version is written anew once, which needs room for a second copy and keeps others
    out meanwhile.
    """
    (mode,) = connection.execute("PRAGMA auto_vacuum").fetchone()
    if not mode:
        if not rewrite:
            return False
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        try:
            connection.execute("VACUUM")
        except sqlite3.OperationalError:  # others are writing, or the disk has no room for the copy: another time
            return False
    while connection.execute("PRAGMA freelist_count").fetchone()[0]:
        # Each step of the cursor gives one page back.
        connection.execute(f"PRAGMA incremental_vacuum({_PAGES_AT_ONCE})").fetchall()
    (patience,) = connection.execute("PRAGMA busy_timeout").fetchone()
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        (busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        connection.execute(f"PRAGMA busy_timeout = {patience}")
    return not busy


def _victims(connection: Connection, retention: Retention, now: float, storage: Storage) -> list[_Victim]:
    """The traces to be removed, oldest first."""
    excess_traces = excess_bytes = 0
    if retention.max_traces is not None:
        excess_traces = connection.execute("SELECT count(*) FROM traces").fetchone()[0] - retention.max_traces
    if retention.max_bytes is not None:
        excess_bytes = storage.used_bytes(connection) - retention.max_bytes
    too_old = -math.inf if retention.max_age_s is None else now - retention.max_age_s
    victims: list[_Victim] = []
    # Without too many, only old ones are looked at.
    started_before = math.inf if excess_traces > 0 or excess_bytes > 0 else too_old
    rows = connection.execute(
        " ".join((_SELECT, "WHERE started < ? AND", _removable(connection, retention, now), "ORDER BY started, id")),
        (started_before,),
    )
    for row in rows:
        victim = _Victim(*row)
        if victim.updated < too_old or excess_traces > 0 or excess_bytes > 0:
            victims.append(victim)
            excess_traces -= 1
            excess_bytes -= victim.bytes + _OVERHEAD_BYTES
    return victims


def _removable(connection: Connection, retention: Retention, now: float) -> str:
    """The condition under which nobody writes to a trace any more."""
    over = f"status <> 'running' OR writer IN ({any_of(dead_writers(connection))})"
    if retention.max_age_s is None:
        return f"({over})"
    # Of those that several processes write nobody knows that they will not go on; but somebody would have by then.
    silent_since = now - max(retention.max_age_s, _SILENCE_S)
    return f"({over} OR (writer = {SEVERAL} AND updated < {silent_since!r}))"


def _used_bytes(connection: Connection) -> int:
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def _first(victims: Sequence[_Victim]) -> Sequence[_Victim]:
    total = 0
    for count, victim in enumerate(victims[:_TRACES_AT_ONCE]):
        if count and total + victim.bytes > _BYTES_AT_ONCE:
            return victims[:count]
        total += victim.bytes
    return victims[:_TRACES_AT_ONCE]


def _remove(connection: Connection, victims: Sequence[_Victim], removable: str) -> Pruned:
    """Remove those to which nobody has written since they were chosen."""
    removed = Pruned()
    delete = " ".join((_DELETE, "AND", removable))
    for victim in victims:
        if not connection.execute(delete, (victim.id, victim.updated, victim.events)).rowcount:
            continue
        connection.execute("DELETE FROM event_chunks WHERE trace = ?", (victim.id,))
        remove_orphans(connection, [victim.id])
        for table in _WITH_TRACES:
            connection.execute(" ".join(("DELETE FROM", table, "WHERE trace_id = ?")), (victim.trace_id,))
        removed.add(Pruned(1, victim.events, victim.bytes))
    return removed


def _others(now: float, max_age_s: float, storage: Storage) -> Iterator[tuple[str, tuple[float]]]:
    for table, where in _OTHERS.items():
        age_s = max(max_age_s, _TASK_VALUES_S) if table == "memory_states" else max_age_s
        yield f"{table} WHERE {where.format(status=storage.task_status)}", (now - age_s,)


def _any(connection: Connection, others: Iterable[tuple[str, tuple[float]]]) -> bool:
    return any(
        connection.execute(" ".join(("SELECT 1 FROM", where, "LIMIT 1")), values).fetchone() for where, values in others
    )


_SQLITE = Storage(_used_bytes, "json_extract(CAST(state AS TEXT), '$.value.status')")
