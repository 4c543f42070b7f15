"""Writes what a flow does as events, to a store and to whoever else listens."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from time import perf_counter_ns, time, time_ns
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json, to_json

from penguiflow.recording.environment import environment
from penguiflow.recording.events import EventRecord, EventSink
from penguiflow.recording.failures import exception_to_data
from penguiflow.recording.hops import EVENTS_OF, FIRST_ATTEMPT, GIVEN, LAST, ON, OUT, Hop, HopSink
from penguiflow.recording.logs import shown
from penguiflow.recording.masking import Masker, key_beside
from penguiflow.recording.payloads import cuts, encode_data
from penguiflow.recording.streams import HeldBack

if TYPE_CHECKING:
    from penguiflow.observer import TraceLog
    from penguiflow.state.traces import TraceStore
    from penguiflow.types import Headers, Message

__all__ = ["Recorder"]

logger = logging.getLogger("penguiflow.recording")

MAX_ENDED = 4096
"""Ended traces whose last position is remembered, in case they are opened again."""
MAX_ANNOTATED = 4096
"""Traces that are annotated and not yet open."""
MAX_CUTS = 8
"""Places that the end of a trace names, where payloads cannot be rebuilt."""
_NS = 1_000_000_000

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
_edges: dict[str, bytes] = {}
_node_ids: dict[str, bytes] = {}
_new_tuple = tuple.__new__


class _Track:
    """Where a trace is: its next event, its epoch, its clock. Shared by the logs that are open for it."""

    __slots__ = ("epoch", "logs", "next_seq", "origin_ns")

    def __init__(self, next_seq: int, epoch: int, origin_ns: int) -> None:
        self.next_seq = next_seq
        self.epoch = epoch
        self.origin_ns = origin_ns
        self.logs = 0


class Recorder:
    """Opens a log for each trace; implements `penguiflow.observer.TraceRecorder`.

    Payloads are encoded when the event happens, so that what the flow does to them afterwards does not change the log.
    A sink that raises is logged once (`penguiflow.recording`), counted in `failures`, and does not reach the flow.

    Args:
        sinks: Take every event, in order, on the loop's thread.
        store: Takes every event too; is asked when the flow must wait, and for `flush`.
        name: Name of the flow: the name of `trace.start` and `trace.end`.
        data: Stands in every `trace.start`: `target`, `version` …
        worker: Names the process, where several record into one store; stands in `trace.start`.
        masker: Hides secrets; by default those that `MaskingRules` knows, with the key that is kept beside the store.
    """

    def __init__(
        self,
        *sinks: EventSink,
        store: TraceStore | None = None,
        name: str = "flow",
        data: Mapping[str, Any] | None = None,
        worker: str | None = None,
        masker: Masker | None = None,
    ) -> None:
        self.name = name
        self.masker = masker or Masker(key_beside(store))
        self.propagates = any(getattr(sink, "propagates", False) for sink in sinks)
        """Whether remote calls tell the other side where they come from: a sink makes something of it."""
        self.failures = 0
        """Events that a sink did not take."""
        self._store = store
        self._data: dict[str, Any] = {"flow": name, "environment": environment(), **(data or {})}
        if worker is not None:
            self._data["worker"] = worker
        self._start = self.masker.encode(self._data)
        self._writes = [sink.write for sink in sinks]
        if store is not None:
            self._writes.insert(0, store.sink.write)
        self._choose()
        self._unlooked = 0
        self._failed: set[int] = set()
        self._open: dict[str, _Track] = {}
        self._ended: dict[str, _Track] = {}
        self._annotations: dict[str, dict[str, Any]] = {}

    @property
    def store(self) -> TraceStore | None:
        """Where its events go, besides to those who listen."""
        return self._store

    def listen(self, sink: EventSink) -> None:
        """Give the events of the traces that begin from now on to one more sink, until `unlisten`."""
        self._writes.append(sink.write)
        self._choose()

    def unlisten(self, sink: EventSink) -> None:
        """Give a sink that `listen` was given nothing any more."""
        self._writes = [write for write in self._writes if write != sink.write]
        self._choose()

    def _choose(self) -> None:
        alone = len(self._writes) == 1
        self._send: Callable[[EventRecord], None] = self._writes[0] if alone else self._send_all
        # Whoever looks on while it happens gets events; a store that is alone gets whole hops.
        taker = self._store.sink if self._store is not None and alone else None
        self.hops: HopSink | None = taker if isinstance(taker, HopSink) else None

    @property
    def congested(self) -> bool:
        """True while the store holds as much as it may."""
        return self._store is not None and self._store.congested

    async def wait_ready(self) -> None:
        """Return once the store has room again."""
        if self._store is not None:
            await self._store.wait_ready()

    def durable(self) -> Awaitable[None] | None:
        """What to await before a result is given out, so that the store keeps its events; None for nothing."""
        return None if self._store is None else self._store.durable()

    async def flush(self) -> None:
        """Return once the store has committed all of this. Raises `StoreError` if it cannot."""
        if self._store is not None:
            await self._store.flush()

    def may_hop(self) -> bool:
        """Whether the store follows; asked for each hop."""
        self._unlooked += 1
        if self._unlooked < _LOOK_EVERY:
            return True
        self._unlooked = 0
        return not self.congested

    def annotate(self, trace_id: str, data: Mapping[str, Any]) -> None:
        """Add to the `trace.start` of a trace that will be opened (its session, who asked for it …)."""
        if len(self._annotations) >= MAX_ANNOTATED and trace_id not in self._annotations:
            del self._annotations[next(iter(self._annotations))]
        self._annotations.setdefault(trace_id, {}).update(data)

    async def prepare(self, trace_id: str) -> None:
        """Go on where the store left off with a trace that this process has not seen: for ids chosen by a caller.

        Without it the store keeps its own log in order, but other sinks see the trace begin at 0 again.
        """
        if self._store is None or trace_id in self._open or trace_id in self._ended:
            return
        summary = await self._store.get_trace(trace_id)
        if summary is not None and trace_id not in self._open:
            age_ns = max(0, int((time() - summary.started) * _NS))
            self._remember(trace_id, _Track(summary.events, summary.epoch + 1, perf_counter_ns() - age_ns))

    def open(self, trace_id: str, data: Mapping[str, Any] | None = None) -> TraceLog:
        """Begin the log of a trace, or go on with it in its next epoch: writes `trace.start`."""
        track = self._open.get(trace_id)
        if track is None:
            track = self._ended.pop(trace_id, None) or _Track(0, 0, perf_counter_ns())
            self._open[trace_id] = track
        else:
            track.epoch += 1
        track.logs += 1
        self.masker.look_again()
        about = self._data
        noted = self._annotations.pop(trace_id, None) if self._annotations else None
        if noted or data:
            about = {**about, **(noted or {}), **(data or {})}
        return _Log(self, trace_id, track, about)

    def _closed(self, trace_id: str, track: _Track) -> None:
        track.logs -= 1
        if track.logs:
            return
        del self._open[trace_id]
        track.epoch += 1
        self._remember(trace_id, track)

    def _remember(self, trace_id: str, track: _Track) -> None:
        if len(self._ended) >= MAX_ENDED:
            del self._ended[next(iter(self._ended))]
        self._ended[trace_id] = track

    def _send_all(self, record: EventRecord) -> None:
        for index, write in enumerate(self._writes):
            try:
                write(record)
            except Exception:  # a listener's failure is none of the flow's
                self._sink_failed(index)

    def _sink_failed(self, index: int = 0) -> None:
        self.failures += 1
        if index not in self._failed:
            self._failed.add(index)
            logger.exception("a sink of recorder %r does not take events; the flow goes on without it", self.name)


def _remember_edge(edge: str) -> bytes:
    """The two ends of an edge as members of a JSON object."""
    if len(_edges) >= _MAX_REMEMBERED:
        _edges.clear()
    source, target = edge.split("->", 1)
    ends = _edges[edge] = encode_data({"source": source, "target": target})[1:-1]
    return ends


def _remember_node(node_id: str) -> bytes:
    if len(_node_ids) >= _MAX_REMEMBERED:
        _node_ids.clear()
    encoded = _node_ids[node_id] = encode_data({"": node_id})[4:-1]
    return encoded


class _Log:
    """The log of one trace, from `open` to `close`."""

    __slots__ = (
        "_closed",
        "_cuts",
        "_encode",
        "_epoch",
        "_headers",
        "_held_back",
        "_hop",
        "_masker",
        "_name",
        "_recorder",
        "_send",
        "_spans",
        "_trace_id",
        "_track",
        "hops",
        "propagates",
        "root",
    )

    def __init__(self, recorder: Recorder, trace_id: str, track: _Track, data: Mapping[str, Any]) -> None:
        self._recorder = recorder
        self._trace_id = trace_id
        self._track = track
        self._epoch = track.epoch
        self._name = recorder.name
        self._send = recorder._send
        self.propagates = recorder.propagates
        self._masker = recorder.masker
        self._encode = recorder.masker.encode
        self._closed = False
        self._cuts: list[dict[str, str]] = []
        self._held_back: HeldBack | None = None
        if "resumed" in data or "forked" in data:
            self._held_back = HeldBack(self._masker)
            self._held_back.take_up(data)
        self.hops = recorder.hops
        self._hop: Hop | None = None
        """The invocation that is under way and may become one record."""
        self._headers: tuple[Headers | None, bytes] = (None, b"")
        """Those of the last message, encoded: most messages of a trace have the same."""
        self._spans: dict[str, tuple[str | None, str, str]] = {}
        """Open spans in the order of their start: parent, kind, name."""
        self.root = f"{track.next_seq:x}"
        self._spans[self.root] = (None, "trace", self._name)
        encoded = recorder._start if data is recorder._data else self._encode(data)
        self._write("trace.start", self._name, self.root, None, encoded)

    def start(self, kind: str, name: str, parent: str, data: Mapping[str, Any] | None = None) -> str:
        """Open a span; its id is the hexadecimal `seq` of its start."""
        if self._hop is not None:
            self.settle(self._hop)
        span = f"{self._track.next_seq:x}"
        if not self._closed:
            parent = parent or self.root
            self._spans[span] = (parent, kind, name)
            self._write(_STARTS.get(kind) or f"{kind}.start", name, span, parent, self._encode(data))
        return span

    def end(
        self, kind: str, name: str, span: str, parent: str, status: str, data: Mapping[str, Any] | None = None
    ) -> None:
        """Close a span; one that is not open (any more) is left as it is."""
        if self._hop is not None:
            self.settle(self._hop)
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
        if self._hop is not None:
            self.settle(self._hop)
        if not self._closed:
            known = self._spans.get(span)
            if known is None:
                span, known = self.root, self._spans[self.root]
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
        if self._closed:
            return
        if self._hop is not None:
            self.settle(self._hop)
        data = self._put_data(edge, message_id, content, envelope)
        known = self._spans.get(span)
        if known is None:
            span, known = self.root, self._spans[self.root]
        self._write("message.enqueued", edge, span, known[0], data)

    def _put_data(self, edge: str, message_id: str, content: Any, envelope: Message | None) -> bytes:
        ends = _edges.get(edge) or _remember_edge(edge)
        payload = self._masker.payload(content)
        if b'"repr":true' in payload or b',"lost":{' in payload:
            self._note_cuts(payload, message_id)
        if envelope is None:
            return b'{"payload":%b,"message_id":"%b",%b}' % (payload, message_id.encode(), ends)
        headers = envelope.headers
        if headers is not self._headers[0]:
            self._headers = (headers, self._encode(headers.model_dump()))
        meta, deadline_s = envelope.meta, envelope.deadline_s
        return b'{"payload":%b,"message_id":"%b",%b,"headers":%b,"meta":%b,"deadline_s":%b}' % (
            payload,
            message_id.encode(),
            ends,
            self._headers[1],
            self._encode(meta) if meta else b"{}",
            b"null" if deadline_s is None else to_json(deadline_s),
        )

    def _note_cuts(self, payload: bytes, message_id: str) -> None:
        """The trace's end tells where payloads cannot be rebuilt."""
        for path, kind in cuts(from_json(payload)):
            if len(self._cuts) < MAX_CUTS:
                where = "/payload" + path.removeprefix("/value")
                self._cuts.append({"message_id": message_id, "path": where, "type": kind})

    def taken(self, edge: str, parent: str, message_id: str, node: str, node_id: str) -> tuple[str, str]:
        """Write `message.dequeued`, and the starts of the node's span and of its first attempt."""
        if self._hop is not None:
            self.settle(self._hop)
        track = self._track
        seq = track.next_seq
        span, attempt = f"{seq + 1:x}", f"{seq + 2:x}"
        if self._closed:
            return span, attempt
        known = self._spans.get(parent)
        if known is None:
            parent, known = self.root, self._spans[self.root]
        track.next_seq = seq + 3
        self._spans[span] = (parent, "node", node)
        self._spans[attempt] = (span, "attempt", node)
        offset_ns = perf_counter_ns() - track.origin_ns
        ts = time_ns() // 1000 / 1e6
        epoch, trace_id = self._epoch, self._trace_id
        message = b'"message_id":"%b"' % message_id.encode()
        about = b'{%b,"node_id":%b}' % (message, _node_ids.get(node_id) or _remember_node(node_id))
        records = (
            (seq, epoch, trace_id, parent, known[0], ts, offset_ns, "message.dequeued", edge, b"{%b}" % message),
            (seq + 1, epoch, trace_id, span, parent, ts, offset_ns, "node.start", node, about),
            (seq + 2, epoch, trace_id, attempt, span, ts, offset_ns, "attempt.start", node, FIRST_ATTEMPT),
        )
        send = self._send
        for fields in records:
            try:
                send(_new_tuple(EventRecord, fields))
            except Exception:  # a listener's failure is none of the flow's
                self._recorder._sink_failed()
        return span, attempt

    def begin(self, edge: str, message_id: str, node: str, node_id: str) -> Hop | None:
        """The same as one record, if the store takes such, and if nothing else happens meanwhile."""
        hops = self.hops
        if hops is None or self._closed or not self._recorder.may_hop():
            return None
        if self._hop is not None:
            self.settle(self._hop)
        track = self._track
        hop = Hop(
            self,
            hops,
            track.next_seq,
            (self._epoch, self._trace_id),
            (edge, message_id, node, node_id),
            (time_ns() // 1000 / 1e6, perf_counter_ns() - track.origin_ns),
        )
        if not hops.begin_hop(hop):
            return None
        track.next_seq += 3
        self._hop = hop
        return hop

    def settle(self, hop: Hop) -> None:
        """What has begun as a hop goes on as separate events."""
        if self._hop is hop:
            self._hop = None
            for span, parent, kind in hop.spans():
                self._spans[span] = (parent, kind, hop.node)
            hop.leave()

    def end_hop(
        self, hop: Hop, edge: str | None, message_id: str, content: Any, envelope: Message | None, given: bool
    ) -> None:
        """An invocation that began as a hop is over."""
        if self._closed:
            return
        track = self._track
        sent = b"" if edge is None else self._put_data(edge, message_id, content, envelope)
        elapsed_ns = perf_counter_ns() - track.origin_ns - hop.offset_ns
        # Another log of the same trace may have written meanwhile: then the end stands behind that.
        if self._hop is hop and track.next_seq == hop.seq + 3:
            kind = LAST if edge is None else GIVEN if given else OUT if edge.endswith("->Rookery") else ON
            if hop.complete(kind, edge, elapsed_ns, message_id, sent):
                self._hop = None
                track.next_seq += EVENTS_OF[kind] - 3
                return
        self.settle(hop)
        self.end("attempt", hop.node, hop.attempt_span, hop.span, "ok", {"latency_ms": elapsed_ns / 1e6})
        if edge is not None:
            self._write("message.enqueued", edge, hop.span, self.root, sent)
            if given:
                self.event("message.dequeued", edge, self.root, {"message_id": message_id})
        self.end("node", hop.node, hop.span, self.root, "ok")

    def freeze(self, value: Any) -> Any:
        """`{type, value}`, decoded."""
        return self._masker.frozen(value)

    def describe(self, error: BaseException) -> Mapping[str, Any]:
        """`{type, message, traceback, file, line}`."""
        return exception_to_data(error, self._masker.early)

    def close(self, status: str, data: Mapping[str, Any] | None = None) -> None:
        """End what is still open, then the trace; a second call does nothing."""
        if self._closed:
            return
        if self._hop is not None:
            self.settle(self._hop)
        for stream, chunk in () if self._held_back is None else self._held_back.rest():
            self._write("stream.chunk", stream, self.root, None, self._encode(chunk))
        ending: dict[str, Any]
        leftover = "interrupted" if status == "interrupted" else "cancelled"
        for span, (parent, kind, name) in reversed(self._spans.items()):
            ending = {"status": leftover}
            if parent is None:
                ending = {"status": status, **(data or {})}
                if self._cuts:
                    ending["not_forkable"] = self._cuts
            encoded = (len(ending) == 1 and _STATUS_ONLY.get(ending["status"])) or self._encode(ending)
            self._write(kind + ".end", name, span, parent, encoded)
        self._closed = True
        self._spans.clear()
        self._recorder._closed(self._trace_id, self._track)

    def _write(self, kind: str, name: str, span: str, parent: str | None, data: bytes) -> None:
        track = self._track
        seq = track.next_seq
        track.next_seq = seq + 1
        offset_ns = perf_counter_ns() - track.origin_ns
        ts = time_ns() // 1000 / 1e6
        fields = (seq, self._epoch, self._trace_id, span, parent, ts, offset_ns, kind, name, data)
        # The class's own constructor costs twice as much.
        record = _new_tuple(EventRecord, fields)
        try:
            self._send(record)
        except Exception:  # a listener's failure is none of the flow's
            self._recorder._sink_failed()
