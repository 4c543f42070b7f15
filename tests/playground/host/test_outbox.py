from __future__ import annotations

import asyncio
import json
from typing import Any

import pydantic_core
import pytest
from hypothesis import given
from hypothesis import strategies as st

from playground.host.outbox import BATCH_BYTES, BATCH_EVENTS, CHUNK, EVENT, FRAME, LINE, Outbox, Overflow
from playground.supervisor.batches import read_head, split_batch


def event(number: int, size: int = 0) -> bytes:
    """An event as the recorder writes it."""
    data = {"seq": number, "epoch": 0, "trace_id": "t", "span_id": "0", "data": {"text": "x" * size}}
    return json.dumps(data, separators=(",", ":")).encode()


async def take(outbox: Outbox) -> Any:
    """The next frame, decoded."""
    async with asyncio.timeout(60):
        return json.loads(await outbox.get())


async def test_what_belongs_together_is_sent_together_and_in_order() -> None:
    outbox = Outbox()
    outbox.put(FRAME, b'{"type":"hello"}')
    for number in range(3):
        outbox.put(EVENT, event(number))
    outbox.put(CHUNK, event(3))
    outbox.put(EVENT, event(4))
    outbox.put(LINE, b'{"text":"a"}')
    frames = [await take(outbox) for _ in range(5)]
    assert [frame["type"] for frame in frames] == ["hello", "events", "stream", "events", "logs"]
    assert [[e["seq"] for e in frame["events"]] for frame in frames[1:4]] == [[0, 1, 2], [3], [4]]
    assert frames[4]["lines"] == [{"text": "a"}]


async def test_batches_are_bounded_by_number_and_by_size() -> None:
    outbox = Outbox()
    for number in range(BATCH_EVENTS + 1):
        outbox.put(EVENT, event(number))
    assert [len((await take(outbox))["events"]) for _ in range(2)] == [BATCH_EVENTS, 1]
    for number in range(5):
        outbox.put(EVENT, event(number, size=int(BATCH_BYTES * 0.4)))
    assert [len((await take(outbox))["events"]) for _ in range(3)] == [2, 2, 1]


async def test_a_reader_waits_for_something_to_read() -> None:
    outbox = Outbox()
    reading = asyncio.create_task(take(outbox))
    await asyncio.sleep(0)
    assert not reading.done()
    outbox.put(FRAME, b"{}")
    assert await reading == {}


async def test_chunks_and_lines_make_room_and_are_counted() -> None:
    outbox = Outbox(max_bytes=10_000)
    outbox.put(EVENT, event(0))
    for number in range(1, 60):
        outbox.put(CHUNK if number % 2 else LINE, event(number, size=300))
    outbox.put(EVENT, event(60))
    frames: list[Any] = []
    while not frames or frames[-1].get("events", [{}])[-1].get("seq") != 60:
        frames.append(await take(outbox))
    dropped = sum(frame.get("dropped", 0) for frame in frames)
    arrived = [item["seq"] for frame in frames for item in frame.get("events", frame.get("lines"))]
    assert dropped > 0
    assert len(arrived) + dropped == 61
    assert arrived == sorted(arrived)
    assert arrived[0] == 0


async def test_what_was_dropped_is_told_even_if_nothing_follows() -> None:
    outbox = Outbox(max_bytes=1000)
    outbox.put(CHUNK, event(0, size=600))
    outbox.put(EVENT, event(1, size=600))
    frames = [await take(outbox) for _ in range(2)]
    assert [frame["type"] for frame in frames] == ["events", "stream"]
    assert frames[1] == {"type": "stream", "events": [], "dropped": 1}


async def test_what_may_not_be_dropped_ends_a_client_that_does_not_read() -> None:
    outbox = Outbox(max_bytes=10_000)
    for number in range(25):
        outbox.put(EVENT, event(number, size=300))
    with pytest.raises(Overflow):
        outbox.put(EVENT, event(25, size=2000))


async def test_one_payload_may_be_larger_than_all_the_room() -> None:
    outbox = Outbox(max_bytes=3 * BATCH_BYTES)
    outbox.put(EVENT, event(0, size=20 * BATCH_BYTES))
    outbox.put(EVENT, event(1))
    assert len((await take(outbox))["events"]) == 1
    assert (await take(outbox))["events"][0]["seq"] == 1


async def test_room_and_emptiness_can_be_waited_for() -> None:
    outbox = Outbox(max_bytes=2000)
    for number in range(3):
        outbox.put(EVENT, event(number, size=500))
    waiting = [asyncio.create_task(outbox.wait_room()), asyncio.create_task(outbox.wait_empty())]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    await take(outbox)
    async with asyncio.timeout(60):
        await asyncio.gather(*waiting)


@given(st.lists(st.text(max_size=20), max_size=20), st.integers(min_value=0, max_value=5))
def test_a_batch_is_taken_apart_as_it_was_put_together(texts: list[str], dropped: int) -> None:
    events = [
        pydantic_core.to_json({"seq": number, "epoch": 0, "trace_id": text, "data": {"text": text, '"],': 1}})
        for number, text in enumerate(texts)
    ]
    tail = b'],"dropped":%d}' % dropped if dropped else b"]}"
    frame = b'{"type":"stream","events":[\n' + b",\n".join(events) + tail
    assert split_batch(frame) == (events, dropped)
    assert [read_head(each) for each in events] == [(text, number) for number, text in enumerate(texts)]


def test_a_batch_of_another_writer_is_understood_too() -> None:
    frame = b'{"type":"events","events":[{"seq":0,"epoch":0,"trace_id":"a"},{"trace_id":"a","seq":1}]}'
    parts = split_batch(frame)
    assert parts is not None
    assert [json.loads(part)["seq"] for part in parts[0]] == [0, 1]
    assert split_batch(b'{"type":"events","events":[]}') == ([], 0)
    assert split_batch(b'{"type":"logs","lines":[]}') is None
    assert read_head(b'{"trace_id":"a","seq":1}') is None
