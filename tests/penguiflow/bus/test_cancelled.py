"""A receiver that is cancelled ends, at whatever moment that comes."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from penguiflow.bus import BusMessage
from tests.bus_servers import EDGE, bus_at

if TYPE_CHECKING:
    from tests.bus_servers import BusServer, OpenBus

LIMIT_S = 60.0


async def test_a_receiver_that_is_cancelled_ends(open_bus: OpenBus) -> None:
    bus: Any = await open_bus()
    for turns in range(30):
        got = asyncio.Event()

        async def receive(got: asyncio.Event = got) -> None:
            while True:
                deliveries = await bus.get(EDGE)
                got.set()
                await bus.ack(*deliveries)

        receiving = asyncio.create_task(receive())
        await bus.put(EDGE, BusMessage(str(turns), b"x"))
        await got.wait()
        for _ in range(turns):
            await asyncio.sleep(0)
        receiving.cancel()
        _, left = await asyncio.wait([receiving], timeout=LIMIT_S)
        assert not left, f"after {turns} turns"
        assert receiving.cancelled()


class Heard(logging.Handler):
    """What is logged, and when something was."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []
        self.away = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        self.away.set()


async def test_a_server_that_goes_away_is_told_of_once(own_server: BusServer) -> None:
    bus = bus_at(own_server)
    await bus.open("told", [EDGE])
    receiving = asyncio.create_task(bus.get(EDGE))
    await asyncio.sleep(0)
    heard = Heard()
    logger = logging.getLogger("penguiflow.bus")
    logger.addHandler(heard)
    try:
        own_server.kill()
        async with asyncio.timeout(LIMIT_S):
            await heard.away.wait()
        await asyncio.to_thread(own_server.start)
        await bus.put(EDGE, BusMessage("1", b"x"))
        async with asyncio.timeout(LIMIT_S):
            [delivery] = await receiving
        assert delivery.id == "1"
    finally:
        logger.removeHandler(heard)
        await bus.close()
    told = [line for line in heard.lines if "is away" in line or "answers again" in line]
    # Once for each absence: a machine that is slow for long is another one.
    assert ["is away" in line for line in told] == [True, False] * (len(told) // 2), told
