"""What the workers of a distributed flow remember of a trace together, and who they are.

Memory is rows of `(trace_id, scope)` with a version, counters of a trace that are added to, and the ids of the messages
that nodes have handled. A worker changes them in one commit, which is made whole or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

__all__ = ["SharedChange", "SharedMemory", "SharedOutcome", "SharedRow", "SupportsSharedState", "WorkerRow"]


@dataclass(frozen=True, slots=True)
class SharedRow:
    """What is kept under one scope of a trace."""

    version: int
    """Greater after each change, never the same for two values of a scope; 0 where nothing is kept."""
    value: bytes
    """JSON; the store does not look into it."""


@dataclass(frozen=True, slots=True)
class SharedMemory:
    """What is remembered of a trace, as far as it was asked for, from one moment."""

    rows: Mapping[str, SharedRow]
    """The scopes that were asked for and exist."""
    counters: Mapping[str, int]
    """All of the trace; one that is missing is 0."""
    handled: bool
    """Whether the message that was asked about has been handled already."""
    ended: str | None
    """The status with which the trace has ended (`ok`, `error`, `timeout`, `cancelled`); None while it goes on."""
    cancelled: str | None
    """Why the trace was cancelled; None while it was not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedChange:
    """One commit of a worker. Nothing of it is made once its trace has ended."""

    trace_id: str
    handled: str | None = None
    """Id of the message, with its node: when it was handled already nothing of this change is made."""
    expect: Mapping[str, int] = field(default_factory=dict)
    """Versions that the rows must have (0: there is none); else nothing of this change is made."""
    put: Mapping[str, bytes | None] = field(default_factory=dict)
    """New values of rows; None removes one."""
    add: Mapping[str, int] = field(default_factory=dict)
    """What is added to counters."""
    end: str | None = None
    """Ends the trace with this status, unless it has ended: its rows, counters and handled ids are forgotten after a
    while, its status is not."""
    end_at_zero: str | None = None
    """As `end`, but only when every counter of the trace is exactly 0 after this change.

    Commits come in any order, and a counter may be below 0 for a while: 0 of one alone proves nothing. Workers count
    messages, and add up numbers made of their ids (up to 44 bits each): both are 0 when all that were sent are handled.
    """


@dataclass(frozen=True, slots=True)
class SharedOutcome:
    """What became of a commit."""

    done: bool
    """Whether it was made. It was not, it is no `repeat` and nothing is `stale`: the trace had ended."""
    repeat: bool
    """It was not: the message had been handled."""
    stale: Sequence[str]
    """It was not: these rows have another version."""
    counters: Mapping[str, int]
    """Those of the trace after it."""
    ended: bool
    """Whether this commit ended the trace (of several that would, one did)."""


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """A worker, as it last told of itself."""

    worker_id: str
    flow: str
    host: str
    pid: int
    nodes: Sequence[str]
    started_at: float
    seen_at: float
    """By the store's clock, in unix seconds; one that was not seen for three heartbeats counts as gone."""
    alive: bool
    state: str
    """`running`, `draining`, or `ended`."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """What else it tells: slots, deliveries under way and done, redeliveries, version of the code."""


@runtime_checkable
class SupportsSharedState(Protocol):
    """A store that workers share. Raises `StoreError` when it cannot answer; nothing is half done then."""

    async def load_shared(self, trace_id: str, scopes: Sequence[str] = (), handled: str | None = None) -> SharedMemory:
        """What is remembered of a trace; of an unknown one, nothing."""
        ...

    async def commit_shared(self, *changes: SharedChange) -> list[SharedOutcome]:
        """Make each change whole or not at all, durably; several come in one transaction where they can."""
        ...

    async def cancel_shared(self, trace_id: str, reason: str) -> bool:
        """Have the workers cancel a trace; False when it has ended, or was cancelled already."""
        ...

    async def cancelled_of(self, trace_ids: Sequence[str]) -> dict[str, str]:
        """Those of the traces that were cancelled, with the reason."""
        ...

    async def forget_shared(self, *, older_than_s: float) -> int:
        """Forget what is remembered of traces that ended so long ago; how many."""
        ...

    async def save_worker(self, worker: WorkerRow) -> None:
        """Tell of a worker; the store sets `seen_at`."""
        ...

    async def list_workers(self, flow: str | None = None, *, heartbeat_s: float = 5.0) -> list[WorkerRow]:
        """The workers that were told of within the last hour, oldest first."""
        ...
