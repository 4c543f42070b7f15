"""What a store that keeps traces offers to those who read them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Sequence
from typing import Literal, Protocol, runtime_checkable

from pydantic import BaseModel, Field

from penguiflow.recording.events import EventSink, TraceEvent
from penguiflow.recording.spans import Span

__all__ = ["TraceQuery", "TraceStatus", "TraceStore", "TraceSummary"]

TraceStatus = Literal["running", "paused", "ok", "error", "timeout", "cancelled", "interrupted"]


_PREVIEW = (
    "The beginning of the {}, as JSON text: to be shown. It is the whole value, and can be parsed, unless it ends in "
    "`…`; the trace's events have the value."
)


class TraceSummary(BaseModel):
    """One line about a trace: what a list of runs shows."""

    trace_id: str
    flow: str | None = None
    """Name of the flow that ran."""
    target: str | None = None
    """What to give to `pf run` to run it again: a path, a module or `module:attr`."""
    status: TraceStatus
    """`paused`: it is over, with a question to somebody for its result; what comes of that is another trace."""
    started: float
    """Unix seconds."""
    ended: float | None = None
    duration_s: float | None = None
    version: str | None = None
    """Hash of the code that ran."""
    session: str | None = None
    epoch: int = 0
    events: int = 0
    """How many events are committed."""
    error: str | None = None
    """One line: what went wrong."""
    input: str | None = Field(default=None, description=_PREVIEW.format("input"))
    output: str | None = Field(default=None, description=_PREVIEW.format("last output"))
    llm_calls: int = 0
    tokens: int = 0
    cost: float | None = None
    """US dollars; None when unknown."""
    origin: dict[str, str | int] | None = None
    """`{trace_id, seq}` of the trace that this one was forked from; with `mode`, that it replays (`replay`), or on
    account of which it did something in the background (`background`)."""


class TraceQuery(BaseModel):
    """Which traces, newest first."""

    flow: str | None = None
    status: TraceStatus | None = None
    session: str | None = None
    text: str | None = None
    """Found in id, flow, input, output or error, whatever the case of its letters."""
    since: float | None = None
    """Started at or after, unix seconds."""
    before: float | None = None
    """Started before, unix seconds."""
    background: bool = False
    """Also what was done in the background on account of a run; a query that names its flow finds it anyway."""
    limit: int = 50


@runtime_checkable
class TraceStore(Protocol):
    """A store of traces: the recorder writes, everyone else reads."""

    @property
    def sink(self) -> EventSink:
        """Where a recorder sends this store's events."""
        ...

    @property
    def congested(self) -> bool:
        """True while the writer holds as much as it may."""
        ...

    async def wait_ready(self) -> None:
        """Return once the writer has room again."""
        ...

    def durable(self) -> Awaitable[None] | None:
        """What to await before a result is given out, so that its events are kept; None when nothing is."""
        ...

    async def flush(self) -> None:
        """Return once all that was written so far is committed. Raises `StoreError` if that is impossible."""
        ...

    async def close(self) -> None:
        """Commit what is left and let go of the file or connection."""
        ...

    async def find_traces(self, query: TraceQuery | None = None) -> list[TraceSummary]:
        """Traces that match, newest first."""
        ...

    async def get_trace(self, trace_id: str) -> TraceSummary | None:
        """One trace by its full id, or None."""
        ...

    async def resolve_trace(self, prefix: str) -> str:
        """The full id behind a unique prefix, or behind `last`: the run that started last, and no background work.

        Raises `TraceNotFound` or `AmbiguousTrace` (which lists the candidates).
        """
        ...

    async def load_events(
        self, trace_id: str, *, after: int = -1, limit: int | None = None, kinds: Sequence[str] | None = None
    ) -> list[TraceEvent]:
        """Committed events with `seq > after`, in order; `kinds` may end in `*`."""
        ...

    async def load_event_bytes(self, trace_id: str, *, after: int = -1, limit: int | None = None) -> list[bytes]:
        """As `load_events`, each event still as JSON bytes: for readers that decode only what they show."""
        ...

    async def load_spans(self, trace_id: str, *, fold: bool = False) -> list[Span]:
        """The roots of a trace's tree. With `fold`, many siblings alike become a few and a `Crowd`: see `overview`."""
        ...

    def follow(self, trace_id: str, *, after: int = -1) -> AsyncGenerator[TraceEvent, None]:
        """Committed events with `seq > after`, and those to come, until the trace is over."""
        ...

    async def recover(self) -> list[str]:
        """Mark traces whose writer is gone as `interrupted`, closing their open spans; returns their ids."""
        ...
