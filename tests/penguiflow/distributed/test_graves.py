"""Dead letters: who is told of them, and which are none."""

from __future__ import annotations

import asyncio
from typing import Any

from penguiflow import Headers, Message, Node, NodePolicy, create
from penguiflow.bus import Delivery, MemoryBus
from penguiflow.state import InMemoryStateStore

WAIT_S = 60.0
PLAIN = NodePolicy(validate="none")
EDGE = "OpenSea->first"


class DeafBus(MemoryBus):
    """Buries a message in place of its first acknowledgment, as when its workers died before they said it."""

    def __init__(self) -> None:
        super().__init__()
        self.buried = 0

    async def ack(self, *deliveries: Delivery) -> list[bool]:
        heard = []
        for each in deliveries:
            if each.edge == EDGE and not self.buried:
                self.buried += 1
                heard.append(await self.dead_letter(each, "its lease ran out"))
            else:
                heard += await super().ack(each)
        return heard


async def test_a_message_that_was_handled_is_no_dead_letter() -> None:
    bus, store, runs = DeafBus(), InMemoryStateStore(), list[int]()

    async def first(msg: Message, ctx: Any) -> Message:
        runs.append(msg.payload)
        return msg

    async def is_somewhere() -> bool:
        depth = await bus.depth(EDGE)
        return bool(depth.dead or depth.waiting or depth.leased)

    async def second(msg: Message, ctx: Any) -> Message:
        while not bus.buried or await is_somewhere():  # noqa: ASYNC110 - of a bus
            await asyncio.sleep(0.01)
        return msg

    a, b = Node(first, name="first", policy=PLAIN), Node(second, name="second", policy=PLAIN)
    flow = create(a.to(b), b.to(), name="f", message_bus=bus, state_store=store)
    flow.run()
    try:
        async with asyncio.timeout(WAIT_S):
            answer = await flow.call(Message(payload=7, headers=Headers(tenant="acme")))
    finally:
        await flow.stop()
    assert (answer.payload, runs, bus.buried) == (7, [7], 1)
