"""What a message bus sees of a flow."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from penguiflow import Headers, Message, Node, create
from penguiflow.bus import BusEnvelope


class Bus:
    def __init__(self, *, fails: bool = False) -> None:
        self.seen: list[BusEnvelope] = []
        self.fails = fails

    async def publish(self, envelope: BusEnvelope) -> None:
        await asyncio.sleep(0)
        if self.fails:
            raise ConnectionError("the bus is down")
        self.seen.append(envelope)


async def step(message: Any, ctx: Any) -> Any:
    return message


def chain(**options: Any) -> Any:
    return create(Node(step, name="a").to(Node(step, name="b")), **options)


async def test_every_edge_is_mirrored_with_what_travels_on_it() -> None:
    bus = Bus()
    flow = chain(message_bus=bus)
    flow.run()
    message = Message(payload=1, headers=Headers(tenant="test"), meta={"k": "v"})
    await flow.call(message)
    await flow.stop()
    assert [envelope.edge for envelope in bus.seen] == ["OpenSea->a", "a->b", "b->Rookery"]
    assert {envelope.trace_id for envelope in bus.seen} == {message.trace_id}
    assert bus.seen[0].payload is message
    assert bus.seen[0].headers == {"tenant": "test", "topic": None, "priority": 0}
    assert bus.seen[0].meta == {"k": "v"}


async def test_emit_nowait_publishes_too_and_stop_waits_for_it() -> None:
    bus = Bus()
    flow = chain()
    flow.run(message_bus=bus)
    flow.emit_nowait("bare")
    await flow.fetch()
    await flow.stop()
    assert sorted(envelope.edge for envelope in bus.seen) == ["OpenSea->a", "a->b", "b->Rookery"]
    assert bus.seen[0].headers is None


async def test_a_bus_that_fails_is_logged_and_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    flow = chain(message_bus=Bus(fails=True))
    flow.run()
    with caplog.at_level(logging.ERROR, logger="penguiflow.core"):
        assert await flow.call(7) == 7
    await flow.stop()
    failures = [record for record in caplog.records if record.message == "message_bus_publish_failed"]
    assert [vars(record)["edge"] for record in failures] == ["OpenSea->a", "a->b", "b->Rookery"]
