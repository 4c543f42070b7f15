"""Pieces of an answer, sent on while the model still speaks."""

from __future__ import annotations

import asyncio
from types import TracebackType

from penguiflow import Context
from penguiflow.llm import FieldStream, StreamEvent

RESTART = {"restart": True}
"""`meta` of a chunk that says: what came before it in this stream is void, the answer begins again."""


class Chunks:
    """Takes the events of a model and sends the text as stream chunks of the node's message.

    `async with Chunks(ctx) as chunks: await ask(…, on_event=chunks.take)`. On the way out it waits until all is sent,
    and sends an empty chunk that says so. With `field`, the text is that of a field of a JSON reply.
    """

    def __init__(self, ctx: Context, *, field: str | None = None) -> None:
        self._ctx = ctx
        self._field = field
        self._fields = None if field is None else FieldStream(field)
        self._waiting: asyncio.Queue[str | None] = asyncio.Queue()
        self._sender: asyncio.Task[None] | None = None
        self._said = False

    def take(self, event: StreamEvent) -> None:
        """A piece of the reply."""
        text = event.delta_text
        if text and self._fields is not None:
            text = self._fields.feed(text)
        if text:
            self._said = True
            self._waiting.put_nowait(text)

    def restart(self) -> None:
        """The reply begins again."""
        if self._field is not None:
            self._fields = FieldStream(self._field)
        if self._said:
            self._said = False
            self._waiting.put_nowait("")

    async def __aenter__(self) -> Chunks:
        self._sender = asyncio.get_running_loop().create_task(self._send())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._sender is not None
        if kind is not None:
            self._sender.cancel()
            await asyncio.gather(self._sender, return_exceptions=True)
            return
        self._waiting.put_nowait(None)
        try:
            await self._sender
        except asyncio.CancelledError:
            self._sender.cancel()
            raise

    async def _send(self) -> None:
        message = self._ctx.message
        while (text := await self._waiting.get()) is not None:
            await self._ctx.emit_chunk(parent=message, text=text, meta=None if text else RESTART)
        await self._ctx.emit_chunk(parent=message, text="", done=True)
