"""Taking a trace file into a database: all of it in one transaction, or nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import IO, NamedTuple

from pydantic_core import from_json

from penguiflow.recording.events import EventRecord
from penguiflow.recording.lines import trace_field
from penguiflow.recording.text import clean_text
from penguiflow.recording.tracefile import TraceFile
from penguiflow.state.batch import CHUNK_BYTES, CHUNK_EVENTS
from penguiflow.state.chunks import pack
from penguiflow.state.connection import Connection
from penguiflow.state.errors import StoreError, StoreUnreadable
from penguiflow.state.rows import INSERT_TRACE, NEXT_ID, TraceRow
from penguiflow.state.spill import INLINE_BYTES, keep, spill
from penguiflow.state.statistics import Progress
from penguiflow.state.traces import TraceStore, TraceSummary

__all__ = ["Imported", "ReadyTrace", "TraceExists", "exists", "insert", "prepare"]

_PAGE = 512
_NOBODY = 0
"""The writer of a trace that was never written here."""


class TraceExists(StoreError):
    """Another trace has this id already."""


class Imported(NamedTuple):
    """What an import did."""

    trace_id: str
    events: int
    new: bool
    """False when the store had the very same trace already."""


class ReadyTrace:
    """A file that was read to its end and found good, packed as it will be stored. `close` it."""

    def __init__(self, row: TraceRow, spool: IO[bytes], trace_id: str) -> None:
        self.row = row
        self.trace_id = trace_id
        self.events_sum = ""
        """Checksum of the events, without the trace's id."""
        self._spool = spool
        self._chunks: list[tuple[int, int, int, int]] = []
        self._payloads: dict[str, tuple[int, int]] = {}

    def add(self, records: Sequence[EventRecord]) -> None:
        """Take some more events."""
        row, last = self.row, records[-1]
        large: dict[str, bytes] = {}
        data = pack(
            [record if len(record.data) <= INLINE_BYTES else spill(record, INLINE_BYTES, large) for record in records]
        )
        self._chunks.append((records[0].seq, last.seq, *self._put(data)))
        for name, payload in large.items():
            if name not in self._payloads:
                self._payloads[name] = self._put(payload)
                row.bytes += len(payload)
        row.bytes += len(data)
        row.updated = last.ts

    def chunks(self) -> Iterator[tuple[int, int, bytes]]:
        """First and last `seq`, and the packed events."""
        for first, last, start, size in self._chunks:
            yield first, last, self._get(start, size)

    def payloads(self) -> Iterator[tuple[str, bytes]]:
        """Those that are kept beside the events, by name."""
        for name, place in self._payloads.items():
            yield name, self._get(*place)

    def _put(self, data: bytes) -> tuple[int, int]:
        return self._spool.tell(), self._spool.write(data)

    def _get(self, start: int, size: int) -> bytes:
        self._spool.seek(start)
        return self._spool.read(size)

    def close(self) -> None:
        """Forget it."""
        self._spool.close()


def prepare(path: Path, trace_id: str | None, progress: Progress | None = None) -> ReadyTrace:
    """Read a trace file to its end. Raises `StoreUnreadable` and `StoreTooNew`; nothing is written but a scratch file.

    With a `trace_id` the trace gets this one; what its payloads say of ids stays. `progress` is called with how many
    events were read, and how many there are; what it raises ends the reading.
    """
    spool = tempfile.TemporaryFile(prefix="penguiflow-")  # noqa: SIM115 - the caller closes it
    try:
        with TraceFile(path) as file:
            name = clean_text(trace_id or file.trace_id)
            ready: ReadyTrace | None = None
            for records in _pieces(file.records(name)):
                if ready is None:
                    ready = ReadyTrace(TraceRow(name, records[0], _NOBODY), spool, name)
                _check_references(records, path)
                _describe(ready.row, records)
                ready.add(records)
                if progress is not None:
                    progress(ready.row.events, file.events)
            file.finish()
            if ready is None or ready.row.status == "running":
                raise StoreUnreadable(f"{path} is damaged: the trace has no end", path=str(path))
            _check(ready.row, path)
            ready.events_sum = file.events_sum.hexdigest()
    except BaseException:
        spool.close()
        raise
    return ready


def _check(row: TraceRow, path: Path) -> None:
    """What lists show must be what they can show."""
    shown = {name: getattr(row, name) for name in TraceSummary.model_fields if hasattr(row, name)}
    try:
        TraceSummary.model_validate({**shown, "origin": None if row.origin is None else from_json(row.origin)})
    except ValueError as error:
        raise StoreUnreadable(f"{path} is damaged: what it says of the trace makes no sense", path=str(path)) from error


async def exists(store: TraceStore, ready: ReadyTrace) -> bool:
    """Whether the store has this very trace. Raises `TraceExists` when it has another one of the same id."""
    trace = await store.get_trace(ready.trace_id)
    if trace is None:
        return False
    found = sha256()
    field = trace_field(ready.trace_id)
    after = -1
    if trace.events == ready.row.events:
        while page := await store.load_event_bytes(ready.trace_id, after=after, limit=_PAGE):
            for line in page:
                found.update(line.replace(field, b"", 1) + b"\n")
            after += len(page)
    if found.hexdigest() != ready.events_sum:
        raise TraceExists(f"another trace {ready.trace_id} exists already")
    return True


def insert(connection: Connection, ready: ReadyTrace, *, next_id: str = NEXT_ID) -> None:
    """Write a trace, within a transaction. Raises `TraceExists` when there is one of this id."""
    row = ready.row
    if connection.execute("SELECT 1 FROM traces WHERE trace_id = ?", (ready.trace_id,)).fetchone():
        raise TraceExists(f"another trace {ready.trace_id} exists already")
    (row.id,) = connection.execute(next_id).fetchone()
    values = (row.id, row.trace_id, *row.columns())
    connection.execute(f"{INSERT_TRACE} ({', '.join('?' * len(values))})", values)
    connection.executemany(
        "INSERT INTO event_chunks (trace, first_seq, last_seq, data) VALUES (?, ?, ?, ?)",
        ((row.id, *chunk) for chunk in ready.chunks()),
    )
    for name, payload in ready.payloads():
        keep(connection, row.id, {name: payload})


def _check_references(records: Sequence[EventRecord], path: Path) -> None:
    """What stands for a payload that is kept elsewhere would get whatever this database has under that name."""
    for record in records:
        if b'"$artifact"' in record.data:
            for value in from_json(record.data).values():
                if isinstance(value, dict) and "$artifact" in value and "value" not in value:
                    raise StoreUnreadable(f"{path} is damaged: a payload is missing", path=str(path))


def _pieces(records: Iterable[EventRecord]) -> Iterator[list[EventRecord]]:
    piece: list[EventRecord] = []
    size = 0
    for record in records:
        piece.append(record)
        size += len(record.data)
        if size >= CHUNK_BYTES or len(piece) >= CHUNK_EVENTS:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece


def _describe(row: TraceRow, records: Sequence[EventRecord]) -> None:
    """Learn what lists show of a trace."""
    for record in records:
        if record.kind == "trace.start":
            row.begin(record, _NOBODY)
        elif record.kind == "trace.end":
            row.finish(record)
        elif record.kind == "message.enqueued":
            row.message(record)
        elif record.kind == "llm.end":
            row.call(record)
        row.events = record.seq + 1
        row.epoch = max(row.epoch, record.epoch)
