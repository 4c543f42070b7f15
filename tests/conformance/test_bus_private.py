"""Edges of one process: what workers tell a caller, on every bus."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from penguiflow.bus import BusError, BusMessage, Delivery

if TYPE_CHECKING:
    from tests.bus_servers import OpenBus

WAIT_S = 60.0
MINE = "Rookery@me"


def messages(*numbers: int) -> list[BusMessage]:
    return [BusMessage(f"m{number}", f"body {number}".encode()) for number in numbers]


async def test_who_listens_gets_what_he_is_told_in_order_and_once(open_bus: OpenBus) -> None:
    caller, worker = await open_bus(), await open_bus()
    await caller.listen(MINE)
    await worker.tell(MINE, *messages(1, 2, 2, 3))
    got: list[Delivery] = []
    async with asyncio.timeout(WAIT_S):
        while len(got) < 3:
            some = await caller.get(MINE, limit=10)
            assert all(await caller.ack(*some))
            got += some
    assert [each.body for each in got] == [b"body 1", b"body 2", b"body 3"]
    assert await caller.get(MINE, wait_s=0) == []


async def test_where_nobody_listens_it_is_dropped(open_bus: OpenBus) -> None:
    caller, worker = await open_bus(capacity=2), await open_bus(capacity=2)
    async with asyncio.timeout(WAIT_S):
        await worker.tell(MINE, *messages(1, 2, 3, 4))
        await caller.listen(MINE)
        assert await caller.get(MINE, wait_s=0) == []
        await caller.leave(MINE)
        await worker.tell(MINE, *messages(5, 6, 7, 8))
        with pytest.raises(BusError):
            await caller.get(MINE, wait_s=0)
        await caller.leave(MINE)


async def test_who_tells_too_much_waits_until_it_is_heard_or_nobody_listens(open_bus: OpenBus) -> None:
    caller, worker = await open_bus(capacity=2), await open_bus(capacity=2)
    await caller.listen(MINE)
    telling = asyncio.ensure_future(worker.tell(MINE, *messages(1, 2, 3)))
    async with asyncio.timeout(WAIT_S):
        while not (got := await caller.get(MINE, limit=2)):
            pass
        assert not telling.done()
        await caller.ack(*got)
        await telling
        telling = asyncio.ensure_future(worker.tell(MINE, *messages(4, 5, 6, 7)))
        await caller.leave(MINE)
        await telling


async def test_what_others_listen_to_is_none_of_mine(open_bus: OpenBus) -> None:
    one, other = await open_bus(), await open_bus()
    await one.listen("Rookery@one")
    await other.listen("Rookery@other")
    await one.tell("Rookery@other", *messages(1))
    await other.tell("Rookery@one", *messages(2))
    async with asyncio.timeout(WAIT_S):
        (mine,) = await one.get("Rookery@one")
        (theirs,) = await other.get("Rookery@other")
    assert (mine.body, theirs.body) == (b"body 2", b"body 1")
    assert await one.ack(mine) == [True]
    assert await other.ack(theirs) == [True]
