"""Chunks of streams in a stored piece: what all chunks of a stream have in common is kept once.

A stream makes two or three events for each chunk: `stream.chunk`, `message.enqueued` and, where somebody waits for it,
`message.dequeued`. They are taken out of the piece's columns, whatever else stands between them. What is left of a
chunk is a line with its text, of its message the 16 digits of the id, and of each event two small numbers for its
times. Only what comes back byte for byte is taken out; everything else stays in the columns.

The piece's first line then has one more member, the form:

    [microseconds, nanoseconds, order, shapes]

Both times, the wall clock's microseconds and the offset's nanoseconds, are that of the first event, then the steps from
one to the next. `order` has a character for each event of the piece: `.` for those in columns, else that of its shape.
Shapes are

    [epoch, span, parent, 0, stream, number of the first chunk]          for chunks; a line for each
    [epoch, span, parent, 1, edge, number of the first chunk, stream]    for messages sent; a line with all ids
    [epoch, span, parent, 2, edge, which messages, the first of them]    for messages taken
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, compress, repeat
from operator import mul, sub, truediv
from typing import Any, NamedTuple

from pydantic_core import from_json, to_json

__all__ = ["CHUNK", "Apart", "Columns", "Form", "Taken", "keep_apart", "marks", "take_out", "weave_in"]

CHUNK = "stream.chunk"
_KINDS = (CHUNK, "message.enqueued", "message.dequeued")
_SENT, _TAKEN = _KINDS[1:]
_IN_COLUMNS = "."
_MARKS = "".join(map(chr, range(ord("0"), ord("~")))).replace("\\", "")
"""One for each shape; what has another shape stays in the columns."""
_STAYS = bytes(mark == ord(_IN_COLUMNS) for mark in range(256))
_GOES = bytes(mark != ord(_IN_COLUMNS) for mark in range(256))
_MICRO = 1_000_000
_ID_CHARS = 16
_ID = b'{"message_id":"'
_ID_END = len(_ID) + _ID_CHARS
_MAX_DIGITS = 18
_TIMES, _OFFSETS = 3, 4

Columns = Sequence[Sequence[Any]]
"""Epochs, spans, parents, times, offsets, kinds, names and data of events."""
Form = list[Any]
_Place = tuple[int, str, str | None]
"""Epoch, span and parent."""


def marks() -> str:
    """The characters of shapes, in order."""
    return _MARKS


class Taken(NamedTuple):
    """What was taken out of columns."""

    stay: Sequence[tuple[Any, ...]]
    """Columns of the other events."""
    form: Form
    lines: list[bytes]


def take_out(columns: Columns) -> Taken | None:
    """Take out what streams made; None when nothing can be taken out."""
    taker = _Taker(columns)
    taker.work()
    goes = taker.order.translate(_GOES)
    times, offsets = list(compress(columns[_TIMES], goes)), list(compress(columns[_OFFSETS], goes))
    micros = list(map(round, map(mul, times, repeat(_MICRO))))
    # A clock that is finer than that keeps its columns.
    if not times or list(map(truediv, micros, repeat(_MICRO))) != times:
        return None
    order = taker.order.decode().rstrip(_IN_COLUMNS)
    stays = list(compress(range(len(goes)), taker.order.translate(_STAYS)))
    stay = [tuple([column[index] for index in stays]) for column in columns]
    return Taken(stay, [_steps(micros), _steps(offsets), order, taker.shapes], taker.lines)


def weave_in(columns: Columns, form: Form, lines: Sequence[bytes]) -> Columns:
    """All columns again.

    Raises `ValueError`, `TypeError`, `KeyError` or `IndexError` for what `take_out` never made.
    """
    micros, nanos, order, shapes = form
    if not len(micros) == len(nanos) == len(order) - order.count(_IN_COLUMNS):
        raise ValueError("times and order differ")
    times = map(truediv, accumulate(micros), repeat(_MICRO))
    offsets = accumulate(nanos)
    others = zip(*columns, strict=True)
    given = dict(zip(_MARKS, _give(shapes, order, lines), strict=False))
    events: list[tuple[Any, ...]] = []
    for mark in order:
        if mark == _IN_COLUMNS:
            events.append(next(others, ()))
        else:
            (epoch, span, parent), kind, name, datas = given[mark]
            events.append((epoch, span, parent, next(times), next(offsets), kind, name, next(datas)))
    return list(zip(*events, *others, strict=True))


class Apart(NamedTuple):
    """What was taken out of a piece of one stream or edge, in order."""

    kind: str
    name: str
    offsets: list[int]
    datas: Iterator[bytes]
    """Of each event; made when they are asked for."""


def keep_apart(count: int, form: Form, lines: Sequence[bytes]) -> tuple[list[int], list[Apart]]:
    """Of a piece with so many events in columns: the place of each of those, and what was taken out.

    Raises as `weave_in`.
    """
    _, nanos, order, shapes = form
    marks = order.replace(_IN_COLUMNS, "")
    if len(nanos) != len(marks):
        raise ValueError("times and order differ")
    places = [place for place, mark in enumerate(order) if mark == _IN_COLUMNS]
    places += range(len(order), len(marks) + count)
    found: dict[tuple[str, str], tuple[list[int], list[Iterator[bytes]]]] = {}
    of_mark: dict[str, tuple[list[int], list[Iterator[bytes]], Iterator[bytes]]] = {}
    for mark, (_, kind, name, datas) in zip(_MARKS, list(_give(shapes, order, lines)), strict=False):
        of_mark[mark] = (*found.setdefault((kind, name), ([], [])), datas)
    for mark, at in zip(marks, accumulate(nanos), strict=True):
        offsets, sources, datas = of_mark[mark]
        offsets.append(at)
        sources.append(datas)
    return places, [
        Apart(kind, name, offsets, map(next, sources)) for (kind, name), (offsets, sources) in found.items()
    ]


class _Taker:
    """Finds what can be taken out of a piece."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._datas: Sequence[bytes] = columns[-1]
        self.order = bytearray(_IN_COLUMNS.encode() * len(self._datas))
        self.shapes: list[list[Any]] = []
        self.lines: list[bytes] = []

    def work(self) -> None:
        """Fill `order`, `shapes` and `lines`."""
        epochs, spans, parents, _, _, kinds, names, _ = self._columns
        alike: defaultdict[tuple[Any, ...], list[int]] = defaultdict(list)
        for index, about in enumerate(zip(kinds, epochs, spans, parents, names, strict=True)):
            alike[about].append(index)
        sent: defaultdict[str, list[tuple[int, list[bytes]]]] = defaultdict(list)
        for (kind, *place, name), indices in alike.items():
            if kind == CHUNK:
                self._chunks(place, name, indices)
            elif kind == _SENT:
                sent[name] += self._messages(place, name, indices)
        for (kind, *place, name), indices in alike.items():
            if kind == _TAKEN and name in sent:
                for which, ids in sent[name]:
                    self._taken(place, name, indices, which, ids)

    def _chunks(self, place: list[Any], stream: str, indices: list[int]) -> None:
        datas = self._of(indices)
        about = [*place, 0, stream, 0]
        if not all(map(bytes.startswith, datas, repeat(b"{"))) or not self._is_text(about):
            return
        chunks = _Chunks(stream, 0)
        chunks.number = about[-1] = chunks.number_of(datas[0]) or 0
        if self._add(about, indices):
            self.lines += chunks.lines(datas)

    def _messages(self, place: list[Any], edge: str, indices: list[int]) -> Iterator[tuple[int, list[bytes]]]:
        """The shapes that are found, each with its ids."""
        found = self._alike(place, edge, indices)
        if found is not None:
            yield found
            return
        streams: defaultdict[bytes, list[int]] = defaultdict(list)
        for index in indices:
            data = self._datas[index]
            # Payloads stand first in the data of all other messages.
            if data.startswith(_ID):
                streams[data[_ID_END : data.rfind(b":")]].append(index)
        for some in streams.values():
            found = self._alike(place, edge, some)
            if found is not None:
                yield found

    def _alike(self, place: list[Any], edge: str, indices: list[int]) -> tuple[int, list[bytes]] | None:
        """One shape of messages and its ids, if that is what they are."""
        datas = self._of(indices)
        middle, _, last = datas[0][_ID_END:].rpartition(b":")
        stream, first = _stream_in(middle), last.removesuffix(b"}")
        if stream is None or not first.isdigit() or len(first) > _MAX_DIGITS:
            return None
        about = [*place, 1, edge, int(first), stream]
        ids = [data[len(_ID) : _ID_END] for data in datas]
        if not self._is_text(about) or _messages(about, ids) != datas or not self._add(about, indices):
            return None
        self.lines.append(b"".join(ids))
        return len(self.shapes) - 1, ids

    def _taken(self, place: list[Any], edge: str, indices: list[int], which: int, ids: list[bytes]) -> None:
        known = set(ids)
        some = [index for index in indices if self._datas[index][len(_ID) : _ID_END] in known]
        if not some:
            return
        datas = self._of(some)
        first = ids.index(datas[0][len(_ID) : _ID_END])
        if _takings(ids[first : first + len(some)]) == datas:
            self._add([*place, 2, edge, which, first], some)

    def _of(self, indices: list[int]) -> list[bytes]:
        datas = self._datas
        return [datas[index] for index in indices]

    def _is_text(self, about: list[Any]) -> bool:
        try:
            to_json(about)
        except ValueError:  # text that is no Unicode
            return False
        return True

    def _add(self, about: list[Any], indices: list[int]) -> bool:
        if len(self.shapes) == len(_MARKS):
            return False
        mark = ord(_MARKS[len(self.shapes)])
        for index in indices:
            self.order[index] = mark
        self.shapes.append(about)
        return True


class _Chunks:
    """What the next chunk of a stream is expected to be, by those before it: the same when writing and reading."""

    def __init__(self, stream: str, number: int) -> None:
        self.number = number
        """Of the next chunk."""
        self._begin = b'{"stream_id":%b,"chunk_seq":' % to_json(stream)
        self._end = b',"done":false,"meta":{}}'

    def lines(self, datas: Sequence[bytes]) -> list[bytes]:
        """What is to be kept of each: its text, with what follows where that is another than before, or all."""
        lines = []
        start, tail = self._begin, b'"' + self._end
        for data in datas:
            begin = b'%b%d,"text":"' % (start, self.number)
            if data.startswith(begin) and data.endswith(tail):
                self.number += 1
                lines.append(data[len(begin) - 1 : 1 - len(tail)])
                continue
            text = data[len(begin) - 1 :] if data.startswith(begin) else b""
            lines.append(text if text.endswith(b"}") else data)
            self._learn(data)
            tail = b'"' + self._end
        return lines

    def datas(self, lines: Sequence[bytes]) -> Iterator[bytes]:
        """The data of each chunk again."""
        for line in lines:
            if not line.startswith(b'"'):
                self._learn(line)
                yield line
            elif line.endswith(b'"'):
                yield b'%b%d,"text":%b%b' % (self._begin, self.number, line, self._end)
                self.number += 1
            else:
                data = b'%b%d,"text":%b' % (self._begin, self.number, line)
                self._learn(data)
                yield data

    def number_of(self, data: bytes) -> int | None:
        """A chunk's number, where its data are in the usual order."""
        if not data.startswith(self._begin):
            return None
        digits = data[len(self._begin) : data.find(b",", len(self._begin))]
        return int(digits) if digits.isdigit() and len(digits) <= _MAX_DIGITS else None

    def _learn(self, data: bytes) -> None:
        number = self.number_of(data)
        if number is not None:
            self.number = number + 1
        end = data.find(b'","done":', len(self._begin))
        if end >= 0:
            self._end = data[end + 1 :]


def _stream_in(middle: bytes) -> str | None:
    """The stream's name, in what stands between a message's id and the number of its chunk."""
    encoded = middle.removesuffix(b',"chunk_seq"').rpartition(b',"stream_id":')[2]
    if encoded[:1] != b'"':
        return None
    try:
        stream = from_json(encoded)
    except ValueError:
        return None
    return stream if isinstance(stream, str) else None


def _messages(about: Sequence[Any], ids: Sequence[bytes]) -> list[bytes]:
    """The data of the messages of a shape."""
    edge, first, stream = about[4:]
    source, _, target = edge.partition("->")
    ends = b'","source":%b,"target":%b,"stream_id":%b,"chunk_seq":' % (*map(to_json, (source, target, stream)),)
    return [b"%b%b%b%d}" % (_ID, message_id, ends, number) for number, message_id in enumerate(ids, first)]


def _takings(ids: Sequence[bytes]) -> list[bytes]:
    """The data that tell that messages were taken."""
    return [b'%b%b"}' % (_ID, message_id) for message_id in ids]


def _give(
    shapes: Sequence[Sequence[Any]], order: str, lines: Sequence[bytes]
) -> Iterator[tuple[_Place, str, str, Iterator[bytes]]]:
    """Of each shape epoch, span and parent, the kind, the name, and the data one by one."""
    unread = iter(lines)
    sent: dict[int, list[bytes]] = {}
    for which, (mark, about) in enumerate(zip(_MARKS, shapes, strict=False)):
        epoch, span, parent, kind, name = about[:5]
        count = order.count(mark)
        if kind == 0:
            datas = _Chunks(name, about[5]).datas([next(unread, b"") for _ in range(count)])
        elif kind == 1:
            ids = next(unread, b"")
            if len(ids) != count * _ID_CHARS:
                raise ValueError("too few ids")
            sent[which] = [ids[at : at + _ID_CHARS] for at in range(0, len(ids), _ID_CHARS)]
            datas = _later(_messages, about, sent[which])
        else:
            datas = _later(_takings, sent[about[5]][about[6] : about[6] + count])
        yield (epoch, span, parent), _KINDS[kind], name, datas
    if next(unread, None) is not None:
        raise ValueError("more lines than events")


def _later(make: Callable[..., list[bytes]], *about: Any) -> Iterator[bytes]:
    yield from make(*about)


def _steps(numbers: Sequence[int]) -> list[int]:
    return [*numbers[:1], *map(sub, numbers[1:], numbers)]
