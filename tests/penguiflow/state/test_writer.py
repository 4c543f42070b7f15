"""The writer's thread: room, failures, what is lost and what is not."""

from __future__ import annotations

import asyncio
import gc
import logging
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from penguiflow.recording import EventRecord, Recorder, TraceEvent
from penguiflow.state import SQLiteStateStore, StoredEvent, intake, writer
from penguiflow.state.errors import StoreError, StoreNotWritable
from penguiflow.state.recovery import close_trace

THREAD = "penguiflow-store-writer"


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == THREAD]


def limit_pages(store: SQLiteStateStore, pages: int) -> None:
    """Let the database have no more pages than this: the disk is full."""
    assert store._writer is not None
    store._writer.submit(lambda connection: connection.execute(f"PRAGMA max_page_count = {pages}").fetchone()).result(
        60
    )


def fill(log: Any, count: int, *, first: int = 0, size: int = 100) -> None:
    for number in range(first, first + count):
        log.event("stall", "n", log.root, {"n": number, "text": "x" * size})


def numbers(events: list[TraceEvent]) -> list[int]:
    return [event.data["n"] for event in events if event.kind == "stall"]


async def until(condition: Callable[[], Awaitable[Any]]) -> None:
    """Wait, a bounded time, for what the writer does by itself."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if await condition():
            return
    raise AssertionError("it did not happen")


class Gate:
    """Holds the writer's thread where it is."""

    def __init__(self, store: SQLiteStateStore) -> None:
        self._entered = threading.Event()
        self._open = threading.Event()
        assert store._writer is not None
        self._future = store._writer.submit(self._wait)
        assert self._entered.wait(60)

    def _wait(self, connection: sqlite3.Connection) -> bool:
        self._entered.set()
        return self._open.wait(60)

    def open(self) -> None:
        self._open.set()
        assert self._future.result(60)


async def test_there_is_one_named_thread_and_it_ends(open_store: Any) -> None:
    before = len(threads())
    store = open_store()
    assert len(threads()) == before + 1
    await store.close()
    assert len(threads()) == before


async def test_a_store_that_is_dropped_lets_go(tmp_path: Path) -> None:
    before = len(threads())
    store = SQLiteStateStore(tmp_path / "state.db")
    Recorder(store=store).open("t").close("ok")
    await store.get_trace("t")
    del store
    gc.collect()
    assert len(threads()) == before
    again = SQLiteStateStore(tmp_path / "state.db")
    assert len(await again.load_events("t")) == 2
    await again.close()


async def test_it_says_when_it_is_full_and_when_there_is_room(open_store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "MAX_QUEUED_EVENTS", 50)
    store = open_store()
    recorder: Any = Recorder(store=store)
    gate = Gate(store)
    log = recorder.open("t")
    assert not recorder.congested
    fill(log, 60)
    assert recorder.congested
    waiting = [asyncio.create_task(recorder.wait_ready()) for _ in range(3)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    gate.open()
    async with asyncio.timeout(60):
        await asyncio.gather(*waiting)
    assert not recorder.congested
    await store.flush()
    assert numbers(await store.load_events("t")) == list(range(60))


async def test_bytes_count_too(open_store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "MAX_QUEUED_BYTES", 1_000_000)
    store = open_store()
    gate = Gate(store)
    log = Recorder(store=store).open("t")
    fill(log, 2, size=400_000)
    assert not store.congested
    fill(log, 1, size=400_000)
    assert store.congested
    gate.open()
    async with asyncio.timeout(60):
        await store.wait_ready()
    assert not store.congested


async def test_a_failed_write_is_forgotten_when_there_is_room(open_store: Any) -> None:
    store = open_store()
    limit_pages(store, 1)
    event = StoredEvent("t", 1.0, "k", None, None, {"text": "x" * 100_000})
    with pytest.raises(StoreNotWritable):
        await store.save_event(event)
    limit_retried(store)
    await store.flush()
    await store.save_event(event)
    assert await store.load_history("t") == [event]


async def test_a_wait_for_room_can_be_cancelled(open_store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "MAX_QUEUED_EVENTS", 5)
    store = open_store()
    gate = Gate(store)
    fill(Recorder(store=store).open("t"), 20)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(store.wait_ready(), 0.01)
    flush = asyncio.create_task(store.flush())
    await asyncio.sleep(0)
    flush.cancel()
    gate.open()
    async with asyncio.timeout(60):
        await store.wait_ready()
        await store.flush()
    assert len(await store.load_events("t")) == 21


async def test_events_are_committed_without_being_asked_for(open_store: Any) -> None:
    store = open_store()
    Recorder(store=store).open("t").close("ok")

    async def over() -> bool:
        trace = await store.get_trace("t")
        return trace is not None and trace.status == "ok"

    await until(over)


async def test_a_flush_does_not_wait_for_others(open_store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "LINGER_S", 60.0)
    store = open_store()
    log = Recorder(store=store).open("t")
    async with asyncio.timeout(60):
        for number in range(3):
            fill(log, 1, first=number)
            await store.flush()


async def test_many_events_are_cut_into_chunks(open_store: Any) -> None:
    store = open_store()
    log = Recorder(store=store).open("t")
    fill(log, 1000)
    fill(log, 5, first=1000, size=200_000)
    log.close("ok")
    await store.flush()
    assert store._writer is not None
    rows = store._writer.submit(
        lambda connection: connection.execute(
            "SELECT first_seq, last_seq, length(data) FROM event_chunks ORDER BY last_seq"
        ).fetchall()
    ).result(60)
    assert [row[0] for row in rows] == [0, *(row[1] + 1 for row in rows[:-1])]
    assert rows[-1][1] == 1006
    assert max(last - first for first, last, _ in rows) < 256
    assert max(size for _, _, size in rows) < 600_000


async def test_a_full_disk_is_told_and_the_rest_is_whole(
    open_store: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "RETRY_S", 0.01)
    store = open_store()
    recorder = Recorder(store=store)
    kept = recorder.open("kept")
    fill(kept, 10)
    await store.flush()
    limit_pages(store, 40)
    fill(kept, 2000, first=10)
    with caplog.at_level(logging.ERROR, "penguiflow.state"):
        for _ in range(3):
            with pytest.raises(StoreNotWritable, match=r"full.*PENGUIFLOW_HOME"):
                await store.flush()
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    with pytest.raises(StoreNotWritable):
        await store.save_event(StoredEvent("t", 1.0, "k", None, None, {}))
    # Nothing is half-written, the flow is not held up.
    assert numbers(await store.load_events("kept")) == list(range(10))
    assert (await store.get_trace("kept")).events == 11
    assert not store.congested
    fill(kept, 10, first=2010)
    # There is room again: what was kept in memory is written.
    limit_retried(store)
    async with asyncio.timeout(60):
        await flushed(store)
    assert numbers(await store.load_events("kept")) == list(range(2020))
    assert store.dropped == 0


def limit_retried(store: SQLiteStateStore) -> None:
    """Make room; from outside, as jobs are not done while nothing can be written."""
    assert store._writer is not None
    store._writer._connection.execute("PRAGMA max_page_count = 1000000").fetchone()


async def flushed(store: SQLiteStateStore) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                await store.flush()
            except StoreError:
                await asyncio.sleep(0.005)
            else:
                return


async def test_what_does_not_fit_in_memory_either_is_lost_trace_by_trace(
    open_store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "RETRY_S", 0.01)
    monkeypatch.setattr(intake, "MAX_QUEUED_EVENTS", 100)
    monkeypatch.setattr(intake, "MAX_BATCH_EVENTS", 50)
    store = open_store()
    recorder = Recorder(store=store)
    broken, open_still = recorder.open("broken"), recorder.open("open")
    fill(broken, 10)
    fill(open_still, 10)
    await store.flush()
    limit_pages(store, 1)
    fill(broken, 2000, first=10)
    fill(open_still, 2000, first=10)
    with pytest.raises(StoreNotWritable):
        await store.flush()
    for log in (broken, open_still):
        fill(log, 2000, first=2010)
    assert not store.congested
    broken.close("ok")
    assert store.dropped > 1000
    with pytest.raises(StoreNotWritable):
        await store.flush()
    limit_retried(store)
    async with asyncio.timeout(60):
        await flushed(store)
    fill(open_still, 10, first=9000)
    recorder.open("fresh").close("ok")
    await store.flush()

    events = await store.load_events("broken")
    assert [event.seq for event in events] == list(range(len(events)))
    lost = numbers(events)
    assert lost == list(range(len(lost)))
    assert [event.kind for event in events[-2:]] == ["host.died", "trace.end"]
    assert events[-2].data["reason"] == "events were lost"
    assert (await store.get_trace("broken")).status == "interrupted"
    found = numbers(await store.load_events("open"))
    assert found == list(range(len(found)))
    assert (await store.get_trace("fresh")).status == "ok"
    await store.close()
    again = open_store()
    assert (await again.get_trace("open")).status == "interrupted"
    assert (await again.load_events("open"))[-1].kind == "trace.end"


async def test_closing_on_a_full_disk_ends_and_tells(open_store: Any) -> None:
    store = open_store()
    limit_pages(store, 1)
    fill(Recorder(store=store).open("t"), 10_000)
    with pytest.raises(StoreNotWritable):
        await store.close()
    assert store.dropped == 10_001
    await store.close()
    assert await open_store().get_trace("t") is None


FILL_THE_DISK = """
    import asyncio, resource, signal, sys
    from penguiflow import Node, NodePolicy, create
    from penguiflow.state import SQLiteStateStore
    from penguiflow.state.errors import StoreNotWritable

    async def grow(text, ctx):
        return text + "x" * 20_000

    async def main():
        store = SQLiteStateStore(sys.argv[1])
        nodes = [Node(grow, name=f"n{number}", policy=NodePolicy(validate="none")) for number in range(3)]
        flow = create(*(a.to(b) for a, b in zip(nodes, nodes[1:])), nodes[-1].to())
        flow.run(state_store=store)
        await flow.call("first", trace_id="first")
        await store.flush()
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
        for number in range(30):
            assert len(await flow.call(f"{number}")) > 60_000
        try:
            await store.flush()
        except StoreNotWritable as error:
            print("not writable:", error)
        await flow.stop()
        try:
            await store.close()
        except StoreNotWritable:
            print("closed")

    asyncio.run(main())
"""


async def test_a_flow_goes_on_when_the_disk_is_full(tmp_path: Path, open_store: Any, start_child: Any) -> None:
    path = tmp_path / "state.db"
    code, out, err = await asyncio.to_thread(start_child(FILL_THE_DISK, str(path)).finish)
    assert code == 0, err
    assert "not writable: cannot write to" in out
    assert out.rstrip().endswith("closed")
    store = open_store(path, read_only=True)
    for trace in await store.find_traces():
        events = await store.load_events(trace.trace_id)
        assert [event.seq for event in events] == list(range(trace.events))
    assert (await store.get_trace("first")).status == "ok"


async def test_an_event_that_cannot_be_understood_harms_only_itself(
    open_store: Any, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_store()
    log = Recorder(store=store).open("t")
    store.sink.write(EventRecord(1, 0, "bad", "0", None, 1.0, 0, "trace.start", "x", b"{not json"))
    store.sink.write(EventRecord(1, 0, "bad", "0", None, None, 0, "trace.start", 3, b"{}"))  # type: ignore[arg-type]
    fill(log, 3)
    await store.flush()
    assert numbers(await store.load_events("t")) == [0, 1, 2]
    assert store.dropped >= 1
    assert "cannot be stored" in caplog.text


async def test_a_malformed_event_takes_nothing_with_it(open_store: Any, caplog: pytest.LogCaptureFixture) -> None:
    store = open_store()
    log = Recorder(store=store).open("t")
    fill(log, 2)
    await store.flush()
    fill(log, 2, first=2)
    for name in (None, 3):
        store.sink.write(EventRecord(5, 0, "t", "0", None, 1.0, 0, "stall", name, b"{}"))  # type: ignore[arg-type]
    fill(log, 2, first=4)
    log.close("ok")
    await store.flush()
    events = await store.load_events("t")
    assert [event.seq for event in events] == list(range(8))
    assert numbers(events) == list(range(6))
    assert store.dropped == 2
    assert (await store.get_trace("t")).status == "ok"
    assert "cannot be stored" in caplog.text


async def test_a_job_that_fails_tells_who_asked(open_store: Any) -> None:
    store = open_store()
    with pytest.raises(StoreError, match="division"):
        await asyncio.wrap_future(store._writer.submit(lambda connection: 1 // 0))
    await store.flush()


async def test_waiting_is_ended_when_the_thread_fails(open_store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store()
    gate = Gate(store)

    def explode(*arguments: Any, **options: Any) -> None:
        raise RuntimeError("bug")

    monkeypatch.setattr(store._writer, "_commit", explode)
    Recorder(store=store).open("t")
    flush = asyncio.create_task(store.flush())
    await asyncio.sleep(0)
    gate.open()
    with pytest.raises(StoreError, match="bug"):
        async with asyncio.timeout(60):
            await flush
    with pytest.raises(StoreError):
        await store.flush()
    assert not store.congested


async def test_a_trace_that_was_deleted_while_it_ran_stays_deleted(open_store: Any) -> None:
    store, other = open_store(), open_store()
    recorder = Recorder(store=store)
    log = recorder.open("t")
    await store.flush()
    for table in ("traces", "event_chunks"):
        await other._execute(f"DELETE FROM {table}", ())
    fill(log, 3)
    log.close("ok")
    await store.flush()
    assert await store.get_trace("t") is None
    recorder.open("t").close("ok")
    await store.flush()
    assert [event.seq for event in await store.load_events("t")] == [0, 1]


async def test_a_long_trace_says_that_its_writer_is_there(open_store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "SIGN_OF_LIFE_S", 0.01)
    store = open_store()

    async def seen() -> float:
        rows = await store._reader.ask(lambda connection: connection.execute("SELECT seen FROM writers").fetchall(), [])
        return float(rows[0][0])

    Recorder(store=store).open("t")
    await store.flush()
    first = await seen()

    async def later() -> bool:
        return await seen() > first

    await until(later)


async def test_a_trace_that_rested_while_others_wrote_to_it_goes_on_behind_them(open_store: Any) -> None:
    store, other = open_store(), open_store()
    recorder = Recorder(store=store)
    shared, own = recorder.open("shared"), recorder.open("own")
    await store.flush()
    fill(Recorder(store=other).open("shared"), 3)
    await other.flush()
    # A commit without the shared trace sees that others have written, and must not take that for known.
    fill(own, 1)
    await store.flush()
    fill(shared, 2)
    await store.flush()
    assert [event.seq for event in await store.load_events("shared")] == list(range(7))
    summary = await store.get_trace("shared")
    assert summary is not None
    assert summary.events == 7


async def test_a_trace_that_its_own_store_wrote_to_in_a_job_goes_on_behind_that(open_store: Any) -> None:
    store = open_store()
    log = Recorder(store=store).open("t")
    await store.flush()
    died = {"exit_code": 1}
    writer = store._writer
    closing = writer.submit(lambda connection: close_trace(connection, "t", died, writer=writer.writer_id))
    await asyncio.wrap_future(closing)
    fill(log, 2)
    await store.flush()
    events = await store.load_events("t")
    assert [event.seq for event in events] == list(range(5))
    assert [event.kind for event in events[:3]] == ["trace.start", "host.died", "trace.end"]


async def test_a_statement_that_fails_leaves_no_transaction_behind(open_store: Any) -> None:
    store = open_store()
    log = Recorder(store=store).open("t")
    with pytest.raises(StoreError, match="no such table"):
        await store._execute("INSERT INTO nowhere VALUES (1)", ())
    fill(log, 2)
    await flushed(store)
    assert numbers(await store.load_events("t")) == [0, 1]
    assert store.dropped == 0
