"""Traces that begin and end within one commit and go the shortest way from node to node: what most are.

Those of one flow differ in their numbers, payloads and little else. What they have in common is their `Shape`, made of
one of them: a format for the piece (the same lines as those of hop_lines.py) and the row. The others fill it in.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, compress
from operator import is_
from typing import Any, NamedTuple

from pydantic_core import to_json

from penguiflow.recording.events import EventRecord
from penguiflow.recording.hops import SENT, Entry, Way
from penguiflow.recording.text import clean_text
from penguiflow.state.hop_lines import HOPS, MARKS
from penguiflow.state.rows import TraceRow, preview

__all__ = ["Whole", "take_whole"]

_NS = 1_000_000_000
_MAX_SHAPES = 256
_HOPS_ALONE = {tuple}
_MEMBERS = 10
"""Of a hop."""
_TIMES = b"%d,%d,%d"

_shapes: dict[Any, Shape] = {}
_seen_once: set[Any] = set()


class Whole(NamedTuple):
    """A trace, ready to be inserted."""

    trace_id: str
    last_seq: int
    data: bytes
    values: tuple[Any, ...]
    """Of the columns of its row, without id, trace id and size."""


class Shape:
    """What traces have in common that took the same way."""

    __slots__ = ("before", "behind", "between", "chosen", "events", "input_at", "output_at", "template")

    def __init__(self, entries: Sequence[Entry], same: Sequence[bool]) -> None:
        first: Any = entries[0]
        last: Any = entries[-1]
        hops = entries[1:-1]
        ways: list[Way] = [hop[2] for hop in hops]
        sent = [index for index, way in enumerate(ways) if way.kind == SENT and way.edge.startswith("OpenSea->")]
        out = [index for index, way in enumerate(ways) if way.sent_by is not None and way.sent_by.endswith("->Rookery")]
        self.input_at = sent[0] if sent else None
        self.output_at = out[-1] if out else None
        """Which of the hops have the payloads that lists show."""
        row = TraceRow(first[2], first, 0)
        row.begin(first, 0)
        row.finish(last)
        self.events = last[0] + 1
        row.events = self.events
        self.before = (row.flow, row.target, row.status)
        self.between = (row.version, row.session, row.epoch, row.events, row.error)
        self.behind = (row.llm_calls, row.tokens, row.cost, row.origin)
        """Columns before, between and behind those that differ."""
        self.template, self.chosen = _template(first, last, hops, ways, same)
        """The piece, and which of a hop's (microseconds, nanoseconds, how many it took, payload, envelope) it needs."""


def take_whole(trace_id: str, entries: Sequence[Entry], writer: int) -> Whole | None:
    """A new trace that these entries are all of, in order; None for any other."""
    first, last = entries[0], entries[-1]
    if type(first) is not EventRecord or type(last) is not EventRecord or first[0] or last[7] != "trace.end":
        return None
    hops = entries[1:-1]
    if set(map(type, hops)) != _HOPS_ALONE:
        return None
    members = list(zip(*hops, strict=False))
    if len(members) != _MEMBERS:
        return None  # one of them has only begun
    seqs, _, ways, roots, epochs, micros, offsets, took, payloads, envelopes = members
    same = (*map(is_, payloads, payloads[1:]), *map(is_, envelopes, envelopes[1:]))
    # Positions, epochs and spans are part of it: what is filled in cannot have gaps.
    place = (seqs, ways, roots, epochs, same)
    key = (first[1], first[3], first[7], first[8], first[9], last[0], last[1], last[3], last[8], last[9], place)
    shape = _shapes.get(key)
    if shape is None:
        shape = _shape(key, entries, same)
        if shape is None:
            return None
    begun, ended = micros[0], last[5]
    told = chain.from_iterable(zip([each - begun for each in micros], offsets, took, payloads, envelopes, strict=True))
    data = shape.template % (first[5], ended, first[6], last[6], begun, *compress(told, shape.chosen))
    shown = given = None
    if shape.input_at is not None:
        shown = preview(payloads[shape.input_at])
    if shape.output_at is not None:
        handed_on = shape.input_at is not None and payloads[shape.output_at] is payloads[shape.input_at]
        given = shown if handed_on else preview(payloads[shape.output_at])
    times = (first[5], ended, ended, last[6] / _NS)
    values = (*shape.before, *times, *shape.between, shown, given, *shape.behind, writer)
    return Whole(trace_id, shape.events - 1, data, values)


def _shape(key: Any, entries: Sequence[Entry], same: Sequence[bool]) -> Shape | None:
    """The shape of a trace, made when it is met for the second time; None for what is no whole trace."""
    if key not in _seen_once:
        if len(_seen_once) >= _MAX_SHAPES:
            _seen_once.clear()
        _seen_once.add(key)
        return None
    if not _is_whole(entries):
        return None
    if len(_shapes) >= _MAX_SHAPES:
        _shapes.clear()
    shape = _shapes[key] = Shape(entries, same)
    return shape


def _is_whole(entries: Sequence[Entry]) -> bool:
    """Whether all of them follow each other, from the beginning of a trace to its end, in one log."""
    first: Any = entries[0]
    last: Any = entries[-1]
    if first[7] != "trace.start" or first[1] or first[4] is not None or last[3] != first[3] or last[1]:
        return False
    seq = 1
    for hop in entries[1:-1]:
        if hop[2] is None or hop[0] != seq or hop[3] != first[3] or hop[4]:
            return False
        seq += hop[2].events
    return bool(last[0] == seq)


def _template(
    first: EventRecord, last: EventRecord, hops: Sequence[Entry], ways: Sequence[Way], same: Sequence[bool]
) -> tuple[bytes, tuple[bool, ...]]:
    """A format for the piece of such a trace, and what of each hop goes into it."""
    root, name = clean_text(first[3]), clean_text(first[8])
    order = "".join([".", *(MARKS[way.kind] for way in ways), "."])
    columns = b'[0,%b,[null,null],[%%r,%%r],[%%d,%%d],["trace.start","trace.end"],%b,[%b,0,0,%b,%%d,0,%b]]' % tuple(
        _literal(to_json(each)) for each in ((root, root), (name, clean_text(last[8])), HOPS, root, order)
    )
    lines = [columns, _literal(first[9]), _literal(last[9])]
    chosen: list[bool] = []
    edge: str | None = None
    message_id = ""
    for index, way in enumerate(ways):
        members = way.short if way.message_id == message_id and way.edge == edge else way.long
        told = way.sent_by is not None
        payload = told and (not index or not same[index - 1])
        envelope = told and (not index or not same[len(ways) - 2 + index])
        lines.append(
            b"%b%b\x1f%b\x1f%b" % (_literal(members), _TIMES, b"%b" if payload else b"=", b"%b" if envelope else b"=")
        )
        chosen += (True, True, True, payload, envelope)
        if way.sent_by is not None:
            edge, message_id = way.sent_by, way.sent_id
    return b"\n".join(lines), tuple(chosen)


def _literal(text: bytes) -> bytes:
    return text.replace(b"%", b"%%")
