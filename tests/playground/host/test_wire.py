from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from typing import cast

import pytest

from penguiflow.recording.events import EventRecord
from playground.host.clients import Hub
from playground.host.wire import Wire


@pytest.fixture
def channels() -> Iterator[list[socket.socket]]:
    """Our end of the supervisor's channel, the worker's end, and a socket to listen on."""
    found = [*socket.socketpair(), socket.socket()]
    yield found
    for channel in found:
        channel.close()


def event(seq: int, data: bytes = b"{}") -> EventRecord:
    return EventRecord(seq, 0, "t", "0", None, 1.0, 0, "node.start", "step", data)


async def test_one_item_that_fails_does_not_hold_up_the_others(channels: list[socket.socket]) -> None:
    wire = Wire(channels[1], channels[2])
    channels.append(wire.control._socket)
    # In place of its thread, which ends the process when its supervisor is gone.
    wire._loop = asyncio.get_running_loop()
    flushed = asyncio.Event()

    def refuse(hub: Hub) -> None:
        raise ValueError("this frame cannot be written")

    for item in (event(0), event(1, cast("bytes", None)), refuse, event(2), lambda hub: flushed.set()):
        wire.post(item, urgent=True)
    async with asyncio.timeout(60):
        await flushed.wait()

    assert [sent.seq for sent in wire.hub.tail.after("t", -1)] == [0, 2]
    first, second = (json.loads(line) for line in wire.hub.lines)
    assert first["level"] == second["level"] == "ERROR"
    assert first["text"].startswith("event 1 of trace t was not sent: ")
    assert second["text"] == "a frame was not sent: ValueError: this frame cannot be written"
