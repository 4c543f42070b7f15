"""What the runtime remembers of a trace while it lives, and nothing after."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from penguiflow.context import Context
    from penguiflow.errors import FlowError
    from penguiflow.observer import TraceLog

__all__ = ["ResultSink", "Trace", "TraceCancelled"]


class TraceCancelled(Exception):
    """The trace was cancelled."""

    def __init__(self, trace_id: str | None) -> None:
        super().__init__(f"trace cancelled: {trace_id}")
        self.trace_id = trace_id


class ResultSink(Protocol):
    """Takes what a trace delivers, in place of the common egress queue."""

    @property
    def full(self) -> bool:
        """Whether the next result has to wait."""
        ...

    async def wait_room(self) -> None:
        """Return once a result fits."""
        ...

    def put(self, result: Any) -> None:
        """Take one result."""
        ...

    def finish(self, error: FlowError | None) -> None:
        """The trace is over; `error` is why it failed, if it did."""
        ...


class Trace:
    """One trace in flight. Dropped by the flow when nothing of it is left."""

    __slots__ = (
        "cancel_event",
        "cancelled",
        "ended",
        "error",
        "id",
        "inflight",
        "log",
        "parked",
        "queued",
        "sink",
        "state",
        "stopped",
        "streams",
        "submissions",
        "suspended",
    )

    def __init__(self, trace_id: str) -> None:
        self.id = trace_id
        self.queued = 0
        """Messages that wait for a node."""
        self.inflight = 0
        """Invocations under way, and emits from outside that are not finished."""
        self.parked = 0
        """Results that wait to be fetched."""
        self.cancelled = False
        self.ended = False
        self.cancel_event: asyncio.Event | None = None
        self.error: FlowError | None = None
        """The first failure."""
        self.log: TraceLog | None = None
        self.sink: ResultSink | None = None
        self.suspended: set[Context] | None = None
        """Invocations that are waiting for something and can be cancelled."""
        self.stopped = False
        """A deadline or budget ended it, and the answer that says so was delivered: callers get that answer."""
        self.state: dict[str, dict[str, Any]] | None = None
        """What nodes keep for the trace, by node name."""
        self.streams: dict[tuple[str, str], int] | None = None
        """Next `seq` by node name and stream id."""
        self.submissions = 0
        """How many messages came in from outside."""

    @property
    def pending(self) -> int:
        """Messages that are not yet done."""
        return self.queued + self.inflight + self.parked

    @property
    def idle(self) -> bool:
        """Whether no node has anything left to do for it."""
        return not self.queued and not self.inflight

    def node_state(self, node_name: str) -> dict[str, Any]:
        """What the node keeps for this trace."""
        if self.state is None:
            self.state = {}
        return self.state.setdefault(node_name, {})

    def next_chunk(self, node_name: str, stream_id: str, seq: int | None, done: bool) -> int:
        """The `seq` of the next chunk of a stream; an explicit one resets the count, a last one ends it."""
        if self.streams is None:
            self.streams = {}
        key = (node_name, stream_id)
        if seq is None:
            seq = self.streams.get(key, 0)
        if done:
            self.streams.pop(key, None)
        else:
            self.streams[key] = seq + 1
        return seq
