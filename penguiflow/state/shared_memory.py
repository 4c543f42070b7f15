"""What workers of one process share: a `SupportsSharedState` that is gone with the process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from penguiflow.recording.text import clean_text
from penguiflow.state.bounded import Recent
from penguiflow.state.shared import SharedChange, SharedMemory, SharedOutcome, WorkerRow
from penguiflow.state.shared_rules import GONE_AFTER, WORKERS_S, Kept, make

__all__ = ["SharesInMemory"]

_ENDINGS = 10
"""How many endings are remembered for each trace that is remembered as a whole."""


class SharesInMemory:
    """Keeps what traces remember, of those that have ended only of the last `max_ended`."""

    def __init__(self, max_ended: int, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._max_ended = max_ended
        self._kept: dict[str, Kept] = {}
        self._endings: Recent[str, Kept] = Recent(_ENDINGS * max_ended)
        """Of traces of which all else is forgotten."""
        self._ended_at: dict[str, float] = {}
        """Of those that have ended and are remembered, in that order; by the store's clock."""
        self._workers: dict[str, WorkerRow] = {}
        # Flows of several loops may share it.
        self._shared_lock = threading.Lock()

    async def load_shared(self, trace_id: str, scopes: Sequence[str] = (), handled: str | None = None) -> SharedMemory:
        """What is remembered of a trace; of an unknown one, nothing."""
        with self._shared_lock:
            return (self._find(trace_id) or Kept()).memory(scopes, handled)

    async def commit_shared(self, *changes: SharedChange) -> list[SharedOutcome]:
        """Make each change whole or not at all."""
        with self._shared_lock:
            return [self._make(change) for change in changes]

    async def cancel_shared(self, trace_id: str, reason: str) -> bool:
        """Have the workers cancel a trace; False when it has ended, or was cancelled already."""
        with self._shared_lock:
            kept = self._find(trace_id) or self._kept.setdefault(clean_text(trace_id), Kept())
            if kept.ended is not None or kept.cancelled is not None:
                return False
            kept.cancelled = reason
            return True

    async def cancelled_of(self, trace_ids: Sequence[str]) -> dict[str, str]:
        """Those of the traces that were cancelled, with the reason."""
        with self._shared_lock:
            found = {each: self._find(each) for each in trace_ids}
        return {each: kept.cancelled for each, kept in found.items() if kept is not None and kept.cancelled is not None}

    async def forget_shared(self, *, older_than_s: float) -> int:
        """Forget what is remembered of traces that ended so long ago; how many."""
        with self._shared_lock:
            before = self._now() - older_than_s
            old = [trace_id for trace_id, ended_at in self._ended_at.items() if ended_at <= before]
            for trace_id in old:
                self._forget_memory(trace_id)
            return len(old)

    async def save_worker(self, worker: WorkerRow) -> None:
        """Tell of a worker; the store sets `seen_at`."""
        with self._shared_lock:
            now = self._now()
            self._workers[worker.worker_id] = replace(worker, seen_at=now)
            for gone in [each.worker_id for each in self._workers.values() if each.seen_at < now - WORKERS_S]:
                del self._workers[gone]

    async def list_workers(self, flow: str | None = None, *, heartbeat_s: float = 5.0) -> list[WorkerRow]:
        """The workers that were told of within the last hour, oldest first."""
        with self._shared_lock:
            found, now = list(self._workers.values()), self._now()
        alive_since = now - GONE_AFTER * heartbeat_s
        return [
            replace(each, alive=each.state != "ended" and each.seen_at > alive_since)
            for each in sorted(found, key=lambda each: (each.started_at, each.worker_id))
            if flow in (None, each.flow) and each.seen_at > now - WORKERS_S
        ]

    def _find(self, trace_id: str) -> Kept | None:
        trace_id = clean_text(trace_id)
        return self._kept.get(trace_id) or self._endings.get(trace_id)

    def _make(self, change: SharedChange) -> SharedOutcome:
        trace_id = clean_text(change.trace_id)
        kept = self._find(trace_id) or Kept()
        if kept.ended is None:
            self._kept[trace_id] = kept
        outcome = make(change, kept)
        if outcome.ended:
            self._ended_at[trace_id] = self._now()
            while len(self._ended_at) > self._max_ended:
                self._forget_memory(next(iter(self._ended_at)))
        return outcome

    def _forget_memory(self, trace_id: str) -> None:
        """All but how it ended."""
        self._ended_at.pop(trace_id, None)
        known = self._kept.pop(trace_id)
        self._endings.keep(trace_id, Kept(ended=known.ended, cancelled=known.cancelled))

    def _forget_shared_all(self) -> None:
        self._kept.clear()
        self._endings.clear()
        self._ended_at.clear()
        self._workers.clear()
