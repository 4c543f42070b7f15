"""Recorded traces in memory: a `TraceStore` for tests, and for runs that nobody will ask for tomorrow."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Iterable, Mapping, Sequence
from typing import Any

from penguiflow.recording.events import EventRecord, EventSink, TraceEvent, is_shared
from penguiflow.recording.spans import Span
from penguiflow.recording.text import clean_text
from penguiflow.state.chunks import columns
from penguiflow.state.follow import follow
from penguiflow.state.liveness import SEVERAL
from penguiflow.state.overview import span_tree
from penguiflow.state.reader import MAX_CANDIDATES, kind_filter, no_such_trace, the_only
from penguiflow.state.recovery import closing_events
from penguiflow.state.retention import Pruned, Retention
from penguiflow.state.rows import TraceRow
from penguiflow.state.traces import TraceQuery, TraceSummary

__all__ = ["MAX_LOG_BYTES", "MemoryLog"]

logger = logging.getLogger("penguiflow.state")

MAX_LOG_BYTES = 256 * 1024 * 1024
_EVENT_OVERHEAD = 400
"""Bytes of an event beside its data, roughly."""
_PLACE = "memory"
_SHOWN = (
    "trace_id", "flow", "target", "status", "started", "ended", "duration_s", "version", "session", "epoch", "events",
    "error", "input", "output", "llm_calls", "tokens", "cost",
)  # fmt: skip


class _Logged:
    """A trace and its events."""

    def __init__(self, row: TraceRow) -> None:
        self.row = row
        self.records: list[EventRecord] = []
        self.broken = False
        """It lost events: what is kept is a beginning without gaps."""

    def summary(self) -> TraceSummary:
        row = self.row
        about = {name: getattr(row, name) for name in _SHOWN}
        return TraceSummary(**about, origin=None if row.origin is None else json.loads(row.origin))

    @property
    def is_background(self) -> bool:
        """Whether it was done in the background on account of a run."""
        origin = None if self.row.origin is None else json.loads(self.row.origin)
        return origin is not None and origin.get("mode") == "background"

    def matches(self, query: TraceQuery) -> bool:
        row = self.row
        searched = " ".join(text or "" for text in (row.trace_id, row.flow, row.input, row.output, row.error))
        return (
            query.flow in (None, row.flow)
            and query.session in (None, row.session)
            and query.status in (None, row.status)
            and (query.since is None or row.started >= query.since)
            and (query.before is None or row.started < query.before)
            and (query.background or query.flow is not None or not self.is_background)
            and (not query.text or query.text.casefold() in searched.casefold())
        )


class MemoryLog:
    """Keeps what recorders write, within limits: the oldest traces that are over are forgotten first."""

    def __init__(self, retention: Retention) -> None:
        self.dropped = 0
        """Events that were lost because running traces need all the room there is."""
        self._limits = retention
        self._logs: dict[str, _Logged] = {}
        self._log_bytes = 0

    # Writing

    @property
    def sink(self) -> EventSink:
        """Where a recorder sends its events."""
        return self

    @property
    def congested(self) -> bool:
        """Never: what does not fit is lost."""
        return False

    def write(self, record: EventRecord) -> None:
        """Take one event; implements `EventSink`."""
        try:
            self._add(record)
        except (ValueError, TypeError, AttributeError):
            self.dropped += 1
            logger.exception("an event of trace %s cannot be stored", record.trace_id)

    async def wait_ready(self) -> None:
        """There is nothing to wait for."""

    def durable(self) -> Awaitable[None] | None:
        """Nothing to wait for."""
        return None

    async def flush(self) -> None:
        """Everything is there already."""

    async def close(self) -> None:
        """There is nothing to let go of: what is kept can still be read."""

    async def recover(self, died: Mapping[str, Any] | None = None) -> list[str]:
        """Nothing here outlives its writer, so there is nothing to close."""
        return []

    async def prune(self, retention: Retention, *, dry_run: bool = False) -> Pruned:
        """Forget what is beyond the limits, the oldest first; tells what was removed. Running traces stay."""
        return self._prune(retention, dry_run=dry_run)

    # Reading

    async def find_traces(self, query: TraceQuery | None = None) -> list[TraceSummary]:
        """Traces that match, newest first."""
        wanted = query or TraceQuery()
        found = (each for each in self._newest_first() if each.matches(wanted))
        return [each.summary() for each, _ in zip(found, range(max(0, wanted.limit)), strict=False)]

    async def get_trace(self, trace_id: str) -> TraceSummary | None:
        """One trace by its full id, or None."""
        logged = self._logs.get(clean_text(trace_id))
        return None if logged is None else logged.summary()

    async def resolve_trace(self, prefix: str) -> str:
        """The full id behind a unique prefix, or behind `last`: the trace that started last.

        Raises `TraceNotFound`, and `AmbiguousTrace` with the candidates.
        """
        wanted = clean_text(prefix)
        if wanted in self._logs:
            return wanted
        if prefix == "last":
            for logged in self._newest_first():
                if not logged.is_background:
                    return logged.row.trace_id
            raise no_such_trace(prefix, _PLACE)
        found = sorted(trace_id for trace_id in self._logs if wanted and trace_id.startswith(wanted))
        return the_only(found[: MAX_CANDIDATES + 1], prefix, _PLACE)

    async def load_events(
        self, trace_id: str, *, after: int = -1, limit: int | None = None, kinds: Sequence[str] | None = None
    ) -> list[TraceEvent]:
        """Events with `seq > after`, in order; `kinds` may end in `*`. An unknown trace has none."""
        records: Iterable[EventRecord] = self._after(trace_id, after)
        if kinds is not None:
            wanted = kind_filter(kinds)
            records = (record for record in records if wanted(record.kind))
        return [record.decode() for record in _first(records, limit)]

    async def load_event_bytes(self, trace_id: str, *, after: int = -1, limit: int | None = None) -> list[bytes]:
        """As `load_events`, each event as JSON bytes."""
        return [record.to_json() for record in _first(self._after(trace_id, after), limit)]

    async def load_spans(self, trace_id: str, *, fold: bool = False) -> list[Span]:
        """The roots of a trace's tree. With `fold`, many siblings alike become a few and a `Crowd`: see `overview`."""
        records = self._after(trace_id, -1)
        return span_tree([(0, columns(records))] if records else [], trace_id, fold=fold)

    def follow(self, trace_id: str, *, after: int = -1) -> AsyncGenerator[TraceEvent, None]:
        """Events with `seq > after`, and those to come, until the trace is over. An unknown one has none."""
        return follow(self, trace_id, after)

    # Within

    def _add(self, record: EventRecord) -> None:
        trace_id = clean_text(record.trace_id)
        logged = self._logs.get(trace_id)
        if logged is None:
            if record.kind != "trace.start" and is_shared(record.data):
                return  # the trace was forgotten meanwhile
            logged = self._logs[trace_id] = _Logged(TraceRow(trace_id, record, 0))
        if logged.broken:
            self._lose(logged, record)
            return
        row = logged.row
        if record.kind == "trace.start":
            row.begin(record, 0)
        if record.seq != row.events or row.prefix or row.writer == SEVERAL:
            record = row.fit(record)
        size = len(record.data) + _EVENT_OVERHEAD
        limit = self._limits.max_bytes
        if limit is not None and self._log_bytes + size > limit:
            self._prune(self._limits, needed=size)
            if self._log_bytes + size > limit:
                logged.broken = True
                self._lose(logged, record)
                return
        logged.records.append(record)
        row.events += 1
        row.bytes += size
        row.updated = record.ts
        self._log_bytes += size
        if record.kind == "message.enqueued":
            row.message(record)
        elif record.kind == "llm.end":
            row.call(record)
        elif record.kind == "trace.end":
            row.finish(record)
            if self._limits.max_traces is not None and len(self._logs) > self._limits.max_traces:
                self._prune(self._limits)

    def _lose(self, logged: _Logged, record: EventRecord) -> None:
        self.dropped += 1
        if record.kind != "trace.end":
            return
        row, last = logged.row, logged.records[-1:] or [record]
        open_spans: dict[str, EventRecord] = {}
        for each in logged.records:
            if each.kind.endswith(".start"):
                open_spans[each.span_id] = each
            elif each.kind.endswith(".end"):
                open_spans.pop(each.span_id, None)
        for closing in closing_events(last[0], list(open_spans.values()), {"reason": "events were lost"}):
            logged.records.append(closing)
            row.events += 1
            if closing.kind == "trace.end":
                row.finish(closing)
        logged.broken = row.status == "running"

    def _prune(self, retention: Retention, *, needed: int = 0, dry_run: bool = False) -> Pruned:
        removed = Pruned()
        too_old = 0.0 if retention.max_age_s is None else time.time() - retention.max_age_s
        traces = 0 if retention.max_traces is None else len(self._logs) - retention.max_traces
        size = 0 if retention.max_bytes is None else self._log_bytes + needed - retention.max_bytes
        victims = []
        # In the order of their start.
        for trace_id, logged in self._logs.items():
            row = logged.row
            if not too_old and traces <= 0 and size <= 0:
                break
            if row.status != "running" and (row.updated < too_old or traces > 0 or size > 0):
                victims.append(trace_id)
                removed.add(Pruned(1, row.events, row.bytes))
                traces -= 1
                size -= row.bytes
        for trace_id in () if dry_run else victims:
            self._log_bytes -= self._logs.pop(trace_id).row.bytes
        return removed

    def _forget_logs(self, session_id: str | None = None) -> None:
        """Forget all traces, or those of a session."""
        for trace_id, logged in list(self._logs.items()):
            if session_id in (None, logged.row.session):
                del self._logs[trace_id]
                self._log_bytes -= logged.row.bytes

    def _newest_first(self) -> list[_Logged]:
        # Of those that started at once, the one that came last stands first.
        found = list(self._logs.values())
        found.reverse()
        found.sort(key=lambda logged: -logged.row.started)
        return found

    def _after(self, trace_id: str, after: int) -> Sequence[EventRecord]:
        logged = self._logs.get(clean_text(trace_id))
        return [] if logged is None else logged.records[max(0, after + 1) :]


def _first(records: Iterable[EventRecord], limit: int | None) -> Iterable[EventRecord]:
    if limit is None:
        return records
    return (record for record, _ in zip(records, range(max(0, limit)), strict=False))
