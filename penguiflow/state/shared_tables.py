"""What workers share, in a database: the questions for both, and how SQLite commits."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from penguiflow.recording.text import clean_text
from penguiflow.state.connection import transaction
from penguiflow.state.shared import SharedChange, SharedOutcome, SharedRow
from penguiflow.state.shared_rules import Kept, Needs, make, needs_of

__all__ = [
    "CANCEL",
    "NO_COUNTERS",
    "SAVE_WORKER",
    "SELECT_WORKERS",
    "cancelled_question",
    "cleaned",
    "commit",
    "forget",
    "kept_of",
    "question",
]

SELECT_WORKERS = (
    "SELECT worker_id, flow, host, pid, nodes, started_at, state, about, seen_at, {now} FROM workers"
    " WHERE seen_at > {now} - ? ORDER BY started_at, worker_id"
)
SAVE_WORKER = (
    "INSERT INTO workers (worker_id, flow, host, pid, nodes, started_at, state, about, seen_at)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, {now}) ON CONFLICT (worker_id) DO UPDATE SET flow = excluded.flow,"
    " host = excluded.host, pid = excluded.pid, nodes = excluded.nodes, started_at = excluded.started_at,"
    " state = excluded.state, about = excluded.about, seen_at = excluded.seen_at"
)
CANCEL = (
    "INSERT INTO shared_traces (trace_id, counters, cancelled) VALUES (?, ?, ?) ON CONFLICT (trace_id)"
    " DO UPDATE SET cancelled = excluded.cancelled"
    " WHERE shared_traces.ended IS NULL AND shared_traces.cancelled IS NULL"
)
_CANCELLED = "SELECT trace_id, cancelled FROM shared_traces WHERE cancelled IS NOT NULL AND trace_id IN"
NO_COUNTERS = b"{}"
_HEAD, _ROW, _HANDLED = 0, 1, 2
_SAVE_HEAD = (
    "INSERT INTO shared_traces (trace_id, changes, counters, ended, ended_at) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT (trace_id) DO UPDATE SET changes = excluded.changes, counters = excluded.counters,"
    " ended = excluded.ended, ended_at = excluded.ended_at"
)
_SAVE_ROW = (
    "INSERT INTO shared_rows (trace_id, scope, version, value) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (trace_id, scope) DO UPDATE SET version = excluded.version, value = excluded.value"
)
_ADD_HANDLED = "INSERT INTO shared_handled (trace_id, message) VALUES (?, ?)"
_OLD = "SELECT trace_id FROM shared_traces WHERE ended_at <= ?"


def cleaned(changes: Iterable[SharedChange]) -> list[SharedChange]:
    """The changes with ids of traces that can be stored."""
    return [
        change if change.trace_id.isascii() else replace(change, trace_id=clean_text(change.trace_id))
        for change in changes
    ]


def question(trace_id: str, scopes: Sequence[str], handled: Sequence[str]) -> tuple[str, list[str]]:
    """One question, so that the answer is from one moment: for `kept_of`."""
    parts = ["SELECT 0, ended, cancelled, changes, counters FROM shared_traces WHERE trace_id = ?"]
    parameters = [trace_id]
    for names, select in (
        (scopes, "SELECT 1, scope, NULL, version, value FROM shared_rows WHERE trace_id = ? AND scope"),
        (handled, "SELECT 2, message, NULL, 0, NULL FROM shared_handled WHERE trace_id = ? AND message"),
    ):
        if names:
            parts.append(f"{select} IN ({', '.join('?' * len(names))})")
            parameters += [trace_id, *names]
    return " UNION ALL ".join(parts), parameters


def kept_of(found: Iterable[Sequence[Any]]) -> Kept:
    """What `question` found."""
    kept = Kept()
    for what, name, cancelled, number, data in found:
        if what == _HEAD:
            kept.ended, kept.cancelled, kept.changes, kept.counters = name, cancelled, number, json.loads(data)
        elif what == _ROW:
            kept.rows[name] = SharedRow(number, bytes(data))
        else:
            kept.handled.add(name)
    return kept


def cancelled_question(count: int) -> str:
    """Which of so many traces were cancelled, and why."""
    places = ", ".join("?" * count)
    return " ".join((_CANCELLED, f"({places})"))


def commit(connection: sqlite3.Connection, changes: Sequence[SharedChange]) -> list[SharedOutcome]:
    """Make all changes in one transaction, which keeps others out."""
    with transaction(connection):
        known = {trace_id: _load(connection, trace_id, need) for trace_id, need in needs_of(changes).items()}
        outcomes = [make(change, known[change.trace_id]) for change in changes]
        for trace_id, kept in known.items():
            if kept.changed:
                _save(connection, trace_id, kept)
    return outcomes


def forget(connection: sqlite3.Connection, before: float, gone_before: float) -> int:
    """Forget what is remembered of traces that ended before then, and workers that are gone."""
    with transaction(connection):
        old = connection.execute(_OLD, (before,)).fetchall()
        for table in ("shared_rows", "shared_handled"):
            connection.executemany(" ".join(("DELETE FROM", table, "WHERE trace_id = ?")), old)
        blank = "UPDATE shared_traces SET ended_at = NULL, counters = ? WHERE trace_id = ?"
        connection.executemany(blank, [(NO_COUNTERS, trace_id) for (trace_id,) in old])
        connection.execute("DELETE FROM workers WHERE seen_at < ?", (gone_before,))
    return len(old)


def _load(connection: sqlite3.Connection, trace_id: str, need: Needs) -> Kept:
    return kept_of(connection.execute(*question(trace_id, list(need.scopes), list(need.handled))))


def _save(connection: sqlite3.Connection, trace_id: str, kept: Kept) -> None:
    ended_at = None if kept.ended is None else time.time()
    head = (trace_id, kept.changes, json.dumps(kept.counters).encode(), kept.ended, ended_at)
    connection.execute(_SAVE_HEAD, head)
    for scope in kept.touched:
        row = kept.rows.get(scope)
        if row is None:
            connection.execute("DELETE FROM shared_rows WHERE trace_id = ? AND scope = ?", (trace_id, scope))
        else:
            connection.execute(_SAVE_ROW, (trace_id, scope, row.version, row.value))
    connection.executemany(_ADD_HANDLED, [(trace_id, message) for message in kept.added])
