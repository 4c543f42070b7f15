"""Events on their way into the database: one transaction's worth, as chunks and as changes of their traces' rows."""

from __future__ import annotations

import copy
import json
import sqlite3
from collections import deque
from operator import attrgetter
from typing import Any

from pydantic_core import from_json

from penguiflow.recording.events import EventRecord
from penguiflow.recording.lines import event_line
from penguiflow.recording.text import clean_text

__all__ = ["CHUNK_BYTES", "CHUNK_EVENTS", "Batch", "TraceRow", "append_events"]

CHUNK_EVENTS = 256
CHUNK_BYTES = 256 * 1024
PREVIEW_CHARS = 200
_PREVIEW_WINDOW = 2 * PREVIEW_CHARS
_ERROR_CHARS = 500
_NS = 1_000_000_000
_PAYLOAD_FIRST = b'{"payload":{"type":"'
_VALUE = b'","value":'
_REMEMBERED_PAYLOADS = 4

_COLUMNS = (
    "flow", "target", "status", "started", "updated", "ended", "duration_s", "version", "session", "epoch", "events",
    "error", "input", "output", "origin", "writer",
)  # fmt: skip
_SELECT = " ".join(("SELECT id,", ", ".join(_COLUMNS), "FROM traces WHERE trace_id = ?"))
_INSERT = " ".join(
    ("INSERT INTO traces (id, trace_id,", ", ".join(_COLUMNS), ") VALUES (?, ?", ", ?" * len(_COLUMNS), ")")
)
_UPDATE = " ".join(("UPDATE traces SET", " = ?, ".join(_COLUMNS), "= ? WHERE id = ?"))
_INSERT_CHUNK = "INSERT INTO event_chunks (trace, first_seq, last_seq, data) VALUES (?, ?, ?, ?)"

_decoder = json.JSONDecoder()
_values = attrgetter(*_COLUMNS)


class TraceRow:
    """What the writer knows of a trace: its row, and how its present log is fitted in behind what is stored."""

    def __init__(self, trace_id: str, record: EventRecord, writer: int) -> None:
        self.trace_id = clean_text(trace_id)
        self.id: int | None = None
        """None until it is inserted."""
        self.flow: str | None = None
        self.target: str | None = None
        self.status = "running"
        self.started = record.ts
        self.updated = record.ts
        self.ended: float | None = None
        self.duration_s: float | None = None
        self.version: str | None = None
        self.session: str | None = None
        self.epoch = record.epoch
        self.events = 0
        self.error: str | None = None
        self.input: str | None = None
        self.output: str | None = None
        self.origin: str | None = None
        self.writer = writer
        self.compared: int | None = None
        """The `data_version` of the file at which the row was last the same as there."""
        # The log: how many are open, and what is added to its epochs, offsets and span ids.
        self.logs = 0
        self.epoch_shift = 0
        self.offset_shift = 0
        self.prefix = ""
        self.wants_input = True
        self.payloads: deque[bytes] = deque(maxlen=_REMEMBERED_PAYLOADS)

    @classmethod
    def load(cls, connection: sqlite3.Connection, trace_id: str, record: EventRecord, writer: int) -> TraceRow | None:
        """The row as it is stored; None when there is none."""
        stored = connection.execute(_SELECT, (clean_text(trace_id),)).fetchone()
        if stored is None:
            return None
        row = cls(trace_id, record, writer)
        row.id = stored[0]
        for name, value in zip(_COLUMNS, stored[1:], strict=True):
            setattr(row, name, value)
        return row

    def columns(self) -> tuple[Any, ...]:
        """Values of the row's columns."""
        return _values(self)

    def begin(self, record: EventRecord, writer: int) -> None:
        """Take in a `trace.start`: of a new trace, or of one that is opened again."""
        if self.events:
            if not self.logs:
                self.epoch_shift = self.epoch + 1 - record.epoch
                # A recorder that knows the trace goes on with its numbers; the spans of one that does not get a prefix.
                knows = record.seq == self.events
                self.prefix = "" if knows else f"{self.epoch + 1:x}."
                self.offset_shift = 0 if knows else max(0, int((record.ts - self.started) * _NS) - record.offset_ns)
            self.ended = self.duration_s = self.error = None
        self.logs += 1
        self.status = "running"
        self.writer = writer
        self.wants_input = True
        data = _decoded(record.data)
        for name in ("flow", "target", "version", "session"):
            value = data.get(name)
            if value is not None:
                setattr(self, name, clean_text(str(value)))
        if isinstance(data.get("origin"), dict):
            self.origin = json.dumps(data["origin"])

    def finish(self, record: EventRecord) -> None:
        """Take in a `trace.end`; while another log of the trace is open, the trace runs on."""
        self.logs = max(0, self.logs - 1)
        if self.logs:
            return
        data = _decoded(record.data)
        self.status = str(data.get("status", "ok"))
        self.ended = record.ts
        self.duration_s = record.offset_ns / _NS
        self.error = _error_line(data.get("error"))
        if isinstance(data.get("version"), str):
            self.version = data["version"]

    def message(self, record: EventRecord) -> None:
        """Take in a `message.enqueued`: the first from OpenSea is the input, the last to Rookery the output."""
        data = record.data
        carries = data.startswith(_PAYLOAD_FIRST)
        if carries:
            self.payloads.append(data)
        if self.wants_input and record.name.startswith("OpenSea->"):
            self.wants_input = False
            if carries:
                self.input = _preview(data)
        if record.name.endswith("->Rookery"):
            if not carries:
                carrier = self._carrier(data)
                if carrier is None:
                    return
                data = carrier
            self.output = _preview(data)

    def _carrier(self, data: bytes) -> bytes | None:
        same_as = _decoded(data).get("same_as")
        if not isinstance(same_as, str):
            return None
        mark = b'"message_id":"%b"' % same_as.encode()
        return next((payload for payload in reversed(self.payloads) if mark in payload), None)

    def fit(self, record: EventRecord) -> EventRecord:
        """The record as it follows what is stored."""
        return record._replace(
            seq=self.events,
            epoch=record.epoch + self.epoch_shift,
            span_id=self.prefix + record.span_id,
            parent_id=None if record.parent_id is None else self.prefix + record.parent_id,
            offset_ns=record.offset_ns + self.offset_shift,
        )


class _Draft:
    """A trace within a batch: a copy of its row that becomes the row when the transaction is committed."""

    __slots__ = ("chunks", "first_seq", "lines", "row", "size")

    def __init__(self, row: TraceRow) -> None:
        self.row = row
        self.first_seq = row.events
        self.lines: list[bytes] = []
        self.size = 0
        self.chunks: list[tuple[int, int, bytes]] = []

    def cut(self) -> None:
        if self.lines:
            self.chunks.append((self.first_seq, self.row.events - 1, b"\n".join(self.lines)))
            self.lines = []
            self.size = 0
            self.first_seq = self.row.events


class Batch:
    """Takes events within a transaction that has begun.

    `known` are the rows of traces that this writer has open. A row that was last compared with the file at another
    `version` than the present one is behind others who have written since: its position is looked up again. After the
    commit, `committed()` brings `known` up to date.
    """

    def __init__(
        self, connection: sqlite3.Connection, writer: int, known: dict[str, TraceRow], *, version: int
    ) -> None:
        self._connection = connection
        self._writer = writer
        self._known = known
        self._version = version
        self._drafts: dict[str, _Draft | None] = {}

    def add(self, record: EventRecord) -> None:
        """Take one event."""
        trace_id, kind = record.trace_id, record.kind
        try:
            draft = self._drafts[trace_id]
        except KeyError:
            draft = self._drafts[trace_id] = self._draft(record)
        if draft is None:
            if kind != "trace.start":
                return  # somebody deleted the trace while it ran: what is left of it is not kept either
            draft = self._drafts[trace_id] = _Draft(TraceRow(trace_id, record, self._writer))
        row = draft.row
        if kind == "trace.start":
            row.begin(record, self._writer)
        if record.seq != row.events or row.prefix:
            record = row.fit(record)
        line = event_line(record)
        row.events += 1
        row.updated = record.ts
        if record.epoch > row.epoch:
            row.epoch = record.epoch
        lines = draft.lines
        lines.append(line)
        draft.size += len(line)
        if draft.size >= CHUNK_BYTES or len(lines) >= CHUNK_EVENTS:
            draft.cut()
        if kind == "message.enqueued":
            row.message(record)
        elif kind == "trace.end":
            row.finish(record)

    def write(self) -> None:
        """Write all of it, within the transaction."""
        drafts = [draft for draft in self._drafts.values() if draft is not None]
        # The transaction keeps others out, so that the next ids can be given here: rows go in together.
        (next_id,) = self._connection.execute("SELECT coalesce(max(id), 0) + 1 FROM traces").fetchone()
        inserts: list[list[Any]] = []
        updates: list[list[Any]] = []
        chunks: list[tuple[int | None, int, int, bytes]] = []
        for draft in drafts:
            draft.cut()
            row = draft.row
            if row.id is None:
                row.id = next_id + len(inserts)
                inserts.append([row.id, row.trace_id, *row.columns()])
            else:
                updates.append([*row.columns(), row.id])
            chunks += [(row.id, *chunk) for chunk in draft.chunks]
        self._connection.executemany(_INSERT, inserts)
        self._connection.executemany(_UPDATE, updates)
        self._connection.executemany(_INSERT_CHUNK, chunks)

    def committed(self) -> None:
        """Remember the rows of the traces that are still open, forget the others."""
        for trace_id, draft in self._drafts.items():
            if draft is not None and draft.row.logs:
                draft.row.compared = self._version
                self._known[trace_id] = draft.row
            else:
                self._known.pop(trace_id, None)

    def _draft(self, record: EventRecord) -> _Draft | None:
        known = self._known.get(record.trace_id)
        if known is None:
            stored = TraceRow.load(self._connection, record.trace_id, record, self._writer)
            return _Draft(stored or TraceRow(record.trace_id, record, self._writer))
        row = copy.copy(known)
        row.payloads = known.payloads.copy()
        if known.compared != self._version:
            stored = TraceRow.load(self._connection, record.trace_id, record, self._writer)
            if stored is None:
                return None
            row.id = stored.id
            row.events = stored.events
            row.epoch = max(row.epoch, stored.epoch)
        return _Draft(row)


def append_events(connection: sqlite3.Connection, row: TraceRow, records: list[EventRecord]) -> None:
    """Add events behind a stored trace and update its row, within a transaction."""
    draft = _Draft(row)
    for record in records:
        draft.lines.append(event_line(record))
        row.events += 1
        if len(draft.lines) >= CHUNK_EVENTS:
            draft.cut()
        if record.kind == "trace.end":
            row.finish(record)
    draft.cut()
    connection.execute(_UPDATE, [*row.columns(), row.id])
    connection.executemany(_INSERT_CHUNK, [(row.id, *chunk) for chunk in draft.chunks])


def _decoded(data: bytes) -> dict[str, Any]:
    value = from_json(data)
    return value if isinstance(value, dict) else {}


def _error_line(error: Any) -> str | None:
    if not error:
        return None
    if not isinstance(error, dict):
        text = str(error)
    else:
        kind = error.get("exception_type") or error.get("type") or error.get("code") or ""
        message = str(error.get("message") or "")
        text = f"{kind}: {message}" if kind and message else f"{kind or message}"
    lines = text.strip().splitlines() or [""]
    return clean_text(lines[0][:_ERROR_CHARS])


def _preview(data: bytes) -> str:
    """The beginning of a payload's value. The payload stands first in the data, and its type has no bare quote."""
    start = data.find(_VALUE) + len(_VALUE)
    window = data[start : start + _PREVIEW_WINDOW].decode("utf-8", "ignore")
    try:
        end = _decoder.raw_decode(window)[1]
    except (ValueError, RecursionError):  # it is longer than the window
        end = len(window)
    return window[:end] if end <= PREVIEW_CHARS else window[:PREVIEW_CHARS] + "…"
