"""What every store does that outlives its process: it is found again, by others too, and says who died."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from penguiflow.recording import Recorder
from penguiflow.state.errors import StoreError
from penguiflow.state.traces import TraceQuery

Open = Callable[[], Any]


async def test_a_trace_opened_again_goes_on(store: Any, record: Any) -> None:
    recorder = Recorder(store=store)
    recorder.open("t").close("error", {"error": {"code": "X", "message": "first"}})
    log = recorder.open("t")
    await store.flush()
    summary = await store.get_trace("t")
    assert (summary.status, summary.ended, summary.error, summary.epoch) == ("running", None, None, 1)
    log.close("ok")
    await store.flush()
    assert [event.epoch for event in await store.load_events("t")] == [0, 0, 1, 1]
    assert (await store.get_trace("t")).status == "ok"


@pytest.mark.parametrize("prepared", [False, True])
async def test_a_trace_of_an_earlier_process_goes_on(open_store: Open, prepared: bool, record: Any, sink: Any) -> None:
    first = open_store()
    record(first, "t", events=3)
    await first.close()
    second = open_store()
    for _ in range(2):
        sink.records = []
        # A recorder that never saw the trace, as in a new process.
        recorder = Recorder(sink, store=second)
        if prepared:
            await recorder.prepare("t")
        log = recorder.open("t")
        node = log.start("node", "a", log.root)
        log.end("node", "a", node, log.root, "ok")
        log.close("ok")
        await second.flush()
        if prepared:
            seen = sink.events()
            assert seen == await second.load_events("t", after=seen[0].seq - 1)
    events = await second.load_events("t")
    assert [event.seq for event in events] == list(range(5 + 4 + 4))
    assert [event.epoch for event in events] == [0] * 5 + [1] * 4 + [2] * 4
    starts = [event.span_id for event in events if event.kind.endswith(".start")]
    assert len(set(starts)) == len(starts)
    ends = [event.span_id for event in events if event.kind.endswith(".end")]
    assert sorted(starts) == sorted(ends)
    offsets = [event.offset_ns for event in events]
    assert offsets == sorted(offsets)
    summary = await second.get_trace("t")
    assert (summary.epoch, summary.events, summary.status) == (2, 13, "ok")


async def test_two_stores_that_write_one_trace_keep_it_gapless(open_store: Open) -> None:
    first, second = open_store(), open_store()
    one, two = Recorder(store=first).open("t"), Recorder(store=second).open("t")
    for number in range(6):
        for log, store in ((one, first), (two, second)):
            log.event("stall", "n", log.root, {"n": number})
            await store.flush()
    one.close("ok")
    await first.flush()
    two.close("ok")
    await second.flush()
    events = await first.load_events("t")
    assert [event.seq for event in events] == list(range(16))
    for prefix in ("", "1."):
        numbers = [event.data["n"] for event in events if event.kind == "stall" and event.span_id == f"{prefix}0"]
        assert numbers == list(range(6))


async def test_everyone_sees_what_is_committed(open_store: Open, record: Any) -> None:
    writer, reader = open_store(), open_store()
    record(writer, "t")
    await writer.flush()
    assert await reader.resolve_trace("last") == "t"
    record(reader, "u")
    await reader.flush()
    assert [summary.trace_id for summary in await writer.find_traces()] == ["u", "t"]


async def test_a_living_writers_traces_are_left_alone(open_store: Open, record: Any) -> None:
    store, other = open_store(), open_store()
    record(store, "t", status=None)
    await store.flush()
    assert await other.recover() == []
    assert (await other.get_trace("t")).status == "running"


async def test_a_writer_that_is_gone_leaves_interrupted_traces(open_store: Open, record: Any) -> None:
    store = open_store()
    log = Recorder(store=store).open("t")
    node = log.start("node", "a", log.root)
    log.start("attempt", "a", node, {"attempt": 0})
    record(store, "done")
    await store.close()
    other = open_store()
    assert (await other.get_trace("t")).status == "interrupted"
    assert [each.trace_id for each in await other.find_traces(TraceQuery(status="interrupted"))] == ["t"]
    assert await other.find_traces(TraceQuery(status="running")) == []
    assert await other.recover() == ["t"]
    assert await other.recover() == []
    events = await other.load_events("t")
    assert [event.seq for event in events] == list(range(7))
    assert [(event.kind, event.span_id) for event in events[3:]] == [
        ("host.died", "0"),
        ("attempt.end", "2"),
        ("node.end", "1"),
        ("trace.end", "0"),
    ]
    assert {event.data["status"] for event in events[4:]} == {"interrupted"}
    assert [event.parent_id for event in events[4:]] == ["1", "0", None]
    summary = await other.get_trace("t")
    assert (summary.status, summary.events) == ("interrupted", 7)
    assert summary.ended is not None


async def test_an_interrupted_trace_can_be_taken_up_again(open_store: Open, record: Any) -> None:
    store = open_store()
    record(store, "t", status=None)
    await store.close()
    other = open_store()
    await other.recover()
    record(other, "t")
    await other.flush()
    assert [(event.kind, event.epoch) for event in await other.load_events("t")] == [
        ("trace.start", 0), ("host.died", 0), ("trace.end", 0), ("trace.start", 1), ("trace.end", 1),
    ]  # fmt: skip
    assert (await other.get_trace("t")).status == "ok"


async def test_closing_commits_and_ends(open_store: Open, record: Any) -> None:
    store = open_store()
    recorded = record(store, "t", events=300)
    await store.close()
    await store.close()
    with pytest.raises(StoreError):
        await store.flush()
    with pytest.raises(StoreError):
        await store.find_traces()
    record(store, "late")
    other = open_store()
    assert await other.load_events("t") == recorded
    assert await other.get_trace("late") is None
