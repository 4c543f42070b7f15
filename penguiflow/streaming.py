"""Stream chunks on their way to people: server-sent events, WebSocket frames, and iterators over a flow's output."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import pydantic_core

from penguiflow.channels import UNCHANGED
from penguiflow.core import PenguiFlow
from penguiflow.pieces import PartChunk
from penguiflow.results import ResultQueue
from penguiflow.types import Message, StreamChunk

if TYPE_CHECKING:
    from penguiflow.context import Context
    from penguiflow.distributed.client import Client
    from penguiflow.node import Node
    from penguiflow.traces import Trace

    NodeTargets: TypeAlias = Node | Sequence[Node] | None

__all__ = ["chunk_to_ws_json", "emit_stream_events", "format_sse_event", "stream_flow"]

EventAdapter: TypeAlias = Callable[[Any], tuple[str, bool, dict[str, Any]]]
"""Makes the text, the `done` mark and the meta of a chunk from one event of a source."""

_LINE_END = re.compile(r"\r\n|\r|\n")


class FlowLike(Protocol):
    """What `stream_flow` needs of an object that is no `PenguiFlow`."""

    async def emit(self, msg: Any, /, *, to: Any = None) -> Any:
        """Send a message in."""
        ...

    async def fetch(self) -> Any:
        """The next result."""
        ...


class ChunkEmitter(Protocol):
    """What `emit_stream_events` needs of a context."""

    async def emit_chunk(self, *, parent: Any, text: str, done: bool, meta: dict[str, Any], to: Any) -> Any:
        """Send one piece of a stream."""
        ...


def format_sse_event(chunk: StreamChunk, *, event_name: str | None = None, retry_ms: int | None = None) -> str:
    """A chunk as a server-sent event, named `chunk` (the last one `done`) unless `event_name` says otherwise.

    The data of the event are the text and nothing else, one `data:` line for each of its lines (a client joins them
    with line feeds, whatever they ended with). The meta, if there is any, comes first as an event of its own: named
    `meta`, without an id, its data one line of JSON. Clients that do not listen to it never see it.

    The end of a planner's thoughts, of what a tool put out, or of an answer that was taken back, is a `chunk`, too.

    Raises `ValueError` for an event name of several lines and for a negative `retry_ms`.
    """
    name = event_name if event_name is not None else "done" if _ends(chunk) else "chunk"
    if _LINE_END.search(name):
        raise ValueError(f"event_name must be one line; got {name!r}")
    if retry_ms is not None and retry_ms < 0:
        raise ValueError(f"retry_ms must not be negative; got {retry_ms}")
    lines = ["event: meta", f"data: {_json(chunk.meta)}", ""] if chunk.meta else []
    lines += [f"event: {name}", f"id: {chunk.seq}"]
    lines += [f"data: {line}" for line in _LINE_END.split(chunk.text)]
    if retry_ms is not None:
        lines.append(f"retry: {retry_ms}")
    return "\n".join([*lines, "", ""])


def chunk_to_ws_json(chunk: StreamChunk, *, extra: dict[str, Any] | None = None) -> str:
    """A chunk as one JSON object, with the fields of `extra` on top."""
    fields = {
        "stream_id": chunk.stream_id,
        "seq": chunk.seq,
        "text": chunk.text,
        "done": chunk.done,
        "meta": chunk.meta,
        **(extra or {}),
    }
    return _json(fields)


def _ends(chunk: StreamChunk) -> bool:
    """Whether nothing follows: a planner's answer has streams beside it, and attempts that it takes back."""
    aside = chunk.meta.get("channel", "answer") != "answer" or bool(chunk.meta.get("superseded"))
    return chunk.done and not (aside and isinstance(chunk, PartChunk))


def _json(value: Any) -> str:
    """One line of JSON that every client can read; what JSON cannot say becomes text, or null for infinities."""
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        plain = pydantic_core.from_json(pydantic_core.to_json(value, fallback=str, inf_nan_mode="null"))
        return json.dumps(plain)


async def stream_flow(
    flow: PenguiFlow | FlowLike,
    parent_msg: Message,
    *,
    to: NodeTargets = None,
    timeout: float | None = None,
    include_final: bool = False,
) -> AsyncIterator[Any]:
    """Send a message in and give the chunks of its trace as they come, then a final result if there is one.

    Ends with the chunk that is `done` (with `include_final`: with the result after it), with the first result that is
    no chunk, or with the trace. Of a planner it is the chunk that ends its answer: it may take back others before.
    Results that come after that are there for `flow.fetch()`. Raises `TimeoutError` when nothing came for `timeout`
    seconds, and the trace's `FlowError`. Leaving early cancels the trace.

    An object that only looks like a flow is asked for its next result, whatever trace that belongs to.
    """
    source: _TraceResults | _WorkersResults | _AnyResults
    if not isinstance(flow, PenguiFlow):
        source = _AnyResults(flow)
    elif flow._client is not None:
        source = _WorkersResults(flow, flow._client)
    else:
        source = _TraceResults(flow, parent_msg)
    try:
        await source.send(parent_msg, to)
        while True:
            try:
                if timeout is None:
                    result = await source.next()
                else:
                    async with asyncio.timeout(timeout):
                        result = await source.next()
            except StopAsyncIteration:
                return
            payload = result.payload if isinstance(result, Message) else result
            if not isinstance(payload, StreamChunk) or (_ends(payload) and not include_final):
                await source.release()
                yield payload
                return
            yield payload
    finally:
        await source.close()


class _AnyResults:
    """The results of something that can only be emitted to and fetched from."""

    def __init__(self, flow: FlowLike) -> None:
        self._flow = flow

    async def send(self, message: Message, to: NodeTargets) -> None:
        await self._flow.emit(message, to=to)

    async def next(self) -> Any:
        return await self._flow.fetch()

    async def release(self) -> None:
        """There is nothing to give back."""

    async def close(self) -> None:
        """There is nothing to stop."""


class _WorkersResults:
    """The results of one trace that runs in workers. Unless it is released, closing it cancels the trace."""

    def __init__(self, flow: PenguiFlow, client: Client) -> None:
        self._flow = flow
        self._client = client
        self._results: AsyncGenerator[Any, None] | None = None

    async def send(self, message: Message, to: NodeTargets) -> None:
        self._results = self._client.stream(message, None, to)

    async def next(self) -> Any:
        assert self._results is not None
        return await anext(self._results)

    async def release(self) -> None:
        """Let the trace go on; nobody waits for what it still gives."""
        if self._results is not None:
            self._client.leave_alone(self._results)
            self._results = None

    async def close(self) -> None:
        if self._results is not None:
            await self._results.aclose()


class _TraceResults:
    """The results of one trace of a flow. Unless it is released, closing it cancels the trace."""

    def __init__(self, flow: PenguiFlow, message: Message) -> None:
        self._flow = flow
        self._sink = ResultQueue(flow._results_maxsize)
        self._trace: Trace = flow._begin(message, None, self._sink)
        self._released = False

    async def send(self, message: Message, to: NodeTargets) -> None:
        await self._flow._submit(message, self._trace, to)

    async def next(self) -> Any:
        return await self._sink.get()

    async def release(self) -> None:
        """Let the trace go on by itself; what it gives goes to the common queue, for `fetch`."""
        if self._trace.sink is self._sink:
            self._trace.sink = None
        floe = self._flow._rookery.incoming[0]
        while self._sink.results:
            # Taken one by one, so that a node that waits for room in the queue goes on.
            result = await self._sink.get()
            self._trace.parked += 1
            floe.put((floe, result, UNCHANGED, self._trace, ""))
        self._released = True

    async def close(self) -> None:
        if not self._released:
            self._flow._end(self._trace, self._sink)


async def emit_stream_events(
    source: AsyncIterable[Any],
    ctx: Context | ChunkEmitter,
    parent_msg: Message,
    *,
    adapter: EventAdapter | None = None,
    to: NodeTargets = None,
    final_meta: dict[str, Any] | None = None,
) -> None:
    """Send each event of a source on as a chunk of the parent's stream.

    `adapter` makes text, `done` mark and meta from an event; without one the text is `str(event)`. When no event was
    `done`, an empty last chunk with `final_meta` ends the stream. The source is closed, whatever happens.
    """
    ended = False
    try:
        async for event in source:
            text, done, meta = (str(event), False, {}) if adapter is None else adapter(event)
            await ctx.emit_chunk(parent=parent_msg, text=text, done=done, meta=meta, to=to)
            ended = ended or done
    finally:
        close = getattr(source, "aclose", None)
        if close is not None:
            await close()
    if not ended:
        await ctx.emit_chunk(parent=parent_msg, text="", done=True, meta=final_meta or {}, to=to)
