"""The tree of a stored trace, built from columns: what nobody will look at is counted and not kept.

A trace of a million events has hundreds of thousands of spans, most of them alike. Of many siblings of one kind and
name the first are kept, with what is in them, and those that failed up to a number; of the others only how long they
took and how they ended. A recorded call is one event, and stands in the tree like a span.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from pydantic_core import from_json

from penguiflow.recording.events import TraceEvent
from penguiflow.recording.spans import Crowd, Span
from penguiflow.state.chunks import Chunk

__all__ = ["MAX_FAILED", "MAX_GOOD", "span_tree"]

MAX_GOOD = 12
"""Siblings of one kind and name that are kept, of those that ended well."""
MAX_FAILED = 20
_OK = b'{"status":"ok"'
_START, _END, _CALL = 1, 2, 3
_RECORD = "record"
_UNSEEN = frozenset({"ctx.now", "ctx.random", "planner.limit", "planner.constraints"})
"""Recorded calls that a reader of the tree has nothing from: clock and chance, and what a planner asks them for."""
_TOOK = re.compile(rb'"latency_ms":([0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?)(?:,"[a-z]+":(?:true|false))*\}\Z')
_TOLD = b'"latency_ms":'
_LONGEST_MS = 1e12

# A span while the events are read: a list costs a third of an object.
_PARENT, _KIND, _NAME, _OFFSET, _SEQ, _CHUNK, _INDEX, _CHILDREN, _CROWDS, _ENDED = range(10)
_Entry = list[Any]


def span_tree(chunks: Iterable[tuple[int, Chunk]], trace_id: str, *, fold: bool) -> list[Span]:
    """The roots: the trace's own span, one more for each time it was taken up again, and spans of unknown parents."""
    roles: dict[str, tuple[int, str]] = {}
    opened: dict[str, _Entry] = {}
    roots: list[_Entry] = []
    for first_seq, chunk in chunks:
        seq = first_seq - 1
        for kind, span_id, parent_id, offset, name, data in zip(
            chunk.kinds, chunk.spans, chunk.parents, chunk.offsets, chunk.names, chunk.data, strict=True
        ):
            seq += 1
            role, base = roles.get(kind) or _role(kind, roles)
            if not role:
                continue
            if role == _CALL:
                around = opened.get(span_id) or (roots[-1] if roots else None)
                if around is not None and name not in _UNSEEN:
                    _call(around, name, [offset, seq, chunk, seq - first_seq], data, fold=fold)
                continue
            if role == _START:
                parent = opened.get(parent_id)
                if parent is None and fold and roots and parent_id is not None:
                    parent = roots[-1]  # the span around it has ended, and may have been counted only
                entry = [parent, base, name, offset, seq, chunk, seq - first_seq, None, None, None]
                opened[span_id] = entry
                if parent is None:
                    roots.append(entry)
                continue
            ended = opened.get(span_id)
            if ended is None or ended[_KIND] != base or ended[_ENDED] is not None:
                continue
            parent = ended[_PARENT]
            if parent is None:
                # Its children may come later still, as when a trace was taken up again.
                ended[_ENDED] = (offset, seq, data)
                continue
            if fold:
                del opened[span_id]
            # It needs its parent no longer: without the circle, what is not kept is freed at once.
            ended[_PARENT] = None
            _take_in(parent, ended, (offset, seq, data), fold=fold)
    for entry in opened.values():
        parent = entry[_PARENT]
        if parent is not None and entry[_ENDED] is None:
            parent[_CHILDREN] = [*(parent[_CHILDREN] or ()), entry]
    return [_span(root, trace_id) for root in roots]


def _role(kind: str, roles: dict[str, tuple[int, str]]) -> tuple[int, str]:
    base, _, last = kind.rpartition(".")
    role = roles[kind] = (_CALL, kind) if kind == _RECORD else ({"start": _START, "end": _END}.get(last, 0), base)
    return role


def _call(around: _Entry, name: str, place: list[Any], data: bytes, *, fold: bool) -> None:
    """Keep or count a recorded call; `place` is what an entry has from its offset to its index."""
    ended, seq = place[:2]
    found = _TOOK.match(data, max(0, data.rfind(_TOLD)))
    told = float(found[1]) if found is not None else from_json(data).get("latency_ms")
    took = int(min(told, _LONGEST_MS) * 1e6) if isinstance(told, int | float) else 0
    # Answered from a recording it tells how long it took then.
    began = max(around[_OFFSET], ended - took)
    crowd = around[_CROWDS].get((name, _RECORD)) if around[_CROWDS] is not None else None
    if crowd is not None and crowd[2] is not None and crowd[1] >= MAX_GOOD and _seems_well(data):
        crowd[2].add(seq, ended - began, "ok")
        return
    place[0] = began
    _take_in(around, [None, _RECORD, name, *place, None, None, None], (ended, seq, data), fold=fold)


def _take_in(parent: _Entry, ended: _Entry, end: tuple[int, int, bytes], *, fold: bool) -> None:
    """Keep or count what ended within `parent`."""
    siblings = parent[_CHILDREN]
    if siblings is None:
        parent[_CHILDREN] = [ended]
    elif fold and len(siblings) >= MAX_GOOD and _is_folded(parent, ended, end[0], end[2]):
        return
    else:
        siblings.append(ended)
    ended[_ENDED] = end


def _status(kind: str, data: bytes) -> str:
    """How something ended; nearly all ended well, which is seen without decoding anything."""
    if kind != _RECORD:
        return "ok" if data.startswith(_OK) else str(from_json(data).get("status", "ok"))
    if _seems_well(data):
        return "ok"
    told = from_json(data)
    return "cancelled" if told.get("cancelled") is True else "error" if told.get("error") is not None else "ok"


def _seems_well(data: bytes) -> bool:
    """False of a recorded call that may have ended otherwise than well."""
    return b'"error":' not in data and b'"cancelled":true' not in data


def _is_folded(parent: _Entry, ended: _Entry, offset: int, data: bytes) -> bool:
    """Count a span that ended; whether that is all there is to do about it."""
    crowds = parent[_CROWDS]
    if crowds is None:
        crowds = parent[_CROWDS] = {}
        for sibling in parent[_CHILDREN]:
            counts = crowds.setdefault((sibling[_NAME], sibling[_KIND]), [0, 0, None])
            counts[_status(sibling[_KIND], sibling[_ENDED][2]) == "ok"] += 1
    key = (ended[_NAME], ended[_KIND])
    crowd = crowds.get(key)
    if crowd is None:
        crowd = crowds[key] = [0, 0, None]
    status = _status(ended[_KIND], data)
    good = status == "ok"
    if crowd[good] < (MAX_GOOD if good else MAX_FAILED):
        crowd[good] += 1
        return False
    folded: Crowd | None = crowd[2]
    if folded is None:
        folded = crowd[2] = Crowd(ended[_KIND], ended[_NAME])
    folded.add(ended[_SEQ], offset - ended[_OFFSET], status)
    return True


def _span(root: _Entry, trace_id: str) -> Span:
    """The entry and all below it as spans; without recursion: the depth of a trace is the user's."""
    made = _alone(root, trace_id)
    stack = [(root, made)]
    while stack:
        entry, span = stack.pop()
        if entry[_CROWDS]:
            span.crowds = [crowd for *_, crowd in entry[_CROWDS].values() if crowd is not None]
        for child in sorted(entry[_CHILDREN] or (), key=_seq_of):
            below = _alone(child, trace_id)
            span.adopt(below)
            stack.append((child, below))
    return made


def _alone(entry: _Entry, trace_id: str) -> Span:
    chunk: Chunk = entry[_CHUNK]
    index = entry[_INDEX]
    record = chunk.record(index, entry[_SEQ] - index, trace_id)
    event = record.decode()
    if entry[_KIND] == _RECORD:
        status = _status(_RECORD, record.data)
        span = Span(event._replace(span_id=f"{event.span_id}:{event.seq}", parent_id=event.span_id))
        span.start_ns = entry[_OFFSET]
        span.finish(event._replace(data={"status": status, "error": event.data.get("error")}))
        return span
    span = Span(event)
    if entry[_ENDED] is not None:
        offset, seq, data = entry[_ENDED]
        span.finish(TraceEvent(*record[:9], from_json(data))._replace(seq=seq, offset_ns=offset))
    return span


def _seq_of(entry: _Entry) -> int:
    return int(entry[_SEQ])
