"""Events as they are stored: a run of one trace's in one piece, their heads as columns, the data of each as a line.

The first line is a JSON array of the columns (epoch, span, parent, time, offset, kind, name); the others are the
events' data, JSON objects, in order. Positions are counted and the trace is known. Columns are written and read in one
go each, and whoever wants few of the events decodes the data of those alone. What streams made is kept shorter: see
coalesce.py. So is what one invocation did (hop_lines.py), which is several events for whoever reads. Databases of
version 4 have it as one event (recording/hops.py), those of version 1 a whole event in each line.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, NamedTuple

from pydantic_core import from_json, to_json

from penguiflow.recording.events import EventRecord
from penguiflow.recording.hops import EVENTS_OF, expand
from penguiflow.recording.text import clean_text
from penguiflow.state.coalesce import CHUNK, Apart, Form, keep_apart, take_out, weave_in
from penguiflow.state.hop_lines import HOPS, take_hops, weave_hops

__all__ = ["Chunk", "Columns", "columns", "damaged", "pack", "pack_columns", "pack_hops", "unpack", "unpack_apart"]

_OBJECT = b"{"
_NOTHING: tuple[tuple[Any, ...], ...] = ((),) * len(EventRecord._fields)


class Chunk(NamedTuple):
    """What a stored piece holds, column by column."""

    epochs: Sequence[int]
    spans: Sequence[str]
    parents: Sequence[str | None]
    times: Sequence[float]
    offsets: Sequence[int]
    kinds: Sequence[str]
    names: Sequence[str]
    data: Sequence[bytes]

    def record(self, index: int, first_seq: int, trace_id: str) -> EventRecord:
        """One of the events."""
        return EventRecord(
            first_seq + index,
            self.epochs[index],
            trace_id,
            self.spans[index],
            self.parents[index],
            self.times[index],
            self.offsets[index],
            self.kinds[index],
            self.names[index],
            self.data[index],
        )


def columns(records: Sequence[EventRecord]) -> Chunk:
    """Events, at least one, column by column."""
    _, epochs, _, *others = zip(*records, strict=True)
    return Chunk._make((epochs, *others))


def pack(records: Sequence[EventRecord]) -> bytes:
    """The bytes of events that follow each other in one trace.

    Raises `ValueError` or `TypeError` for an event whose fields are not what they should be.
    """
    return pack_columns(tuple(zip(*records, strict=True)))


def pack_hops(records: Sequence[EventRecord]) -> bytes | None:
    """As `pack`, with hops among them; None where they are to be expanded before."""
    taken = take_hops(records)
    if taken is None:
        return None
    others, form, lines = taken
    return pack_columns(tuple(zip(*others, strict=True)) if others else _NOTHING, [form], lines)


def pack_columns(fields: Sequence[tuple[Any, ...]], form: Sequence[Form] = (), more: Sequence[bytes] = ()) -> bytes:
    """As `pack`, of events that are columns already: one for each field of an `EventRecord`.

    `form` tells of what was taken out of them, which stands in the lines `more`.
    """
    _, epochs, _, spans, parents, times, offsets, kinds, names, data = fields
    # What is no text or no number is found here, at the price of a loop in C.
    for texts in (spans, kinds, names):
        "".join(texts)
    for numbers in (epochs, times, offsets):
        sum(numbers)
    lines = more
    if CHUNK in kinds and not form and (taken := take_out((fields[1], *fields[3:]))) is not None:
        (epochs, spans, parents, times, offsets, kinds, names, data), lines = taken.stay, taken.lines
        form = [taken.form]
    epoch = epochs[0] if epochs and epochs.count(epochs[0]) == len(epochs) else epochs
    try:
        head = to_json((epoch, spans, parents, times, offsets, kinds, names, *form))
    except ValueError:  # text that is no Unicode
        parents = tuple(None if parent is None else clean_text(parent) for parent in parents)
        spans, kinds, names = (tuple(clean_text(text) for text in column) for column in (spans, kinds, names))
        head = to_json((epoch, spans, parents, times, offsets, kinds, names, *form))
    return b"\n".join((head, *data, *lines))


class Columns(NamedTuple):
    """What a stored piece holds, with what streams made kept apart."""

    chunk: Chunk
    places: Sequence[int]
    """Of each event of the chunk, its place in the piece."""
    streams: Sequence[Apart]

    @property
    def events(self) -> int:
        """How many there are."""
        return len(self.places) + sum(len(each.offsets) for each in self.streams)


def unpack(data: bytes) -> Chunk:
    """The events of a stored piece. Raises `sqlite3.DatabaseError` (corrupt) when it is none."""
    try:
        if data.startswith(_OBJECT):
            return _unpack_lines(data.split(b"\n"))
        chunk, form, lines = _parts(data)
        if form is not None:
            weave = weave_hops if form[:1] == [HOPS] else weave_in
            chunk = Chunk._make(weave(chunk, form, lines))
        if not EVENTS_OF.keys().isdisjoint(chunk.kinds):
            chunk = _expanded(chunk)
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise damaged(f"events cannot be read: {error}") from error
    return chunk


def unpack_apart(data: bytes) -> Columns:
    """As `unpack`, for who has to read much: what streams made, the most of many long traces, is not put together."""
    try:
        if not data.startswith(_OBJECT):
            chunk, form, lines = _parts(data)
            # Chunks have an order: some in the columns would come too early.
            apart = form is not None and form[:1] != [HOPS] and {CHUNK, *EVENTS_OF}.isdisjoint(chunk.kinds)
            if form is not None and apart:
                return Columns(chunk, *keep_apart(len(chunk.kinds), form, lines))
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise damaged(f"events cannot be read: {error}") from error
    chunk = unpack(data)
    return Columns(chunk, range(len(chunk.kinds)), ())


def _parts(data: bytes) -> tuple[Chunk, list[Any] | None, list[bytes]]:
    """The columns of a piece, what was taken out of them, and the lines of that."""
    head, *rest = data.split(b"\n")
    epochs, spans, *others = from_json(head, cache_strings="all")
    form = others.pop() if len(others) > 5 else None
    count = len(rest) if form is None else len(spans)
    chunk = Chunk._make(([epochs] * count if isinstance(epochs, int) else epochs, spans, *others, rest[:count]))
    if any(len(column) != count for column in chunk):
        raise ValueError("columns of different length")
    return chunk, form, rest[count:]


def _expanded(chunk: Chunk) -> Chunk:
    """With the events of hops one by one."""
    fields: list[tuple[Any, ...]] = []
    for epoch, span, parent, ts, offset, kind, name, data in zip(*chunk, strict=True):
        record = EventRecord(0, epoch, "", span, parent, ts, offset, kind, name, data)
        fields += [(event[1], *event[3:]) for event in expand(record)]
    return Chunk._make(zip(*fields, strict=True))


def damaged(what: str) -> sqlite3.DatabaseError:
    """The error that sqlite3 itself raises for a file that is not what was written."""
    error = sqlite3.DatabaseError(what)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def _unpack_lines(lines: list[bytes]) -> Chunk:
    events: list[dict[str, Any]] = [from_json(line) for line in lines]
    fields = ("epoch", "span_id", "parent_id", "ts", "offset_ns", "kind", "name")
    columns = [[event[field] for event in events] for field in fields]
    return Chunk._make([*columns, [to_json(event["data"]) for event in events]])
