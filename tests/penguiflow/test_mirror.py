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


@pytest.mark.parametrize("at_once", [False, True])
async def test_an_envelope_shows_the_message_as_it_was_sent(at_once: bool) -> None:
    seen: list[tuple[str, Any, Any]] = []

    class Copies:
        async def publish(self, envelope: BusEnvelope) -> None:
            seen.append((envelope.edge, envelope.meta, envelope.payload.payload))
            await asyncio.sleep(0)

    async def changes(message: Message, ctx: Any) -> Message:
        message.meta["changed"] = True
        message.payload += "!"
        return message

    flow = create(Node(changes, name="a").to(), message_bus=Copies())
    flow.run()
    message = Message(payload="x", headers=Headers(tenant="test"))
    if at_once:
        flow.emit_nowait(message)
    else:
        await flow.emit(message)
    await flow.fetch()
    await flow.stop()
    assert seen == [("OpenSea->a", {}, "x"), ("a->Rookery", {"changed": True}, "x!")]


async def test_the_bus_is_told_in_the_order_of_sending() -> None:
    seen: list[tuple[str, Any]] = []

    class Bus:
        async def publish(self, envelope: BusEnvelope) -> None:
            seen.append((envelope.edge, envelope.meta))

    b, c = Node(step, name="b"), Node(step, name="c")

    async def fans_out(message: Message, ctx: Any) -> None:
        ctx.emit_nowait(message, to=b)
        message.meta["later"] = True
        await ctx.emit(message, to=c)

    flow = create(Node(fans_out, name="a").to(b, c), message_bus=Bus())
    flow.run()
    flow.emit_nowait(Message(payload=1, headers=Headers(tenant="test")))
    await flow.fetch()
    await flow.fetch()
    await flow.stop()
    assert seen[:3] == [("OpenSea->a", {}), ("a->b", {}), ("a->c", {"later": True})]
    assert sorted(edge for edge, _ in seen[3:]) == ["b->Rookery", "c->Rookery"]


async def test_a_bus_that_fails_is_logged_and_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    flow = chain(message_bus=Bus(fails=True))
    flow.run()
    with caplog.at_level(logging.ERROR, logger="penguiflow.core"):
        assert await flow.call(7) == 7
    await flow.stop()
    failures = [record for record in caplog.records if record.message == "message_bus_publish_failed"]
    assert [vars(record)["edge"] for record in failures] == ["OpenSea->a", "a->b", "b->Rookery"]
