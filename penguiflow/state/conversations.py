"""The sessions of a store: whose runs belong together, and what is remembered of them."""

from __future__ import annotations

import sqlite3
from typing import Any

from pydantic import BaseModel

from penguiflow.state import schema
from penguiflow.state.documents import is_kv_key
from penguiflow.state.reader import NOT_BACKGROUND, Reader

__all__ = ["SessionSummary", "sessions"]

_RUNS = " ".join(
    (
        "SELECT session, count(*), min(started), max(started), group_concat(DISTINCT flow),",
        "sum(status IN ('error', 'timeout', 'interrupted')) FROM traces WHERE session IS NOT NULL AND",
        NOT_BACKGROUND,
        "GROUP BY session ORDER BY max(started) DESC LIMIT ?",
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


async def sessions(reader: Reader, limit: int) -> list[SessionSummary]:
    """The sessions that were active last, newest first. Raises `StoreError`."""
    nothing: list[SessionSummary] = []
    return await reader.ask(lambda connection: _sessions(connection, limit), nothing)


def _sessions(connection: sqlite3.Connection, limit: int) -> list[SessionSummary]:
    memories: dict[str, float] = {key: at for key, at in _rows(connection, _MEMORIES) if not is_kv_key(key)}
    found: list[SessionSummary] = []
    taken: set[str] = set()
    for session, runs, first, last, flows, failed in connection.execute(_RUNS, (limit,)):
        key = next((key for key in memories if session in (key, key.rpartition(":")[2])), None)
        if key is not None:
            taken.add(key)
        found.append(
            SessionSummary(
                session=session,
                runs=runs,
                failed=failed,
                flows=sorted((flows or "").split(",")) if flows else [],
                first=first,
                last=max(last, memories.get(key or "", last)),
                memory=key,
            )
        )
    for key, updated in memories.items():
        if key not in taken:
            found.append(SessionSummary(session=key, runs=0, failed=0, flows=[], first=None, last=updated, memory=key))
    return sorted(found, key=lambda each: -each.last)[:limit]


def _rows(connection: sqlite3.Connection, sql: str) -> list[Any]:
    try:
        return connection.execute(sql).fetchall()
    except sqlite3.OperationalError as error:
        # A file of an earlier version that nobody has written to since.
        if schema.is_missing_table(error):
            return []
        raise
