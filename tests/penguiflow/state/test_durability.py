"""What a kill can take, and what a result waits for."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from penguiflow.recording import Recorder
from penguiflow.state import SQLiteStateStore, StoredEvent, writer
from penguiflow.state.errors import StoreNotWritable
from penguiflow.state.tickets import Tickets

GIVE_OUT_RESULTS = """
    import asyncio, sys
    from penguiflow.recording import Recorder
    from penguiflow.state import SQLiteStateStore

    async def main():
        store = SQLiteStateStore(sys.argv[1], durability=sys.argv[2])
        recorder = Recorder(store=store)

        async def one(number):
            log = recorder.open(f"t{number}")
            node = log.start("node", "n", log.root, {"number": number})
            log.end("node", "n", node, log.root, "ok")
            log.close("ok")
            kept = recorder.durable()
            if kept is not None:
                await kept
            print(number, flush=True)

        async def forever(first):
            number = first
            while True:
                await one(number)
                number += 8
                await asyncio.sleep(0)

        await asyncio.gather(*(forever(first) for first in range(8)))

    asyncio.run(main())
"""


def committed(path: Path) -> dict[str, tuple[str, int]]:
    """Status and events of each trace, as another process sees them."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT trace_id, status, events FROM traces").fetchall()
    return {trace_id: (status, events) for trace_id, status, events in rows}


async def test_no_result_is_given_out_before_its_events_are_committed(tmp_path: Path, start_child: Any) -> None:
    path = tmp_path / "state.db"
    child = start_child(GIVE_OUT_RESULTS, str(path), "every_event")
    given = [await asyncio.to_thread(child.line) for _ in range(50)]
    child.process.kill()
    _, rest, _ = await asyncio.to_thread(child.finish)
    # A line that the kill cut off was not given out.
    given += [line for line in rest.splitlines(keepends=True) if line.endswith("\n")]
    kept = committed(path)
    for number in given:
        assert kept[f"t{int(number)}"] == ("ok", 4)


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

    async with asyncio.timeout(30):
        await asyncio.gather(*(one(number) for number in range(64)))
    assert recorder.durable() is None


async def test_one_commit_serves_all_who_wait(open_store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "LINGER_S", 60.0)
    store = open_store(durability="every_event")
    recorder = Recorder(store=store)
    commits = 0
    commit = store._writer._write_items

    def count(items: Any) -> Any:
        nonlocal commits
        commits += 1
        return commit(items)

    monkeypatch.setattr(store._writer, "_write_items", count)
    for number in range(64):
        recorder.open(f"t{number}").close("ok")
    waits = [recorder.durable() for _ in range(64)]
    async with asyncio.timeout(30):
        await asyncio.gather(*(wait for wait in waits if wait is not None))
    assert len(waits) == 64
    assert commits == 1


async def test_savers_that_come_together_share_a_commit(open_store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "LINGER_S", 60.0)
    store = open_store()
    events = [StoredEvent("t", float(number), "k", None, None, {}) for number in range(50)]
    async with asyncio.timeout(30):
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
    async with asyncio.timeout(30):
        await second
    assert committed(store.path) == {"t": ("ok", 2)}


async def test_a_full_disk_holds_no_result_up(open_store: Any, caplog: pytest.LogCaptureFixture) -> None:
    store = open_store(durability="every_event")
    limited = store._writer.submit(lambda connection: connection.execute("PRAGMA max_page_count = 1").fetchone())
    await asyncio.wrap_future(limited)
    recorder = Recorder(store=store)
    async with asyncio.timeout(30):
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
    async with asyncio.timeout(30):
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
    async with asyncio.timeout(30):
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
        await asyncio.wait_for(future, 30)

    asyncio.run(stay())
    assert len(kicks) == 2
    gc.collect()
