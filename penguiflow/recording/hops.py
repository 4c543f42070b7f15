"""What one invocation writes when it goes the shortest way: six events or so, as one record.

A node takes a message, does not wait, sends one result on and is done. All of that is one hop: an entry of the trace's
`Track`, from which the store's thread takes what has happened by then. What has only begun is an entry too, which the
end replaces unless it was taken meanwhile: so a function that never returns is found in the log. Readers get the events
one by one, from `expand`.

A record of a hop is an `EventRecord` of the node's span, of a kind of its own (see `EVENTS_OF`), whose data are a
`Told` in place of JSON. So is that of a message which comes from outside. What they have in common with those of other
traces is a `Way`, made once. How a store keeps them: state/hop_lines.py. Databases of version 4 have bytes in seven
parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

from pydantic_core import from_json, to_json

from penguiflow.recording.events import EventRecord
from penguiflow.recording.text import clean_text

__all__ = [
    "ENTRY_BYTES",
    "EVENTS_OF",
    "FIRST_ATTEMPT",
    "SENT",
    "TO_ROOKERY",
    "WAYS",
    "Entry",
    "HopSink",
    "Told",
    "Track",
    "Way",
    "ends_of",
    "events_of",
    "expand",
    "record_of",
    "records_of",
    "size_of",
    "take_entries",
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
ENTRY_BYTES = 200
"""Bytes of an entry beside its data, roughly."""
_new_tuple: Any = tuple.__new__
WAYS: dict[tuple[str | bool | None, ...], Way] = {}
_edges: dict[str, bytes] = {}


Entry = tuple[Any, ...]
"""What stands in a track: an `EventRecord`; or a hop, as plain members:

    (seq, size, way, the trace's span, epoch, microseconds, nanoseconds, how many it took, payload, envelope)

or the beginning of one, without a way:

    (seq, 0, None, the trace's span, epoch, microseconds, nanoseconds, (edge, message id, node, node id))
"""


class Track:
    """Where a trace is: its next event, its epoch, its clock. Shared by the logs that are open for it.

    Where a store takes whole hops, also what it has not taken yet. The loop's thread adds entries; the store's takes
    them, one thread each, without a lock: see `take_entries`.
    """

    __slots__ = ("drained", "entries", "epoch", "logs", "next_seq", "origin_ns", "trace_id")

    def __init__(self, trace_id: str, next_seq: int, epoch: int, origin_ns: int) -> None:
        self.trace_id = trace_id
        self.next_seq = next_seq
        self.epoch = epoch
        self.origin_ns = origin_ns
        self.logs = 0
        self.entries: list[Entry] = []
        self.drained = True
        """Whether the store has to be told of the next entry."""


def take_entries(track: Track, room: int) -> tuple[list[Entry], bool]:
    """What there is, and whether more of it is left, beyond `room`. On the store's thread.

    Only the last entry may be a beginning that the loop's thread replaces, by taking it away: what is before it stays
    as it is, and whoever takes the last one first has it.
    """
    entries = track.entries
    if len(entries) > room:
        taken = entries[:room]
        if len(entries) > room:
            del entries[:room]
            return taken, True
    # Said first: what is added from here on is told of again.
    track.drained = True
    stable = len(entries) - 1
    taken = []
    if stable > 0:
        taken = entries[:stable]
        del entries[:stable]
    try:
        while True:
            taken.append(entries.pop(0))
    except IndexError:
        return taken, False


@runtime_checkable
class HopSink(Protocol):
    """A store that takes whole hops."""

    guarded: bool
    """Whether each entry is to be asked about, by `admits`, and no hop is to begin."""
    told_in: int
    """How many entries it was given: whoever adds one to a track counts it, unless it replaces a beginning."""
    bytes_in: int
    """Their size, roughly."""

    def admits(self, trace_id: str, kind: str) -> bool:
        """Whether it takes one more event of a trace."""
        ...

    def attach(self, track: Track) -> None:
        """There are entries in a track that was drained. On the loop's thread."""
        ...


class Way:
    """How messages go through a node (or into it from outside, where there is none): the same in many traces."""

    __slots__ = ("edge", "events", "kind", "long", "message_id", "node", "node_id", "sent_by", "sent_id", "short")

    def __init__(
        self,
        edge: str,
        message_id: str,
        node: str | None,
        node_id: str,
        sent_by: str | None,
        sent_id: str,
        given: bool = False,
    ) -> None:
        self.edge, self.message_id = clean_text(edge), message_id
        """By which the message came."""
        self.node = None if node is None else clean_text(node)
        self.node_id = clean_text(node_id)
        self.sent_by, self.sent_id = None if sent_by is None else clean_text(sent_by), sent_id
        """By which the result went on, if there was one."""
        came = to_json((self.edge, message_id))[1:-1]
        self.kind = SENT if node is None else LAST if sent_by is None else ON
        if self.kind is ON and sent_by is not None and (given or sent_by.endswith("->Rookery")):
            self.kind = GIVEN if given else OUT
        self.events = EVENTS_OF[self.kind]
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
    given: bool = False,
) -> Way:
    """The way of a message, made once; `given` where whoever waits for the trace gets what is sent at once."""
    about = (edge, message_id, node, node_id, sent_by, sent_id, given)
    way = WAYS.get(about)
    if way is None:
        if len(WAYS) >= _MAX_REMEMBERED:
            WAYS.clear()
        way = WAYS[about] = Way(*about)
    return way


def record_of(trace_id: str, entry: Entry) -> EventRecord:
    """The record of an entry that has not only begun."""
    if type(entry) is EventRecord:
        return entry
    seq, size, way, root, epoch, micros, offset_ns, elapsed_ns, payload, envelope = entry
    told: Any = Told(size, way, root, micros, elapsed_ns, payload, envelope)
    span, parent = (root, None) if way.node is None else (f"{seq + 1:x}", root)
    name = way.edge if way.node is None else way.node
    return EventRecord(seq, epoch, trace_id, span, parent, micros / 1e6, offset_ns, way.kind, name, told)


def records_of(trace_id: str, entries: Iterable[Entry]) -> list[EventRecord]:
    """The records of entries; of a hop that has only begun its first events."""
    records: list[EventRecord] = []
    for entry in entries:
        if type(entry) is EventRecord or entry[2] is not None:
            records.append(record_of(trace_id, entry))
            continue
        seq, _, _, root, epoch, micros, offset_ns, (edge, message_id, node, node_id) = entry
        way = Way(edge, message_id, node, node_id, None, "")
        records += _begun((seq, epoch, trace_id, root), (micros / 1e6, offset_ns), way, seq + 1)
    return records


def size_of(entries: Iterable[Entry]) -> int:
    """Bytes of entries, as they were counted when they were told; a beginning counts for nothing."""
    return sum([len(entry[9]) + ENTRY_BYTES if type(entry) is EventRecord else entry[1] for entry in entries])


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
