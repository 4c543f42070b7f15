"""What a bus is told of a message."""

from __future__ import annotations

from typing import Any

from penguiflow import BusEnvelope, Headers, Message, MessageBus


def test_the_envelope_of_a_message() -> None:
    message = Message(payload="x", headers=Headers(tenant="acme", topic="t"), trace_id="t1", meta={"a": 1})
    envelope = BusEnvelope.of("OpenSea", "first", message)
    assert envelope == BusEnvelope(
        edge="OpenSea->first",
        source="OpenSea",
        target="first",
        trace_id="t1",
        payload=message,
        headers={"tenant": "acme", "topic": "t", "priority": 0},
        meta={"a": 1},
    )
    assert envelope.payload is message
    message.meta["a"] = 2
    assert envelope.meta == {"a": 1}


def test_the_envelope_of_a_bare_payload() -> None:
    envelope = BusEnvelope.of("first", None, {"a": 1}, trace_id="t2")
    assert envelope == BusEnvelope("first->*", "first", None, "t2", {"a": 1}, None, None)
    assert BusEnvelope.of(None, "last", 1).edge == "*->last"


def test_what_carries_a_trace_keeps_it() -> None:
    class Traced:
        trace_id = "its own"

    assert BusEnvelope.of("a", "b", Traced(), trace_id="the sender's").trace_id == "its own"


def test_whatever_publishes_is_a_bus() -> None:
    class Bus:
        async def publish(self, envelope: BusEnvelope) -> None:
            raise NotImplementedError

    candidates: list[Any] = [Bus(), object()]
    assert [isinstance(each, MessageBus) for each in candidates] == [True, False]
