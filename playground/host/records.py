"""A worker's store: opened before any user code runs, or made when there is something to record."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from penguiflow.state.database import DatabaseStore
from penguiflow.state.errors import StoreError, StoreTooNew
from penguiflow.state.traces import TraceQuery, TraceSummary
from playground.host.control import StoreProblem
from playground.project import Project
from playground.storing import open_store


class Records:
    """Opens a project's store. One that is there is opened first, so that nothing runs that could not be recorded.

    One that is not there yet is made after loading: a project that offers nothing to run is left as it is.
    """

    def __init__(self, project: Project | None) -> None:
        """Without a project nothing is recorded."""
        self.store: DatabaseStore | None = None
        self._project = project

    def prepare(self) -> StoreProblem | None:
        """Before user code is loaded: open what is there, and find out what cannot be made."""
        project = self._project
        if project is None or (project.store_address() is None and _can_be_made(project.database)):
            return None
        return self._open(project)

    def complete(self) -> StoreProblem | None:
        """After loading: make what is missing."""
        if self._project is None or self.store is not None:
            return None
        return self._open(self._project)

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

    def _open(self, project: Project) -> StoreProblem | None:
        try:
            store = open_store(project)
            if project.store_address() is not None:
                asyncio.run(store.open())
            self.store = store
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
