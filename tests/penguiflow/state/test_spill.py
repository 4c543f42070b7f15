"""Large payloads: kept once, read as if they stood with the event, removed with the last trace."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from penguiflow.observer import Payload
from penguiflow.recording.rebuilding import rebuild
from penguiflow.state import Retention, SQLiteStateStore

LARGE = "x" * 5_000


class Document(BaseModel):
    text: str


async def record(store: SQLiteStateStore, trace_id: str, *texts: str) -> None:
    log = store.recorder().open(trace_id)
    for number, text in enumerate(texts):
        about = {"message_id": f"m{number}", "source": "a", "target": "Rookery", "meta": {"$artifact": "sha256:00"}}
        log.event("message.enqueued", "a->Rookery", log.root, {"payload": Payload(Document(text=text)), **about})
    log.close("ok")
    await store.flush()


def count(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        (found,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
        return int(found)


def events_size(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        (found,) = connection.execute("SELECT sum(length(data)) FROM event_chunks").fetchone()
        return int(found)


async def test_equal_payloads_are_kept_once_and_read_with_their_events(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    store = SQLiteStateStore(path, inline_bytes=1_000)
    try:
        for trace_id in ("one", "two"):
            await record(store, trace_id, LARGE, "small", LARGE)
        assert count(path, "payloads") == 1
        assert events_size(path) < len(LARGE)
        events = await store.load_events("one", kinds=["message.*"])
        assert [rebuild(event.data["payload"]).text for event in events] == [LARGE, "small", LARGE]
        assert events[0].data["meta"] == {"$artifact": "sha256:00"}
        assert LARGE.encode() in (await store.load_event_bytes("one", after=0, limit=1))[0]
        summary = await store.get_trace("one")
        assert summary is not None
        assert (summary.output or "").startswith('{"text":"xxx')
    finally:
        await store.close()
    # The mark in the file is what the documentation says.
    with closing(sqlite3.connect(path)) as connection:
        stored = b"".join(data for (data,) in connection.execute("SELECT data FROM event_chunks"))
    assert b'"payload":{"type":"' in stored
    assert b'"$artifact":"sha256:' in stored


async def test_a_payload_goes_with_its_last_trace(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    store = SQLiteStateStore(path, inline_bytes=1_000)
    try:
        await record(store, "one", LARGE, "y" * 5_000)
        await record(store, "two", LARGE)
        assert count(path, "payloads") == 2
        await store.prune(Retention(max_traces=1))
        assert [trace.trace_id for trace in await store.find_traces()] == ["two"]
        assert count(path, "payloads") == 1
        (event,) = await store.load_events("two", kinds=["message.enqueued"])
        assert event.data["payload"]["value"]["text"] == LARGE
        await store.prune(Retention(max_traces=0))
        assert count(path, "payloads") == count(path, "trace_payloads") == 0
    finally:
        await store.close()


async def test_nobody_gets_a_payload_by_writing_its_name(tmp_path: Path) -> None:
    store = SQLiteStateStore(tmp_path / "state.db", inline_bytes=1_000)
    try:
        log = store.recorder().open("t")
        forged: dict[str, Any] = {"type": "x", "$artifact": "sha256:" + "0" * 64}
        log.event("message.enqueued", "a->b", log.root, {"payload": Payload(forged)})
        log.close("ok")
        await store.flush()
        (event,) = await store.load_events("t", kinds=["message.*"])
        assert event.data["payload"]["value"] == forged
    finally:
        await store.close()


async def test_a_payload_that_is_gone_is_told_when_it_is_needed(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    store = SQLiteStateStore(path, inline_bytes=1_000)
    await record(store, "one", LARGE)
    await store.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM payloads")
    reading = SQLiteStateStore(path, read_only=True)
    try:
        (event,) = await reading.load_events("one", kinds=["message.*"])
        assert event.data["payload"]["bytes"] > len(LARGE)
        assert event.data["payload"]["$artifact"].startswith("sha256:")
    finally:
        await reading.close()
