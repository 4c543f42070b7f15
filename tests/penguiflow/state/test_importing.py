"""Trace files: what comes out is what went in, and what is wrong with a file is told and leaves nothing behind."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import random
import sqlite3
import tracemalloc
import zlib
from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from penguiflow.observer import Payload
from penguiflow.recording import tracefile
from penguiflow.recording.tracefile import write_trace_file
from penguiflow.state import Retention, SQLiteStateStore
from penguiflow.state.errors import StoreError, StoreTooNew, StoreUnreadable
from penguiflow.state.importing import TraceExists

OpenStore = Callable[..., SQLiteStateStore]


async def record(store: SQLiteStateStore, trace_id: str, *, nodes: int = 3, status: str = "ok") -> None:
    recorder = store.recorder(name="f\u202e")
    log = recorder.open(trace_id, {"flow": "f", "target": "f.py", "version": "v1", "session": "s"})
    for number in range(nodes):
        node = log.start("node", "wörk", log.root, {"message_id": f"m{number}"})
        payload = Payload({"text": '"},"data":{', "n": 10**20, "f": 0.1, "none": None, "ümlaut": "\u2028"})
        log.event("message.enqueued", "wörk->Rookery", node, {"message_id": f"o{number}", "payload": payload})
        log.end("node", "wörk", node, log.root, status)
    log.close(status)
    await store.flush()


def bytes_of(path: Path) -> bytes:
    return path.read_bytes()


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def lines_of(path: Path) -> list[bytes]:
    return gzip.decompress(path.read_bytes()).splitlines(keepends=True)


def repack(path: Path, lines: list[bytes]) -> None:
    """As somebody would who knows the format: with a checksum that is right."""
    body = b"".join(lines)
    path.write_bytes(gzip.compress(body + b'{"sha256":"%b"}\n' % sha256(body).hexdigest().encode()))


@pytest.fixture
async def exported(open_store: OpenStore, tmp_path: Path) -> Path:
    store = open_store(tmp_path / "source.db")
    await record(store, "t")
    path = tmp_path / "t.pftrace"
    await write_trace_file(store, "t", path)
    return path


async def test_what_comes_out_is_what_went_in(open_store: OpenStore, tmp_path: Path) -> None:
    source, target = open_store(tmp_path / "source.db"), open_store(tmp_path / "target.db")
    for trace_id, nodes in (("t", 3), ("long\x00\u202e/../", 700)):
        await record(source, trace_id, nodes=nodes, status="error")
        path = tmp_path / f"{nodes}.pftrace"
        written = await write_trace_file(source, trace_id, path)
        found = await target.import_trace(path)
        assert (found.trace_id, found.events, found.new) == (trace_id, written.events, True)
        assert await target.load_event_bytes(trace_id) == await source.load_event_bytes(trace_id)
        assert await target.get_trace(trace_id) == await source.get_trace(trace_id)
        assert written.bytes == path.stat().st_size
        again = tmp_path / "again.pftrace"
        await write_trace_file(target, trace_id, again)
        assert again.read_bytes() == path.read_bytes()
        again.unlink()
    assert [event.seq for event in await target.load_events("long\x00\u202e/../", after=1000, limit=2)] == [1001, 1002]


async def test_how_far_it_is_is_told_and_can_end_it(open_store: OpenStore, exported: Path) -> None:
    store, told = open_store(exported.with_name("target.db")), list[tuple[int, int]]()

    def leave(events: int, total: int) -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        await store.import_trace(exported, progress=leave)
    assert await store.get_trace("t") is None
    found = await store.import_trace(exported, progress=lambda *share: told.append(share))
    assert told[-1] == (found.events, found.events)


async def test_large_payloads_go_along(open_store: OpenStore, tmp_path: Path) -> None:
    source, target = open_store(tmp_path / "source.db"), open_store(tmp_path / "target.db")
    log = source.recorder().open("t")
    for number in range(3):
        data = {"message_id": f"m{number}", "payload": Payload({"text": "x" * 400_000, "$artifact": "sha256:00"})}
        log.event("message.enqueued", "a->Rookery", log.root, data)
    log.close("ok")
    await source.flush()
    path = tmp_path / "t.pftrace"
    await write_trace_file(source, "t", path)
    assert (await target.import_trace(path)).new
    assert await target.load_event_bytes("t") == await source.load_event_bytes("t")
    assert await target.get_trace("t") == await source.get_trace("t")
    with closing(sqlite3.connect(tmp_path / "target.db")) as connection:
        assert connection.execute("SELECT count(*) FROM payloads").fetchone() == (1,)
    assert (await target.import_trace(path)).new is False
    await target.prune(Retention(max_traces=0))
    with closing(sqlite3.connect(tmp_path / "target.db")) as connection:
        assert connection.execute("SELECT count(*) FROM payloads").fetchone() == (0,)


async def test_a_trace_that_was_taken_up_again(open_store: OpenStore, tmp_path: Path) -> None:
    source = open_store(tmp_path / "source.db")
    await record(source, "t", status="interrupted")
    await record(source, "t")
    path = tmp_path / "t.pftrace"
    await write_trace_file(source, "t", path)
    target = open_store(tmp_path / "target.db")
    await target.import_trace(path)
    assert await target.load_events("t") == await source.load_events("t")
    assert await target.get_trace("t") == await source.get_trace("t")
    assert {event.epoch for event in await target.load_events("t")} == {0, 1}


async def test_secrets_do_not_travel(open_store: OpenStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "pk-swimming-8841-penguin"
    monkeypatch.setenv("AGENT_API_KEY", secret)
    store = open_store(tmp_path / "source.db")
    log = store.recorder(name="f").open("t", {"session": "s"})
    payload = Payload({"prompt": f"use {secret} to ask", "api_key": "another-secret-77", "safe": "fish"})
    log.event("message.enqueued", "a->b", log.root, {"message_id": "m", "payload": payload, "meta": {"token": secret}})
    log.close("error", {"error": {"message": f"refused {secret}"}})
    await store.flush()
    path = tmp_path / "t.pftrace"
    await write_trace_file(store, "t", path)
    text = b"".join(lines_of(path))
    assert b"fish" in text
    assert b"env:AGENT_API_KEY" in text
    assert b"hmac:" in text
    assert secret.encode() not in text
    assert b"another-secret-77" not in text
    target = open_store(tmp_path / "target.db")
    await target.import_trace(path)
    assert await target.load_events("t") == await store.load_events("t")


async def test_the_same_again_changes_nothing_and_another_one_is_refused(
    open_store: OpenStore, tmp_path: Path, exported: Path
) -> None:
    store = open_store(tmp_path / "target.db")
    await store.import_trace(exported)
    assert (await store.import_trace(exported)).new is False
    other = open_store(tmp_path / "other.db")
    await record(other, "t")
    with pytest.raises(TraceExists, match="another trace t exists"):
        await other.import_trace(exported)
    found = await other.import_trace(exported, trace_id="u")
    assert (found.trace_id, found.new) == ("u", True)
    ours, theirs = await other.load_events("u"), await store.load_events("t")
    assert [event._replace(trace_id="t") for event in ours] == theirs
    assert len(await other.find_traces()) == 2


async def test_what_runs_is_not_exported_and_what_exists_is_not_written_over(
    open_store: OpenStore, tmp_path: Path, exported: Path
) -> None:
    store = open_store(tmp_path / "source.db")
    store.recorder().open("running")
    await store.flush()
    with pytest.raises(StoreError, match="is not over"):
        await write_trace_file(store, "running", tmp_path / "r.pftrace")
    before = bytes_of(exported)
    with pytest.raises(FileExistsError):
        await write_trace_file(store, "t", exported)
    assert bytes_of(exported) == before
    await write_trace_file(store, "t", exported, overwrite=True)
    assert bytes_of(exported) == before
    with pytest.raises(StoreError, match="cannot write"):
        await write_trace_file(store, "t", tmp_path / "none" / "t.pftrace")
    assert not [name for name in names_in(tmp_path) if "part" in name]


async def refused(store: SQLiteStateStore, path: Path) -> str:
    """What the refusal says; the store has to be as it was."""
    with pytest.raises(StoreUnreadable) as caught:
        await store.import_trace(path)
    assert await store.find_traces() == []
    assert str(path) in str(caught.value)
    return str(caught.value)


def unzipped(data: bytes) -> bytes | None:
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error):
        return None


async def test_any_damage_is_found(open_store: OpenStore, tmp_path: Path, exported: Path) -> None:
    store = open_store(tmp_path / "target.db")
    good = bytes_of(exported)
    path = tmp_path / "bad.pftrace"
    chance = random.Random(7)
    for cut in (0, 1, 5, 20, len(good) // 2, len(good) - 9, len(good) - 1):
        path.write_bytes(good[:cut])
        await refused(store, path)
    for more in (b"x", good):
        path.write_bytes(good + more)
        await refused(store, path)
    for _ in range(60):
        # The first ten bytes are gzip's own header: time and system, which nobody reads.
        place = chance.randrange(10, len(good))
        path.write_bytes(good[:place] + bytes([good[place] ^ (1 << chance.randrange(8))]) + good[place + 1 :])
        # The bits that fill up the last byte before the checksum say nothing.
        if unzipped(path.read_bytes()) != unzipped(good):
            await refused(store, path)


def changed(line: bytes, **fields: Any) -> bytes:
    return json.dumps({**json.loads(line), **fields}, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


HOSTILE: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "no header": lambda lines: lines[1:],
    "another format": lambda lines: [changed(lines[0], format="tar"), *lines[1:]],
    "version 0": lambda lines: [changed(lines[0], version=0), *lines[1:]],
    "a version that is a text": lambda lines: [changed(lines[0], version="2"), *lines[1:]],
    "no id": lambda lines: [changed(lines[0], trace_id=""), *lines[1:]],
    "an absurd id": lambda lines: [changed(lines[0], trace_id="x" * 100_000), *lines[1:]],
    "too few events": lambda lines: [changed(lines[0], events=1000), *lines[1:]],
    "too many events": lambda lines: [changed(lines[0], events=2), *lines[1:]],
    "a huge number of events": lambda lines: [changed(lines[0], events=2**70), *lines[1:]],
    "an event left out": lambda lines: [changed(lines[0], events=10), *lines[1:4], *lines[5:]],
    "an event twice": lambda lines: [changed(lines[0], events=12), *lines[:3], lines[2], *lines[3:]],
    "no end": lambda lines: [changed(lines[0], events=10), *lines[1:-1]],
    "no json": lambda lines: [*lines[:2], b"}{\n", *lines[3:]],
    "too deep": lambda lines: [*lines[:2], lines[2][:-2] + b"," + b'"x":' + b"[" * 9999 + b"]" * 9999 + b"}}\n"],
    "data that is no object": lambda lines: [*lines[:2], changed(lines[2], data=[]), *lines[3:]],
    "one field more": lambda lines: [*lines[:2], b'{"x":1,' + lines[2][1:], *lines[3:]],
    "a huge number": lambda lines: [*lines[:2], changed(lines[2], offset_ns=2**64, data={}), *lines[3:]],
    "a time that is none": lambda lines: [*lines[:2], lines[2].replace(b'"ts":', b'"ts":1e999'), *lines[3:]],
    "an odd status": lambda lines: [*lines[:-1], changed(lines[-1], data={"status": "sleeping"})],
    "one that runs": lambda lines: [*lines[:-1], changed(lines[-1], data={"status": "running"})],
    "an odd origin": lambda lines: [lines[0], changed(lines[1], data={"origin": {"trace_id": [1]}}), *lines[2:]],
    "a payload of somebody else": lambda lines: [
        *lines[:2],
        changed(lines[2], data={"payload": {"type": "x", "$artifact": "sha256:" + "0" * 64, "bytes": 1}}),
        *lines[3:],
    ],
    "a line more": lambda lines: [*lines, b"{}\n"],
    "no lines": lambda lines: [],
}


@pytest.mark.parametrize("what", HOSTILE)
async def test_what_a_hostile_author_could_write(
    open_store: OpenStore, tmp_path: Path, exported: Path, what: str
) -> None:
    path = tmp_path / "bad.pftrace"
    repack(path, HOSTILE[what](lines_of(exported)[:-1]))
    await refused(open_store(tmp_path / "target.db"), path)
    kept = [name for name in names_in(tmp_path) if not name.startswith(("source", "target"))]
    assert kept == ["bad.pftrace", "t.pftrace"]


async def test_repacking_as_such_is_no_harm(open_store: OpenStore, tmp_path: Path, exported: Path) -> None:
    path = tmp_path / "fine.pftrace"
    repack(path, lines_of(exported)[:-1])
    assert (await open_store(tmp_path / "target.db").import_trace(path)).new


async def test_a_later_version_is_told_as_such(open_store: OpenStore, tmp_path: Path, exported: Path) -> None:
    lines = lines_of(exported)
    path = tmp_path / "new.pftrace"
    repack(path, [changed(lines[0], version=2, events="in another way"), *lines[1:-1]])
    with pytest.raises(StoreTooNew, match="later version"):
        await open_store(tmp_path / "target.db").import_trace(path)


@pytest.mark.parametrize("one_line", [True, False])
async def test_a_bomb_does_not_go_off(
    open_store: OpenStore, tmp_path: Path, exported: Path, one_line: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracefile, "FREE_BYTES", 4_000_000)
    monkeypatch.setattr(tracefile, "MAX_LINE_BYTES", 2_000_000)
    lines = lines_of(exported)
    filler = b"x" * 50_000_000
    if not one_line:
        head = json.loads(lines[2])
        head.pop("data")
        filler = b"".join(
            json.dumps({**head, "seq": seq, "data": {"x": "x" * 9000}}, separators=(",", ":")).encode() + b"\n"
            for seq in range(1, 3000)
        )
    path = tmp_path / "bomb.pftrace"
    repack(path, [changed(lines[0], events=3001), lines[1], filler, lines[-2]])
    store = open_store(tmp_path / "target.db")
    tracemalloc.start()
    try:
        told = await refused(store, path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "line of more" in told if one_line else "far more than" in told
    assert peak < 30_000_000


async def test_what_is_no_file_is_not_waited_for(open_store: OpenStore, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    store = open_store(tmp_path / "target.db")
    async with asyncio.timeout(60):
        for path in (pipe, tmp_path, tmp_path / "missing"):
            await refused(store, path)
