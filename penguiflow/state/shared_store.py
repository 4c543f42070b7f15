"""What workers share, kept in a database: the part that is the same for all databases."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from penguiflow.recording.text import clean_text
from penguiflow.state.shared import SharedChange, SharedMemory, SharedOutcome, WorkerRow
from penguiflow.state.shared_rules import WORKERS_S, worker_columns, worker_of
from penguiflow.state.shared_tables import (
    CANCEL,
    NO_COUNTERS,
    SAVE_WORKER,
    SELECT_WORKERS,
    cancelled_question,
    cleaned,
    commit,
    forget,
    kept_of,
    question,
)
from penguiflow.state.together import Together

__all__ = ["SharesInDatabase"]

T = TypeVar("T")

_AT_ONCE = 500
"""Traces that are asked about in one question."""


class SharesInDatabase:
    """A `SupportsSharedState`, given ways to ask and to change. What is written by several at once is one commit."""

    _now = "((julianday('now') - 2440587.5) * 86400.0)"
    """The store's clock, unix seconds, as an expression."""

    def __init__(self) -> None:
        self._together = Together(self._commit_shared)

    @abstractmethod
    async def _rows(self, sql: str, parameters: Sequence[Any]) -> list[Any]:
        """What a question finds among what is committed."""

    @abstractmethod
    async def _job(self, work: Callable[[Any], T]) -> T:
        """Call a function with the connection that writes."""

    async def load_shared(self, trace_id: str, scopes: Sequence[str] = (), handled: str | None = None) -> SharedMemory:
        """What is remembered of a trace; of an unknown one, nothing."""
        found = await self._rows(*question(clean_text(trace_id), scopes, [] if handled is None else [handled]))
        return kept_of(found).memory(scopes, handled)

    async def commit_shared(self, *changes: SharedChange) -> list[SharedOutcome]:
        """Make each change whole or not at all; those that come at once are made in one transaction.

        Whoever is cancelled meanwhile does not know whether they were made. Raises `StoreError`: none was made.
        """
        return await self._together.make(cleaned(changes))

    async def cancel_shared(self, trace_id: str, reason: str) -> bool:
        """Have the workers cancel a trace; False when it has ended, or was cancelled already."""
        parameters = (clean_text(trace_id), NO_COUNTERS, clean_text(reason))
        return await self._change(CANCEL, parameters) > 0

    async def cancelled_of(self, trace_ids: Sequence[str]) -> dict[str, str]:
        """Those of the traces that were cancelled, with the reason."""
        asked = {clean_text(trace_id): trace_id for trace_id in trace_ids}
        names = list(asked)
        found: dict[str, str] = {}
        for first in range(0, len(names), _AT_ONCE):
            some = names[first : first + _AT_ONCE]
            for trace_id, reason in await self._rows(cancelled_question(len(some)), some):
                found[asked[trace_id]] = reason
        return found

    async def forget_shared(self, *, older_than_s: float) -> int:
        """Forget what is remembered of traces that ended so long ago, all but how they ended; how many."""
        now = time.time()
        return await self._job(lambda connection: forget(connection, now - older_than_s, now - WORKERS_S))

    async def save_worker(self, worker: WorkerRow) -> None:
        """Tell of a worker; the store sets `seen_at`."""
        await self._change(SAVE_WORKER.format(now=self._now), worker_columns(worker))

    async def list_workers(self, flow: str | None = None, *, heartbeat_s: float = 5.0) -> list[WorkerRow]:
        """The workers that were told of within the last hour, oldest first."""
        found = await self._rows(SELECT_WORKERS.format(now=self._now), (WORKERS_S,))
        workers = [worker_of(columns, now=now, heartbeat_s=heartbeat_s) for *columns, now in found]
        return [each for each in workers if flow in (None, each.flow)]

    async def _commit_shared(self, changes: Sequence[SharedChange]) -> list[SharedOutcome]:
        return await self._job(lambda connection: commit(connection, changes))

    async def _change(self, sql: str, parameters: Sequence[Any]) -> int:
        """Run one statement, which may be run again; how many rows it changed."""

        def change(connection: Any) -> int:
            changed: int = connection.execute(sql, parameters).rowcount
            return changed

        return await self._job(change)
