"""What becomes of a connection to NATS that is lost while something waits to be sent on it."""

from __future__ import annotations

import asyncio
from typing import Any

from penguiflow.bus.nats_client import NatsClient

WAIT_S = 60.0


async def test_a_lost_connection_is_told_of_and_leaves_nobody_waiting(nats_server: Any) -> None:
    client: Any = NatsClient(secure=False)
    gone, heard = asyncio.Event(), asyncio.Event()

    async def closed() -> None:
        gone.set()

    async def hear(message: Any) -> None:
        heard.set()

    async with asyncio.timeout(WAIT_S):
        await client.connect(nats_server.url, allow_reconnect=False, closed_cb=closed)
        subscription = await client.subscribe("somewhere", cb=hear)
        await client.flush()
        client._pending.append(b"PING\r\n")
        client._pending_data_size = len(client._pending[0])
        client._transport._io_reader.set_exception(ConnectionResetError(104, "Connection reset by peer"))
        await gone.wait()
        await asyncio.gather(subscription._wait_for_msgs_task, return_exceptions=True)
    assert client.is_closed
    assert not client._subs
    assert not heard.is_set()
