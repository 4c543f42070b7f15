"""A node streams tokens as a model makes them; the program prints them as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from pydantic import BaseModel

from penguiflow import (
    Context,
    Headers,
    Message,
    Node,
    NodePolicy,
    StreamChunk,
    create,
    emit_stream_events,
    format_sse_event,
    stream_flow,
)


class Answer(BaseModel):
    """The whole answer, once it is there."""

    text: str
    tokens: int


async def scripted_model(prompt: str) -> AsyncIterator[str]:
    """Stands in for a model: gives one token after the other, line ends among them."""
    for token in (f"You asked: {prompt}\n", "Penguins ", "cannot ", "fly."):
        await asyncio.sleep(0)
        yield token


async def answer(message: Message, ctx: Context) -> Message:
    """Stream the tokens, then give the whole text to whoever wants that."""
    tokens: list[str] = []

    def to_chunk(token: str) -> tuple[str, bool, dict[str, Any]]:
        tokens.append(token)
        return token, False, {}

    await emit_stream_events(
        scripted_model(str(message.payload)), ctx, message, adapter=to_chunk, final_meta={"model": "scripted"}
    )
    return message.model_copy(update={"payload": Answer(text="".join(tokens), tokens=len(tokens))})


flow = create(Node(answer, policy=NodePolicy(validate="none")).to())

__flow__ = {"title": "Streaming", "samples": ["can penguins fly?"]}


async def main() -> None:
    """Print one answer as a web server would send it."""
    flow.run()
    message = Message(payload="can penguins fly?", headers=Headers(tenant="acme"))
    async for item in stream_flow(flow, message, include_final=True, timeout=5):
        if isinstance(item, StreamChunk):
            print(format_sse_event(item), end="")
        else:
            print(f"({item.tokens} tokens)")
    await flow.stop()


if __name__ == "__main__":
    asyncio.run(main())
