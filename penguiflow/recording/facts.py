"""What of a trace can be compared: its events as units of facts, without times and ids.

A unit is one invocation of a node with everything in it; what belongs to none is the trace's own unit. Units are found
again in another trace by the id of the message that was worked on, facts within a unit by where they are: the span's
path, what it is about, and the how-manieth of them it is. A fact is kept as numbers alone, so that traces of any length
can be compared.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from enum import IntEnum
from hashlib import blake2b
from typing import Any

from penguiflow.recording.events import TraceEvent
from penguiflow.traceparent import KEY as TRACEPARENT

__all__ = ["ASPECTS_OF_KIND", "Aspect", "FactReader", "Unit", "comparable", "seq_and_aspect", "span_usage"]


class Aspect(IntEnum):
    """What a fact is about."""

    INPUT = 0
    """A message from outside."""
    PROMPT = 1
    """What a model, a tool, a remote agent or a recorded call was asked."""
    DECISION = 2
    """What a planner or an interceptor decided."""
    OUTPUT = 3
    """What was answered, sent or streamed."""
    STATUS = 4
    """How something ended."""
    INVOCATION = 5
    """That a node worked on a message at all."""


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
_DECISIONS = ("planner.", "checkpoint.")
_ENDINGS = frozenset({"deadline.exceeded", "budget.exhausted", "cancel.requested", "message.dropped"})
_ASPECTS = 8
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


class Unit:
    """The facts of one invocation, or of the trace itself."""

    __slots__ = ("facts", "key", "name", "places", "position", "start_seq")

    def __init__(self, key: tuple[str, str, int], position: int, start_seq: int) -> None:
        self.key = key
        """Node, message id, and how often it was worked on before."""
        self.name = key[0]
        self.position = position
        """Of the message among those of the node."""
        self.start_seq = start_seq
        self.facts = array("q")
        """Where and what, in turns."""
        self.places = array("q")
        """Of each fact: the event's `seq`, and the aspect."""

    def add(self, where: int, what: int, seq: int, aspect: Aspect) -> None:
        """Take one fact."""
        self.facts.append(where)
        self.facts.append(what)
        self.places.append(seq * _ASPECTS + aspect)

    def by_place(self) -> dict[int, tuple[int, int, Aspect]]:
        """What, `seq` and aspect of each fact, by where it is."""
        facts, places = self.facts, self.places
        return {facts[2 * index]: (facts[2 * index + 1], *seq_and_aspect(place)) for index, place in enumerate(places)}


def seq_and_aspect(place: int) -> tuple[int, Aspect]:
    """What one of `Unit.places` stands for."""
    return place // _ASPECTS, Aspect(place % _ASPECTS)


class _Open:
    """A span that has not ended."""

    __slots__ = ("counts", "offset", "path", "streams", "unit")

    def __init__(self, unit: Unit, path: int, offset: int) -> None:
        self.unit = unit
        self.path = path
        self.offset = offset
        self.counts: dict[Any, int] | None = None
        self.streams: dict[str, tuple[int, Any]] | None = None

    def ordinal(self, what: Any) -> int:
        """How many of these there were before in this span."""
        counts = self.counts
        if counts is None:
            counts = self.counts = {}
        number = counts.get(what, 0)
        counts[what] = number + 1
        return number


class FactReader:
    """Takes the events of a trace in order and gives out its units as they end."""

    def __init__(self) -> None:
        self.root = Unit(("", "", 0), 0, 0)
        """What belongs to no invocation."""
        self.events = 0
        self.spans: Counter[tuple[str, str]] = Counter()
        """How many there were, by kind and name."""
        self.durations_ns: defaultdict[str, int] = defaultdict(int)
        """Of all invocations of a node together."""
        self.chunks = 0
        self.retries = 0
        self.tokens = 0
        self.cost = 0.0
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
            "node.retry": self._retry,
        }

    def feed(self, event: TraceEvent) -> Unit | None:
        """Take one event; returns the unit that ends with it."""
        self.events += 1
        kind = event.kind
        if kind == "message.dequeued":
            return None
        if kind.endswith(".start"):
            self._start(event)
            return None
        if kind.endswith(".end"):
            return self._end(event)
        handler = self._handlers.get(kind) or self._handler(kind)
        handler(event, self._open.get(event.span_id, self._own))
        return None

    def rest(self) -> Iterator[Unit]:
        """The units that never ended, the trace's own last."""
        left = [*self._open.values(), *self._interrupted.values()]
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
        self.spans[kind, name] += 1
        parent = self._open.get(event.parent_id or "")
        if event.parent_id is None:
            self._open[event.span_id] = _Open(self.root, 0, event.offset_ns)
            return
        if parent is None:
            parent = self._own
        if kind == "node" and parent.unit is self.root:
            self._open[event.span_id] = self._begin_again(event) or _Open(self._unit(event), 0, event.offset_ns)
            return
        ordinal = event.data.get("attempt") if kind == "attempt" else None
        if not isinstance(ordinal, int):
            ordinal = parent.ordinal((kind, name))
        span = _Open(parent.unit, hash((parent.path, kind, name, ordinal)), event.offset_ns)
        self._open[event.span_id] = span
        if kind in CALLS:
            self._fact(span, "start", 0, comparable(event, Aspect.PROMPT), event.seq, Aspect.PROMPT)

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
        return Unit((name, message_id, again), position, event.seq)

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
            self._flush(span)
        if kind == "trace":
            # Only the last end counts: a trace that was taken up again has one for each time.
            self.root.add(hash((0, "end")), _digest(comparable(event, Aspect.STATUS)), event.seq, Aspect.STATUS)
            return None
        if kind in CALLS:
            tokens, cost = span_usage(event.data)
            self.tokens += tokens
            self.cost += cost
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
            self.durations_ns[event.name] += event.offset_ns - span.offset
            if span.path == 0 and span.unit is not self.root:
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
        self.chunks += 1
        data = event.data
        stream = str(data.get("stream_id"))
        if span.streams is None:
            span.streams = {}
        known = span.streams.get(stream)
        if known is None:
            known = span.streams[stream] = (event.seq, blake2b(digest_size=8))
        known[1].update(str(data.get("text")).encode("utf-8", "surrogatepass"))

    def _flush(self, span: _Open) -> None:
        for ordinal, (seq, text) in enumerate((span.streams or {}).values()):
            what = int.from_bytes(text.digest(), "big", signed=True)
            span.unit.add(hash((span.path, "stream", ordinal)), what, seq, Aspect.OUTPUT)
        span.streams = None

    def _record(self, event: TraceEvent, span: _Open) -> None:
        if event.name in _CLOCK_AND_CHANCE:
            return
        ordinal = span.ordinal(("record", event.name))
        for aspect in ASPECTS_OF_KIND["record"]:
            self._fact(span, f"{aspect}:{event.name}", ordinal, comparable(event, aspect), event.seq, aspect)

    def _decision(self, event: TraceEvent, span: _Open) -> None:
        what = comparable(event, Aspect.DECISION)
        self._fact(span, event.kind, span.ordinal(event.kind), what, event.seq, Aspect.DECISION)

    def _ending(self, event: TraceEvent, span: _Open) -> None:
        what = comparable(event, Aspect.STATUS)
        self._fact(span, event.kind, span.ordinal(event.kind), what, event.seq, Aspect.STATUS)

    def _retry(self, event: TraceEvent, span: _Open) -> None:
        self.retries += 1

    def _fact(self, span: _Open, name: str, ordinal: int, what: Any, seq: int, aspect: Aspect) -> None:
        span.unit.add(hash((span.path, name, ordinal)), _digest(what), seq, aspect)


def _nothing(event: TraceEvent, span: _Open) -> None:
    """There is nothing to compare."""


def _digest(value: Any) -> int:
    """A number for a JSON value, the same whatever the order of its keys. (Numbers hash badly, texts well.)"""
    return hash(_encode(value))


_OK = _digest({"status": "ok"})


def _error(error: Any) -> Any:
    if not isinstance(error, Mapping):
        return error
    return {key: value for key, value in error.items() if key not in _NOISE and key != "metadata"}


def _number(value: Any) -> float:
    told = value if isinstance(value, int | float) and not isinstance(value, bool) else 0
    return told if abs(told) < _ABSURD else 0
