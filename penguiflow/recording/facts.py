"""What of a trace can be compared: its events as units of facts, without times and ids.

A unit is one invocation of a node with everything in it; what belongs to none is the trace's own unit. Units are found
again in another trace by the id of the message that was worked on, facts within a unit by where they are: the span's
path, what it is about, and the how-manieth of them it is. A fact is kept as numbers alone, so that traces of any length
can be compared.

Of a trace and its fork only what came after the fork began is compared: what was over by then is left out of the one,
and what says how it stood out of the other.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from hashlib import blake2b
from typing import Any

from penguiflow.recording.events import TraceEvent
from penguiflow.recording.units import Aspect, Tally, Unit
from penguiflow.traceparent import KEY as TRACEPARENT

__all__ = ["ASPECTS_OF_KIND", "FactReader", "comparable", "span_usage"]


CALLS = frozenset({"llm", "tool", "remote"})
"""Kinds of spans that are calls: their start is a request, their end an answer."""
_NOISE = frozenset(
    {
        "attempt", "chunk_seq", "cost", "deadline_s", "duration_ms", "duration_s", "ended", "file", "latency_ms",
        "line", "message_id", "node_id", "ordinal", "replayed", "same_as", "sleep_s", "source", "started", "stream_id",
        "target", "waited", "task_id", "tokens", "traceback", "trace_id", "usage",
    }
)  # fmt: skip
"""Data that tells when, where and how long, and differs from run to run."""
_CLOCK_AND_CHANCE = frozenset({"ctx.now", "ctx.random"})
"""Recorded calls that always answer something else; what follows from it is compared."""
_DECISIONS = "planner."
_SENT = frozenset({"message.enqueued", "stream.chunk"})
_ENDINGS = frozenset({"deadline.exceeded", "budget.exhausted", "cancel.requested", "message.dropped"})
_ABSURD = 1e15
"""Nobody uses so many tokens."""

_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode

ASPECTS_OF_KIND: Mapping[str, tuple[Aspect, ...]] = {
    "message.enqueued": (Aspect.INPUT, Aspect.OUTPUT),
    "record": (Aspect.PROMPT, Aspect.OUTPUT),
}


def comparable(event: TraceEvent, aspect: Aspect) -> Any:
    """What an event says about an aspect, without what differs from run to run."""
    data, kind = event.data, event.kind
    if kind == "message.enqueued":
        return {key: _placeless(data[key]) for key in ("payload", "headers", "meta") if key in data}
    if kind == "record":
        if aspect == Aspect.PROMPT:
            return data.get("request")
        return {key: data[key] for key in ("response", "error") if data.get(key) is not None}
    if aspect == Aspect.STATUS:
        about = {"status": data.get("status"), "error": _error(data.get("error"))}
        about |= {key: data[key] for key in ("code", "reason") if key in data}
        return {key: value for key, value in about.items() if value is not None}
    if aspect == Aspect.OUTPUT:
        return {key: value for key, value in data.items() if key not in _NOISE and key not in ("status", "error")}
    found = {key: value for key, value in data.items() if key not in _NOISE}
    if kind == "remote.start" and isinstance(found.get("request"), Mapping):
        request = found["request"]
        if isinstance(request.get("value"), Mapping):
            asked = {key: _placeless(value) for key, value in request["value"].items()}
            found["request"] = {**request, "value": asked}
    return found


def _placeless(value: Any) -> Any:
    """Metadata without where in the asker's trace it was asked: another place each time."""
    if isinstance(value, Mapping) and TRACEPARENT in value:
        return {key: item for key, item in value.items() if key != TRACEPARENT}
    return value


def span_usage(data: Mapping[str, Any]) -> tuple[int, float]:
    """Tokens and cost (US dollars) that the end of a call tells; zeros where it does not."""
    usage = data.get("usage")
    told: Mapping[str, Any] = usage if isinstance(usage, Mapping) else data
    tokens = _number(told.get("total_tokens") or told.get("tokens"))
    if not tokens:
        tokens = _number(told.get("input_tokens")) + _number(told.get("output_tokens"))
    return int(tokens), float(_number(data.get("cost")) or _number(told.get("cost")))


class _Stream:
    """The text that one span sent by a stream."""

    __slots__ = ("late", "seq", "text")

    def __init__(self, seq: int) -> None:
        self.seq = seq
        """Of its first chunk."""
        self.text = blake2b(digest_size=8)
        self.late: set[int] = set()
        """Chunks of which the end comes with a later one: it may be the beginning of a secret."""

    def update(self, text: str) -> None:
        """Take more of the text."""
        self.text.update(text.encode("utf-8", "surrogatepass"))


class _Open:
    """A span that has not ended."""

    __slots__ = ("counts", "name", "offset", "path", "streams", "unit", "untold")

    def __init__(self, unit: Unit, path: int, offset: int, name: str = "") -> None:
        self.unit = unit
        self.name = name
        """Of a node."""
        self.path = path
        self.offset = offset
        self.counts: dict[Any, int] | None = None
        self.streams: dict[str, _Stream] | None = None
        self.untold: TraceEvent | None = None
        """Its last chunk, as long as it was not sent by any edge: then a fork sends it again."""

    def ordinal(self, what: Any) -> int:
        """How many of these there were before in this span."""
        counts = self.counts
        if counts is None:
            counts = self.counts = {}
        number = counts.get(what, 0)
        counts[what] = number + 1
        return number


class FactReader:
    """Takes the events of a trace in order and gives out its units as they end.

    Args:
        since: The event after which the trace was forked that it is compared with.
        forked: Whether it is compared with the trace that it was forked from.
    """

    def __init__(self, *, since: int | None = None, forked: bool = False) -> None:
        self.root = Unit(("", "", 0), 0, 0)
        """What belongs to no invocation."""
        self.events = 0
        """How many were taken in, of those that count."""
        self.tally = Tally()
        self.since_ns = 0
        """When the trace was forked, since its beginning."""
        self._since = since
        """None as soon as that is over."""
        self._forked = forked
        self._late: dict[tuple[str, str, int], _Stream] = {}
        """Streams that lack the end of a chunk, by sender, stream and number."""
        self._unfinished: dict[int, list[_Open]] = {}
        """Spans that have ended without it, by the ids of their units."""
        self.root.tally = None if since is None else Tally()
        self._own = _Open(self.root, 0, 0)
        self._open: dict[str, _Open] = {}
        self._seen: set[int] = set()
        self._again: Counter[tuple[str, str]] = Counter()
        self._positions: Counter[str] = Counter()
        self._interrupted: dict[tuple[str, str], _Open] = {}
        """Invocations that may begin again, when the trace is taken up, by node and message id."""
        self._handlers: dict[str, Callable[[TraceEvent, _Open], None]] = {
            "message.enqueued": self._message,
            "stream.chunk": self._chunk,
            "record": self._record,
            "edit": self._decision,
            # That a run was stopped is no difference; what was decided then is.
            "checkpoint.hit": _nothing,
            "checkpoint.resolved": self._resolved,
            "node.retry": self._retry,
        }

    def feed(self, event: TraceEvent) -> Unit | None:
        """Take one event; returns the unit that ends with it."""
        kind = event.kind
        early = self._since is not None and event.seq <= self._since
        if early:
            self.since_ns = event.offset_ns
        else:
            self.events += 1
            if self._since is not None:
                self._begin_to_count()
        if kind == "message.dequeued":
            return None
        if event.seq <= self.root.beginning and kind != "edit":
            return None
        if kind.endswith(".start"):
            self._start(event)
            return None
        if kind.endswith(".end"):
            ended = self._end(event)
            return None if early else ended
        span = self._open.get(event.span_id, self._own)
        if early and kind in _SENT:
            if "stream_id" in event.data and "of" not in event.data:
                span.untold = event if kind == "stream.chunk" else None
            return None
        handler = self._handlers.get(kind) or self._handler(kind)
        handler(event, span)
        return None

    def _begin_to_count(self) -> None:
        """The trace was forked here: what is under way happens in both, and what is over in this one alone."""
        self._since = None
        under_way = {id(span.unit): span.unit for span in (*self._open.values(), *self._interrupted.values())}
        for unit in under_way.values():
            if unit is not self.root and unit.tally is not None:
                self.tally.add(unit.tally)
            unit.tally = None
        self.root.tally = None
        self.root.keep_only(_TRACE_END)
        for span in (self._own, *self._open.values()):
            # What it took until then is no part of the comparison.
            span.offset = self.since_ns
            if span.unit is self.root:
                span.counts = None
            elif span.untold is not None:
                self._chunk(span.untold, span)
        marks = {hash(unit.key[:2]) for unit in under_way.values()}
        self._seen &= marks
        self._again.clear()

    def rest(self) -> Iterator[Unit]:
        """The units that never ended, the trace's own last."""
        if self._since is not None:
            self._begin_to_count()
        late = [span for spans in self._unfinished.values() for span in spans]
        left = [*self._open.values(), *self._interrupted.values(), *late]
        unended = {id(span.unit): span for span in left}
        for span in left:
            self._flush(span)
        yield from (span.unit for span in unended.values() if span.unit is not self.root)
        self._flush(self._own)
        yield self.root

    def _handler(self, kind: str) -> Callable[[TraceEvent, _Open], None]:
        if kind.startswith(_DECISIONS):
            found = self._decision
        elif kind in _ENDINGS:
            found = self._ending
        else:
            found = _nothing
        self._handlers[kind] = found
        return found

    def _start(self, event: TraceEvent) -> None:
        kind, name = event.kind[:-6], event.name
        if kind == "join":
            return  # follows from the messages; a trace that was taken up again has one for each time
        parent = self._open.get(event.parent_id or "")
        if event.parent_id is None:
            self._begin_trace(event)
            return
        if parent is None:
            parent = self._own
        if kind == "node" and parent.unit is self.root:
            node = self._begin_again(event) or _Open(self._unit(event), 0, event.offset_ns, name)
            (node.unit.tally or self.tally).spans[kind, name] += 1
            self._open[event.span_id] = node
            return
        (parent.unit.tally or self.tally).spans[kind, name] += 1
        ordinal = event.data.get("attempt") if kind == "attempt" else None
        if not isinstance(ordinal, int):
            ordinal = parent.ordinal((kind, name))
        path = hash((parent.path, kind, name, ordinal))
        span = _Open(parent.unit, path, event.offset_ns, name if kind == "node" else "")
        self._open[event.span_id] = span
        if kind in CALLS:
            self._fact(span, "start", 0, comparable(event, Aspect.PROMPT), event.seq, Aspect.PROMPT)

    def _begin_trace(self, event: TraceEvent) -> None:
        before = 0 if self._since is not None else self.tally.spans["trace", event.name]
        self.tally.spans["trace", event.name] = before + 1
        self._open[event.span_id] = _Open(self.root, 0, event.offset_ns)
        forked = event.data.get("forked")
        if self._forked and isinstance(forked, Mapping) and isinstance(count := forked.get("events"), int):
            self.root.beginning = event.seq + count
            self.events -= count

    def _begin_again(self, event: TraceEvent) -> _Open | None:
        """The invocation that this one is the second half of: what it had sent is not sent again."""
        earlier = self._interrupted.pop((event.name, str(event.data.get("message_id", ""))), None)
        if earlier is not None:
            earlier.offset = event.offset_ns
            earlier.counts = {key: sent for key, sent in (earlier.counts or {}).items() if "->" in key}
        return earlier

    def _unit(self, event: TraceEvent) -> Unit:
        name, message_id = event.name, str(event.data.get("message_id", ""))
        position = self._positions[name]
        self._positions[name] = position + 1
        mark = hash((name, message_id))
        again = 0
        if mark in self._seen:
            self._again[name, message_id] += 1
            again = self._again[name, message_id]
        self._seen.add(mark)
        unit = Unit((name, message_id, again), position, event.seq)
        unit.tally = None if self._since is None else Tally()
        return unit

    def _end(self, event: TraceEvent) -> Unit | None:
        span = self._open.pop(event.span_id, None)
        if span is None:
            return None
        kind = event.kind[:-4]
        if kind == "node" and event.data.get("status") == "interrupted" and span.path == 0:
            self._interrupted[span.unit.key[:2]] = span
            self._end_unit(event, span)
            return None
        if span.streams is not None:
            if any(stream.late for stream in span.streams.values()):
                self._unfinished.setdefault(id(span.unit), []).append(span)
            else:
                self._flush(span)
        if kind == "trace":
            # Only the last end counts: a trace that was taken up again has one for each time.
            self.root.add(_TRACE_END, _digest(comparable(event, Aspect.STATUS)), event.seq, Aspect.STATUS)
            return None
        if kind in CALLS:
            tokens, cost = span_usage(event.data)
            tally = span.unit.tally or self.tally
            tally.tokens += tokens
            tally.cost += cost
            self._fact(span, "answer", 0, comparable(event, Aspect.OUTPUT), event.seq, Aspect.OUTPUT)
        return self._end_unit(event, span)

    def _end_unit(self, event: TraceEvent, span: _Open) -> Unit | None:
        data = event.data
        # Nearly all end well and say no more.
        what = _OK if data.get("status") == "ok" and not data.get("error") else None
        if what is None:
            what = _digest(comparable(event, Aspect.STATUS))
        span.unit.add(hash((span.path, "end")), what, event.seq, Aspect.STATUS)
        if event.kind == "node.end":
            (span.unit.tally or self.tally).durations_ns[event.name] += event.offset_ns - span.offset
            if span.path == 0 and span.unit is not self.root and id(span.unit) not in self._unfinished:
                return span.unit
        return None

    def _message(self, event: TraceEvent, span: _Open) -> None:
        data = event.data
        if "stream_id" in data:
            return
        edge = event.name
        aspect = Aspect.INPUT if edge.startswith("OpenSea->") else Aspect.OUTPUT
        self._fact(span, edge, span.ordinal(edge), comparable(event, aspect), event.seq, aspect)

    def _chunk(self, event: TraceEvent, span: _Open) -> None:
        """Texts are compared as a whole: how they were cut into chunks is a matter of time."""
        data = event.data
        if "of" in data:
            return  # what a model or a tool says is compared with its call
        rest = data.get("rest") is True
        self.tally.chunks += not rest
        text, name = str(data.get("text")), str(data.get("stream_id"))
        sender = str(data.get("node") or "") if rest else span.name
        own = None if rest else self._stream(span, name, event.seq)
        carried, held = data.get("carried"), data.get("held")
        if not carried and not held and own is not None:
            own.update(text)
            return
        still = {number for number, _ in held["parts"]} if held else set()
        for number, length in carried or ():
            earlier = self._late.get((sender, name, number), own)
            if earlier is not None:
                earlier.update(text[:length])
                text = text[length:]
                if number not in still:
                    earlier.late.discard(number)
                    self._late.pop((sender, name, number), None)
        if text:
            # Of the rest that is what nobody is known to have sent: the trace was taken up again.
            (own or self._stream(span, name, event.seq)).update(text)
        if own is not None:
            for number in still:
                self._late.setdefault((sender, name, number), own).late.add(number)

    def _stream(self, span: _Open, name: str, seq: int) -> _Stream:
        if span.streams is None:
            span.streams = {}
        known = span.streams.get(name)
        if known is None:
            known = span.streams[name] = _Stream(seq)
        return known

    def _flush(self, span: _Open) -> None:
        for ordinal, stream in enumerate((span.streams or {}).values()):
            what = int.from_bytes(stream.text.digest(), "big", signed=True)
            span.unit.add(hash((span.path, "stream", ordinal)), what, stream.seq, Aspect.OUTPUT)
        span.streams = None

    def _record(self, event: TraceEvent, span: _Open) -> None:
        if event.name in _CLOCK_AND_CHANCE:
            return
        ordinal = span.ordinal(("record", event.name))
        for aspect in ASPECTS_OF_KIND["record"]:
            self._fact(span, f"{aspect}:{event.name}", ordinal, comparable(event, aspect), event.seq, aspect)

    def _decision(self, event: TraceEvent, span: _Open) -> None:
        what = comparable(event, Aspect.DECISION)
        # One edit of a call and another one of the decision to make it are two things.
        label = f"{event.kind} {event.data.get('checkpoint')}" if event.kind == "edit" else event.kind
        self._fact(span, label, span.ordinal(label), what, event.seq, Aspect.DECISION)

    def _resolved(self, event: TraceEvent, span: _Open) -> None:
        # Somebody who looked on, and changed nothing, makes no run another one.
        if event.data.get("decision") != "proceed":
            self._decision(event, span)

    def _ending(self, event: TraceEvent, span: _Open) -> None:
        what = comparable(event, Aspect.STATUS)
        self._fact(span, event.kind, span.ordinal(event.kind), what, event.seq, Aspect.STATUS)

    def _retry(self, event: TraceEvent, span: _Open) -> None:
        (span.unit.tally or self.tally).retries += 1

    def _fact(self, span: _Open, name: str, ordinal: int, what: Any, seq: int, aspect: Aspect) -> None:
        span.unit.add(hash((span.path, name, ordinal)), _digest(what), seq, aspect)


def _nothing(event: TraceEvent, span: _Open) -> None:
    """There is nothing to compare."""


def _digest(value: Any) -> int:
    """A number for a JSON value, the same whatever the order of its keys. (Numbers hash badly, texts well.)"""
    return hash(_encode(value))


_OK = _digest({"status": "ok"})
_TRACE_END = hash((0, "end"))


def _error(error: Any) -> Any:
    if not isinstance(error, Mapping):
        return error
    return {key: value for key, value in error.items() if key not in _NOISE and key != "metadata"}


def _number(value: Any) -> float:
    told = value if isinstance(value, int | float) and not isinstance(value, bool) else 0
    return told if abs(told) < _ABSURD else 0
