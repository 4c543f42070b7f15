"""The sessions of a store: whose runs belong together, and what is remembered of them."""

from __future__ import annotations

import sqlite3
from typing import Any

from pydantic import BaseModel

from penguiflow.state import schema
from penguiflow.state.connection import Asks, Connection
from penguiflow.state.documents import is_kv_key
from penguiflow.state.reader import NOT_BACKGROUND

__all__ = ["SessionSummary", "sessions"]

_RUNS = " ".join(
    (
        "SELECT session, flow, count(*), min(started), max(started),",
        "sum(CASE WHEN status IN ('error', 'timeout', 'interrupted') THEN 1 ELSE 0 END)",
        "FROM traces WHERE session IS NOT NULL AND",
        NOT_BACKGROUND,
        "GROUP BY session, flow",
    )
)
_MEMORIES = "SELECT key, updated FROM memory_states ORDER BY updated DESC"


class SessionSummary(BaseModel):
    """One session."""

    session: str
    """Its key; that of its memory where there are no runs of it."""
    runs: int
    failed: int
    """Runs with status `error`, `timeout` or `interrupted`."""
    flows: list[str]
    first: float | None
    """When its first run started, unix seconds."""
    last: float
    """When its last run started, or its memory was changed."""
    memory: str | None
    """Key of what is remembered: `tenant:user:session`."""


async def sessions(reader: Asks, limit: int) -> list[SessionSummary]:
    """The sessions that were active last, newest first. Raises `StoreError`."""
    nothing: list[SessionSummary] = []
    return await reader.ask(lambda connection: _sessions(connection, limit), nothing)


def _sessions(connection: Connection, limit: int) -> list[SessionSummary]:
    memories: dict[str, float] = {key: at for key, at in _rows(connection, _MEMORIES) if not is_kv_key(key)}
    found: dict[str, SessionSummary] = {}
    for session, flow, runs, first, last, failed in connection.execute(_RUNS):
        about = found.get(session)
        if about is None:
            about = found[session] = SessionSummary(
                session=session, runs=0, failed=0, flows=[], first=first, last=last, memory=None
            )
        about.runs += runs
        about.failed += failed
        about.flows = sorted([*about.flows, *([flow] if flow else [])])
        about.first, about.last = min(about.first or first, first), max(about.last, last)
    newest = sorted(found.values(), key=lambda each: -each.last)[:limit]
    taken: set[str] = set()
    for about in newest:
        of = about.session
        about.memory = next((key for key in memories if of in (key, key.rpartition(":")[2])), None)
        if about.memory is not None:
            taken.add(about.memory)
            about.last = max(about.last, memories[about.memory])
    for key, updated in memories.items():
        if key not in taken:
            newest.append(SessionSummary(session=key, runs=0, failed=0, flows=[], first=None, last=updated, memory=key))
    return sorted(newest, key=lambda each: -each.last)[:limit]


def _rows(connection: Connection, sql: str) -> list[Any]:
    try:
        return connection.execute(sql).fetchall()
    except sqlite3.OperationalError as error:
        # A file of an earlier version that nobody has written to since.
        if schema.is_missing_table(error):
            return []
        raise
