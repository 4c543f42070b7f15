from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from playground.protocol import Hello, Run, encode
from playground.supervisor.client import Connection, ConnectionLost

LIMIT_S = 60.0


@asynccontextmanager
async def connected(greeted: Any) -> AsyncIterator[Connection]:
    """A connection to a host that says hello, and then does what `greeted` does with its end."""

    async def talk(socket: ServerConnection) -> None:
        await socket.send(encode(Hello()), text=True)
        await greeted(socket)

    async def ignore(data: bytes) -> None:
        return

    async with serve(talk, "127.0.0.1", 0, compression=None, max_size=None, close_timeout=0.1) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        connection = Connection(f"ws://127.0.0.1:{port}/", "token", on_data=ignore)
        async with asyncio.timeout(LIMIT_S):
            await connection.open()
            yield connection


async def test_a_host_that_hangs_up_in_the_middle_of_a_request() -> None:
    async def hang_up(socket: ServerConnection) -> None:
        for _ in range(2):
            await socket.recv()
        socket.transport.abort()

    async with connected(hang_up) as connection:
        with pytest.raises(ConnectionLost):
            await connection.request(Run(target="flow.py", input="x" * 15_000_000))
        await connection.close()
        assert connection.closed.is_set()


async def test_closing_never_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    async def wait(socket: ServerConnection) -> None:
        await socket.wait_closed()

    async def fail() -> None:
        raise AssertionError("protocol is not closed")

    async with connected(wait) as connection:
        assert connection._socket is not None
        monkeypatch.setattr(connection._socket, "close", fail)
        await connection.close()
        await connection._socket.wait_closed()
