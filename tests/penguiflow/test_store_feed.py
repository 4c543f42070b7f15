"""A plain state store: it has every event in order, and a slow one does not hold the flow up."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from penguiflow import create
from penguiflow.metrics import StoredEvent
from penguiflow.store_feed import StoreFeed

if TYPE_CHECKING:
    from tests.conftest import MakeMessage, MakeNode, Start, Until

PER_NODE = ["node_start", "node_success"]


class Store:
    """Keeps events; each waits for the gate, if there is one."""

    def __init__(self, gate: asyncio.Event | None = None) -> None:
        self.gate = gate
        self.events: list[StoredEvent] = []
        self.busy = 0

    async def save_event(self, event: StoredEvent) -> None:
        self.busy += 1
        assert self.busy == 1, "one at a time"
        if self.gate is not None:
            await self.gate.wait()
            await asyncio.sleep(0)
        if event.kind == "bad":
            self.busy -= 1
            raise OSError("no space")
        self.events.append(event)
        self.busy -= 1

    async def load_history(self, trace_id: str) -> list[StoredEvent]:
        return [event for event in self.events if event.trace_id == trace_id]


def stored(kind: str) -> StoredEvent:
    return StoredEvent(trace_id="t", ts=0.0, kind=kind, node_name=None, node_id=None, payload={})


async def test_a_store_in_memory_has_each_event_at_once(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    store = Store()
    flow = start(create(make_node().to(), state_store=store))
    await flow.emit(make_message("x"))
    await flow.fetch()
    assert [event.kind for event in store.events] == PER_NODE


async def test_a_slow_store_holds_up_one_event_and_no_more(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until
) -> None:
    gate = asyncio.Event()
    store = Store(gate)
    flow = start(create(make_node().to(), state_store=store))
    first = asyncio.create_task(flow.call(make_message(0, trace_id="t0")))
    await until(lambda: store.busy)
    assert not first.done()
    gate.set()
    await first
    await flow.load_history("t0")
    gate.clear()
    for number in range(1, 10):
        assert (await flow.call(make_message(number, trace_id=f"t{number}"))).payload == number
    assert [event.trace_id for event in store.events] == ["t0", "t0"]
    gate.set()
    assert [event.kind for event in await flow.load_history("t9")] == PER_NODE
    assert [event.trace_id for event in store.events] == [f"t{number}" for number in range(10) for _ in PER_NODE]


async def test_stop_waits_for_a_store_that_is_behind(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    gate = asyncio.Event()
    gate.set()
    store = Store(gate)
    flow = start(create(make_node().to(), state_store=store))
    for number in range(20):
        await flow.call(make_message(number))
    await flow.stop()
    assert len(store.events) == 40


async def test_what_a_store_that_hangs_has_not_taken_is_told(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penguiflow.store_feed.CLOSE_GRACE_S", 0.01)
    gate = asyncio.Event()
    gate.set()
    store = Store(gate)
    feed = StoreFeed(store, lambda event, error: None)
    await feed.put(stored("a"))
    gate.clear()
    for kind in "bcd":
        await feed.put(stored(kind))
    with caplog.at_level(logging.ERROR, "penguiflow.core"):
        await feed.close()
    assert [(record.message, record.__dict__["lost"]) for record in caplog.records] == [("state_store_events_lost", 3)]


async def test_a_failure_does_not_end_the_rest(until: Until) -> None:
    gate = asyncio.Event()
    gate.set()
    store = Store(gate)
    failed: list[Any] = []
    feed = StoreFeed(store, lambda event, error: failed.append((event.kind, str(error))))
    for kind in ("a", "bad", "c"):
        await feed.put(stored(kind))
    await feed.flush()
    assert [event.kind for event in store.events] == ["a", "c"]
    assert failed == [("bad", "no space")]


async def test_very_many_events_wait_for_the_store(monkeypatch: pytest.MonkeyPatch, until: Until) -> None:
    monkeypatch.setattr("penguiflow.store_feed.MAX_QUEUED", 3)
    gate = asyncio.Event()
    gate.set()
    store = Store(gate)
    feed = StoreFeed(store, lambda event, error: None)
    await feed.put(stored("0"))
    gate.clear()
    done: list[int] = []

    async def produce() -> None:
        for number in range(1, 20):
            await feed.put(stored(str(number)))
            done.append(number)

    producer = asyncio.create_task(produce())
    await until(lambda: len(done) >= 3)
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(done) <= 4
    gate.set()
    await producer
    await feed.flush()
    assert [event.kind for event in store.events] == [str(number) for number in range(20)]
