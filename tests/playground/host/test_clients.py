"""Who gets which events, and what a client that comes back has missed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pydantic_core
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penguiflow.recording.events import EventRecord
from playground.host.clients import Client, Hub, is_chunk
from playground.host.outbox import EVENT
from playground.host.tail import Sent, Tail
from playground.protocol import HOST_TRACE, LogLine, Result


class FakeTransport:
    """Keeps what is sent; reads only while it is told to."""

    def __init__(self) -> None:
        self.frames: list[dict[str, Any]] = []
        self.reading = asyncio.Event()
        self.reading.set()
        self.aborted = False

    async def send(self, data: bytes) -> None:
        await self.reading.wait()
        self.frames.append(json.loads(data))

    def abort(self) -> None:
        self.aborted = True

    def seqs(self, trace_id: str) -> list[int]:
        """Numbers of the events of a trace, as they came."""
        events = [event for frame in self.frames for event in frame.get("events", [])]
        return [event["seq"] for event in events if event["trace_id"] == trace_id]


def record(trace_id: str, seq: int, kind: str = "node.start", **data: Any) -> EventRecord:
    """One event."""
    return EventRecord(seq, 0, trace_id, "0", None, 1.0, seq, kind, "n", pydantic_core.to_json(data))


class World:
    """A hub with clients, and a store that commits when it is told to."""

    def __init__(self) -> None:
        self.hub = Hub()
        self.committed: dict[str, list[bytes]] = {}
        self.sending: list[asyncio.Task[None]] = []
        self.hub.read = self.read

    async def read(self, trace_id: str, after: int, limit: int) -> list[bytes]:
        await asyncio.sleep(0)
        return self.committed.get(trace_id, [])[after + 1 :][:limit]

    def client(self) -> tuple[Client, FakeTransport]:
        transport = FakeTransport()
        client = Client(transport)
        self.hub.clients.add(client)
        self.sending.append(asyncio.get_running_loop().create_task(client.send_all()))
        return client, transport

    def add(self, trace_id: str, seq: int, *, commit: bool = True) -> None:
        """An event happens."""
        event = record(trace_id, seq)
        self.hub.add_record(event)
        if commit:
            self.committed.setdefault(trace_id, []).append(event.to_json())


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    for task in world.sending:
        task.cancel()
    await asyncio.gather(*world.sending, return_exceptions=True)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 (any condition)
            await asyncio.sleep(0.001)


async def test_clients_get_what_they_follow(world: World) -> None:
    everything, all_frames = world.client()
    one, one_frames = world.client()
    _, none_frames = world.client()
    everything.follow(None)
    one.follow(["a"])
    for seq in range(3):
        world.add("a", seq)
        world.add("b", seq)
    world.hub.add_host_event("stall", "f", {"ms": 300})
    await until(lambda: all(HOST_TRACE in json.dumps(t.frames) for t in (all_frames, one_frames, none_frames)))
    assert (all_frames.seqs("a"), all_frames.seqs("b")) == ([0, 1, 2], [0, 1, 2])
    assert (one_frames.seqs("a"), one_frames.seqs("b")) == ([0, 1, 2], [])
    assert (none_frames.seqs("a"), none_frames.seqs("b")) == ([], [])


async def test_a_result_goes_to_who_follows_and_ends_that(world: World) -> None:
    client, transport = world.client()
    _, other = world.client()
    client.follow(["a"])
    world.hub.add_result(Result(trace_id="a", status="ok"))
    world.add("a", 9)
    world.hub.add_line(LogLine(ts=0, source="log", text="last"))
    await until(lambda: transport.frames and transport.frames[-1]["type"] == "logs" and other.frames)
    assert [frame["type"] for frame in transport.frames] == ["result", "logs"]
    assert [frame["type"] for frame in other.frames] == ["logs"]


async def test_what_was_missed_comes_before_what_is_new_and_before_the_end(world: World) -> None:
    for seq in range(1200):
        world.add("a", seq)
    # Long ago: only the store still has it.
    world.hub.tail = Tail(max_events=10)
    client, transport = world.client()
    client.follow(["a"])
    world.hub.catch_up(client, "a", 99)
    for seq in range(1200, 1205):
        world.add("a", seq, commit=seq < 1202)
    world.hub.add_result(Result(trace_id="a", status="ok"))
    world.add("b", 0)
    await until(lambda: any(frame["type"] == "result" for frame in transport.frames))
    assert transport.seqs("a") == list(range(100, 1205))
    assert transport.frames[-1]["type"] == "result"


async def test_what_is_in_neither_place_yet_is_waited_for(world: World) -> None:
    world.hub.tail = Tail(max_events=2)
    for seq in range(6):
        world.add("a", seq, commit=False)
    client, transport = world.client()
    client.follow(["a"])
    world.hub.catch_up(client, "a", -1)
    await asyncio.sleep(0)
    world.committed["a"] = [record("a", seq).to_json() for seq in range(6)]
    await until(lambda: transport.seqs("a") == list(range(6)))


async def test_without_a_store_memory_is_all_there_is(world: World) -> None:
    world.hub.read = None
    world.hub.tail = Tail(max_events=3)
    for seq in range(5):
        world.add("a", seq)
    client, transport = world.client()
    client.follow(["a"])
    world.hub.catch_up(client, "a", -1)
    await until(lambda: transport.seqs("a") == [2, 3, 4])


async def test_a_client_that_reads_nothing_is_dropped_and_the_others_are_not(world: World) -> None:
    slow, stuck = world.client()
    quick, transport = world.client()
    stuck.reading.clear()
    slow.follow(None)
    quick.follow(None)
    data = b'{"seq":0,"epoch":0,"trace_id":"a","data":"' + b"x" * 500_000 + b'"}'
    for _ in range(100):
        slow.put(EVENT, data)
    assert stuck.aborted
    assert slow.gone
    world.add("a", 0)
    await until(lambda: transport.seqs("a") == [0])


async def test_lines_are_kept_for_those_who_come_later(world: World) -> None:
    for number in range(600):
        world.hub.add_line(LogLine(ts=0, source="stdout", text=str(number)))
    assert len(world.hub.lines) == 500
    assert json.loads(world.hub.lines[-1])["text"] == "599"


@pytest.mark.parametrize(
    ("kind", "data", "chunk"),
    [
        ("stream.chunk", {"text": "a"}, True),
        ("message.enqueued", {"stream_id": "s", "chunk_seq": 1}, True),
        ("message.enqueued", {"payload": {"chunk_seq": 1}}, False),
        ("message.dequeued", {"message_id": "m"}, False),
        ("node.end", {"chunk_seq": 1}, False),
    ],
)
def test_only_streams_may_be_dropped(kind: str, data: dict[str, Any], chunk: bool) -> None:
    assert is_chunk(record("t", 0, kind, **data)) is chunk


@given(st.lists(st.tuples(st.sampled_from("abc"), st.binary(min_size=1, max_size=50)), max_size=60))
def test_memory_is_bounded_and_keeps_the_newest(added: list[tuple[str, bytes]]) -> None:
    tail = Tail(max_bytes=400, max_events=20)
    events = [Sent(trace, number, data, False) for number, (trace, data) in enumerate(added)]
    for event in events:
        tail.add(event)
    kept = sorted((event for trace in "abc" for event in tail.after(trace, -1)), key=lambda event: event.seq)
    assert len(kept) <= 20
    assert sum(len(event.data) for event in kept) <= 400
    assert kept == events[len(events) - len(kept) :]
