"""What one invocation writes when it goes the shortest way: six events or so, as one record.

A node takes a message, does not wait, sends one result on and is done. All of that is one `Hop`, handed to the store as
it begins and filled in as it ends. A store's thread that comes by in between takes what has happened by then, so that a
function that never returns is found in the log. Readers get the events one by one, from `expand`.

A record of a hop is an `EventRecord` of the node's span, of a kind of its own (see `EVENTS_OF`), whose data are a
`Told` in place of JSON. So is that of a message which comes from outside. What they have in common with those of other
traces is a `Way`, made once. How a store keeps them: state/hop_lines.py. Databases of version 4 have bytes in seven
parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast, runtime_checkable

from pydantic_core import from_json, to_json

from penguiflow.recording.events import EventRecord
from penguiflow.recording.text import clean_text

if TYPE_CHECKING:
    from penguiflow.recording.trace_log import Track
    from penguiflow.types import Message

__all__ = [
    "EVENTS_OF",
    "FIRST_ATTEMPT",
    "TO_ROOKERY",
    "Hop",
    "HopSink",
    "Told",
    "Way",
    "ends_of",
    "events_of",
    "expand",
    "size_of",
    "told_of",
    "way_of",
]

LAST, ON, OUT, GIVEN, SENT = "hop.last", "hop.on", "hop.out", "hop.given", "hop.sent"
EVENTS_OF = {LAST: 5, ON: 6, OUT: 6, GIVEN: 7, SENT: 1}
"""How many events each kind stands for: nothing sent, sent to a node, to Rookery, to whoever waits for the trace; and
the one of a message from outside."""
TO_ROOKERY = frozenset({OUT, GIVEN})
FIRST_ATTEMPT = b'{"attempt":0}'
_OK = b'{"status":"ok"}'
_SEPARATOR = b"\x1f"
_PARTS = 7
_MAX_REMEMBERED = 4096
_SIZE = 100
"""Bytes of a `Told` beside its payload, roughly."""
_NOTHING = (b"", b"")
_new_tuple: Any = tuple.__new__
_ways: dict[tuple[str | None, ...], Way] = {}
_edges: dict[str, bytes] = {}


@runtime_checkable
class HopSink(Protocol):
    """A store that takes whole hops."""

    def begin_hop(self, hop: Hop) -> bool:
        """Take one that begins, if it can be taken as such. On the loop's thread."""
        ...

    def grow(self, size: int, events: int = 0) -> None:
        """What it took has become larger by so many bytes of data, and so many events more."""
        ...


class Way:
    """How messages go through a node (or into it from outside, where there is none): the same in many traces."""

    __slots__ = ("edge", "long", "message_id", "node", "node_id", "sent_by", "sent_id", "short")

    def __init__(
        self, edge: str, message_id: str, node: str | None, node_id: str, sent_by: str | None, sent_id: str
    ) -> None:
        self.edge, self.message_id = clean_text(edge), message_id
        """By which the message came."""
        self.node = None if node is None else clean_text(node)
        self.node_id = clean_text(node_id)
        self.sent_by, self.sent_id = None if sent_by is None else clean_text(sent_by), sent_id
        """By which the result went on, if there was one."""
        came = to_json((self.edge, message_id))[1:-1]
        if node is None:
            self.long = self.short = came + b","
            self.sent_by, self.sent_id = self.edge, message_id
            return
        named = None if self.edge.partition("->")[2] == self.node else self.node
        self.short = to_json((named, self.node_id, self.sent_by, sent_id))[1:-1] + b","
        """As members of a JSON array; without where it came from, for one that came from the last one."""
        self.long = came + b"," + self.short


class Told(NamedTuple):
    """What is told of a hop."""

    size: int
    """Bytes, roughly."""
    way: Way
    root: str
    """The trace's span."""
    micros: int
    """When it began, in unix microseconds."""
    elapsed_ns: int
    payload: bytes
    """Of the message that was sent: `{"type", "value"}`; empty without one."""
    envelope: bytes
    """Of that message, from the comma on: headers, meta and deadline; empty for a bare payload."""


def way_of(
    edge: str,
    message_id: str,
    node: str | None = None,
    node_id: str = "",
    sent_by: str | None = None,
    sent_id: str = "",
) -> Way:
    """The way of a message, made once."""
    about = (edge, message_id, node, node_id, sent_by, sent_id)
    way = _ways.get(about)
    if way is None:
        if len(_ways) >= _MAX_REMEMBERED:
            _ways.clear()
        way = _ways[about] = Way(*about)
    return way


def told_of(way: Way, root: str, micros: int, elapsed_ns: int, payload: bytes, envelope: bytes) -> Any:
    """A `Told` as the data of a record: bytes, to whoever does not know of hops; nobody else gets it."""
    size = len(payload) + len(envelope) + _SIZE
    return _new_tuple(Told, (size, way, root, micros, elapsed_ns, payload, envelope))


def size_of(records: Iterable[EventRecord]) -> int:
    """Bytes of the data of records, whatever they tell."""
    datas: list[Any] = [record[9] for record in records]
    return sum([len(data) if type(data) is bytes else data[0] for data in datas])


class Hop:
    """One invocation on its way through the log; what `TraceLog.begin` returns."""

    __slots__ = (
        "_edge", "_log", "_message_id", "_micros", "_node_id", "_record", "_token", "attempt_span", "node", "offset_ns",
        "seq", "span",
    )  # fmt: skip

    def __init__(
        self, log: HopLog, seq: int, edge: str, message_id: str, node: str, node_id: str, micros: int, offset_ns: int
    ) -> None:
        self._log = log
        self.seq = seq
        self._edge = edge
        self._message_id = message_id
        self.node = node
        self._node_id = node_id
        self._micros = micros
        self.offset_ns = offset_ns
        if seq < _NUMBERED:
            self.span, self.attempt_span = _NUMBERS[seq + 1], _NUMBERS[seq + 2]
        else:
            self.span, self.attempt_span = f"{seq + 1:x}", f"{seq + 2:x}"
        self._record: EventRecord | None = None
        # Whoever gets it has decided what becomes of the hop: the loop's thread or the store's.
        self._token = [True]

    def settle(self) -> None:
        """It takes longer, or tells more, than fits into one record: what follows is written event by event."""
        self._log.settle(self)

    def done(self, edge: str | None, message_id: str, content: Any, envelope: Message | None, *, given: bool) -> None:
        """The function has returned, and what it returned goes by `edge` (None: nowhere); ends the node's span.

        `given` when somebody waits for the trace's results and takes it at once.
        """
        log = self._log
        if log.closed:
            return
        if edge is None:
            kind, sent = LAST, _NOTHING
        else:
            kind = GIVEN if given else OUT if edge.endswith("->Rookery") else ON
            sent = log.sent(message_id, content, envelope)
        track, seq = log.track, self.seq
        # Another log of the same trace may have written meanwhile: then the end stands behind that.
        if log.hop is not self or track.next_seq != seq + 3:
            log.end_hop(self, edge, message_id, sent, given=given)
            return
        elapsed_ns = perf_counter_ns() - track.origin_ns - self.offset_ns
        about = (self._edge, self._message_id, self.node, self._node_id, edge, message_id)
        way = _ways.get(about) or way_of(*about)
        root, micros = log.root, self._micros
        payload, its_envelope = sent
        size = len(payload) + len(its_envelope) + _SIZE
        told = _new_tuple(Told, (size, way, root, micros, elapsed_ns, payload, its_envelope))
        self._record = _new_tuple(
            EventRecord,
            (seq, log.epoch, log.trace_id, self.span, root, micros / 1e6, self.offset_ns, kind, self.node, told),
        )
        try:
            self._token.pop()
        except IndexError:
            # The store has taken the beginning by now.
            log.end_hop(self, edge, message_id, sent, given=given)
            return
        log.hops.grow(size)  # type: ignore[union-attr]
        log.hop = None
        track.next_seq = seq + EVENTS_OF[kind]

    # -- between the log and the store ---------------------------------------------------------------------------------

    def leave(self) -> None:
        """Its beginning is all that there will be of it, on the loop's thread."""
        try:
            self._token.pop()
        except IndexError:
            return
        begun = self.begun()
        self._log.hops.grow(sum(len(record[9]) for record in begun), len(begun) - 1)  # type: ignore[union-attr]

    def whole(self) -> EventRecord | None:
        """Its record, where it is over and became one, on the store's thread."""
        return None if self._token else self._record

    def take(self) -> tuple[tuple[EventRecord, ...], bool]:
        """What there is of it, on the store's thread, and whether it was taken in the middle."""
        if self._token:
            try:
                self._token.pop()
            except IndexError:
                pass
            else:
                return self.begun(), True
        record = self._record
        return (self.begun() if record is None else (record,)), False

    def spans(self) -> tuple[tuple[str, str, str], ...]:
        """Its spans, each with its parent and kind."""
        return (self.span, self._log.root, "node"), (self.attempt_span, self.span, "attempt")

    def begun(self) -> tuple[EventRecord, ...]:
        """The events of its beginning."""
        log = self._log
        way = Way(self._edge, self._message_id, self.node, self._node_id, None, "")
        place = (self.seq, log.epoch, log.trace_id, log.root)
        return tuple(_begun(place, (self._micros / 1e6, self.offset_ns), way, self.seq + 1))


class HopLog(Protocol):
    """What a hop needs of the log that it belongs to."""

    root: str
    epoch: int
    trace_id: str
    track: Track
    hops: HopSink | None
    hop: Hop | None
    closed: bool

    def settle(self, hop: Hop) -> None: ...

    def sent(self, message_id: str, content: Any, envelope: Message | None) -> tuple[bytes, bytes]: ...

    def end_hop(
        self, hop: Hop, edge: str | None, message_id: str, sent: tuple[bytes, bytes], *, given: bool
    ) -> None: ...


_NUMBERED = 1022
_NUMBERS = [f"{number:x}" for number in range(_NUMBERED + 2)]
"""The first ids of spans."""


def ends_of(edge: str) -> bytes:
    """The two ends of an edge as members of a JSON object."""
    ends = _edges.get(edge)
    if ends is None:
        if len(_edges) >= _MAX_REMEMBERED:
            _edges.clear()
        source, _, target = edge.partition("->")
        ends = to_json({"source": clean_text(source), "target": clean_text(target)})[1:-1]
        _edges[edge] = ends
    return ends


def expand(record: EventRecord) -> Iterator[EventRecord]:
    """The events of a hop; any other event as it is. Raises `ValueError` for one that is damaged."""
    seq, epoch, trace_id, span, root, ts, offset_ns, kind, node, data = record
    if kind not in EVENTS_OF:
        yield record
        return
    if type(data) is not bytes:
        told = cast("Told", data)
        yield from events_of((seq, epoch, trace_id, told.root), offset_ns, kind, told)
    elif root is None:
        yield record
    else:
        way, elapsed, sent = _old(kind, node, data)
        yield from _hop((seq, epoch, trace_id, root), (ts, offset_ns), kind, way, int(elapsed), sent, int(span, 16))


def events_of(place: tuple[int, int, str, str], offset_ns: int, kind: str, told: Told) -> Iterator[EventRecord]:
    """The events of a hop, from its seq, epoch, trace and trace's span."""
    _, way, _, micros, elapsed_ns, payload, envelope = told
    when = (micros / 1e6, offset_ns)
    sent = b""
    if way.sent_by is not None:
        ends = ends_of(way.sent_by)
        sent = b'{"payload":%b,"message_id":"%b",%b%b}' % (payload, way.sent_id.encode(), ends, envelope)
    if kind == SENT:
        seq, epoch, trace_id, root = place
        yield EventRecord(seq, epoch, trace_id, root, None, *when, "message.enqueued", way.edge, sent)
    else:
        yield from _hop(place, when, kind, way, elapsed_ns, sent, place[0] + 1)


def _old(kind: str, node: str, data: bytes) -> tuple[Way, bytes, bytes]:
    """A hop in seven parts: its way, nanoseconds, and the data of what was sent."""
    parts = data.split(_SEPARATOR, _PARTS - 1)
    if len(parts) != _PARTS or kind == SENT:
        raise ValueError(f"a hop of {len(parts)} parts")
    edge, node_id, sent_by, message_id, elapsed, sent_id, sent = parts
    about = (from_json(edge), message_id.decode(), node, from_json(node_id), from_json(sent_by), sent_id.decode())
    if not all(isinstance(text, str) for text in (*about[:4], about[4] or "", about[5])):
        raise ValueError("a hop without text")
    return Way(*about), elapsed, sent


def _begun(place: tuple[int, int, str, str], when: tuple[float, int], way: Way, number: int) -> Iterator[EventRecord]:
    seq, epoch, trace_id, root = place
    head = (epoch, trace_id)
    message = b'"message_id":"%b"' % way.message_id.encode()
    about = b'{%b,"node_id":%b}' % (message, to_json(way.node_id))
    node = way.node or ""
    span, attempt = f"{number:x}", f"{number + 1:x}"
    yield EventRecord(seq, *head, root, None, *when, "message.dequeued", way.edge, b"{%b}" % message)
    yield EventRecord(seq + 1, *head, span, root, *when, "node.start", node, about)
    yield EventRecord(seq + 2, *head, attempt, span, *when, "attempt.start", node, FIRST_ATTEMPT)


def _hop(
    place: tuple[int, int, str, str],
    when: tuple[float, int],
    kind: str,
    way: Way,
    elapsed_ns: int,
    sent: bytes,
    number: int,
) -> Iterator[EventRecord]:
    """The events of a hop; `number` is the one of its span, which is the position of the span's start."""
    seq, epoch, trace_id, root = place
    yield from _begun(place, when, way, number)
    span, attempt, node = f"{number:x}", f"{number + 1:x}", way.node or ""
    head = (epoch, trace_id)
    end = (round(when[0] + elapsed_ns / 1e9, 6), when[1] + elapsed_ns)
    latency = b'{"status":"ok","latency_ms":%b}' % to_json(elapsed_ns / 1e6)
    yield EventRecord(seq + 3, *head, attempt, span, *end, "attempt.end", node, latency)
    if kind != LAST:
        if way.sent_by is None:
            raise ValueError("a hop that sent something nowhere")
        yield EventRecord(seq + 4, *head, span, root, *end, "message.enqueued", way.sent_by, sent)
        if kind == GIVEN:
            taken = b'{"message_id":"%b"}' % way.sent_id.encode()
            yield EventRecord(seq + 5, *head, root, None, *end, "message.dequeued", way.sent_by, taken)
    yield EventRecord(seq + EVENTS_OF[kind] - 1, *head, span, root, *end, "node.end", node, _OK)
