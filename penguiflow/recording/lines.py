"""An event as one line of JSON, put together from parts that are JSON already.

Stores and wires do this for every event, so it is a format string and two look-ups.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic_core import to_json

from penguiflow.recording.text import clean_text

if TYPE_CHECKING:
    from penguiflow.recording.events import EventRecord

__all__ = ["event_line", "json_text", "trace_field"]

_MAX_TEXTS = 4096
_LINE = b'{"seq":%d,"epoch":%d,%b"span_id":%b,"parent_id":%b,"ts":%d.%06d,"offset_ns":%d,"kind":%b,"name":%b,"data":%b}'

_texts: dict[str | None, bytes] = {}


def trace_field(trace_id: str) -> bytes:
    """The part of a line that names the trace."""
    return b'"trace_id":%b,' % to_json(clean_text(trace_id))


def event_line(record: EventRecord, trace: bytes = b"") -> bytes:
    """The event's JSON, without a line break; `trace` is `trace_field(…)`, or nothing to leave the trace out."""
    seq, epoch, _, span, parent, ts, offset_ns, kind, name, data = record
    # Two integers: writing a float out costs as much as all the rest.
    micros = int(ts * 1e6 + 0.5)
    return _LINE % (
        seq,
        epoch,
        trace,
        _texts.get(span) or _text(span),
        _texts.get(parent) or _text(parent),
        micros // 1_000_000,
        micros % 1_000_000,
        offset_ns,
        _texts.get(kind) or _text(kind),
        _texts.get(name) or _text(name),
        data,
    )


def json_text(value: str | None) -> bytes:
    """A text as JSON; kept, as those of lines are."""
    return _texts.get(value) or _text(value)


def _text(value: str | None) -> bytes:
    if len(_texts) >= _MAX_TEXTS:
        _texts.clear()
    encoded = _texts[value] = b"null" if value is None else to_json(clean_text(value))
    return encoded
