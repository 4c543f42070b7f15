"""Take `events` and `stream` frames apart without decoding what is in them."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import pydantic_core

from playground.host.outbox import SEPARATOR

BATCH = re.compile(rb'\{"type":"(events|stream)","events":\[(\n?)')
"""How a batch begins; the line break says that it can be taken apart by lines."""
TAIL = re.compile(rb'\](?:,"dropped":(\d+))?\}\Z')
PAGE = re.compile(rb'\{"reply_to":(\d+),"type":"page","trace_id":"(?:[^"\\]|\\.)*","events":\[\n')
"""How the answer to `load` begins."""
PAGE_TAIL = re.compile(rb'\],"more":(true|false)\}\Z')
HEAD = re.compile(rb'\{"seq":(\d+),"epoch":\d+,"trace_id":"((?:[^"\\]|\\.)*)"')
"""How an event begins."""


def split_batch(data: bytes) -> tuple[list[bytes], int] | None:
    """The events of a frame as JSON, and how many were dropped before them; None for frames of other types."""
    head = BATCH.match(data)
    if head is None:
        return None
    tail = TAIL.search(data, max(0, len(data) - 40))
    if tail is not None and head[2]:
        events = data[head.end() : tail.start()].split(SEPARATOR) if tail.start() > head.end() else []
        if all(HEAD.match(event) and event.endswith(b"}") for event in events):
            return events, int(tail[1] or 0)
    frame: dict[str, Any] = pydantic_core.from_json(data)
    return [pydantic_core.to_json(event) for event in frame["events"]], frame.get("dropped", 0)


class PageBytes(NamedTuple):
    """A `playground.protocol.Page` whose events are JSON."""

    reply_to: int
    events: list[bytes]
    more: bool


def split_page(data: bytes) -> PageBytes | None:
    """The events of a page that is an answer; None for other frames, and for one that is written otherwise."""
    head = PAGE.match(data)
    tail = PAGE_TAIL.search(data, max(0, len(data) - 40)) if head is not None else None
    if head is None or tail is None:
        return None
    events = data[head.end() : tail.start()].split(SEPARATOR) if tail.start() > head.end() else []
    if not all(HEAD.match(event) and event.endswith(b"}") for event in events):
        return None
    return PageBytes(int(head[1]), events, tail[1] == b"true")


def read_head(event: bytes) -> tuple[str, int] | None:
    """The trace and the `seq` of an event; None when it begins otherwise."""
    head = HEAD.match(event)
    if head is None:
        return None
    trace_id = head[2]
    if b"\\" in trace_id:
        return str(pydantic_core.from_json(b'"' + trace_id + b'"')), int(head[1])
    return trace_id.decode(), int(head[1])


def is_chunk(event: bytes) -> bool:
    """As `playground.host.clients.is_chunk`, for an event that is JSON."""
    head = event[:600]
    if b'"kind":"stream.chunk"' in head:
        return True
    return b'"kind":"message.enqueued"' in head and b'"chunk_seq":' in event and b'"payload":' not in event
