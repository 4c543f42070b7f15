"""Events of a trace, one line each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from penguiflow.recording.events import TraceEvent
from playground.dashboard.text import clip, duration, one_line
from playground.render.failure import describe_error, short_path
from playground.render.paint import Paint, plain

__all__ = ["event_line", "event_summary"]

LONGEST = 400
"""Cells of a line that is not cut to a terminal; `--json` has the whole payload."""
_KIND_WIDTH = 18
_ENOUGH = 2000
"""Characters of a payload that can matter for one line."""
_LEVELS = {"WARNING": "warn", "ERROR": "error", "CRITICAL": "error"}


def event_line(event: TraceEvent, *, paint: Paint = plain, width: int | None = None) -> str:
    """`seq`, time since the start, kind, name, and what its data says."""
    head = f"{event.seq:>6}  {'+' + duration(event.offset_ns / 1e9):>9}  "
    kind = f"{event.kind:<{_KIND_WIDTH}}"
    rest = f"  {one_line(event.name)}  {event_summary(event)}".rstrip()
    rest = clip(rest, (width or LONGEST) - len(head) - len(kind))
    role = _role(event)
    return f"{paint('dim', head)}{paint(role, kind) if role else kind}{rest}".rstrip()


def _role(event: TraceEvent) -> str:
    if event.kind.endswith(".end"):
        status = str(event.data.get("status"))
        return status if status != "ok" else ""
    if event.kind in ("code.failed", "deadline.exceeded", "host.died"):
        return "error"
    if event.kind == "log":
        return _LEVELS.get(str(event.data.get("level")), "")
    return "warn" if event.kind in ("node.retry", "stall", "message.dropped", "cancel.requested") else ""


def event_summary(event: TraceEvent) -> str:
    """What an event's data says, in one line."""
    data = event.data
    if event.kind.endswith(".end"):
        error = describe_error(data.get("error"))
        return f"{data.get('status')}  {error}".rstrip()
    if event.kind == "message.enqueued":
        return _message(data)
    if event.kind == "stream.chunk":
        end = "  (end)" if data.get("done") else ""
        return f"#{data.get('chunk_seq')} {_compact(data.get('text'))}{end}"
    if event.kind == "node.retry":
        return f"attempt {_number(data.get('attempt'))} {describe_error(data.get('error'))}".rstrip()
    if event.kind == "attempt.start":
        return f"attempt {_number(data.get('attempt'))}"
    if event.kind == "log":
        error = describe_error(data.get("error"))
        return one_line(f"{data.get('level')} {str(data.get('text'))[:_ENOUGH]}  {error}".rstrip())
    if event.kind == "stall":
        place = f"{short_path(str(data.get('file')))}:{data.get('line')}"
        return one_line(f"{data.get('ms')} ms at {place} in {data.get('function')}")
    return _compact(data) if data else ""


def _message(data: Mapping[str, Any]) -> str:
    payload = data.get("payload")
    if isinstance(payload, Mapping):
        return f"{_type_name(payload.get('type'))} {_compact(payload.get('value'))}"
    if data.get("stream_id") is not None:
        return f"chunk #{data.get('chunk_seq')}"
    return f"same as {data['same_as']}" if data.get("same_as") else ""


def _type_name(value: Any) -> str:
    return one_line(str(value or "?").rpartition(":")[2])


def _number(value: Any) -> str:
    """Attempts count from 0 in events and from 1 for people."""
    return str(value + 1) if isinstance(value, int) else "?"


def _compact(value: Any) -> str:
    """The beginning of a value as JSON, without encoding all of a large one."""
    pieces: list[str] = []
    length = 0
    encoder = json.JSONEncoder(ensure_ascii=False, separators=(", ", ": "))
    for piece in encoder.iterencode(value):
        pieces.append(piece[: _ENOUGH - length])
        length += len(pieces[-1])
        if length >= _ENOUGH:
            break
    return one_line("".join(pieces))
