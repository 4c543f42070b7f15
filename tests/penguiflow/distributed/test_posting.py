"""Messages that go to the bus together, and each for itself where that fails."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import pytest

from penguiflow.bus import BusMessage, MemoryBus
from penguiflow.bus.errors import BusAway, BusError
from penguiflow.distributed.posting import Post

WAIT_S = 60.0
EDGE = "a->b"


class Picky(MemoryBus):
    """Takes no batch with something large in it."""

    error: BusError = BusError("a message of 100 bytes is more than the server takes")

    async def put(self, edge: str, *messages: BusMessage) -> None:
        if any(len(message.body) >= 100 for message in messages):
            raise self.error
        await super().put(edge, *messages)


async def _sent(bus: Any) -> dict[str, BusError | None]:
    told: dict[str, BusError | None] = {}
    done = asyncio.Event()

    def tell(name: str, error: BusError | None) -> None:
        told[name] = error
        if len(told) == 3:
            done.set()

    await bus.open("f", [EDGE])
    post = Post(bus)
    async with asyncio.timeout(WAIT_S):
        for name, size in (("before", 1), ("large", 100), ("after", 1)):
            post.send(EDGE, BusMessage(name, b"x" * size), functools.partial(tell, name))
        await done.wait()
        await post.close()
    return told


async def test_one_that_is_refused_fails_alone() -> None:
    bus = Picky()
    assert await _sent(bus) == {"before": None, "large": bus.error, "after": None}
    assert [each.id for each in await bus.get(EDGE, limit=5)] == ["before", "after"]


async def test_a_bus_that_is_away_fails_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Picky, "error", BusAway("nobody answers"))
    bus = Picky()
    assert set((await _sent(bus)).values()) == {bus.error}
    assert (await bus.depth(EDGE)).waiting == 0
