"""The seam between the runtime and whoever records what it does.

The runtime knows these protocols and nothing else of stores, files or wires. `penguiflow.recording` implements
them; with no recorder installed the cost is one `is None` for each place that would report.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from penguiflow.types import Message

__all__ = ["BACKGROUND_TASK", "Payload", "TraceHop", "TraceLog", "TraceRecorder"]

BACKGROUND_TASK = "penguiflow-background"
"""Name of the tasks that go on after the run that began them, and have traces of their own."""


class Payload(NamedTuple):
    """Marks a value inside an event's data that is stored as `{"type": "module:Class", "value": …}`."""

    value: Any


class TraceHop(Protocol):
    """An invocation that may turn out to be a whole hop: begun, not yet waited for anything, and soon done."""

    span: str
    """The node's span."""
    attempt_span: str
    """The span of its first attempt."""

    def settle(self) -> None:
        """It waits for something: what follows is written event by event."""
        ...

    def done(self, edge: str | None, message_id: str, content: Any, envelope: Message | None, *, given: bool) -> None:
        """Write the end of both spans, and the message sent by `edge` (None: nothing is sent), as `put` has it.

        `given` when somebody waits for the trace's results: the message has left its edge at once.
        """
        ...


class TraceLog(Protocol):
    """The event log of one trace. Calls are synchronous, on the loop's thread, never block and never raise."""

    root: str
    """Span id of the trace itself."""

    def start(self, kind: str, name: str, parent: str, data: Mapping[str, Any] | None = None) -> str:
        """Open a span: write `<kind>.start` and return the new span's id."""
        ...

    def end(
        self, kind: str, name: str, span: str, parent: str, status: str, data: Mapping[str, Any] | None = None
    ) -> None:
        """Close a span: write `<kind>.end`; `status` is ok, error, timeout, cancelled or interrupted."""
        ...

    def event(self, kind: str, name: str, span: str, data: Mapping[str, Any] | None = None) -> None:
        """Write one event that belongs to `span`."""
        ...

    # What happens at every hop, as `event` and `start` would write it, in one go.

    def put(self, edge: str, span: str, message_id: str, content: Any, envelope: Message | None) -> None:
        """Write `message.enqueued` of a message with its payload; `envelope` has its headers, meta and deadline."""
        ...

    def taken(self, edge: str, parent: str, message_id: str, node: str, node_id: str) -> tuple[str, str]:
        """Write `message.dequeued`, and the starts of the node's span (in `parent`) and of its first attempt.

        Returns the ids of both spans.
        """
        ...

    def begin(self, edge: str, message_id: str, node: str, node_id: str) -> TraceHop | None:
        """As `taken`, of an invocation that is likely to be over in no time; None where `taken` is to be called."""
        ...

    def freeze(self, value: Any) -> Any:
        """The value as it is now, as a `Payload` of it would be stored: what a call is compared by."""
        ...

    def describe(self, error: BaseException) -> Mapping[str, Any]:
        """What an event says of an exception: `{type, message, traceback, file, line}`."""
        ...

    def close(self, status: str, data: Mapping[str, Any] | None = None) -> None:
        """Write `trace.end`. The log takes no event after that."""
        ...


class TraceRecorder(Protocol):
    """Opens a log for each trace that a flow runs."""

    @property
    def congested(self) -> bool:
        """True while the recorder holds as much as it may: the runtime then waits before it takes on more."""
        ...

    def open(self, trace_id: str, data: Mapping[str, Any] | None = None) -> TraceLog:
        """Begin (or go on with) the log of a trace: writes `trace.start`."""
        ...

    async def wait_ready(self) -> None:
        """Return once the recorder is no longer congested."""
        ...

    async def flush(self) -> None:
        """Return once everything reported so far is durable."""
        ...

    def durable(self) -> Awaitable[None] | None:
        """What to await before a result is given out, so that the events behind it are durable; None for nothing."""
        ...
