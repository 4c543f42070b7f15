"""One trace as it lies in the file: a row of pieces, each read when it is asked for.

Whoever shows a long trace needs few of its events at a time, and all of them only once, column by column. Reading a
piece takes some ten microseconds, taking it apart a quarter of a millisecond, and nothing is kept.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import TypeVar

from penguiflow.recording.lines import event_line, json_text, trace_field
from penguiflow.recording.text import clean_text
from penguiflow.state.chunks import Chunk, Columns, damaged, unpack, unpack_apart
from penguiflow.state.connection import Asks, Connection
from penguiflow.state.errors import StoreError
from penguiflow.state.spill import is_kept_elsewhere, restore

__all__ = ["Pieces", "find_pieces"]

T = TypeVar("T")

_INDEX = (
    "SELECT id, first_seq, last_seq FROM event_chunks"
    " WHERE trace = (SELECT id FROM traces WHERE trace_id = ?) ORDER BY last_seq"
)
_DATA = (
    "SELECT data FROM event_chunks WHERE id = ? AND first_seq = ?"
    " AND trace = (SELECT id FROM traces WHERE trace_id = ?)"
)


_SOME = (
    "SELECT data FROM event_chunks WHERE trace = (SELECT id FROM traces WHERE trace_id = ?)"
    " AND last_seq BETWEEN ? AND ? ORDER BY last_seq"
)
AHEAD = 32
"""Pieces that are read in one go."""


class Pieces:
    """The pieces of a trace that were committed when it was opened, numbered from 0.

    Methods read at once, in the thread that calls them. They raise `StoreError`: the file cannot be read, or the trace
    is no longer in it.
    """

    def __init__(self, reader: Asks, trace_id: str, index: list[tuple[int, int, int]]) -> None:
        self._reader = reader
        self._trace_id = trace_id
        self._trace = clean_text(trace_id)
        self._ids = array("q", [row_id for row_id, _, _ in index])
        self.first_seqs = array("q", [first for _, first, _ in index])
        """`seq` of the first event of each."""
        self.counts = array("q", [last - first + 1 for _, first, last in index])
        """Events of each."""
        self.refers = bytearray(b"\1" * len(self._ids))
        """Whether a piece may refer to payloads that are kept beside it: known of those whose columns were read."""
        self._looked = -2
        self._ahead: dict[int, bytes] = {}
        """Pieces that were read with the one before them: a search goes through all."""

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def events(self) -> int:
        """Of all pieces."""
        return sum(self.counts)

    def text(self, number: int) -> bytes:
        """The events of a piece as in `lines`, without what stands before their kinds."""

        def read(connection: Connection, data: bytes) -> bytes:
            chunk = self._unpacked(number, data)
            datas: list[bytes] = list(chunk.data)
            if is_kept_elsewhere(data):
                records = (chunk.record(index, 0, "") for index in range(len(datas)))
                datas = [restore(connection, record).data for record in records]
            heads = zip(map(json_text, chunk.kinds), map(json_text, chunk.names), datas, strict=True)
            return b"\n".join([b'"kind":%b,"name":%b,"data":%b}' % head for head in heads])

        return self._ask(number, read)

    def until(self, number: int) -> Pieces:
        """Only the pieces before this one."""
        ends = (first + count - 1 for first, count in zip(self.first_seqs, self.counts, strict=True))
        index = list(zip(self._ids, self.first_seqs, ends, strict=True))
        return Pieces(self._reader, self._trace_id, index[:number])

    def data(self, number: int) -> bytes:
        """A piece as it is stored: what a search looks at first."""
        if number not in self._ahead:
            follows = number == self._looked + 1
            self._ahead = (self._read_ahead(number) if follows else {}) or {number: self._ask(number, _as_it_is)}
        self._looked = number
        return self._ahead[number]

    def _read_ahead(self, number: int) -> dict[int, bytes]:
        """Some pieces from this one on, in one go; none where any of them is gone."""
        numbers = range(number, min(number + AHEAD, len(self)))
        return dict(zip(numbers, self.told(numbers, lambda _, data: data), strict=False))

    def told(self, numbers: range, look: Callable[[int, bytes], T]) -> list[T]:
        """What is told of some pieces, as they are stored, when they are looked at; nothing where any of them is gone.

        `look` gets the number of a piece and its bytes. They are read in one go, and none of them is kept. May be
        called in several threads at once.
        """
        last = numbers[-1]
        place = (self._trace, self.first_seqs[numbers[0]], self.first_seqs[last] + self.counts[last] - 1)

        def read(connection: Connection) -> list[T]:
            # One at a time takes the same memory again and again, which is why it is so quick.
            rows = connection.execute(_SOME, place)
            return [look(number, data) for number, (data,) in zip(numbers, rows, strict=False)]

        found: list[T] = []
        found = self._reader.ask_here(read, found)
        return found if len(found) == len(numbers) else []

    def chunk(self, number: int) -> Chunk:
        """The events of a piece, column by column; of large payloads kept elsewhere there is only the reference."""
        return self._ask(number, lambda _, data: self._unpacked(number, data))

    def columns(self, number: int) -> Columns:
        """As `chunk`, with what streams made kept apart."""
        return self._ask(number, lambda _, data: self._apart(number, data))

    def lines(self, number: int) -> list[bytes]:
        """The events of a piece as JSON."""

        def read(connection: Connection, data: bytes) -> list[bytes]:
            chunk, trace = self._unpacked(number, data), trace_field(self._trace_id)
            first = self.first_seqs[number]
            records = (chunk.record(index, first, self._trace_id) for index in range(len(chunk.kinds)))
            return [event_line(restore(connection, record), trace) for record in records]

        return self._ask(number, read)

    def _unpacked(self, number: int, data: bytes) -> Chunk:
        chunk = unpack(data)
        self._check(number, len(chunk.kinds))
        return chunk

    def _apart(self, number: int, data: bytes) -> Columns:
        columns = unpack_apart(data)
        self._check(number, columns.events)
        self.refers[number] = is_kept_elsewhere(data)
        return columns

    def _check(self, number: int, count: int) -> None:
        if count != self.counts[number]:
            raise damaged(f"a piece has {count} events, and should have {self.counts[number]}")

    def _ask(self, number: int, question: Callable[[Connection, bytes], T]) -> T:
        place = (self._ids[number], self.first_seqs[number], self._trace)

        def read(connection: Connection) -> T | None:
            row = connection.execute(_DATA, place).fetchone()
            return None if row is None else question(connection, row[0])

        found = self._reader.ask_here(read, None)
        if found is None:
            raise StoreError(f"trace {self._trace_id} is no longer in the store")
        return found


def _as_it_is(connection: Connection, data: bytes) -> bytes:
    return data


def find_pieces(reader: Asks, trace_id: str) -> Callable[[Connection], Pieces]:
    """The question for the pieces of a trace; there are none where it is not known."""
    return lambda connection: Pieces(reader, trace_id, connection.execute(_INDEX, (clean_text(trace_id),)).fetchall())
