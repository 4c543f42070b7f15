"""What one invocation writes when it goes the shortest way: six events or so, as one record.

A node takes a message, does not wait, sends one result on and is done. All of that is one `Hop`, handed to the store as
it begins and filled in as it ends. A store's thread that comes by in between takes what has happened by then, so that a
function that never returns is found in the log. Readers get the events one by one, from `expand`.

In storage it is an event of the node's span, of a kind of its own (see `EVENTS_OF`). Its data are no JSON but seven
parts, with a separator that no JSON holds: edge, node id and edge (JSON texts); the message's id; nanoseconds from
beginning to end; the id of the message that was sent; the data of that one's `message.enqueued`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from pydantic_core import from_json, to_json

from penguiflow.recording.events import EventRecord
from penguiflow.recording.text import clean_text

if TYPE_CHECKING:
    from penguiflow.types import Message

__all__ = ["EVENTS_OF", "FIRST_ATTEMPT", "TO_ROOKERY", "Hop", "HopSink", "expand", "sent_record"]

LAST, ON, OUT, GIVEN = "hop.last", "hop.on", "hop.out", "hop.given"
EVENTS_OF = {LAST: 5, ON: 6, OUT: 6, GIVEN: 7}
"""How many events each kind stands for: nothing sent, sent to a node, to Rookery, to whoever waits for the trace."""
TO_ROOKERY = frozenset({OUT, GIVEN})
FIRST_ATTEMPT = b'{"attempt":0}'
_OK = b'{"status":"ok"}'
_SEPARATOR = b"\x1f"
_PARTS = 7
_MAX_REMEMBERED = 4096
_new_tuple = tuple.__new__
_places: dict[tuple[str, str, str | None], bytes] = {}


@runtime_checkable
class HopSink(Protocol):
    """A store that takes whole hops."""

    def begin_hop(self, hop: Hop) -> bool:
        """Take one that begins, if it can be taken as such. On the loop's thread."""
        ...

    def grow(self, size: int, events: int = 0) -> None:
        """What it took has become larger by so many bytes of data, and so many events more."""
        ...


class Hop:
    """One invocation on its way through the log; what `TraceLog.begin` returns."""

    __slots__ = (
        "_edge", "_epoch", "_log", "_message_id", "_node_id", "_record", "_sink", "_token", "_trace_id", "_ts",
        "attempt_span", "node", "offset_ns", "seq", "span",
    )  # fmt: skip

    def __init__(
        self,
        log: HopLog,
        sink: HopSink,
        seq: int,
        about: tuple[int, str],
        where: tuple[str, str, str, str],
        when: tuple[float, int],
    ) -> None:
        self._log = log
        self._sink = sink
        self.seq = seq
        self._epoch, self._trace_id = about
        self._edge, self._message_id, self.node, self._node_id = where
        self._ts, self.offset_ns = when
        self.span = f"{seq + 1:x}"
        self.attempt_span = f"{seq + 2:x}"
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
        self._log.end_hop(self, edge, message_id, content, envelope, given)

    # -- between the log and the store ---------------------------------------------------------------------------------

    def complete(self, kind: str, edge: str | None, elapsed_ns: int, message_id: str, sent: bytes) -> bool:
        """Fill in the end, on the loop's thread; False when the store had taken the beginning by then."""
        where = (self._edge, self._node_id, edge)
        data = b"%b\x1f%b\x1f%d\x1f%b\x1f%b" % (
            _places.get(where) or _remember(where),
            self._message_id.encode(),
            elapsed_ns,
            message_id.encode(),
            sent,
        )
        head = (self.seq, self._epoch, self._trace_id, self.span, self._log.root, self._ts, self.offset_ns)
        fields = (*head, kind, self.node, data)
        self._record = _new_tuple(EventRecord, fields)
        try:
            self._token.pop()
        except IndexError:
            return False
        self._sink.grow(len(data))
        return True

    def leave(self) -> None:
        """Its beginning is all that there will be of it, on the loop's thread."""
        try:
            self._token.pop()
        except IndexError:
            return
        begun = self.begun()
        self._sink.grow(sum(len(record[9]) for record in begun), len(begun) - 1)

    def take(self) -> tuple[tuple[EventRecord, ...], bool]:
        """What there is of it, on the store's thread, and whether it was taken in the middle."""
        try:
            self._token.pop()
        except IndexError:
            record = self._record
            return (self.begun() if record is None else (record,)), False
        return self.begun(), True

    def spans(self) -> tuple[tuple[str, str, str], ...]:
        """Its spans, each with its parent and kind."""
        return (self.span, self._log.root, "node"), (self.attempt_span, self.span, "attempt")

    def begun(self) -> tuple[EventRecord, ...]:
        """The events of its beginning."""
        root, seq = self._log.root, self.seq
        message = b'"message_id":"%b"' % self._message_id.encode()
        about = b'{%b,"node_id":%b}' % (message, to_json(clean_text(self._node_id)))
        place = (self._ts, self.offset_ns)
        head = (self._epoch, self._trace_id)
        return (
            EventRecord(seq, *head, root, None, *place, "message.dequeued", self._edge, b"{%b}" % message),
            EventRecord(seq + 1, *head, self.span, root, *place, "node.start", self.node, about),
            EventRecord(
                seq + 2, *head, self.attempt_span, self.span, *place, "attempt.start", self.node, FIRST_ATTEMPT
            ),
        )


class HopLog(Protocol):
    """What a hop needs of the log that it belongs to."""

    root: str

    def settle(self, hop: Hop) -> None: ...

    def end_hop(
        self, hop: Hop, edge: str | None, message_id: str, content: Any, envelope: Message | None, given: bool
    ) -> None: ...


def _remember(where: tuple[str, str, str | None]) -> bytes:
    if len(_places) >= _MAX_REMEMBERED:
        _places.clear()
    texts = [b"null" if text is None else to_json(clean_text(text)) for text in where]
    place = _places[where] = _SEPARATOR.join(texts)
    return place


def sent_record(record: EventRecord) -> EventRecord:
    """The `message.enqueued` of a hop that sent something; its time is that of the hop's beginning."""
    _, _, edge, *_, sent = record[9].split(_SEPARATOR, _PARTS - 1)
    return record._replace(kind="message.enqueued", name=from_json(edge), data=sent)


def expand(record: EventRecord) -> Iterator[EventRecord]:
    """The events of a stored hop; any other event as it is. Raises `ValueError` for one that is damaged."""
    seq, epoch, trace_id, span, root, ts, offset_ns, kind, node, data = record
    count = EVENTS_OF.get(kind)
    if count is None or root is None:
        yield record
        return
    parts = data.split(_SEPARATOR, _PARTS - 1)
    if len(parts) != _PARTS:
        raise ValueError(f"a hop of {len(parts)} parts")
    edge_in, node_id, edge_out, message_id, elapsed, sent_id, sent = parts
    elapsed_ns = int(elapsed)
    # A span's id is the position of its start.
    attempt = f"{int(span, 16) + 1:x}"
    head = (epoch, trace_id)
    start = (ts, offset_ns)
    end = (round(ts + elapsed_ns / 1e9, 6), offset_ns + elapsed_ns)
    message = b'"message_id":"%b"' % message_id
    about = b'{%b,"node_id":%b}' % (message, node_id)
    latency = b'{"status":"ok","latency_ms":%b}' % to_json(elapsed_ns / 1e6)
    yield EventRecord(seq, *head, root, None, *start, "message.dequeued", from_json(edge_in), b"{%b}" % message)
    yield EventRecord(seq + 1, *head, span, root, *start, "node.start", node, about)
    yield EventRecord(seq + 2, *head, attempt, span, *start, "attempt.start", node, FIRST_ATTEMPT)
    yield EventRecord(seq + 3, *head, attempt, span, *end, "attempt.end", node, latency)
    if kind != LAST:
        edge = from_json(edge_out)
        yield EventRecord(seq + 4, *head, span, root, *end, "message.enqueued", edge, sent)
        if kind == GIVEN:
            taken = b'{"message_id":"%b"}' % sent_id
            yield EventRecord(seq + 5, *head, root, None, *end, "message.dequeued", edge, taken)
    yield EventRecord(seq + count - 1, *head, span, root, *end, "node.end", node, _OK)
