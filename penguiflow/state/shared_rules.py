"""What a commit of workers does to what a trace remembers: the same in every store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import from_json

from penguiflow.recording.payloads import encode_data
from penguiflow.recording.text import clean_text
from penguiflow.state.shared import SharedChange, SharedMemory, SharedOutcome, SharedRow, WorkerRow

__all__ = ["GONE_AFTER", "Kept", "Needs", "make", "needs_of", "worker_columns", "worker_of"]

GONE_AFTER = 3
"""Heartbeats after which a worker that was not seen counts as gone."""
WORKERS_S = 3600.0
"""How long a worker that is gone is listed."""


@dataclass(slots=True)
class Kept:
    """What is remembered of one trace, or as much of it as some changes need; and what was changed in it."""

    rows: dict[str, SharedRow] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)
    handled: set[str] = field(default_factory=set)
    changes: int = 0
    """How often rows were changed: the version of the one that was changed last."""
    ended: str | None = None
    cancelled: str | None = None
    touched: set[str] = field(default_factory=set)
    """Scopes that were changed."""
    added: list[str] = field(default_factory=list)
    """Ids of messages that were handled by these changes."""
    changed: bool = False
    """Whether there is anything to write."""

    def memory(self, scopes: Iterable[str], handled: str | None) -> SharedMemory:
        """What somebody asked for."""
        rows = {scope: self.rows[scope] for scope in scopes if scope in self.rows}
        return SharedMemory(rows, dict(self.counters), handled in self.handled, self.ended, self.cancelled)


@dataclass(slots=True)
class Needs:
    """What has to be looked up of a trace to make some changes."""

    scopes: set[str] = field(default_factory=set)
    handled: set[str] = field(default_factory=set)


def needs_of(changes: Iterable[SharedChange]) -> dict[str, Needs]:
    """What these changes need, by trace id in the order in which traces are to be locked."""
    needs: dict[str, Needs] = {}
    for change in changes:
        need = needs.setdefault(change.trace_id, Needs())
        need.scopes.update(change.expect, change.put)
        if change.handled is not None:
            need.handled.add(change.handled)
    return {trace_id: needs[trace_id] for trace_id in sorted(needs)}


def make(change: SharedChange, kept: Kept) -> SharedOutcome:
    """Make a change, or find out why it is not made."""
    if change.handled is not None and change.handled in kept.handled:
        return SharedOutcome(False, True, (), dict(kept.counters), False)
    if kept.ended is not None:
        return SharedOutcome(False, False, (), dict(kept.counters), False)
    stale = [scope for scope, version in change.expect.items() if version != _version(kept.rows.get(scope))]
    if stale:
        return SharedOutcome(False, False, stale, dict(kept.counters), False)
    kept.changed = True
    if change.handled is not None:
        kept.handled.add(change.handled)
        kept.added.append(change.handled)
    for scope, value in change.put.items():
        kept.touched.add(scope)
        if value is None:
            kept.rows.pop(scope, None)
        else:
            # One that was removed and comes again has another version than before.
            kept.changes += 1
            kept.rows[scope] = SharedRow(kept.changes, value)
    for name, amount in change.add.items():
        kept.counters[name] = kept.counters.get(name, 0) + amount
    if change.end is not None:
        kept.ended = change.end
    elif change.end_at_zero is not None and not any(kept.counters.values()):
        kept.ended = change.end_at_zero
    return SharedOutcome(True, False, (), dict(kept.counters), kept.ended is not None)


def worker_columns(worker: WorkerRow) -> tuple[Any, ...]:
    """Worker id, flow, host, pid, nodes, start, state, and what else it tells, as they are stored."""
    texts = [clean_text(text) for text in (worker.worker_id, worker.flow, worker.host)]
    nodes = encode_data({"nodes": list(worker.nodes)})
    return *texts, worker.pid, nodes, worker.started_at, worker.state, encode_data(dict(worker.about))


def worker_of(columns: Sequence[Any], *, now: float, heartbeat_s: float) -> WorkerRow:
    """A worker from `worker_columns` and when it was seen."""
    worker_id, flow, host, pid, nodes, started_at, state, about, seen_at = columns
    alive = state != "ended" and seen_at > now - GONE_AFTER * heartbeat_s
    told: Mapping[str, Any] = from_json(about)
    names: Sequence[str] = from_json(nodes)["nodes"]
    return WorkerRow(worker_id, flow, host, pid, names, started_at, seen_at, alive, state, told)


def _version(row: SharedRow | None) -> int:
    return 0 if row is None else row.version
