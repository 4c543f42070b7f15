"""The tree of a stored trace, built from columns: what nobody will look at is counted and not kept.

A trace of a million events has hundreds of thousands of spans, most of them alike. Of many siblings of one kind and
name the first are kept, with what is in them, and those that failed up to a number; of the others only how long they
took and how they ended.
"""

from __future__ import annotations

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
_START, _END = 1, 2

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
            siblings = parent[_CHILDREN]
            if siblings is None:
                parent[_CHILDREN] = [ended]
            elif fold and len(siblings) >= MAX_GOOD and _is_folded(parent, ended, offset, data):
                continue
            else:
                siblings.append(ended)
            ended[_ENDED] = (offset, seq, data)
    for entry in opened.values():
        parent = entry[_PARENT]
        if parent is not None and entry[_ENDED] is None:
            parent[_CHILDREN] = [*(parent[_CHILDREN] or ()), entry]
    return [_span(root, trace_id) for root in roots]


def _role(kind: str, roles: dict[str, tuple[int, str]]) -> tuple[int, str]:
    base, _, last = kind.rpartition(".")
    role = roles[kind] = ({"start": _START, "end": _END}.get(last, 0), base)
    return role


def _is_folded(parent: _Entry, ended: _Entry, offset: int, data: bytes) -> bool:
    """Count a span that ended; whether that is all there is to do about it."""
    crowds = parent[_CROWDS]
    if crowds is None:
        crowds = parent[_CROWDS] = {}
        for sibling in parent[_CHILDREN]:
            counts = crowds.setdefault((sibling[_NAME], sibling[_KIND]), [0, 0, None])
            counts[sibling[_ENDED][2].startswith(_OK)] += 1
    key = (ended[_NAME], ended[_KIND])
    crowd = crowds.get(key)
    if crowd is None:
        crowd = crowds[key] = [0, 0, None]
    good = data.startswith(_OK)
    if crowd[good] < (MAX_GOOD if good else MAX_FAILED):
        crowd[good] += 1
        return False
    folded: Crowd | None = crowd[2]
    if folded is None:
        folded = crowd[2] = Crowd(ended[_KIND], ended[_NAME])
    folded.add(ended[_SEQ], offset - ended[_OFFSET], "ok" if good else str(from_json(data).get("status", "ok")))
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
            span.children.append(below)
            stack.append((child, below))
    return made


def _alone(entry: _Entry, trace_id: str) -> Span:
    chunk: Chunk = entry[_CHUNK]
    index = entry[_INDEX]
    record = chunk.record(index, entry[_SEQ] - index, trace_id)
    span = Span(record.decode())
    if entry[_ENDED] is not None:
        offset, seq, data = entry[_ENDED]
        span.finish(TraceEvent(*record[:9], from_json(data))._replace(seq=seq, offset_ns=offset))
    return span


def _seq_of(entry: _Entry) -> int:
    return int(entry[_SEQ])
