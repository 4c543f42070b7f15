"""One trace as the dashboard keeps it: every event as bytes, and the spans and streams read from them."""

from __future__ import annotations

import time
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from playground.dashboard.event_log import EventLog
from playground.dashboard.heads import BadEvent, Head, peek_data, read_data, read_head, seq_of
from playground.dashboard.origins import Origin, origin_of
from playground.dashboard.streams import StreamText
from playground.dashboard.text import NS
from playground.dashboard.traffic import Traffic

if TYPE_CHECKING:
    from penguiflow.recording.spans import Span
    from playground.dashboard.moments import Mark

MAX_STREAMS = 200
"""Streams of one trace that are kept apart; what comes in others is found among the events."""
_DECODED = frozenset(
    {"trace.start", "trace.end", "node.start", "node.end", "node.retry", "attempt.start", "attempt.end", "stream.chunk"}
)
STOPS = frozenset({"planner.decision", "checkpoint.hit", "edit"})
MARK_EVERY = 2048
MARK_SHARE = 10
"""Events for each thing that a mark has to remember, at least."""
SETTLED_S = 0.3
"""A message that lies longer than this is waiting; before, it is on its way."""
_MOVES = {"message.enqueued": 1, "message.dequeued": -1, "message.dropped": -1}
"""What an event does to the number of messages on an edge."""


def failed(span: Span) -> bool:
    """True when it ended, and not well."""
    return span.status not in {"ok", "running", "paused"}


def seconds(span: Span, now_ns: int) -> float:
    """How long a span took, or has taken so far."""
    return max((now_ns if span.end_ns is None else span.end_ns) - span.start_ns, 0) / NS


def error_line(span: Span) -> str:
    """What went wrong, in one line."""
    error = span.error or {}
    kind = error.get("type") or error.get("exception_type") or error.get("code")
    message = error.get("message")
    return f"{kind}: {message}" if kind and message else str(kind or message or "")


class Landmarks:
    """Indexes of events that are worth a jump, in order."""

    def __init__(self) -> None:
        self.errors = array("L")
        """Where something failed."""
        self.stops = array("L")
        """Checkpoints, decisions and edits."""
        self.nodes = array("L")
        """Where nodes and steps begin."""
        self.retries: list[tuple[str, str]] = []
        """Ids of the span that tried again, and of the attempt that had failed, if it has attempts."""


class TraceModel:
    """Events of one trace, in order, each once.

    For the tree, `began` collects new spans, and `reshaped` nodes whose attempts are now shown in another way.
    """

    def __init__(self, trace_id: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        # Imported with the first trace: what it needs of pydantic would delay the first paint.
        from penguiflow.recording.events import TraceEvent
        from penguiflow.recording.spans import SpanTree

        self._event_type, self._tree_type = TraceEvent, SpanTree
        self._clock = clock
        self.trace_id = trace_id
        self.live = False
        """True for a run that we see happen; its views begin at their end."""
        self.loading = False
        """True while it is read from the store: what has no end yet may have one further on."""
        self.expected = 0
        """How many events it has while it is read page by page, where that is known."""
        self.revision = 0
        self._reset()

    def _reset(self) -> None:
        self.tree = self._tree_type()
        self.flow: str | None = None
        self.target: str | None = None
        self.version: str | None = None
        self.session: str | None = None
        self.origin: Origin | None = None
        self.status = "running"
        self.error: dict[str, Any] | None = None
        self.started: float | None = None
        self.events = EventLog()
        self.taken = 0
        """How many of the events are in the spans and all else; the others are still to be read."""
        self.last_seq = -1
        self.missed = 0
        """Events that were left out on the way here: stream chunks that came faster than they can be shown."""
        self.epoch = 0
        self.retry_after: dict[str, float] = {}
        """Seconds between an attempt (by span id) and the one after it."""
        self.retried: dict[str, list[tuple[int, float]]] = {}
        """By span that tried again: when it had failed (nanoseconds since the beginning), and seconds it waited."""
        self.streams: dict[str, StreamText] = {}
        self.traffic = Traffic()
        self.retries = 0
        self.llm_calls = 0
        self.spent: dict[str, tuple[int, float]] = {}
        """Tokens and cost of each call of a model, by its span."""
        """That have ended."""
        self.workers: dict[str, None] = {}
        """Those who have taken a message of it."""
        self.joins: dict[str, int] = {}
        """Nodes that have kept messages, by name: how many they wait for."""
        self.holds: dict[str, int] = {}
        """How many they had then, by the span that took a message and kept it."""
        self.tokens = 0
        self.cost = 0.0
        """US dollars, of the calls whose price is known."""
        self.bad = 0
        self.began: list[Span] = []
        self.reshaped: dict[str, Span] = {}
        self.open_spans: dict[str, None] = {}
        """Ids of those that have not ended."""
        self.marks: list[Mark] = []
        """How it stood, every few thousand events: see `playground.dashboard.moments`."""
        self._next_mark = MARK_EVERY
        self.landmarks = Landmarks()
        self._queued: dict[str, int] = {}
        """Messages on their way, by the node that they are for."""
        self._nodes_open = 0
        self._last_offset = 0
        self._last_seen = self._clock()

    @property
    def spans(self) -> dict[str, Span]:
        """All spans by id, in order of their start."""
        return self.tree.spans

    @property
    def root(self) -> Span | None:
        """The trace's own span."""
        return self.tree.roots[0] if self.tree.roots else None

    @property
    def whole(self) -> TraceModel | None:
        """What this is a moment of; None for a trace as it is."""
        return None

    def own_spans(self) -> set[str] | None:
        """Of a moment: ids of the spans that it does not share with the whole trace; None when it shares none."""
        return None

    def parent(self, span: Span) -> Span | None:
        """The span around a span."""
        return None if span.parent_id is None else self.tree.spans.get(span.parent_id)

    @property
    def over(self) -> bool:
        """True when the trace has ended."""
        return self.status != "running"

    @property
    def several(self) -> bool:
        """Whether several processes write it: then a message may be taken before it is told that it was sent."""
        return self.root is not None and self.root.worker_id is not None

    @property
    def queued(self) -> dict[str, int]:
        """Messages that lie before a node, by its name."""
        return {name: count for name, count in self._queued.items() if count > 0}

    def now_ns(self) -> int:
        """Offset of this moment: the last event's once the trace is over."""
        if self.over or self.loading:
            return self._last_offset
        return self._last_offset + int((self._clock() - self._last_seen) * NS)

    def seconds(self) -> float:
        """How long the trace took, or has taken so far."""
        return self.now_ns() / NS

    def add(self, raw: bytes, head: Head | None = None) -> bool:
        """Take one event; False when it was here already. Bytes that are no event are counted and left out."""
        try:
            head = head or read_head(raw)
            if head.epoch > self.epoch and head.seq <= self.last_seq:
                self._rewind(head.seq)
            if head.seq <= self.last_seq:
                return False
            wanted = head.kind in _DECODED or head.kind.endswith((".start", ".end"))
            wanted = wanted or (head.kind == "context.changed" and b'"hold":"' in raw)
            data = peek_data(raw) if wanted else {}
        except BadEvent:
            self.bad += 1
            self.revision += 1
            return False
        self.events.append(raw)
        if self.last_seq >= 0:
            self.missed += head.seq - self.last_seq - 1
        self.last_seq = head.seq
        self.epoch = max(self.epoch, head.epoch)
        self.revision += 1
        if head.offset_ns >= self._last_offset:
            self._last_offset, self._last_seen = head.offset_ns, self._clock()
        self.taken += 1
        self._apply(head, data)
        if self.taken >= self._next_mark:
            self._mark()
        return True

    @property
    def percent(self) -> int:
        """How much of the stored events was read."""
        return min(100 * self.taken // max(len(self.events), self.expected, 1), 100)

    def take_stored(self, number: int) -> None:
        """Take the events of a piece of the log that was opened, the first of those that were not taken."""
        # With the first trace, as above.
        from playground.dashboard.intake import take

        stored = self.events.stored
        assert stored is not None
        columns = stored.columns(number)
        self.events.note_heads(number, columns)
        take(self, stored.first_seqs[number], columns)

    def _taken_until(self, count: int, last_seq: int, epoch: int, offset_ns: int) -> None:
        """Events were taken together: so many are now, and the last had this `seq`."""
        self.revision += count - self.taken
        self.taken, self.last_seq, self.epoch = count, last_seq, max(self.epoch, epoch)
        self._last_offset, self._last_seen = offset_ns, self._clock()
        if count >= self._next_mark:
            self._mark()

    def _mark(self) -> None:
        from playground.dashboard.moments import mark_of

        mark = mark_of(self)
        self.marks.append(mark)
        # However much there is to remember, it stays small beside the events.
        self._next_mark = self.taken + max(MARK_EVERY, MARK_SHARE * mark.weight)

    def _apply(self, head: Head, data: dict[str, Any]) -> None:
        kind = head.kind
        if kind in _MOVES:
            self._move(head.name, _MOVES[kind])
        elif kind == "stream.chunk":
            self._chunk(head.name, head.offset_ns, data)
        elif kind == "node.retry":
            self._retry(head, data)
        elif kind == "context.changed":
            self._held(head, data.get("hold"))
        elif kind in STOPS:
            self.landmarks.stops.append(self.taken - 1)
        elif kind.endswith((".start", ".end")):
            span = self.tree.add(self._event_type(*head, data))
            if span is None:
                return
            self._note(kind, span)
            if kind.endswith(".start"):
                self.traffic.began(span, data, self.parent)
                self._began(span)
                if span.kind == "node" and span.worker_id is not None:
                    self.workers[span.worker_id] = None
            else:
                self.traffic.ended(span, self.parent)
                if span.kind == "llm":
                    self._called(span, data)
                self._reshape(span)
            if span.kind == "node":
                self._nodes_open += 1 if kind == "node.start" else -1
            if span.kind == "trace":
                self._own_span(head, data, span)

    def _called(self, span: Span, data: dict[str, Any]) -> None:
        from penguiflow.recording.facts import span_usage

        tokens, cost = span_usage(data)
        self.llm_calls += 1
        self.tokens += tokens
        self.cost += cost
        self.spent[span.span_id] = (tokens, cost)

    def _held(self, head: Head, hold: object) -> None:
        """A node keeps the message that a span took, and says what it waits for."""
        from playground.dashboard.workers import counted

        if isinstance(hold, str) and (count := counted(hold)) is not None:
            self.holds[head.span_id], self.joins[head.name] = count

    def _note(self, kind: str, span: Span) -> None:
        if kind.endswith(".start"):
            self.open_spans[span.span_id] = None
            if span.kind in {"node", "step"}:
                self.landmarks.nodes.append(self.taken - 1)
            return
        self.open_spans.pop(span.span_id, None)
        if failed(span):
            self.landmarks.errors.append(self.taken - 1)

    def _move(self, edge: str, moved: int) -> None:
        """So many messages were put on an edge; less than none: taken from it."""
        self.traffic.move(edge, moved)
        node = edge.rpartition("->")[2]
        self._left(node, self._queued.get(node, 0) + moved)

    def _left(self, node: str, count: int) -> None:
        """So many messages lie before a node."""
        if count > 0 or (count < 0 and self.several):
            self._queued[node] = count
        else:
            self._queued.pop(node, None)

    def waiting_for(self) -> str:
        """The node that the whole run waits for: its messages lie there and nothing runs. Empty when it goes on."""
        if self.over or self.loading or self._nodes_open > 0 or self._clock() - self._last_seen < SETTLED_S:
            return ""
        return next((node for node in self.queued if node != "Rookery"), "")

    def _began(self, span: Span) -> None:
        parent = self.parent(span)
        if span.kind != "attempt" or parent is None:
            self.began.append(span)
        elif len(parent.children) > 1:
            self.reshaped[parent.span_id] = parent

    def _reshape(self, span: Span) -> None:
        parent = self.parent(span)
        if span.kind == "attempt" and failed(span) and parent is not None:
            self.reshaped[parent.span_id] = parent

    def _own_span(self, head: Head, data: dict[str, Any], span: Span) -> None:
        self.status = span.status
        self.error = span.error
        self.version = data.get("version") or self.version
        if head.kind == "trace.start":
            self.flow = data.get("flow") or head.name
            self.target = data.get("target") or self.target
            self.session = data.get("session") or self.session
            self.origin = origin_of(data.get("origin"), data.get("mode")) or self.origin
            if self.started is None:
                self.started = head.ts - head.offset_ns / NS

    def _retry(self, head: Head, data: dict[str, Any]) -> None:
        self.retries += 1
        span, sleep = self.spans.get(head.span_id), data.get("sleep_s")
        waited = float(sleep) if isinstance(sleep, int | float) else 0.0
        self.traffic.retried(span, self.parent)
        self.retried.setdefault(head.span_id, []).append((head.offset_ns, waited))
        attempt = span.children[-1].span_id if span is not None and span.children else ""
        if attempt:
            self.retry_after[attempt] = waited
        self.landmarks.retries.append((head.span_id, attempt))

    def _chunk(self, name: str, at_ns: int, data: dict[str, Any]) -> None:
        stream_id = str(data.get("stream_id", name))
        stream = self.streams.get(stream_id)
        if stream is None:
            if len(self.streams) >= MAX_STREAMS and not self._give_up_stream():
                return
            stream = self.streams[stream_id] = StreamText(stream_id)
        stream.about(data.get("meta"))
        sequence = data.get("chunk_seq")
        stream.add(
            str(data.get("text", "")),
            sequence=sequence if isinstance(sequence, int) else None,
            done=bool(data.get("done")),
            at_ns=at_ns,
        )

    def _give_up_stream(self) -> bool:
        """Make room for a new stream: the oldest one that is over goes, one that was not used first."""
        over = [stream for stream in self.streams.values() if stream.done]
        gone = next((stream for stream in over if stream.superseded), over[0] if over else None)
        if gone is not None:
            del self.streams[gone.stream_id]
        return gone is not None

    def _rewind(self, seq: int) -> None:
        """An interrupted trace was taken up again: what was never committed did not happen."""
        log, count = self.events, self.position(seq)
        self._reset()
        if log.stored is not None:
            self.events = log.stored_before(count)
            for number in range(len(self.events.stored or ())):
                self.take_stored(number)
        for raw in log[self.taken : count]:
            self.add(raw)

    def interrupt(self) -> None:
        """The host died: close what is open until the store says more."""
        if self.over:
            return
        for span in self.spans.values():
            if span.status == "running":
                span.status = "interrupted"
                span.end_ns = self._last_offset
                self._reshape(span)
        self.traffic.interrupt()
        self.status = "interrupted"
        self.revision += 1

    # -- looking things up ----------------------------------------------------------------------------------------

    def position(self, seq: int) -> int:
        """Index of the first event with at least this `seq`."""
        guess = seq
        if 0 <= guess < len(self.events) and seq_of(self.events[guess]) == seq:
            return guess
        return bisect_left(self.events, seq, key=seq_of)

    def events_of(self, span: Span, *, most: int | None = None) -> Iterator[tuple[int, bytes]]:
        """Events that belong to a span, with their indexes; looks at `most` events since it began."""
        needle = f'"{span.span_id}"'.encode()
        first = self.position(span.start_seq)
        last = len(self.events) if span.end_seq is None else self.position(span.end_seq) + 1
        for index in range(first, last if most is None else min(last, first + most)):
            raw = self.events[index]
            if raw.find(needle, 0, 400) >= 0 and read_head(raw).span_id == span.span_id:
                yield index, raw

    def find_message(self, message_id: str, *, before: int) -> tuple[Head, dict[str, Any]] | None:
        """The event that enqueued a message, and its data with the payload of `same_as` filled in; looks backwards."""
        needle = f'"{message_id}"'.encode()
        for index, raw in self.events.holding(needle, 0, min(before, len(self.events)), backwards=True):
            if b'"message.enqueued"' not in raw:
                continue
            head, data = read_head(raw), read_data(raw)
            if head.kind != "message.enqueued" or data.get("message_id") != message_id:
                continue
            same = data.get("same_as")
            if isinstance(same, str) and same != message_id:
                origin = self.find_message(same, before=index)
                if origin is not None:
                    data = {**origin[1], **data}
            return head, data
        return None
