"""Files that are damaged, newer, missing, another program's, or not to be written."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import pytest

from penguiflow.recording import Recorder
from penguiflow.state import SQLiteStateStore, schema
from penguiflow.state.errors import StoreError, StoreNotWritable, StoreTooNew, StoreUnreadable, TraceNotFound
from penguiflow.state.files import check_file


async def fill(path: Path, *, events: int = 1000) -> None:
    store = SQLiteStateStore(path)
    log = Recorder(store=store).open("t")
    for number in range(events):
        log.event("stall", "n", log.root, {"n": number})
    log.close("ok")
    await store.close()


def names(folder: Path) -> list[str]:
    """The files in a folder, without those that SQLite puts beside a database that is open."""
    found = sorted(path.name for path in folder.iterdir())
    return [name for name in found if not name.endswith(("-wal", "-shm"))]


@pytest.mark.parametrize(
    "name", ["with space", "ünïcode", "what?", "hash#tag", "per%20cent", "a&mode=ro", "quote'\"", "x;y", "\udcff"]
)
async def test_any_path_will_do(tmp_path: Path, name: str) -> None:
    path = tmp_path / name / f"{name}.db"
    await fill(path, events=1)
    store = SQLiteStateStore(path, read_only=True)
    assert len(await store.load_events("t")) == 3
    await store.close()
    assert names(path.parent) == [f"{name}.db"]


async def test_a_relative_path_is_that_of_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = SQLiteStateStore(".penguiflow/state.db")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    Recorder(store=store).open("t").close("ok")
    await store.flush()
    assert [trace.trace_id for trace in await store.find_traces()] == ["t"]
    await store.close()
    assert not list(elsewhere.iterdir())


async def test_a_missing_database_has_no_traces_and_is_not_made(tmp_path: Path, open_store: Any) -> None:
    path = tmp_path / "none" / "state.db"
    reader = open_store(path, read_only=True)
    assert await reader.find_traces() == []
    assert await reader.get_trace("t") is None
    assert await reader.load_events("t") == []
    with pytest.raises(TraceNotFound, match="no trace is recorded"):
        await reader.resolve_trace("last")
    assert not path.parent.exists()
    await fill(path)
    assert len(await reader.load_events("t")) == 1002


async def test_an_empty_file_has_no_traces_and_becomes_a_database(tmp_path: Path, open_store: Any) -> None:
    path = tmp_path / "state.db"
    path.touch()
    reader = open_store(path, read_only=True)
    assert await reader.find_traces() == []
    assert path.stat().st_size == 0
    await fill(path)
    assert len(await reader.find_traces()) == 1


async def test_a_database_that_is_moved_aside_is_noticed(tmp_path: Path, open_store: Any) -> None:
    path = tmp_path / "state.db"
    await fill(path)
    reader = open_store(path, read_only=True)
    assert len(await reader.find_traces()) == 1
    path.rename(tmp_path / "old.db")
    assert await reader.find_traces() == []


async def test_a_reader_does_not_write(tmp_path: Path, open_store: Any) -> None:
    await fill(tmp_path / "state.db")
    reader = open_store(read_only=True)
    for call in (reader.recorder, lambda: reader.sink):
        with pytest.raises(StoreNotWritable, match="read only"):
            call()
    with pytest.raises(StoreNotWritable):
        await reader.recover()
    await reader.flush()
    await reader.wait_ready()
    assert not reader.congested
    assert not reader.dropped


@pytest.mark.parametrize(
    "content", [b"this is not a database, however long the text may be" * 100, b"short", b"\0" * 5000]
)
async def test_what_is_no_database_is_left_as_it_is(tmp_path: Path, open_store: Any, content: bytes) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(content)
    with pytest.raises(StoreUnreadable, match="PENGUIFLOW_HOME") as failure:
        SQLiteStateStore(path)
    assert str(path) in str(failure.value)
    assert failure.value.path == str(path)
    reader = open_store(path, read_only=True)
    with pytest.raises(StoreUnreadable, match="move"):
        await reader.find_traces()
    assert path.read_bytes() == content
    assert names(tmp_path) == ["state.db"]


async def test_damage_inside_is_reported(tmp_path: Path, open_store: Any) -> None:
    path = tmp_path / "state.db"
    await fill(path)
    pages = bytearray(path.read_bytes())
    # The header stays; what comes after it does not.
    pages[4096:] = b"\xaa" * (len(pages) - 4096)
    path.write_bytes(pages)
    reader = open_store(path, read_only=True)
    with pytest.raises(StoreUnreadable, match="damaged"):
        await reader.load_events("t")
    with pytest.raises(StoreUnreadable, match="damaged"):
        SQLiteStateStore(path)
    assert path.read_bytes() == pages


async def test_a_truncated_file_is_reported(tmp_path: Path, open_store: Any) -> None:
    path = tmp_path / "state.db"
    await fill(path, events=5000)
    content = path.read_bytes()[: path.stat().st_size // 2]
    path.write_bytes(content)
    reader = open_store(path, read_only=True)
    with pytest.raises(StoreUnreadable):
        await reader.load_events("t")
    assert path.read_bytes() == content


@pytest.mark.parametrize("kind", ["folder", "pipe", "home"])
async def test_what_stands_in_the_way_is_named(tmp_path: Path, open_store: Any, kind: str) -> None:
    path = tmp_path / "home" / "state.db"
    blocking = path.parent if kind == "home" else path
    if kind == "home":
        path.parent.write_text("no folder")
    else:
        path.parent.mkdir()
        path.mkdir() if kind == "folder" else os.mkfifo(path)
    reader = open_store(path, read_only=True)
    with pytest.raises(StoreUnreadable, match="move it aside") as unread:
        await reader.find_traces()
    with pytest.raises(StoreNotWritable, match="move it aside") as unwritten:
        SQLiteStateStore(path)
    with pytest.raises(StoreUnreadable):
        check_file(path, timeout_s=0.1)
    assert str(unread.value) == str(unwritten.value)
    assert str(unread.value).startswith(f"{blocking} is a ")


async def test_a_look_at_the_file_waits_for_nobody(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    check_file(path, timeout_s=0.1)
    assert not path.exists()
    await fill(path)
    check_file(path, timeout_s=0.1)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("BEGIN EXCLUSIVE")
        check_file(path, timeout_s=0.01)


async def test_a_newer_database_is_left_as_it_is(tmp_path: Path, open_store: Any) -> None:
    path = tmp_path / "state.db"
    await fill(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    before = path.read_bytes()
    with pytest.raises(StoreTooNew, match="upgrade penguiflow, or move the file aside") as failure:
        SQLiteStateStore(path)
    assert (failure.value.found, failure.value.supported) == (schema.VERSION + 1, schema.VERSION)
    assert f"version {schema.VERSION + 1}" in str(failure.value)
    assert str(path) in str(failure.value)
    with pytest.raises(StoreTooNew):
        await open_store(path, read_only=True).find_traces()
    assert path.read_bytes() == before
    assert names(tmp_path) == ["state.db"]


async def test_another_programs_database_is_left_as_it_is(tmp_path: Path, open_store: Any) -> None:
    path = tmp_path / "state.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    before = path.read_bytes()
    with pytest.raises(StoreUnreadable, match="another program"):
        SQLiteStateStore(path)
    with pytest.raises(StoreUnreadable, match="another program"):
        await open_store(path, read_only=True).find_traces()
    assert path.read_bytes() == before


async def test_a_folder_in_place_of_the_file_is_reported(tmp_path: Path, open_store: Any) -> None:
    with pytest.raises(StoreNotWritable, match="folder"):
        SQLiteStateStore(tmp_path)
    with pytest.raises(StoreUnreadable):
        await open_store(tmp_path, read_only=True).find_traces()
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(StoreNotWritable):
        SQLiteStateStore(file / "state.db")


async def test_a_locked_database_is_reported(tmp_path: Path, open_store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penguiflow.state.files.BUSY_TIMEOUT_S", 0.05)
    await fill(tmp_path / "state.db")
    store = open_store()
    with closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        Recorder(store=store).open("u").close("ok")
        with pytest.raises(StoreError, match="locked"):
            await store.flush()
        other.execute("ROLLBACK")
    async with asyncio.timeout(60):
        while True:
            try:
                await store.flush()
            except StoreError:  # of a try that had begun before
                await asyncio.sleep(0.005)
            else:
                break
    assert len(await store.load_events("u")) == 2


def test_full_durability_is_asked_for(tmp_path: Path) -> None:
    levels: dict[Literal["batched", "every_event"], int] = {"batched": 1, "every_event": 2}
    for durability, level in levels.items():
        store = SQLiteStateStore(tmp_path / f"{durability}.db", durability=durability)
        assert store._writer is not None
        found = store._writer.submit(lambda connection: connection.execute("PRAGMA synchronous").fetchone()[0])
        assert found.result(timeout=60) == level
        asyncio.run(store.close())


# Root may write anywhere: what follows runs as somebody else.
PROBE = """
    import asyncio, concurrent.futures.thread, os, sys, tempfile, traceback
    from penguiflow.state import SQLiteStateStore
    from penguiflow.state.errors import StoreError
    # Only now: the interpreter may stand where others cannot read.
    os.setgroups([]); os.setgid(65534); os.setuid(65534)

    async def main():
        path, read_only = sys.argv[1], sys.argv[2] == "read"
        try:
            store = SQLiteStateStore(path, read_only=read_only)
            print(len(await store.load_events("t")), (await store.get_trace("t")).status, flush=True)
            sys.stdin.readline()
            print(len(await store.load_events("t")))
            await store.close()
        except StoreError as error:
            print(type(error).__name__, "|", error)

    asyncio.run(main())
"""


@pytest.fixture
def open_to_others() -> Iterator[Path]:
    """A folder that others may read and not write."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    # Not within tmp_path: others may not pass its parents.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        path.chmod(0o755)
        yield path


async def probe(start_child: Any, path: Path, how: str) -> Any:
    child = start_child(PROBE, str(path), how, measured=False)
    return child, await asyncio.to_thread(child.line)


@pytest.mark.parametrize("mode", [0o644, 0o666])
async def test_a_read_only_folder_is_reported_at_once(open_to_others: Path, start_child: Any, mode: int) -> None:
    path = open_to_others / "state.db"
    await fill(path)
    path.chmod(mode)
    child, line = await probe(start_child, path, "write")
    await asyncio.to_thread(child.finish)
    assert line.startswith("StoreNotWritable")
    assert str(path) in line
    child, line = await probe(start_child, open_to_others / "new" / "state.db", "write")
    await asyncio.to_thread(child.finish)
    assert line.startswith("StoreNotWritable")
    assert names(open_to_others) == ["state.db"]


async def test_a_database_in_a_read_only_folder_can_be_read(open_to_others: Path, start_child: Any) -> None:
    path = open_to_others / "state.db"
    await fill(path)
    child, line = await probe(start_child, path, "read")
    assert line == "1002 ok"
    # Somebody who may writes to it meanwhile.
    store = SQLiteStateStore(path)
    Recorder(store=store).open("t").close("ok")
    await store.close()
    child.say()
    assert await asyncio.to_thread(child.finish) == (0, "1004\n", "")


async def test_a_database_in_use_can_be_read_by_others(open_to_others: Path, start_child: Any, open_store: Any) -> None:
    path = open_to_others / "state.db"
    store = open_store(path)
    log = Recorder(store=store).open("t")
    await store.flush()
    child, line = await probe(start_child, path, "read")
    assert line == "1 running"
    log.close("ok")
    await store.flush()
    child.say()
    assert await asyncio.to_thread(child.finish) == (0, "2\n", "")


async def test_what_still_stands_in_the_log_can_be_read(
    open_to_others: Path, start_child: Any, open_store: Any
) -> None:
    live = open_to_others / "live"
    store = open_store(live / "state.db")
    Recorder(store=store).open("t").close("ok")
    await store.flush()
    copy = open_to_others / "copy"
    copy.mkdir()
    for name in ("state.db", "state.db-wal"):
        shutil.copyfile(live / name, copy / name)
    assert (copy / "state.db-wal").stat().st_size > 0
    child, line = await probe(start_child, copy / "state.db", "read")
    assert line == "2 ok"
    child.say()
    assert await asyncio.to_thread(child.finish) == (0, "2\n", "")
    assert sorted(file.name for file in copy.iterdir()) == ["state.db", "state.db-wal"]


async def test_a_file_that_may_not_be_read_is_reported(open_to_others: Path, start_child: Any) -> None:
    path = open_to_others / "state.db"
    await fill(path)
    path.chmod(0o600)
    child, line = await probe(start_child, path, "read")
    await asyncio.to_thread(child.finish)
    assert line.startswith("StoreUnreadable")
    assert "permissions" in line
    (open_to_others / "closed").mkdir(mode=0o700)
    child, line = await probe(start_child, open_to_others / "closed" / "state.db", "read")
    await asyncio.to_thread(child.finish)
    assert line.startswith("StoreUnreadable")
