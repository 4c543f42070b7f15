"""Events on their way into the database: one transaction's worth, as chunks and as changes of their traces' rows."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import NamedTuple

from pydantic_core import from_json

from penguiflow.recording.events import EventRecord, is_shared
from penguiflow.recording.hops import EVENTS_OF, SENT, TO_ROOKERY, Entry, expand, records_of
from penguiflow.recording.text import clean_text
from penguiflow.state.chunks import pack, pack_columns, pack_hops
from penguiflow.state.coalesce import CHUNK
from penguiflow.state.connection import Connection
from penguiflow.state.liveness import SEVERAL
from penguiflow.state.rows import UPDATE_TRACE, TraceRow
from penguiflow.state.spill import INLINE_BYTES, keep, spill
from penguiflow.state.whole import Whole, take_whole

__all__ = ["CHUNK_BYTES", "CHUNK_EVENTS", "INSERT_CHUNK", "Batch", "Rows", "Stretch", "append_events"]

logger = logging.getLogger("penguiflow.state")

CHUNK_EVENTS = 256
CHUNK_BYTES = 256 * 1024
_HOPS_AT_ONCE = CHUNK_EVENTS // max(EVENTS_OF.values())
_HOPS = frozenset(EVENTS_OF)
_ABOUT_THE_TRACE = frozenset({"message.enqueued", "trace.end", "llm.end", SENT, *TO_ROOKERY})
_YIELD_EVERY = 1000
INSERT_CHUNK = "INSERT INTO event_chunks (trace, first_seq, last_seq, data) VALUES"


class _Draft:
    """A trace within a batch: a copy of its row that becomes the row when the transaction is committed."""

    __slots__ = ("chunks", "inline", "payloads", "row")

    def __init__(self, row: TraceRow, inline: int) -> None:
        self.row = row
        self.inline = inline
        self.chunks: list[tuple[int, int, bytes]] = []
        self.payloads: dict[str, bytes] = {}
        """Those too large to be kept inline, by name."""

    def take(self, records: Sequence[EventRecord], writer: int) -> None:
        """Take events in order, as chunks. Raises what a malformed event makes raise."""
        if len(records) <= _HOPS_AT_ONCE:
            self._take_some(records, writer)
            return
        most = CHUNK_EVENTS
        if any(record[7] in EVENTS_OF for record in records):
            most = _HOPS_AT_ONCE
        for first in range(0, len(records), most):
            self._take_some(records[first : first + most], writer)

    def _take_some(self, records: Sequence[EventRecord], writer: int) -> None:
        """Not more than fit into one chunk."""
        row = self.row
        kinds = [record[7] for record in records]
        hops = not _HOPS.isdisjoint(kinds)
        # Most follow what is stored as they are, and go in together. (What two recorders mix up repeats itself.)
        if records[0][0] == row.events and not row.prefix and row.writer != SEVERAL:
            last = records[-1]
            after = last[0] + EVENTS_OF.get(last[7], 1)
            if (
                after == row.events + (sum(map(EVENTS_OF.get, kinds, repeat(1))) if hops else len(records))
                and "trace.start" not in kinds[1:]
                and self._take_together(records, kinds, after, writer, hops=hops)
            ):
                return
        if hops:
            records = [event for record in records for event in expand(record)]
        self._take_each(records, writer)

    def _take_together(
        self, records: Sequence[EventRecord], kinds: Sequence[str], after: int, writer: int, *, hops: bool
    ) -> bool:
        """Take all of them, unchanged, as one chunk; False, and nothing done, where that cannot be."""
        row = self.row
        data = None
        if not hops:
            data = pack_columns(tuple(zip(*records, strict=True)))
        elif CHUNK not in kinds:
            data = pack_hops(records)
        # What is large is cut, or kept beside.
        if data is None or len(data) >= min(CHUNK_BYTES, self.inline):
            return False
        if kinds[0] == "trace.start":
            row.begin(records[0], writer)
        for record in records:
            kind = record[7]
            if kind not in _ABOUT_THE_TRACE:
                continue
            if kind == "message.enqueued":
                row.message(record)
            elif kind == "trace.end":
                row.finish(record)
            elif kind == "llm.end":
                row.call(record)
            else:
                row.hop(record)
        self.chunks.append((row.events, after - 1, data))
        row.events = after
        row.bytes += len(data)
        row.updated = records[-1][5]
        return True

    def _take_each(self, records: Sequence[EventRecord], writer: int) -> None:
        row = self.row
        events = row.events
        fitted: list[EventRecord] = []
        size = 0
        for given in records:
            record = given
            kind = record[7]
            if kind == "trace.start":
                row.events = events
                row.begin(record, writer)
            if record[0] != events or row.prefix or row.writer == SEVERAL:
                row.events = events
                record = row.fit(record)
            events += 1
            if kind == "message.enqueued":
                row.message(record)
            elif kind == "trace.end":
                row.finish(record)
            elif kind == "llm.end":
                row.call(record)
            if len(record[9]) > self.inline:
                record = spill(record, self.inline, self.payloads)
                row.bytes += len(given[9]) - len(record[9])
            fitted.append(record)
            size += len(record[9])
            if size >= CHUNK_BYTES or len(fitted) >= CHUNK_EVENTS:
                self._cut(fitted)
                fitted = []
                size = 0
        row.events = events
        if fitted:
            self._cut(fitted)

    def _cut(self, fitted: list[EventRecord]) -> None:
        data = pack(fitted)
        row, last = self.row, fitted[-1]
        self.chunks.append((fitted[0][0], last[0], data))
        row.bytes += len(data)
        row.updated = last[5]


class Stretch(NamedTuple):
    """What one trace has told, in order."""

    trace_id: str
    entries: Sequence[Entry]


class Rows(NamedTuple):
    """What a batch writes."""

    inserts: list[tuple[object, ...]]
    """Of traces: id, trace id, columns."""
    updates: list[tuple[object, ...]]
    """Of traces: columns, id."""
    chunks: list[tuple[int, int, int, bytes]]
    """Trace, first and last `seq`, data."""
    payloads: list[tuple[int, dict[str, bytes]]]
    """Of traces, by id: what is kept beside the chunks."""


class Batch:
    """Makes rows of events, within a transaction that has begun.

    `known` are the rows of traces that this writer has open. A row that was last compared with the database at another
    `version` than the present one is behind others who have written since: its position is looked up again. First
    `gather`, which tells which rows are to be looked up; then `take`, then `rows`. After the commit, `committed()`
    brings `known` up to date.
    """

    def __init__(self, writer: int, known: dict[str, TraceRow], *, version: int, inline: int = INLINE_BYTES) -> None:
        self.lost = 0
        """Events that cannot be stored."""
        self._writer = writer
        self._known = known
        self._version = version
        self._inline = inline
        self._groups: dict[str, Sequence[Entry]] = {}
        self._drafts: dict[str, _Draft | None] = {}
        self._wholes: list[Whole] = []

    def gather(self, items: Iterable[EventRecord | Stretch]) -> list[EventRecord]:
        """Take in all events; returns one of each trace whose row is not known, or not as it is now."""
        groups = self._groups
        for item in items:
            trace_id, entries = item if type(item) is Stretch else (item.trace_id, (item,))
            trace_id = clean_text(trace_id)
            group = groups.get(trace_id)
            groups[trace_id] = entries if group is None else [*group, *entries]
        known, version = self._known, self._version
        unsure = []
        for trace_id, group in groups.items():
            row = known.get(trace_id)
            if row is None or row.compared != version:
                unsure += records_of(trace_id, group[:1])[:1]
        return unsure

    def take(self, stored: Mapping[str, TraceRow]) -> Iterator[None]:
        """Make drafts of what was gathered; `stored` are the rows that were found. Others may go on at each step."""
        count = 0
        for trace_id, group in self._groups.items():
            if not (trace_id in stored or trace_id in self._known or len(group) > _HOPS_AT_ONCE):
                try:
                    whole = take_whole(trace_id, group, self._writer)
                except Exception:  # what is wrong with it is found, and told of, one by one
                    whole = None
                if whole is not None and len(whole.data) < min(CHUNK_BYTES, self._inline):
                    self._wholes.append(whole)
                    continue
            records = records_of(trace_id, group)
            self.lost += self._add_trace(trace_id, records, stored.get(trace_id))
            count += len(records)
            if count >= _YIELD_EVERY:
                count = 0
                yield

    @property
    def new_traces(self) -> int:
        """How many ids `rows` takes."""
        drafts = self._drafts.values()
        return len(self._wholes) + sum(draft is not None and draft.row.id is None for draft in drafts)

    def rows(self, ids: Iterable[int]) -> Rows:
        """What is to be written; new traces get these ids."""
        next_id = iter(ids)
        rows = Rows([], [], [], [])
        for whole in self._wholes:
            number = next(next_id)
            rows.inserts.append((number, whole.trace_id, *whole.values, len(whole.data)))
            rows.chunks.append((number, 0, whole.last_seq, whole.data))
        for draft in self._drafts.values():
            if draft is None:
                continue
            row = draft.row
            if row.id is None:
                row.id = next(next_id)
                rows.inserts.append((row.id, row.trace_id, *row.columns()))
            else:
                rows.updates.append((*row.columns(), row.id))
            for first, last, data in draft.chunks:
                rows.chunks.append((row.id, first, last, data))
            if draft.payloads:
                rows.payloads.append((row.id, draft.payloads))
        return rows

    def committed(self) -> None:
        """Remember the rows of the traces that are still open, forget the others."""
        for trace_id, draft in self._drafts.items():
            if draft is not None and draft.row.logs:
                draft.row.compared = self._version
                self._known[trace_id] = draft.row
            else:
                self._known.pop(trace_id, None)

    def _add_trace(self, trace_id: str, records: list[EventRecord], stored: TraceRow | None) -> int:
        if trace_id in self._drafts:
            draft = self._drafts[trace_id]
        else:
            draft = self._drafts[trace_id] = self._draft(trace_id, records[0], stored)
        if draft is None:
            # Somebody deleted the trace while it ran: what is left of it is not kept either.
            starts = (index for index, record in enumerate(records) if record.kind == "trace.start")
            start = next(starts, None)
            if start is None:
                return 0
            records = records[start:]
            draft = self._drafts[trace_id] = _Draft(TraceRow(trace_id, records[0], self._writer), self._inline)
        row, chunks = draft.row.copy() if len(draft.chunks) else None, len(draft.chunks)
        try:
            draft.take(records, self._writer)
        except Exception:  # an event that cannot be understood must not end the store
            logger.exception("an event of trace %s cannot be stored", trace_id)
        else:
            return 0
        del draft.chunks[chunks:]
        draft.row = row or self._fresh(trace_id, records[0], stored)
        records = [event for record in records for event in expand(record)]
        sound = [record for record in records if _is_sound(record)]
        if sound:
            draft.take(sound, self._writer)
        elif draft.row.id is None and not draft.chunks:
            self._drafts[trace_id] = None
        return len(records) - len(sound)

    def _draft(self, trace_id: str, record: EventRecord, stored: TraceRow | None) -> _Draft | None:
        known = self._known.get(trace_id)
        if known is not None and known.compared != self._version and stored is None:
            return None
        if stored is None and _is_shared(record) and record.kind != "trace.start":
            return None
        return _Draft(self._fresh(trace_id, record, stored), self._inline)

    def _fresh(self, trace_id: str, record: EventRecord, stored: TraceRow | None) -> TraceRow:
        """The trace's row as it is before this batch, to be changed."""
        if _is_shared(record):
            row = TraceRow(trace_id, record, self._writer) if stored is None else stored.copy()
            row.share()
            return row
        known = self._known.get(trace_id)
        if known is None:
            return TraceRow(trace_id, record, self._writer) if stored is None else stored.copy()
        row = known.copy()
        if stored is not None:
            row.id, row.events, row.bytes = stored.id, stored.events, stored.bytes
            row.epoch = max(row.epoch, stored.epoch)
        return row


def append_events(connection: Connection, row: TraceRow, records: list[EventRecord]) -> None:
    """Add events behind a stored trace and update its row, within a transaction."""
    draft = _Draft(row, INLINE_BYTES)
    draft.take(records, row.writer)
    connection.execute(UPDATE_TRACE, (*row.columns(), row.id))
    chunks = [(row.id, *chunk) for chunk in draft.chunks]
    connection.executemany(f"{INSERT_CHUNK} (?, ?, ?, ?)", chunks)
    if draft.payloads and row.id is not None:
        keep(connection, row.id, draft.payloads)


def _is_shared(record: EventRecord) -> bool:
    return type(record.data) is bytes and is_shared(record.data)


def _is_sound(record: EventRecord) -> bool:
    try:
        pack([record])
        return isinstance(from_json(record.data), dict) and isinstance(record.seq, int)
    except Exception:  # whatever is wrong with it, it is left out
        return False
