"""What the store has, for clients that cannot open it: lists of runs, and events in pages."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pydantic_core

from penguiflow.state.errors import StoreError
from penguiflow.state.traces import TraceQuery
from playground.host.clients import Client, Hub
from playground.protocol import MAX_PAGE_BYTES, MAX_PAGE_EVENTS, BaseFrame, Error, LoadEvents, Numbers, Page, Traces

MAX_TRACES = 1000
"""Runs in one answer."""
MAX_READING = 16
"""Requests of one client that are read at once."""


def answer(hub: Hub, client: Client, request: Traces | Numbers | LoadEvents) -> None:
    """Read, and answer when it is read and the client has taken what it had been sent before."""
    if len(client.tasks) >= MAX_READING:
        client.reply(request, Error(code="busy", message=f"{MAX_READING} requests are being read for this client"))
        return
    task = asyncio.get_running_loop().create_task(_answer(client, request, _reading(hub, request)))
    client.tasks.add(task)
    task.add_done_callback(client.tasks.discard)


def _reading(hub: Hub, request: Traces | Numbers | LoadEvents) -> Coroutine[Any, Any, BaseFrame]:
    match request:
        case Traces():
            return _find(hub, request)
        case Numbers():
            return _count(hub, request)
        case LoadEvents():
            return _load(hub, request)


async def _answer(client: Client, request: BaseFrame, reading: Coroutine[Any, Any, BaseFrame]) -> None:
    try:
        frame = await reading
    except StoreError as error:
        frame = Error(code="store", message=str(error))
    except ValueError as error:
        frame = Error(code="invalid_input", message=str(error))
    await client.wait_room()
    client.reply(request, frame)


async def _find(hub: Hub, request: Traces) -> Traces:
    query = request.query or TraceQuery()
    if hub.find is None:
        return Traces()
    return Traces(traces=await hub.find(query.model_copy(update={"limit": max(0, min(query.limit, MAX_TRACES))})))


async def _count(hub: Hub, request: Numbers) -> Numbers:
    return Numbers() if hub.count is None else Numbers(flows=await hub.count(request.query or {}))


async def _load(hub: Hub, request: LoadEvents) -> Page:
    limit = min(request.limit, MAX_PAGE_EVENTS)
    if hub.read is not None:
        found = await hub.read(request.trace_id, request.after, limit + 1)
    else:
        found = [event.data for event in hub.tail.after(request.trace_id, request.after)][: limit + 1]
    events: list[dict[str, Any]] = []
    size = 0
    for data in found[:limit]:
        size += len(data)
        if events and size > MAX_PAGE_BYTES:
            break
        events.append(pydantic_core.from_json(data))
    return Page(trace_id=request.trace_id, events=events, more=len(found) > len(events))
