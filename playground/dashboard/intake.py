"""Events of a stored piece on their way into a trace: as `TraceModel.add` takes them, many at a time.

A long trace is made of few kinds of events. Those are taken from the columns as they are, without the lines that they
would be as JSON; all others go the way of events that arrive one by one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic_core import from_json

from penguiflow.recording.events import TraceEvent
from penguiflow.recording.spans import Span
from penguiflow.state.chunks import Chunk, Columns
from penguiflow.state.coalesce import CHUNK, Apart
from playground.dashboard.heads import Head

if TYPE_CHECKING:
    from playground.dashboard.trace import TraceModel

__all__ = ["part_of", "take"]

_MESSAGES = frozenset({"message.enqueued", "message.dequeued"})
_OK = b'{"status":"ok"'
_FIRST_ATTEMPT = b'{"attempt":0}'
_FIRST = {"attempt": 0}
_ENDS = {"node.end": "node", "attempt.end": "attempt"}


def part_of(chunk: Chunk, begin: int, end: int) -> Columns:
    """The events of a piece from `begin` to `end` (excluded)."""
    return Columns(Chunk._make(column[begin:end] for column in chunk), range(end - begin), ())


def take(trace: TraceModel, seq: int, columns: Columns) -> None:
    """Take events that follow each other; `seq` is that of the first."""
    index, offset = trace.taken, _take_columns(trace, seq, columns)
    for stream in columns.streams:
        if stream.kind == CHUNK:
            _take_stream(trace, stream)
        else:
            count = len(stream.offsets)
            trace._move(stream.name, count if stream.kind == "message.enqueued" else -count)
        offset = max(offset, *stream.offsets)
    count = columns.events
    trace._taken_until(index + count, seq + count - 1, max(columns.chunk.epochs, default=0), offset)


def _take_columns(trace: TraceModel, first_seq: int, columns: Columns) -> int:
    """Take what is in columns; the latest offset. Written out, for it is done a million times."""
    tree, traffic, began, landmarks = trace.tree, trace.traffic, trace.began, trace.landmarks.nodes
    open_spans, base, offset = trace.open_spans, trace.taken, trace._last_offset
    edges, works, queued = traffic.edges, traffic.nodes, trace._queued
    for place, epoch, span_id, parent_id, ts, at, kind, name, data in zip(columns.places, *columns.chunk, strict=True):
        if at > offset:
            offset = at
        seq = first_seq + place
        if kind in _MESSAGES and (edge := edges.get(name)) is not None:
            node = name.rpartition("->")[2]
            if kind == "message.enqueued":
                edge.sent += 1
                queued[node] = queued.get(node, 0) + 1
            else:
                edge.gone += 1
                trace._left(node, queued.get(node, 0) - 1)
        elif kind == "attempt.start" and data == _FIRST_ATTEMPT:
            span = tree.begin(Span(TraceEvent(seq, epoch, "", span_id, parent_id, ts, at, kind, name, _FIRST)))
            open_spans[span_id] = None
            trace._began(span)
        elif kind == "node.start":
            span = tree.begin(Span(TraceEvent(seq, epoch, "", span_id, parent_id, ts, at, kind, name, _read(data))))
            open_spans[span_id] = None
            landmarks.append(base + place)
            began.append(span)
            trace._nodes_open += 1
            if span.worker_id is not None:
                trace.workers[span.worker_id] = None
            work = works.get(name)
            if work is None:
                traffic.began(span, {}, trace.parent)
            else:
                work.open[span_id] = None
                work.last_id = span_id
        elif kind in _ENDS and data.startswith(_OK) and b'"error"' not in data and b'"paused"' not in data:
            ended = tree.touched(span_id, seq)
            if ended is not None and ended.kind == _ENDS[kind] and ended.end_seq is None:
                ended.status, ended.end_ns, ended.end_seq = "ok", at, seq
                open_spans.pop(span_id, None)
                if kind == "node.end":
                    trace._nodes_open -= 1
                    work = works.get(ended.name)
                    if work is not None and span_id in work.open:
                        del work.open[span_id]
                        work.ok += 1
        else:
            trace.taken, trace._last_offset = base + place + 1, offset
            trace._apply(Head(seq, epoch, trace.trace_id, span_id, parent_id, ts, at, kind, name), _read(data))
    return offset


def _take_stream(trace: TraceModel, stream: Apart) -> None:
    datas = _read_all(list(stream.datas))
    known = trace.streams.get(stream.name)
    if known is not None and datas and _is_run(stream.name, datas):
        texts, offsets = [data["text"] for data in datas], stream.offsets
        if known.add_run(texts, first=datas[0]["chunk_seq"], begun_ns=offsets[0], at_ns=offsets[-1]):
            return
    for data, at in zip(datas, stream.offsets, strict=True):
        trace._chunk(stream.name, at, data)


def _is_run(name: str, datas: list[dict[str, Any]]) -> bool:
    """Whether chunks have nothing but text, and follow each other."""
    first = datas[0].get("chunk_seq")
    return isinstance(first, int) and all(
        data.get("chunk_seq") == number
        and data.get("stream_id") == name
        and isinstance(data.get("text"), str)
        and not data.get("done")
        and not data.get("meta")
        for number, data in enumerate(datas, first)
    )


def _read_all(datas: list[bytes]) -> list[dict[str, Any]]:
    try:
        values = from_json(b"[%b]" % b",".join(datas))
    except ValueError:
        values = []
    if len(values) == len(datas) and all(isinstance(value, dict) for value in values):
        return list(values)
    return [_read(data) for data in datas]


def _read(data: bytes) -> dict[str, Any]:
    try:
        value = from_json(data)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
