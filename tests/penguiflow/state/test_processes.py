"""Stores and processes: crashes, several writers, an exit without a close."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from penguiflow.recording import TraceEvent, build_spans

RECORD_FOREVER = """
    import asyncio, sys
    from penguiflow.observer import Payload
    from penguiflow.recording import Recorder
    from penguiflow.state import SQLiteStateStore

    async def main():
        store = SQLiteStateStore(sys.argv[1])
        log = Recorder(store=store).open("crashed")
        for number in range(10**9):
            node = log.start("node", f"n{number % 3}", log.root, {"message_id": str(number)})
            log.event("message.enqueued", "a->b", node, {"payload": Payload("x" * 50), "message_id": str(number)})
            if number % 5:
                log.end("node", f"n{number % 3}", node, log.root, "ok")
            if number == 2000:
                await store.flush()
                print("flushed", number, flush=True)
            if number % 50 == 0:
                await asyncio.sleep(0)
            if store.congested:
                await store.wait_ready()

    asyncio.run(main())
"""

RECORD_MANY = """
    import asyncio, sys
    from penguiflow.recording import Recorder
    from penguiflow.state import SQLiteStateStore

    async def main():
        print("ready", flush=True)
        sys.stdin.readline()
        store = SQLiteStateStore(sys.argv[1])
        recorder = Recorder(store=store)
        for number in range(40):
            log = recorder.open(f"{sys.argv[2]}-{number}")
            shared = recorder.open("shared")
            for step in range(50):
                log.event("stall", "n", log.root, {"n": step})
                shared.event("stall", "n", shared.root, {"by": sys.argv[2], "n": step})
            log.close("ok")
            shared.close("ok")
            await asyncio.sleep(0.001)
        await store.close()

    asyncio.run(main())
"""

READ_WHILE_OTHERS_WRITE = """
    import asyncio, sys
    from penguiflow.state import SQLiteStateStore

    async def main():
        store = SQLiteStateStore(sys.argv[1], read_only=True)
        print("ready", flush=True)
        looks, most = 0, 0
        while True:
            for trace in await store.find_traces():
                events = await store.load_events(trace.trace_id)
                assert [event.seq for event in events] == list(range(len(events)))
                assert len(events) >= trace.events, (len(events), trace.events)
                if trace.status == "ok" and trace.trace_id != "shared":
                    assert len(events) == 52
            looks += 1
            summary = await store.get_trace("shared")
            most = max(most, summary.events if summary else 0)
            if most == 2 * 40 * 52:
                break
        await store.close()
        print(looks)

    asyncio.run(main())
"""

FORGET_TO_CLOSE = """
    import asyncio, sys
    from penguiflow.recording import Recorder
    from penguiflow.state import SQLiteStateStore

    store = SQLiteStateStore(sys.argv[1])

    async def main():
        log = Recorder(store=store).open("forgotten")
        for number in range(500):
            log.event("stall", "n", log.root, {"n": number})
        log.close("ok")

    asyncio.run(main())
    if sys.argv[2] == "raise":
        raise SystemExit(3)
"""


def check_gapless(events: list[TraceEvent]) -> None:
    assert [event.seq for event in events] == list(range(len(events)))


async def test_a_killed_process_leaves_what_it_committed(tmp_path: Path, open_store: Any, start_child: Any) -> None:
    path = tmp_path / "state.db"
    child = start_child(RECORD_FOREVER, str(path))
    assert await asyncio.to_thread(child.line) == "flushed 2000"
    reader = open_store(path, read_only=True)
    assert (await reader.get_trace("crashed")).status == "running"
    child.process.send_signal(signal.SIGKILL)
    await asyncio.to_thread(child.finish)

    before = await reader.load_events("crashed")
    check_gapless(before)
    assert sum(event.kind == "node.start" for event in before) >= 2001
    assert (await reader.get_trace("crashed")).status == "interrupted"
    # A reader changes nothing.
    assert (await reader.load_events("crashed")) == before

    store = open_store(path)
    died = {"exit_code": None, "signal": "SIGKILL", "pid": child.process.pid, "at": before[-1].ts + 5}
    assert await store.recover(died) == ["crashed"]
    after = await store.load_events("crashed")
    check_gapless(after)
    assert after[: len(before)] == before
    added = after[len(before) :]
    assert added[0].kind == "host.died"
    assert added[0].data["signal"] == "SIGKILL"
    assert {event.ts for event in added} == {before[-1].ts + 5}
    trace = await store.get_trace("crashed")
    assert trace.duration_s == pytest.approx(before[-1].offset_ns / 1e9 + 5)
    assert added[-1].kind == "trace.end"
    (root,) = build_spans(after)
    assert root.status == "interrupted"
    assert {child.status for child in root.children} == {"ok", "interrupted"}
    assert await store.recover() == []
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


async def test_processes_that_write_at_once_lose_nothing(tmp_path: Path, open_store: Any, start_child: Any) -> None:
    path = tmp_path / "folder" / "state.db"
    children = [start_child(RECORD_MANY, str(path), name) for name in ("a", "b", "c")]
    for child in children:
        assert await asyncio.to_thread(child.line) == "ready"
    for child in children:
        child.say()
    for child in children:
        assert await asyncio.to_thread(child.finish) == (0, "", "")
    store = open_store(path, read_only=True)
    for name in ("a", "b", "c"):
        for number in range(40):
            events = await store.load_events(f"{name}-{number}")
            check_gapless(events)
            assert len(events) == 52
    shared = await store.load_events("shared")
    check_gapless(shared)
    assert len(shared) == 3 * 40 * 52
    for name in ("a", "b", "c"):
        steps = [event.data["n"] for event in shared if event.data.get("by") == name]
        assert steps == list(range(50)) * 40
    assert (await store.get_trace("shared")).status == "ok"


async def test_a_reader_sees_whole_traces_while_two_others_write(tmp_path: Path, start_child: Any) -> None:
    path = tmp_path / "state.db"
    reader = start_child(READ_WHILE_OTHERS_WRITE, str(path))
    writers = [start_child(RECORD_MANY, str(path), name) for name in ("a", "b")]
    for child in (reader, *writers):
        assert await asyncio.to_thread(child.line) == "ready"
    for child in writers:
        child.say()
    for child in writers:
        assert await asyncio.to_thread(child.finish) == (0, "", "")
    code, out, err = await asyncio.to_thread(reader.finish)
    assert (code, err) == (0, "")
    assert int(out) > 0


@pytest.mark.parametrize(("how", "code"), [("return", 0), ("raise", 3)])
async def test_forgetting_to_close_loses_nothing(
    tmp_path: Path, open_store: Any, start_child: Any, how: str, code: int
) -> None:
    child = start_child(FORGET_TO_CLOSE, str(tmp_path / "state.db"), how)
    assert await asyncio.to_thread(child.finish) == (code, "", "")
    store = open_store(read_only=True)
    assert (await store.get_trace("forgotten")).events == 502


async def test_several_recoveries_at_once_close_a_trace_once(tmp_path: Path, open_store: Any, start_child: Any) -> None:
    path = tmp_path / "state.db"
    child = start_child(RECORD_FOREVER, str(path))
    await asyncio.to_thread(child.line)
    await asyncio.to_thread(child.kill)
    stores = [open_store(path) for _ in range(4)]
    closed = await asyncio.gather(*(store.recover() for store in stores))
    assert sorted(closed) == [[], [], [], ["crashed"]]
    events = await stores[0].load_events("crashed")
    check_gapless(events)
    assert [event.kind for event in events].count("host.died") == 1
