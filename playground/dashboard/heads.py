"""Reading events that are kept as bytes, no further than is needed.

An event's `data` comes last in its JSON and may be huge; everything before it is small and decoded by itself.
"""

from __future__ import annotations

import json
import re
from sys import intern
from typing import Any, NamedTuple

_DATA = re.compile(rb'\s*,\s*"data"\s*:\s*')
_SEQ = re.compile(rb'\{\s*"seq"\s*:\s*(\d+)')
_LINE = re.compile(
    rb'\{"seq":(\d+),"epoch":(\d+),"trace_id":"([ !#-\[\]-~]*)","span_id":"([ !#-\[\]-~]*)",'
    rb'"parent_id":(?:null|"([ !#-\[\]-~]*)"),"ts":(\d+\.\d+),"offset_ns":(\d+),'
    rb'"kind":"([ !#-\[\]-~]*)","name":"([ !#-\[\]-~]*)","data":\{'
)
"""An event as this project writes it, with nothing in its head that JSON escapes."""


_BEFORE_DATA = b',"data":'
# A quote inside a JSON string is always escaped, so the first one that is found is the event's own key.
MAX_SHORT = 64
MAX_KNOWN = 4096
_short: dict[bytes, dict[str, Any]] = {}


class Head(NamedTuple):
    """An event without its data."""

    seq: int
    epoch: int
    trace_id: str
    span_id: str
    parent_id: str | None
    ts: float
    offset_ns: int
    kind: str
    name: str


class BadEvent(ValueError):
    """Bytes that are no event."""


def read_head(raw: bytes) -> Head:
    """The event's fields before `data`. Raises `BadEvent`."""
    plain = _LINE.match(raw)
    if plain is not None:
        seq, epoch, trace, span, parent, ts, offset, kind, name = plain.groups()
        # Spans, kinds and names come again and again: one text for all that are equal saves most of the memory.
        return Head(
            int(seq),
            int(epoch),
            intern(trace.decode()),
            intern(span.decode()),
            None if parent is None else intern(parent.decode()),
            float(ts),
            int(offset),
            intern(kind.decode()),
            intern(name.decode()),
        )
    cut = raw.find(b',"data":')
    if cut < 0:
        # A quote inside a JSON string is always escaped, so the first match is the event's own key.
        match = _DATA.search(raw)
        cut = match.start() if match else -1
    try:
        fields = json.loads(raw if cut < 0 else raw[:cut] + b"}")
        if "kind" not in fields:
            fields = json.loads(raw)
        return Head(
            int(fields["seq"]),
            int(fields.get("epoch", 0)),
            str(fields["trace_id"]),
            str(fields["span_id"]),
            None if fields.get("parent_id") is None else str(fields["parent_id"]),
            float(fields["ts"]),
            int(fields["offset_ns"]),
            str(fields["kind"]),
            str(fields["name"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadEvent(f"not an event: {error}") from None


def read_data(raw: bytes) -> dict[str, Any]:
    """The event's data. Raises `BadEvent`."""
    try:
        match = _DATA.search(raw)
        value = json.loads(raw[match.end() :].rstrip()[:-1]) if match else json.loads(raw)["data"]
    except (ValueError, KeyError, TypeError, RecursionError):
        # Another order of keys, or not JSON at all.
        try:
            value = json.loads(raw)["data"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise BadEvent(f"data of an event cannot be read: {error}") from None
    if not isinstance(value, dict):
        raise BadEvent("data of an event is no object")
    return value


def peek_data(raw: bytes) -> dict[str, Any]:
    """As `read_data`, for who does not change it: what is short and comes again is decoded once. Raises `BadEvent`."""
    start = raw.find(_BEFORE_DATA)
    if start < 0:
        return read_data(raw)
    data = raw[start + len(_BEFORE_DATA) : -1]
    if len(data) > MAX_SHORT:
        return _decode(data, raw)
    known = _short.get(data)
    if known is None:
        if len(_short) >= MAX_KNOWN:
            _short.clear()
        known = _short[data] = _decode(data, raw)
    return known


def _decode(data: bytes, raw: bytes) -> dict[str, Any]:
    from pydantic_core import from_json

    try:
        value = from_json(data)
    except ValueError:
        return read_data(raw)
    return value if isinstance(value, dict) else read_data(raw)


def seq_of(raw: bytes) -> int:
    """Only the event's `seq`. Raises `BadEvent`."""
    match = _SEQ.match(raw)
    return int(match.group(1)) if match else read_head(raw).seq
