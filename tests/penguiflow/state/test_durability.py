"""What a kill can take, and what a result waits for."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from penguiflow import Headers, Message, Node, NodePolicy, create
from penguiflow.recording import Recorder
from penguiflow.state import SQLiteStateStore, StoredEvent, tickets, writer
from penguiflow.state.chunks import unpack
from penguiflow.state.errors import StoreNotWritable
from penguiflow.state.tickets import Tickets

GIVE_OUT_RESULTS = """
    import asyncio, sys
    from penguiflow import Node, NodePolicy, create
    from penguiflow.state import SQLiteStateStore

    async def double(number, ctx):
        return 2 * number

    async def main():
        store = SQLiteStateStore(sys.argv[1], durability="every_event")
        flow = create(Node(double, policy=NodePolicy(validate="none")).to())
        flow.run(state_store=store)

        async def forever(number):
            while True:
                result = await flow.call(number, trace_id=f"t{number}")
                print(result // 2, flush=True)
                number += 8

        await asyncio.gather(*(forever(first) for first in range(8)))

    asyncio.run(main())
"""


def committed(path: Path) -> dict[str, tuple[str, int]]:
    """Status and events of each trace, as another process sees them."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT trace_id, status, events FROM traces").fetchall()
    return {trace_id: (status, events) for trace_id, status, events in rows}


async def test_no_result_is_given_out_before_its_events_are_committed(
    tmp_path: Path, start_child: Any, open_store: Any
) -> None:
    path = tmp_path / "state.db"
    child = start_child(GIVE_OUT_RESULTS, str(path))
    given = [await asyncio.to_thread(child.line) for _ in range(50)]
    child.process.kill()
    rest = await asyncio.to_thread(child.process.stdout.readlines)
    # A line that the kill cut off was not given out.
    given += [line for line in rest if line.endswith("\n")]
    kept = committed(path)
    store = open_store(path, read_only=True)
    for number in map(int, given):
        status, events = kept[f"t{number}"]
        assert status == "ok"
        assert [event.seq for event in await store.load_events(f"t{number}")] == list(range(events))
        assert (await store.get_trace(f"t{number}")).output == str(2 * number)


async def test_each_way_to_get_a_result_waits_for_its_events(open_store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "LINGER_S", 60.0)
    store = open_store(durability="every_event")

    async def speak(message: Message, ctx: Any) -> Message:
        for number in range(3):
            await ctx.emit_chunk(parent=message, text=str(number), done=number == 2)
        return message

    flow = create(Node(speak, policy=NodePolicy(validate="none")).to())
    flow.run(state_store=store)

    def kept(kind: str, trace_id: str) -> int:
        with closing(sqlite3.connect(store.path)) as connection:
            chunks = connection.execute(
                "SELECT data FROM event_chunks JOIN traces ON traces.id = trace WHERE trace_id = ?", (trace_id,)
            )
            return sum(unpack(data).kinds.count(kind) for (data,) in chunks)

    async with asyncio.timeout(60):
        called = Message(payload="called", headers=Headers(tenant="acme"))
        await flow.call(called)
        assert committed(store.path)[called.trace_id][0] == "ok"
        streamed = Message(payload="streamed", headers=Headers(tenant="acme"))
        seen = 0
        async for _ in flow.stream(streamed):
            seen += 1
            assert kept("message.enqueued", streamed.trace_id) > seen
        assert seen == 4
        assert committed(store.path)[streamed.trace_id][0] == "ok"
        fetched = Message(payload="fetched", headers=Headers(tenant="acme"))
        await flow.emit(fetched)
        for number in range(4):
            await flow.fetch()
            assert kept("message.enqueued", fetched.trace_id) > number + 1
        asked = Message(payload="asked", headers=Headers(tenant="acme"))
        await flow.emit(asked, trace_id="asked")
        await flow.fetch(trace_id="asked")
        assert kept("message.enqueued", "asked") > 1
    await flow.stop()


async def test_events_wait_for_nothing_when_results_do_not(open_store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "LINGER_S", 60.0)
    store = open_store()
    recorder = Recorder(store=store)
    recorder.open("t").close("ok")
    assert recorder.durable() is None
    # This is the window of `batched`: nothing is in the file yet.
    assert committed(store.path) == {}
    await store.flush()
    assert committed(store.path) == {"t": ("ok", 2)}


async def test_a_wait_ends_with_the_commit_and_does_not_linger(
    open_store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "LINGER_S", 60.0)
    store = open_store(durability="every_event")
    recorder = Recorder(store=store)
    assert recorder.durable() is None

    async def one(number: int) -> None:
        recorder.open(f"t{number}").close("ok")
        kept = recorder.durable()
        assert kept is not None
        await kept
        assert committed(store.path)[f"t{number}"] == ("ok", 2)

    async with asyncio.timeout(60):
        await asyncio.gather(*(one(number) for number in range(64)))
    assert recorder.durable() is None


def count_commits(store: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What each commit of the store's writer is given, from now on."""
    commits: list[Any] = []
    commit = store._writer._write_items

    def counted(items: Any) -> Any:
        commits.append(items)
        return commit(items)

    monkeypatch.setattr(store._writer, "_write_items", counted)
    return commits


async def test_one_commit_serves_all_who_wait(open_store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "LINGER_S", 60.0)
    store = open_store(durability="every_event")
    recorder = Recorder(store=store)
    commits = count_commits(store, monkeypatch)
    for number in range(64):
        recorder.open(f"t{number}").close("ok")
    waits = [recorder.durable() for _ in range(64)]
    async with asyncio.timeout(60):
        await asyncio.gather(*(wait for wait in waits if wait is not None))
    assert len(waits) == 64
    assert len(commits) == 1


async def test_savers_that_come_together_share_a_commit(open_store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "LINGER_S", 60.0)
    store = open_store()
    events = [StoredEvent("t", float(number), "k", None, None, {}) for number in range(50)]
    async with asyncio.timeout(60):
        await asyncio.gather(*(store.save_event(event) for event in events))
        for event in events[:5]:
            await store.save_event(event)
    assert len(await store.load_history("t")) == 50


async def test_a_wait_that_is_cancelled_holds_nobody_up(open_store: Any) -> None:
    store = open_store(durability="every_event")
    recorder = Recorder(store=store)
    recorder.open("t").close("ok")
    first, second = recorder.durable(), recorder.durable()
    assert isinstance(first, asyncio.Future)
    assert second is not None
    first.cancel()
    async with asyncio.timeout(60):
        await second
    assert committed(store.path) == {"t": ("ok", 2)}


async def test_a_full_disk_holds_no_result_up(open_store: Any, caplog: pytest.LogCaptureFixture) -> None:
    store = open_store(durability="every_event")
    limited = store._writer.submit(lambda connection: connection.execute("PRAGMA max_page_count = 1").fetchone())
    await asyncio.wrap_future(limited)
    recorder = Recorder(store=store)
    async with asyncio.timeout(60):
        for number in range(3):
            log = recorder.open(f"t{number}")
            log.event("stall", "n", log.root, {"text": "x" * 100_000})
            log.close("ok")
            kept = recorder.durable()
            if kept is not None:
                await kept
    # The loss is told: once in the log, and to whoever asks.
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "events are not being stored" in caplog.text
    store._writer._connection.execute("PRAGMA max_page_count = 100000").fetchone()
    async with asyncio.timeout(60):
        while True:
            try:
                await store.flush()
            except StoreNotWritable:
                await asyncio.sleep(0.005)
            else:
                break
    assert committed(store.path)["t0"] == ("ok", 3)


async def test_closing_lets_go_who_waits(open_store: Any) -> None:
    store = open_store(durability="every_event")
    recorder = Recorder(store=store)
    recorder.open("t").close("ok")
    kept = recorder.durable()
    assert kept is not None
    await store.close()
    async with asyncio.timeout(60):
        await kept
    assert committed(store.path) == {"t": ("ok", 2)}


def test_a_reader_has_nothing_to_wait_for(tmp_path: Path) -> None:
    store = SQLiteStateStore(tmp_path / "state.db", read_only=True, durability="every_event")
    assert store.durable() is None
    asyncio.run(store.close())


def test_another_durability_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'batched' or 'every_event', not 'full'"):
        SQLiteStateStore(tmp_path / "state.db", durability="full")  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_a_loop_that_is_gone_is_passed_over() -> None:
    kicks = []
    tickets = Tickets(lambda: kicks.append(1))

    async def leave() -> None:
        tickets.wait(1)

    asyncio.run(leave())
    tickets.reached()

    async def stay() -> None:
        future = tickets.wait(2)
        await asyncio.sleep(0)
        tickets.reached(1)
        await asyncio.sleep(0)
        assert not future.done()
        tickets.reached(2)
        await asyncio.wait_for(future, 60)

    asyncio.run(stay())
    assert len(kicks) == 2
    gc.collect()


async def test_a_commit_waits_for_those_that_are_still_at_it_but_not_for_long(
    open_store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as more is being written, those who wait are not committed one by one; a flow that never rests is."""
    monkeypatch.setattr(writer, "LINGER_S", 60.0)
    monkeypatch.setattr(tickets, "GATHER_S", 60.0)
    store = open_store(durability="every_event")
    recorder = Recorder(store=store)
    commits = count_commits(store, monkeypatch)
    waits: list[Any] = []
    for number in range(20):
        recorder.open(f"t{number}").close("ok")
        waits += [recorder.durable(), recorder.durable()]
        await asyncio.sleep(0)
    async with asyncio.timeout(60):
        await asyncio.gather(*(wait for wait in waits if wait is not None))
    assert len(commits) == 1
    monkeypatch.setattr(tickets, "GATHER_S", 0.0)
    resting = False

    async def never_rests() -> None:
        log = recorder.open("busy")
        while not resting:
            log.event("custom", "x", log.root, {})
            await asyncio.sleep(0)
        log.close("ok")

    busy = asyncio.create_task(never_rests())
    await asyncio.sleep(0)
    async with asyncio.timeout(60):
        await asyncio.gather(*(wait for wait in (recorder.durable(), recorder.durable()) if wait is not None))
    resting = True
    await busy
