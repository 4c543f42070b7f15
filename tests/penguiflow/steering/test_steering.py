"""The inbox of a running task."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from penguiflow.steering import SteeringCancelled, SteeringEvent, SteeringEventType, SteeringInbox


def event(kind: str = "INJECT_CONTEXT", **payload: Any) -> SteeringEvent:
    return SteeringEvent(session_id="s", task_id="t", event_type=SteeringEventType(kind), payload=payload)


def kinds(events: list[SteeringEvent]) -> list[str]:
    return [each.event_type.value for each in events]


async def test_events_come_out_in_order() -> None:
    inbox = SteeringInbox()
    first, second, third = event(text="1"), event(text="2"), event(text="3")
    for each in (first, second, third):
        assert await inbox.push(each)
    assert inbox.has_event()
    assert await inbox.next() is first
    assert inbox.drain() == [second, third]
    assert not inbox.has_event()
    assert inbox.drain() == []


async def test_whoever_waits_gets_the_next_one_and_a_cancelled_wait_loses_nothing() -> None:
    inbox = SteeringInbox()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(inbox.next(), 0.001)
    waiters = [asyncio.create_task(inbox.next()) for _ in range(3)]
    await asyncio.sleep(0)
    waiters[0].cancel()
    sent = [event(text="1"), event(text="2")]
    for each in sent:
        await inbox.push(each)
    async with asyncio.timeout(60):
        assert await asyncio.gather(*waiters[1:]) == sent


async def test_user_messages_that_were_taken_make_room_for_others() -> None:
    inbox = SteeringInbox(max_pending_user_messages=2)
    for _ in range(3):
        assert await inbox.push(event("USER_MESSAGE", text="1"))
        assert await inbox.push(event("USER_MESSAGE", text="2"))
        assert not await inbox.push(event("USER_MESSAGE", text="3"))
        assert await inbox.push(event(text="other"))
        for _ in range(3):
            await inbox.next()
    assert await inbox.push(event("USER_MESSAGE", text="1"))
    inbox.drain()
    assert await inbox.push(event("USER_MESSAGE", text="1"))
    assert await inbox.push(event("USER_MESSAGE", text="2"))


async def test_a_full_inbox_refuses() -> None:
    inbox = SteeringInbox(maxsize=2)
    assert await inbox.push(event(text="1"))
    assert await inbox.push(event(text="2"))
    assert not await inbox.push(event(text="3"))
    assert not await inbox.push(event("USER_MESSAGE", text="3"))
    await inbox.next()
    assert await inbox.push(event("USER_MESSAGE", text="3"))


@pytest.mark.parametrize("size", [1, 100])
async def test_a_cancel_is_always_taken(size: int) -> None:
    inbox = SteeringInbox(maxsize=size)
    await inbox.push(event(text="1"))
    assert not inbox.cancel_event.is_set()
    assert await inbox.push(event("CANCEL", reason="enough"))
    assert inbox.cancelled
    assert inbox.cancel_event.is_set()
    assert inbox.cancel_reason == "enough"
    assert kinds(inbox.drain()) == ["INJECT_CONTEXT", "CANCEL"]
    assert await inbox.push(event("CANCEL", reason="another"))
    assert inbox.cancel_reason == "enough"


async def test_a_cancel_without_a_reason() -> None:
    inbox = SteeringInbox()
    await inbox.push(event("CANCEL"))
    assert inbox.cancel_reason == "cancelled"


async def test_a_flood_of_controls_is_bounded_and_the_last_one_counts() -> None:
    inbox = SteeringInbox(maxsize=3)
    for number in range(3):
        await inbox.push(event(text=str(number)))
    for _ in range(1000):
        for kind in ("PAUSE", "RESUME", "PAUSE", "CANCEL"):
            assert await inbox.push(event(kind))
    assert kinds(inbox.drain()) == ["INJECT_CONTEXT"] * 3 + ["RESUME", "PAUSE", "CANCEL"]


async def test_a_paused_task_waits_until_it_may_go_on() -> None:
    inbox = SteeringInbox(maxsize=1)
    await inbox.push(event(text="full"))
    await inbox.wait_if_paused()
    await inbox.push(event("PAUSE"))
    waiting = asyncio.create_task(inbox.wait_if_paused())
    await asyncio.sleep(0)
    assert not waiting.done()
    await inbox.push(event("RESUME"))
    await asyncio.wait_for(waiting, 60)


async def test_a_cancel_ends_a_pause_and_none_comes_after_it() -> None:
    inbox = SteeringInbox()
    await inbox.push(event("PAUSE"))
    waiting = asyncio.create_task(inbox.wait_if_paused())
    await asyncio.sleep(0)
    await inbox.push(event("CANCEL"))
    await asyncio.wait_for(waiting, 60)
    await inbox.push(event("PAUSE"))
    await asyncio.wait_for(inbox.wait_if_paused(), 60)


async def test_payloads_are_cut_on_the_way_in() -> None:
    inbox = SteeringInbox()
    await inbox.push(event(text="x" * 100_000))
    assert len((await inbox.next()).payload["text"]) == 4096


def test_the_error_of_a_cancelled_task() -> None:
    assert str(SteeringCancelled()) == "steering_cancelled"
    assert str(SteeringCancelled("enough")) == "enough"


def test_what_a_model_is_shown() -> None:
    shown = event(text="año")
    assert json.loads(shown.to_injection()) == {
        "steering": {
            "event_id": shown.event_id,
            "task_id": "t",
            "event_type": "INJECT_CONTEXT",
            "payload": {"text": "año"},
            "created_at": shown.created_at.isoformat(),
        }
    }
