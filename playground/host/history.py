"""What the store has, for clients that cannot open it: lists of runs, and events in pages."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from penguiflow.state.errors import StoreError
from penguiflow.state.traces import TraceQuery
from playground.host.clients import Client, Hub
from playground.host.outbox import FRAME, SEPARATOR
from playground.protocol import (
    MAX_PAGE_BYTES,
    MAX_PAGE_EVENTS,
    BaseFrame,
    Error,
    LoadEvents,
    Numbers,
    Page,
    Traces,
    encode,
)

MAX_TRACES = 1000
"""Runs in one answer."""
NO_EVENTS = b'"events":[],"more":false}'
"""How a page ends that has none."""
MAX_READING = 16
"""Requests of one client that are read at once."""


Answered = BaseFrame | bytes
"""An answer, or one that is JSON already."""


def answer(hub: Hub, client: Client, request: Traces | Numbers | LoadEvents) -> None:
    """Read, and answer when it is read and the client has taken what it had been sent before."""
    if len(client.tasks) >= MAX_READING:
        client.reply(request, Error(code="busy", message=f"{MAX_READING} requests are being read for this client"))
        return
    task = asyncio.get_running_loop().create_task(_answer(client, request, _reading(hub, request)))
    client.tasks.add(task)
    task.add_done_callback(client.tasks.discard)


def _reading(hub: Hub, request: Traces | Numbers | LoadEvents) -> Coroutine[Any, Any, Answered]:
    match request:
        case Traces():
            return _find(hub, request)
        case Numbers():
            return _count(hub, request)
        case LoadEvents():
            return _load(hub, request)


async def _answer(client: Client, request: BaseFrame, reading: Coroutine[Any, Any, Answered]) -> None:
    frame: Answered
    try:
        frame = await reading
    except StoreError as error:
        frame = Error(code="store", message=str(error))
    except ValueError as error:
        frame = Error(code="invalid_input", message=str(error))
    await client.wait_room()
    if isinstance(frame, BaseFrame):
        client.reply(request, frame)
    elif request.id is not None:
        client.put(FRAME, frame)


async def _find(hub: Hub, request: Traces) -> Traces:
    query = request.query or TraceQuery()
    if hub.find is None:
        return Traces()
    return Traces(traces=await hub.find(query.model_copy(update={"limit": max(0, min(query.limit, MAX_TRACES))})))


async def _count(hub: Hub, request: Numbers) -> Numbers:
    return Numbers() if hub.count is None else Numbers(flows=await hub.count(request.query or {}))


async def _load(hub: Hub, request: LoadEvents) -> bytes:
    """A `Page`. Events are JSON already, and stay as they are, one on each line."""
    limit = min(request.limit, MAX_PAGE_EVENTS)
    if hub.read is not None:
        found = await hub.read(request.trace_id, request.after, limit + 1)
    else:
        found = [event.data for event in hub.tail.after(request.trace_id, request.after)][: limit + 1]
    events: list[bytes] = []
    size = 0
    for data in found[:limit]:
        size += len(data)
        if events and size > MAX_PAGE_BYTES:
            break
        events.append(data)
    head = encode(Page(reply_to=request.id, trace_id=request.trace_id))
    more = b"true" if len(found) > len(events) else b"false"
    return head.removesuffix(NO_EVENTS) + b'"events":[\n' + SEPARATOR.join(events) + b'],"more":' + more + b"}"
