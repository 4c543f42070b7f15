"""A service that answers lines over TCP, and can be watched and stopped while it does.

python examples/embed_debug/service.py          # says where it listens, and how to attach
pf tui --attach ws://127.0.0.1:8766/            # in another terminal, same folder
echo "where are my metrics" | nc 127.0.0.1 8765
"""

from __future__ import annotations

import asyncio
import signal
import sys
from asyncio import StreamReader, StreamWriter
from pathlib import Path

from pydantic import BaseModel

from penguiflow import Context, Headers, Message, ModelRegistry, Node, create
from penguiflow.state import SQLiteStateStore
from playground import embed


class Question(BaseModel):
    """One line of a client."""

    text: str


class Routed(BaseModel):
    """The question, and who answers it."""

    text: str
    desk: str


class Answer(BaseModel):
    """One line for the client."""

    text: str


async def route(question: Question, ctx: Context) -> Routed:
    """Say who answers."""
    return Routed(text=question.text, desk="metrics" if "metric" in question.text else "front desk")


async def answer(routed: Routed, ctx: Context) -> Answer:
    """Answer."""
    return Answer(text=f"{routed.desk}: we look into {routed.text!r}")


router, desk = Node(route, name="route"), Node(answer, name="answer")
flow = create(router.to(desk), desk.to())
registry = ModelRegistry()
registry.register("route", Question, Routed)
registry.register("answer", Routed, Answer)


async def serve_client(reader: StreamReader, writer: StreamWriter) -> None:
    """Answer each line of a client."""
    try:
        while line := (await reader.readline()).decode().strip():
            message = Message(payload=Question(text=line), headers=Headers(tenant="line"))
            result = await flow.call(message)
            writer.write(result.payload.text.encode() + b"\n")
            await writer.drain()
    finally:
        writer.close()


async def main(port: int, debug_port: int) -> None:
    """Serve until interrupted or terminated."""
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)

    store = SQLiteStateStore(Path(".penguiflow") / "state.db")
    flow.run(registry=registry, state_store=store)
    try:
        async with embed(flow, port=debug_port) as host:
            server = await asyncio.start_server(serve_client, "127.0.0.1", port)
            address = "{}:{}".format(*server.sockets[0].getsockname())
            print(f"listening on {address}; pf tui --attach {host.url}", flush=True)
            async with server:
                await ended.wait()
    finally:
        await flow.stop()
        await store.close()


if __name__ == "__main__":
    ports = [int(argument) for argument in sys.argv[1:]] or [8765, 8766]
    asyncio.run(main(*ports))
