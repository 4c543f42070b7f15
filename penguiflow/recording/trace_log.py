"""What one trace writes as events."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter_ns, time_ns
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json, to_json

from penguiflow.recording.events import EventRecord
from penguiflow.recording.failures import exception_to_data
from penguiflow.recording.hops import (
    ENTRY_BYTES,
    FIRST_ATTEMPT,
    SENT,
    WAYS,
    Entry,
    HopSink,
    Track,
    ends_of,
    way_of,
)
from penguiflow.recording.logs import shown
from penguiflow.recording.payloads import UNKNOWN, cuts, encode_data
from penguiflow.recording.streams import HeldBack
from penguiflow.types import Message

if TYPE_CHECKING:
    from penguiflow.observer import TraceHop
    from penguiflow.recording.recorder import Recorder
    from penguiflow.types import Headers

__all__ = ["NO_META", "Log"]

MAX_CUTS = 8
"""Places that the end of a trace names, where payloads cannot be rebuilt."""
NO_META = b'"meta":{},"deadline_s":null'
"""The end of what is told of most envelopes."""

# Events are made for everything that a flow does: what is asked for again and again is looked up.
_STARTS = {kind: f"{kind}.start" for kind in ("node", "attempt", "llm", "tool", "step")}
_ENDS = {kind: f"{kind}.end" for kind in _STARTS}
_STATUS_ONLY = {
    status: encode_data({"status": status}) for status in ("ok", "error", "timeout", "cancelled", "interrupted")
}
_BARE = frozenset({"message.dequeued", "message.dropped"})
"""Kinds whose data hold nothing of the user's."""
_LOOK_EVERY = 32
"""Hops after which it is looked whether the store can follow."""
_MAX_REMEMBERED = 4096
_NUMBERED = 1022
_NUMBERS = [f"{number:x}" for number in range(_NUMBERED + 2)]
"""The first ids of spans."""
_NOTHING = (b"", b"")
_TOLD_BYTES = ENTRY_BYTES + 100
"""Of a hop beside its payload, roughly."""
_node_ids: dict[str, bytes] = {}
_new_tuple = tuple.__new__


def _remember_node(node_id: str) -> bytes:
    if len(_node_ids) >= _MAX_REMEMBERED:
        _node_ids.clear()
    encoded = _node_ids[node_id] = encode_data({"": node_id})[4:-1]
    return encoded


class Log:
    """The log of one trace, from `open` to `close`."""

    __slots__ = (
        "_begun",
        "_cuts",
        "_encode",
        "_headers",
        "_held_back",
        "_hopping",
        "_known",
        "_masker",
        "_name",
        "_recorder",
        "_send",
        "_sink",
        "_spans",
        "_track",
        "attempt_span",
        "closed",
        "epoch",
        "propagates",
        "root",
        "span",
        "trace_id",
    )

    _held_back: HeldBack | None

    def __init__(
        self, recorder: Recorder, trace_id: str, track: Track, data: Mapping[str, Any], encoded: bytes | None
    ) -> None:
        self._prepare(recorder, trace_id, track)
        if "resumed" in data or "forked" in data:
            self._held_back = HeldBack(self._masker)
            self._held_back.take_up(data)
        self.root = f"{track.next_seq:x}"
        self._write("trace.start", self._name, self.root, None, encoded or self._encode(data))

    def _prepare(self, recorder: Recorder, trace_id: str, track: Track) -> None:
        self._recorder = recorder
        self.trace_id = trace_id
        self._track = track
        self.epoch = track.epoch
        self._name = recorder.name
        self._send = recorder.send
        self.propagates = recorder.propagates
        self._masker = recorder.masker
        self._encode = recorder.masker.encode
        self.closed = False
        self._cuts: list[dict[str, str]] | None = None
        self._held_back = None
        self._sink: HopSink | None = recorder.hops
        """The store, where it takes whole hops."""
        self._begun: Entry = ()
        """The beginning of the last invocation that may become one entry."""
        self._hopping = False
        """Whether that one is under way."""
        self.span = self.attempt_span = ""
        """Its spans."""
        self._headers: tuple[Headers | None, bytes] = (None, b"")
        """Those of the last message, encoded: most messages of a trace have the same."""
        self._known = UNKNOWN
        """The last payload."""
        self._spans: dict[str, tuple[str | None, str, str]] = {}
        """Open spans but the trace's own, in the order of their start: parent, kind, name."""

    def start(self, kind: str, name: str, parent: str, data: Mapping[str, Any] | None = None) -> str:
        """Open a span; its id is the hexadecimal `seq` of its start."""
        if self._hopping:
            self.settle()
        span = f"{self._track.next_seq:x}"
        if not self.closed:
            parent = parent or self.root
            self._spans[span] = (parent, kind, name)
            self._write(_STARTS.get(kind) or f"{kind}.start", name, span, parent, self._encode(data))
        return span

    def end(
        self, kind: str, name: str, span: str, parent: str, status: str, data: Mapping[str, Any] | None = None
    ) -> None:
        """Close a span; one that is not open (any more) is left as it is."""
        if self._hopping:
            self.settle()
        if self._spans.pop(span, None) is not None:
            if not data:
                encoded = _STATUS_ONLY.get(status) or encode_data({"status": status})
            elif status == "ok" and len(data) == 1 and type(latency_ms := data.get("latency_ms")) is float:
                encoded = b'{"status":"ok","latency_ms":%b}' % to_json(latency_ms)
            else:
                encoded = self._encode({"status": status, **data})
            self._write(_ENDS.get(kind) or f"{kind}.end", name, span, parent or self.root, encoded)

    def event(self, kind: str, name: str, span: str, data: Mapping[str, Any] | None = None) -> None:
        """Write one event of a span, or of the trace's own when that span is over."""
        if self._hopping:
            self.settle()
        if not self.closed:
            known = self._spans.get(span)
            if known is None:
                span, known = self.root, (None, "trace", self._name)
            if kind == "stream.chunk" and data is not None:
                if self._held_back is None:
                    self._held_back = HeldBack(self._masker)
                data = self._held_back.pass_on(known[2] if known[1] == "node" else "", data)
            elif kind == "log" and data is not None:
                data = shown(dict(data), self._masker)
            encode = encode_data if kind in _BARE else self._encode
            self._write(kind, name, span, known[0], encode(data))

    def put(self, edge: str, span: str, message_id: str, content: Any, envelope: Message | None) -> None:
        """Write `message.enqueued` with its payload."""
        if self.closed:
            return
        if self._hopping:
            self.settle()
        payload, about = self.sent(message_id, content, envelope)
        known = self._spans.get(span)
        if self._sink is not None and (known is None or span == self.root):
            self._write_sent(edge, message_id, payload, about)
            return
        if known is None:
            span, known = self.root, (None, "trace", self._name)
        data = b'{"payload":%b,"message_id":"%b",%b%b}' % (payload, message_id.encode(), ends_of(edge), about)
        self._write("message.enqueued", edge, span, known[0], data)

    def sent(self, message_id: str, content: Any, envelope: Message | None) -> tuple[bytes, bytes]:
        """The payload of a message, and what is to be said of its envelope, as members of an object."""
        masker, known = self._masker, self._known
        # Most nodes send on what came.
        if content is not known.value or not known.is_same(masker.secrets):
            self._known = known = masker.payload_of(content)
            if known.value is None and (b'"repr":true' in known.payload or b',"lost":{' in known.payload):
                self._note_cuts(known.payload, message_id)
        if envelope is None:
            return known.payload, b""
        if type(envelope) is Message:
            # An attribute of a pydantic model costs five times as much.
            values = envelope.__dict__
            headers, meta, deadline_s = values["headers"], values["meta"], values["deadline_s"]
        else:
            headers, meta, deadline_s = envelope.headers, envelope.meta, envelope.deadline_s
        if headers is not self._headers[0]:
            self._headers = (headers, self._recorder.headers_of(headers))
        about = self._headers[1]
        if meta or deadline_s is not None:
            about = b'%b"meta":%b,"deadline_s":%b' % (
                about[: -len(NO_META)],
                self._encode(meta),
                b"null" if deadline_s is None else to_json(deadline_s),
            )
        return known.payload, about

    def _note_cuts(self, payload: bytes, message_id: str) -> None:
        """The trace's end tells where payloads cannot be rebuilt."""
        if self._cuts is None:
            self._cuts = []
        for path, kind in cuts(from_json(payload)):
            if len(self._cuts) < MAX_CUTS:
                where = "/payload" + path.removeprefix("/value")
                self._cuts.append({"message_id": message_id, "path": where, "type": kind})

    def taken(self, edge: str, parent: str, message_id: str, node: str, node_id: str) -> tuple[str, str]:
        """Write `message.dequeued`, and the starts of the node's span and of its first attempt."""
        if self._hopping:
            self.settle()
        track = self._track
        seq = track.next_seq
        span, attempt = f"{seq + 1:x}", f"{seq + 2:x}"
        if self.closed:
            return span, attempt
        known = self._spans.get(parent)
        if known is None:
            parent, known = self.root, (None, "trace", self._name)
        track.next_seq = seq + 3
        self._spans[span] = (parent, "node", node)
        self._spans[attempt] = (span, "attempt", node)
        offset_ns = perf_counter_ns() - track.origin_ns
        ts = time_ns() // 1000 / 1e6
        epoch, trace_id = self.epoch, self.trace_id
        message = b'"message_id":"%b"' % message_id.encode()
        about = b'{%b,"node_id":%b}' % (message, _node_ids.get(node_id) or _remember_node(node_id))
        records = (
            (seq, epoch, trace_id, parent, known[0], ts, offset_ns, "message.dequeued", edge, b"{%b}" % message),
            (seq + 1, epoch, trace_id, span, parent, ts, offset_ns, "node.start", node, about),
            (seq + 2, epoch, trace_id, attempt, span, ts, offset_ns, "attempt.start", node, FIRST_ATTEMPT),
        )
        for fields in records:
            self._tell(_new_tuple(EventRecord, fields))
        return span, attempt

    def begin(self, edge: str, message_id: str, node: str, node_id: str) -> TraceHop | None:
        """The same as one entry, if the store takes such, and if nothing else happens meanwhile."""
        sink = self._sink
        if sink is None or self.closed or sink.guarded:
            return None
        recorder = self._recorder
        recorder.unlooked += 1
        if recorder.unlooked > _LOOK_EVERY and not recorder.may_hop():
            return None
        if self._hopping:
            self.settle()
        track = self._track
        seq = track.next_seq
        offset_ns = perf_counter_ns() - track.origin_ns
        about = (edge, message_id, node, node_id)
        begun = self._begun = (seq, 0, None, self.root, self.epoch, time_ns() // 1000, offset_ns, about)
        track.entries.append(begun)
        sink.told_in += 1
        if track.drained:
            track.drained = False
            sink.attach(track)
        track.next_seq = seq + 3
        self._hopping = True
        if seq < _NUMBERED:
            self.span, self.attempt_span = _NUMBERS[seq + 1], _NUMBERS[seq + 2]
        else:
            self.span, self.attempt_span = f"{seq + 1:x}", f"{seq + 2:x}"
        return self

    def settle(self) -> None:
        """What has begun as a hop goes on as separate events."""
        if self._hopping:
            self._hopping = False
            node = self._begun[7][2]
            self._spans[self.span] = (self.root, "node", node)
            self._spans[self.attempt_span] = (self.span, "attempt", node)

    def done(self, edge: str | None, message_id: str, content: Any, envelope: Message | None, *, given: bool) -> None:
        """The function of the invocation that `begin` told of has returned, and what it returned goes by `edge`."""
        if self.closed:
            return
        payload, about = _NOTHING if edge is None else self.sent(message_id, content, envelope)
        seq, _, _, root, epoch, micros, offset_ns, came = self._begun
        track = self._track
        # Another log of the same trace may have written meanwhile: then the end stands behind that.
        if not self._hopping or track.next_seq != seq + 3:
            self._end_settled(edge, message_id, (payload, about), given=given)
            return
        elapsed_ns = perf_counter_ns() - track.origin_ns - offset_ns
        key = (*came, edge, message_id, given)
        way = WAYS.get(key) or way_of(*key)
        entries = track.entries
        try:
            entries.pop()
        except IndexError:
            # The store has taken the beginning by now.
            self._end_settled(edge, message_id, (payload, about), given=given)
            return
        size = len(payload) + len(about) + _TOLD_BYTES
        entries.append((seq, size, way, root, epoch, micros, offset_ns, elapsed_ns, payload, about))
        sink: Any = self._sink
        sink.bytes_in += size
        if track.drained:
            track.drained = False
            sink.attach(track)
        self._hopping = False
        track.next_seq = seq + way.events

    def _end_settled(self, edge: str | None, message_id: str, sent: tuple[bytes, bytes], *, given: bool) -> None:
        """An invocation that began as a hop is over, and cannot be written as one."""
        self.settle()
        span, attempt, node = self.span, self.attempt_span, self._begun[7][2]
        elapsed_ns = perf_counter_ns() - self._track.origin_ns - self._begun[6]
        self.end("attempt", node, attempt, span, "ok", {"latency_ms": elapsed_ns / 1e6})
        if edge is not None:
            data = b'{"payload":%b,"message_id":"%b",%b%b}' % (sent[0], message_id.encode(), ends_of(edge), sent[1])
            self._write("message.enqueued", edge, span, self.root, data)
            if given:
                self.event("message.dequeued", edge, self.root, {"message_id": message_id})
        self.end("node", node, span, self.root, "ok")

    def freeze(self, value: Any) -> Any:
        """`{type, value}`, decoded."""
        return self._masker.frozen(value)

    def describe(self, error: BaseException) -> Mapping[str, Any]:
        """`{type, message, traceback, file, line}`."""
        return exception_to_data(error, self._masker.early)

    def close(self, status: str, data: Mapping[str, Any] | None = None) -> None:
        """End what is still open, then the trace; a second call does nothing."""
        if self.closed:
            return
        if self._hopping:
            self.settle()
        self._write_rest(status, data)
        self.closed = True
        self._recorder.closed(self.trace_id, self._track)

    def _write_rest(self, status: str, data: Mapping[str, Any] | None) -> None:
        """Write the ends of all that is open, and of the trace."""
        for stream, chunk in () if self._held_back is None else self._held_back.rest():
            self._write("stream.chunk", stream, self.root, None, self._encode(chunk))
        leftover = "interrupted" if status == "interrupted" else "cancelled"
        for span, (parent, kind, name) in reversed(self._spans.items()):
            self._write(kind + ".end", name, span, parent, _STATUS_ONLY[leftover])
        encoded = None if data or self._cuts else _STATUS_ONLY.get(status)
        if encoded is None:
            ending: dict[str, Any] = {"status": status, **(data or {})}
            if self._cuts:
                ending["not_forkable"] = self._cuts
            encoded = self._encode(ending)
        self._write("trace.end", self._name, self.root, None, encoded)
        self._spans.clear()

    def _write_sent(self, edge: str, message_id: str, payload: bytes, about: bytes) -> None:
        """Write `message.enqueued` of the trace's own span, for a store that takes whole hops."""
        track = self._track
        seq = track.next_seq
        track.next_seq = seq + 1
        offset_ns = perf_counter_ns() - track.origin_ns
        micros = time_ns() // 1000
        size = len(payload) + len(about) + _TOLD_BYTES
        key = (edge, message_id, None, "", None, "", False)
        way = WAYS.get(key) or way_of(*key)
        self._add((seq, size, way, self.root, self.epoch, micros, offset_ns, 0, payload, about), SENT, size)

    def _write(self, kind: str, name: str, span: str, parent: str | None, data: bytes) -> None:
        track = self._track
        seq = track.next_seq
        track.next_seq = seq + 1
        offset_ns = perf_counter_ns() - track.origin_ns
        ts = time_ns() // 1000 / 1e6
        fields = (seq, self.epoch, self.trace_id, span, parent, ts, offset_ns, kind, name, data)
        # The class's own constructor costs twice as much.
        self._tell(_new_tuple(EventRecord, fields))

    def _tell(self, record: EventRecord) -> None:
        if self._sink is not None:
            self._add(record, record[7], len(record[9]) + ENTRY_BYTES)
            return
        try:
            self._send(record)
        except Exception:  # a listener's failure is none of the flow's
            self._recorder.sink_failed()

    def _add(self, entry: Entry, kind: str, size: int) -> None:
        """Give an entry to the store."""
        sink: Any = self._sink
        if sink.guarded and not sink.admits(self.trace_id, kind):
            return
        track = self._track
        track.entries.append(entry)
        sink.told_in += 1
        sink.bytes_in += size
        if track.drained:
            track.drained = False
            sink.attach(track)
