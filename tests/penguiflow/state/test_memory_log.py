"""The trace log in memory is bounded. What every store does is in tests/conformance."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from penguiflow.recording import EventRecord, Recorder, build_spans
from penguiflow.state import InMemoryStateStore


def fill(log: Any, count: int, *, size: int = 100) -> None:
    for number in range(count):
        log.event("stall", "n", log.root, {"n": number, "text": "x" * size})


async def names(store: InMemoryStateStore) -> list[str]:
    return [trace.trace_id for trace in await store.find_traces()]


async def test_the_oldest_traces_make_room() -> None:
    store = InMemoryStateStore(max_traces=3)
    recorder = Recorder(store=store)
    running = recorder.open("running")
    for number in range(6):
        recorder.open(f"t{number}").close("ok")
    assert await names(store) == ["t5", "t4", "running"]
    running.close("ok")
    assert (await names(store))[-1] == "running"


async def test_bytes_make_room_too() -> None:
    store = InMemoryStateStore(max_log_bytes=90_000)
    recorder = Recorder(store=store)
    for number in range(10):
        log = recorder.open(f"t{number}")
        fill(log, 10, size=2_000)
        log.close("ok")
    assert await names(store) == ["t9", "t8", "t7"]
    assert store._log_bytes <= 90_000
    assert store.dropped == 0


async def test_a_trace_that_is_larger_than_all_room_is_broken_off() -> None:
    store = InMemoryStateStore(max_log_bytes=100_000)
    log: Any = Recorder(store=store).open("t")
    node = log.start("node", "work", log.root)
    fill(log, 1000, size=2_000)
    assert store.dropped > 900
    trace = await store.get_trace("t")
    assert trace is not None
    assert trace.status == "running"
    log.end("node", "work", node, log.root, "ok")
    log.close("ok")
    events = await store.load_events("t")
    assert [event.seq for event in events] == list(range(len(events)))
    assert [event.data["n"] for event in events if event.kind == "stall"] == list(range(len(events) - 5))
    assert events[-3].data["reason"] == "events were lost"
    (root,) = build_spans(events)
    assert (root.status, root.children[0].status) == ("interrupted", "interrupted")
    # There is room again once it may be forgotten.
    Recorder(store=store).open("next").close("ok")
    assert (await names(store))[0] == "next"


async def test_clearing_forgets_traces() -> None:
    store = InMemoryStateStore()
    recorder = Recorder(store=store)
    for name, session in (("a", "s1"), ("b", "s2")):
        recorder.open(name, {"session": session}).close("ok")
    store.clear_session("s1")
    assert await names(store) == ["b"]
    store.clear()
    assert await names(store) == []
    assert store._log_bytes == 0


async def test_an_event_that_cannot_be_understood_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    store = InMemoryStateStore()
    bad: Any = None
    with caplog.at_level(logging.ERROR, "penguiflow.state"):
        store.sink.write(EventRecord(0, 0, bad, "0", None, 1.0, 0, "trace.start", "n", b"{}"))
    assert store.dropped == 1
    assert "cannot be stored" in caplog.text
