"""The events of one trace as JSON bytes, by index: a million of them in little memory, each at hand at once.

Events are kept in pages. A page that is full is compressed in two parts: what stands before the events' kinds, and
the rest (kind, name, data), which is all that a search has to look at. Of a trace that is in the store the first pages
are the stored pieces, which are left there. The pages that were looked at last stay open.
"""

from __future__ import annotations

import json
import zlib
from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, overload

if TYPE_CHECKING:
    from penguiflow.state.chunks import Columns
    from penguiflow.state.pieces import Pieces

PAGE_EVENTS = 512
PAGE_BYTES = 256 * 1024
HUGE = 1024 * 1024
"""An event that is larger has a page of its own, which is not compressed."""
OPEN_BYTES = 8 * 1024 * 1024
"""Kept of pages that were looked at."""
_LEVEL = 1
_KIND = b'"kind":'


MAX_NAMES = 64
"""Names of the events of one page that are kept apart; of more it is not known which they are."""


class Heads(NamedTuple):
    """What kinds and names the events of a page have, as JSON in small letters, a line each."""

    kinds: bytes
    names: bytes | None
    """None: too many."""


class _Page(NamedTuple):
    heads: bytes
    texts: bytes
    packed: bool


class EventLog(Sequence[bytes]):
    """Events in order of arrival. Appending costs the same at any length; any of them is found in a millisecond."""

    def __init__(self, stored: Pieces | None = None) -> None:
        self.stored = stored
        """The pieces that are the first pages."""
        self.bytes = 0
        """Of all events that are kept here, before they were compressed."""
        self._pages: list[_Page] = []
        self._firsts = array("Q")
        """Index of the first event of each page, pieces among them."""
        self._sealed = 0
        """Events in pages."""
        self._tail: list[bytes] = []
        self._tail_bytes = 0
        self._open: OrderedDict[int, list[bytes]] = OrderedDict()
        self._open_bytes = 0
        self._kept = 0 if stored is None else len(stored)
        """Pages before those in `_pages`."""
        for count in () if stored is None else stored.counts:
            self._firsts.append(self._sealed)
            self._sealed += count
        self._heads: list[Heads | None] = [None] * self._kept
        self._known_heads: dict[tuple[frozenset[str], frozenset[str] | None], Heads] = {}

    def __len__(self) -> int:
        return self._sealed + len(self._tail)

    def append(self, raw: bytes) -> None:
        """Add an event."""
        if b"\n" in raw:
            # Within JSON strings line breaks are escaped: this is white space of whoever wrote the file.
            raw = raw.replace(b"\r", b" ").replace(b"\n", b" ")
        self.bytes += len(raw)
        if len(raw) >= HUGE:
            self._seal()
            self._add_page(_Page(b"", raw, packed=False), 1)
            return
        self._tail.append(raw)
        self._tail_bytes += len(raw)
        if len(self._tail) >= PAGE_EVENTS or self._tail_bytes >= PAGE_BYTES:
            self._seal()

    def _seal(self) -> None:
        if not self._tail:
            return
        heads, texts = [], []
        for raw in self._tail:
            cut = max(raw.find(_KIND), 0)
            heads.append(raw[:cut])
            texts.append(raw[cut:])
        page = _Page(zlib.compress(b"\n".join(heads), _LEVEL), zlib.compress(b"\n".join(texts), _LEVEL), packed=True)
        self._add_page(page, len(self._tail))
        self._tail, self._tail_bytes = [], 0

    def _add_page(self, page: _Page, count: int) -> None:
        self._firsts.append(self._sealed)
        self._pages.append(page)
        self._sealed += count

    # -- reading --------------------------------------------------------------------------------------------------

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        if isinstance(index, slice):
            first, last, step = index.indices(len(self))
            if step != 1:
                return [self[each] for each in range(first, last, step)]
            return [raw for stretch in self.stretches(first, last) for raw in self._stretch(*stretch)]
        if index < 0:
            index += len(self)
        if index >= self._sealed:
            return self._tail[index - self._sealed]
        if index < 0:
            raise IndexError(index)
        number = bisect_right(self._firsts, index) - 1
        return self._events(number)[index - self._firsts[number]]

    def __iter__(self) -> Iterator[bytes]:
        for number in range(len(self._firsts)):
            yield from self._events(number)
        yield from self._tail

    def first(self, number: int) -> int:
        """Index of the first event of a page; after the last page come the newest events."""
        return self._firsts[number] if number < len(self._firsts) else self._sealed

    def _events(self, number: int) -> list[bytes]:
        if number == len(self._firsts):
            return self._tail
        opened = self._open.get(number)
        if opened is not None:
            self._open.move_to_end(number)
            return opened
        if number < self._kept:
            events = self._read(number)
        else:
            page = self._pages[number - self._kept]
            if not page.packed:
                return [page.texts]
            heads = zlib.decompress(page.heads).split(b"\n")
            texts = zlib.decompress(page.texts).split(b"\n")
            events = [head + text for head, text in zip(heads, texts, strict=True)]
        self._open[number] = events
        self._open_bytes += sum(map(len, events))
        while self._open_bytes > OPEN_BYTES and len(self._open) > 1:
            _, closed = self._open.popitem(last=False)
            self._open_bytes -= sum(map(len, closed))
        return events

    def _read(self, number: int) -> list[bytes]:
        from penguiflow.state.errors import StoreError

        stored = self.stored
        assert stored is not None
        try:
            return stored.lines(number)
        except StoreError as error:
            # The file is gone, or the trace was removed from it: the screen goes on and says so.
            return [gone(seq, str(error)) for seq in range(stored.first_seqs[number], self._end_seq(number))]

    def _read_text(self, number: int) -> bytes:
        from penguiflow.state.errors import StoreError

        assert self.stored is not None
        try:
            return self.stored.text(number)
        except StoreError:
            return b""

    def _end_seq(self, number: int) -> int:
        assert self.stored is not None
        return self.stored.first_seqs[number] + self.stored.counts[number]

    def _stretch(self, number: int, begin: int, end: int) -> list[bytes]:
        base = self.first(number)
        return self._events(number)[begin - base : end - base]

    def stored_before(self, index: int) -> EventLog:
        """A log of the stored pieces whose events all stand before an index."""
        assert self.stored is not None
        return EventLog(self.stored.until(min(bisect_right(self._firsts, index) - 1, self._kept)))

    @property
    def kept(self) -> int:
        """How many of the first pages are stored pieces."""
        return self._kept

    def note_heads(self, number: int, columns: Columns) -> None:
        """Remember the kinds and names of a stored piece: who looks for those need not read it."""
        kinds = frozenset(columns.chunk.kinds).union(stream.kind for stream in columns.streams)
        names = frozenset(columns.chunk.names).union(stream.name for stream in columns.streams)
        key = kinds, names if len(names) <= MAX_NAMES else None
        heads = self._known_heads.get(key)
        if heads is None:
            heads = Heads(_lines(key[0]), None if key[1] is None else _lines(key[1]))
            self._known_heads[key] = heads
        self._heads[number] = heads

    def heads(self, number: int) -> Heads | None:
        """The kinds and names of a page, where they are known."""
        return self._heads[number] if number < self._kept else None

    def told(self, numbers: range, look: Callable[[int, bytes], bool]) -> list[bool]:
        """What is told of some stored pieces when they are looked at; nothing where they cannot be read.

        May be called in several threads at once.
        """
        from penguiflow.state.errors import StoreError

        assert self.stored is not None
        try:
            return self.stored.told(numbers, look)
        except StoreError:
            return []

    def head_lines(self, number: int) -> list[bytes]:
        """Of each event of a stored piece the kind and the name, as in `text`; none that cannot be read."""
        from penguiflow.state.errors import StoreError

        assert self.stored is not None
        try:
            chunk = self.stored.chunk(number)
        except StoreError:
            return []
        known = {head: head_line(*head) for head in {*zip(chunk.kinds, chunk.names, strict=True)}}
        return [known[head] for head in zip(chunk.kinds, chunk.names, strict=True)]

    def piece(self, number: int) -> bytes | None:
        """A page as it lies in the store; None for those that are kept here."""
        from penguiflow.state.errors import StoreError

        if self.stored is None or number >= self._kept:
            return None
        try:
            return self.stored.data(number)
        except StoreError:
            return b""

    def text(self, number: int) -> bytes:
        """What a search looks at, by page: of each event the kind, the name and the data, a line each."""
        if number == len(self._firsts):
            return b"\n".join(self._tail)
        if number < self._kept:
            return self._read_text(number)
        page = self._pages[number - self._kept]
        return zlib.decompress(page.texts) if page.packed else page.texts

    # -- searching ------------------------------------------------------------------------------------------------

    def stretches(self, first: int, last: int, *, backwards: bool = False) -> Iterator[tuple[int, int, int]]:
        """Pages that hold events `first` to `last` (excluded): number of the page, first and last (excluded) index."""
        if first >= last:
            return
        pages = len(self._firsts)
        numbers = range(max(bisect_right(self._firsts, first) - 1, 0), pages + 1)
        if backwards:
            numbers = range(min(bisect_right(self._firsts, last - 1), pages), -1, -1)
        for number in numbers:
            begin, end = self.first(number), len(self) if number == pages else self.first(number + 1)
            begin, end = max(begin, first), min(end, last)
            if begin < end:
                yield number, begin, end
            elif (backwards and end <= first) or (not backwards and begin >= last):
                return

    def holding(self, needle: bytes, first: int, last: int, *, backwards: bool = False) -> Iterator[tuple[int, bytes]]:
        """Events from `first` to `last` (excluded) whose kind, name or data hold these bytes, with their indexes."""
        for number, begin, end in self.stretches(first, last, backwards=backwards):
            if not self._may_hold(number, needle):
                continue
            events = self._events(number)
            base = self.first(number)
            order = range(end - 1, begin - 1, -1) if backwards else range(begin, end)
            for index in order:
                if needle in events[index - base]:
                    yield index, events[index - base]

    def _may_hold(self, number: int, needle: bytes) -> bool:
        data = self.piece(number)
        if data is None:
            return needle in self.text(number)
        from penguiflow.state.sieve import may_hold

        return may_hold(data, needle.lower())


def head_line(kind: str, name: str) -> bytes:
    """Kind and name of an event, as its line begins that a search looks at."""
    from penguiflow.recording.lines import json_text

    return b'"kind":%b,"name":%b' % (json_text(kind), json_text(name))


def _lines(texts: frozenset[str]) -> bytes:
    from penguiflow.recording.lines import json_text

    return b"\n".join(map(json_text, texts)).lower()


def gone(seq: int, why: str) -> bytes:
    """What stands in the place of an event that cannot be read any more."""
    fields = {"seq": seq, "epoch": 0, "trace_id": "", "span_id": "", "parent_id": None, "ts": 0.0, "offset_ns": 0}
    return json.dumps({**fields, "kind": "gone", "name": why, "data": {}}, separators=(",", ":")).encode()
