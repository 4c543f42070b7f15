"""A worker's store: opened before any user code runs, or made when there is something to record."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from penguiflow.state.errors import StoreError, StoreTooNew
from penguiflow.state.sqlite import SQLiteStateStore
from penguiflow.state.traces import TraceQuery, TraceSummary
from playground.host.control import StoreProblem


class Records:
    """Opens a project's store. One that is there is opened first, so that nothing runs that could not be recorded.

    One that is not there yet is made after loading: a project that offers nothing to run is left as it is.
    """

    def __init__(self, database: Path | None) -> None:
        """Without a database nothing is recorded."""
        self.store: SQLiteStateStore | None = None
        self._database = database

    def prepare(self) -> StoreProblem | None:
        """Before user code is loaded: open what is there, and find out what cannot be made."""
        if self._database is None or _can_be_made(self._database):
            return None
        return self._open(self._database)

    def complete(self) -> StoreProblem | None:
        """After loading: make what is missing."""
        if self._database is None or self.store is not None:
            return None
        return self._open(self._database)

    async def read(self, trace_id: str, after: int, limit: int) -> list[bytes]:
        """Committed events of a trace, as JSON. Raises `StoreError`."""
        return [] if self.store is None else await self.store.load_event_bytes(trace_id, after=after, limit=limit)

    async def find(self, query: TraceQuery) -> list[TraceSummary]:
        """Runs of this and earlier days. Raises `StoreError`."""
        return [] if self.store is None else await self.store.find_traces(query)

    async def count(self, query: dict[str, Any]) -> list[dict[str, Any]]:
        """Numbers over runs, as JSON. Raises `StoreError`, and `ValueError` for a query that is none."""
        from penguiflow.state.statistics import StatisticsQuery

        if self.store is None:
            return []
        found = await self.store.statistics(StatisticsQuery.model_validate(query))
        return [flow.model_dump(mode="json") for flow in found]

    def _open(self, database: Path) -> StoreProblem | None:
        try:
            self.store = SQLiteStateStore(database)
        except StoreError as error:
            found, supported = (error.found, error.supported) if isinstance(error, StoreTooNew) else (0, 0)
            return StoreProblem(
                kind=type(error).__name__, message=str(error), path=error.path, found=found, supported=supported
            )
        return None


def _can_be_made(path: Path) -> bool:
    """True when there is nothing of that name, and its folder can be written, or made."""
    if os.path.lexists(path):
        return False
    existing = next((folder for folder in path.parents if os.path.lexists(folder)), path.parent)
    return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
