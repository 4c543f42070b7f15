"""What only a store has that keeps its traces on a server: it is away, it refuses, it comes back."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import asyncpg
import pytest

from penguiflow.recording import Recorder
from penguiflow.state import PostgresStateStore, Retention
from penguiflow.state.errors import StoreError, StoreNotWritable, StoreTooNew, StoreUnreadable
from penguiflow.state.postgres import driver, migrations, writer
from penguiflow.state.postgres.address import parse_address
from penguiflow.state.postgres.commit import commit

HANG_S = 120.0
Open = Callable[..., PostgresStateStore]


@pytest.fixture
async def open_store(postgres_server: Any) -> AsyncIterator[Open]:
    """Opens one store, the same each time, unless another address is given."""
    url, opened = postgres_server.fresh_url(), []

    def open_one(address: str = url, **options: Any) -> PostgresStateStore:
        opened.append(PostgresStateStore(address, **options))
        return opened[-1]

    async with asyncio.timeout(HANG_S):
        yield open_one
        for store in opened:
            if store._writer is not None:
                store._writer.link.patience_s = 0.0
            # Some have no server any more.
            with suppress(StoreError):
                await store.close()


def record(store: PostgresStateStore, trace_id: str, events: int = 3, status: str | None = "ok") -> Any:
    log = Recorder(store=store).open(trace_id)
    for number in range(events):
        log.event("stall", "n", log.root, {"n": number})
    if status is not None:
        log.close(status)
    return log


async def numbers(store: PostgresStateStore, trace_id: str) -> list[int]:
    events = await store.load_events(trace_id)
    assert [event.seq for event in events] == list(range(len(events)))
    return [event.data["n"] for event in events if event.kind == "stall"]


# Addresses


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("postgresql://u:secret@h:5433/db", "postgresql://u@h:5433/db"),
        ("postgres://u:s%40e%2Fcret@h/db?sslmode=require", "postgres://u@h/db?sslmode=require"),
        ("postgresql:///db?host=/tmp/x&password=secret&user=u", "postgresql:///db?host=/tmp/x&user=u"),
        ("postgresql://h/db?schema=mine", "postgresql://h/db?schema=mine"),
    ],
)
def test_what_is_shown_of_an_address_is_no_password(url: str, place: str) -> None:
    address = parse_address(url)
    assert (address.place, str(address), repr(address)) == (place, place, f"Address({place!r})")
    assert "schema" not in address.dsn


@pytest.mark.parametrize(
    "url",
    ["postgresql://u:secret@h:port/db", "postgresql://u:sec#ret@h/db", "http://secret", "postgresql://[secret/db"],
)
def test_an_address_that_is_none_is_not_repeated(url: str) -> None:
    with pytest.raises(StoreError, match="cannot be read") as refused:
        PostgresStateStore(url)
    assert "ret" not in str(refused.value).replace("PostgreSQL", "").replace("written", "")


def test_a_schema_has_a_plain_name() -> None:
    with pytest.raises(StoreError, match="name of a schema"):
        PostgresStateStore('postgresql://h/db?schema=a"b')


def test_nothing_of_the_driver_is_imported_before_it_is_needed() -> None:
    program = (
        "import sys, penguiflow, penguiflow.state, playground.storing\n"
        "assert 'asyncpg' not in sys.modules\n"
        "sys.modules['asyncpg'] = None\n"
        "try:\n    penguiflow.state.PostgresStateStore\n"
        "except ModuleNotFoundError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "a store in PostgreSQL needs the package asyncpg: pip install 'penguiflow[postgres]'"


# Who is not let in


@pytest.mark.parametrize(
    ("change", "kind", "says"),
    [
        ({"user": "guest:wrong"}, StoreUnreadable, "password authentication failed"),
        ({"user": "guest"}, StoreUnreadable, "lets nobody in"),
        ({"database": "nowhere"}, StoreUnreadable, 'database "nowhere" does not exist'),
        ({"user": "guest:secret"}, StoreNotWritable, "permission denied"),
    ],
)
async def test_who_is_refused_is_told_why(
    postgres_server: Any, open_store: Open, change: dict[str, str], kind: type[StoreError], says: str
) -> None:
    store = open_store(postgres_server.url("refused", **change))
    with pytest.raises(kind, match=says) as refused:
        await store.open()
    assert "wrong" not in str(refused.value)
    assert "secret" not in str(refused.value)
    record(store, "t")
    with pytest.raises(kind, match=says):
        await store.flush()
    with pytest.raises(kind, match=says):
        await store.close()


async def test_a_server_that_is_too_old_is_refused(open_store: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "OLDEST", 99)
    store = open_store()
    with pytest.raises(StoreError, match="99 or later is needed"):
        await store.open()


async def test_tables_of_a_later_version_are_left_alone(postgres_server: Any, open_store: Open) -> None:
    url = postgres_server.fresh_url()
    schema = parse_address(url).schema
    first = open_store(url)
    await first.open()
    postgres_server.execute(f"UPDATE {schema}.schema_version SET version = 99")
    for options in ({}, {"read_only": True}):
        with pytest.raises(StoreTooNew, match="version 99 of the tables") as refused:
            await open_store(url, **options).open()
        assert (refused.value.found, refused.value.supported) == (99, migrations.version())
    with pytest.raises(StoreTooNew):
        await open_store(url, read_only=True).find_traces()


@pytest.mark.parametrize(
    "table",
    [
        "traces (mine int)",
        "schema_version (version text); INSERT INTO {schema}.schema_version VALUES ('1.2')",
        "schema_version (version boolean)",
        "schema_version (installed int)",
    ],
)
async def test_tables_of_another_program_are_left_alone(postgres_server: Any, open_store: Open, table: str) -> None:
    url = postgres_server.fresh_url()
    schema = parse_address(url).schema
    postgres_server.execute(f"CREATE SCHEMA {schema}; CREATE TABLE {schema}.{table.format(schema=schema)}")
    with pytest.raises(StoreUnreadable, match="tables of another program"):
        await open_store(url).open()


async def test_who_may_not_look_is_not_told_that_there_is_nothing(postgres_server: Any, open_store: Open) -> None:
    schema = parse_address(postgres_server.fresh_url()).schema
    await open_store(postgres_server.url(schema)).open()
    guest = postgres_server.url(schema, user="guest:secret")
    for needed in (f"GRANT USAGE ON SCHEMA {schema}", f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema}"):
        for options in ({}, {"read_only": True}):
            with pytest.raises(StoreUnreadable, match="may not be read") as refused:
                await open_store(guest, **options).open()
            assert needed in str(refused.value)
        with pytest.raises(StoreUnreadable, match="may not be read"):
            await open_store(guest, read_only=True).find_traces()
        postgres_server.execute(f"{needed} TO guest")
    assert await open_store(guest, read_only=True).find_traces() == []


async def test_many_may_make_the_tables_at_once(open_store: Open) -> None:
    stores = [open_store() for _ in range(8)]
    await asyncio.gather(*(store.open() for store in stores))
    for number, store in enumerate(stores):
        record(store, f"t{number}")
    await asyncio.gather(*(store.flush() for store in stores))
    assert len(await stores[0].find_traces()) == 8


async def test_who_only_reads_makes_nothing(postgres_server: Any, open_store: Open) -> None:
    url = postgres_server.fresh_url()
    store = open_store(url, read_only=True)
    await store.open()
    assert await store.find_traces() == []
    assert await store.load_memory_state("key") is None
    for work in (store.save_memory_state("key", {}), store.prune(Retention(max_traces=0)), store.recover()):
        with pytest.raises(StoreNotWritable):
            await work
    schema = parse_address(url).schema
    assert postgres_server.execute(f"SELECT count(*) FROM pg_namespace WHERE nspname = '{schema}'").strip() == "0"


# A server that is away


async def test_a_server_that_comes_later_gets_all_that_waited(own_postgres: Any, open_store: Open) -> None:
    url = own_postgres.fresh_url()
    own_postgres.stop()
    store = open_store(url, patience_s=HANG_S)
    with pytest.raises(StoreError, match="cannot be reached"):
        await store.open()
    record(store, "t", events=300)
    flushed = asyncio.create_task(store.flush())
    own_postgres.start()
    await flushed
    assert await numbers(store, "t") == list(range(300))
    await store.close()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT, signal.SIGKILL])
async def test_a_server_that_starts_again_has_everything_once(
    own_postgres: Any, open_store: Open, how: signal.Signals
) -> None:
    store = open_store(own_postgres.fresh_url(), patience_s=HANG_S)
    log = record(store, "t", events=100, status=None)
    await store.flush()
    assert len(await store.load_events("t")) == 101
    for turn in range(3):
        writing = asyncio.create_task(store.flush())
        log.event("stall", "n", log.root, {"n": 100 + 2 * turn})
        await asyncio.to_thread(own_postgres.stop, how)
        log.event("stall", "n", log.root, {"n": 101 + 2 * turn})
        await asyncio.to_thread(own_postgres.start)
        await writing
    log.close("ok")
    await store.flush()
    assert await numbers(store, "t") == list(range(106))
    assert store.dropped == 0
    summary = await store.get_trace("t")
    assert summary is not None
    assert summary.status == "ok"
    await store.close()


async def test_what_was_committed_without_an_answer_is_not_written_again(
    open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(patience_s=HANG_S)
    log = record(store, "t", events=1, status=None)
    await store.flush()
    lost = 0

    async def commit_and_lose(connection: Any, *arguments: Any) -> bool:
        nonlocal lost
        done = await commit(connection, *arguments)
        if lost < 2:
            lost += 1
            raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")
        return done

    monkeypatch.setattr(writer, "commit", commit_and_lose)
    record(store, "whole")
    log.event("stall", "n", log.root, {"n": 1})
    await store.save_planner_event("t", "saved")
    await store.flush()
    log.event("stall", "n", log.root, {"n": 2})
    log.close("ok")
    await store.flush()
    assert lost == 2
    assert await numbers(store, "t") == [0, 1, 2]
    assert await numbers(store, "whole") == [0, 1, 2]
    assert await store.list_planner_events("t") == ["saved"]


async def test_after_its_patience_results_wait_for_nobody(
    own_postgres: Any, open_store: Open, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(writer, "RETRY_S", 0.02)
    store = open_store(own_postgres.fresh_url(), patience_s=0.1, durability="every_event")
    record(store, "t")
    await store.flush()
    own_postgres.stop()
    record(store, "u")
    waiting = store.durable()
    assert waiting is not None
    await waiting
    with pytest.raises(StoreError, match="cannot be reached"):
        await store.flush()
    with pytest.raises(StoreError):
        await store.save_planner_event("u", "lost")
    with pytest.raises(StoreError, match="cannot be reached"):
        await store.find_traces()
    assert store.durable() is None
    assert "events are not being stored" in caplog.text
    own_postgres.start()
    record(store, "v")
    async with asyncio.timeout(HANG_S):
        while (await _quietly(store.get_trace("v"))) is None:  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.01)
    assert await numbers(store, "u") == [0, 1, 2]
    assert "events are being stored again" in caplog.text
    await store.close()


async def _quietly(asked: Any) -> Any:
    try:
        return await asked
    except StoreError:
        return None


async def test_a_follower_outlives_the_server(own_postgres: Any, open_store: Open) -> None:
    url = own_postgres.fresh_url()
    store, reader = open_store(url, patience_s=HANG_S), open_store(url, read_only=True, patience_s=HANG_S)
    hasty = open_store(url, read_only=True, patience_s=0.0)
    log = record(store, "t", status=None)
    await store.flush()
    seen: list[int] = []
    found = asyncio.Event()

    async def watch(begun: asyncio.Event, patient: bool) -> None:
        async for event in (reader if patient else hasty).follow("t"):
            begun.set()
            if patient:
                seen.append(event.seq)

    watching = asyncio.create_task(watch(found, True))
    begun = asyncio.Event()
    giving_up = asyncio.create_task(watch(begun, False))
    await found.wait()
    await begun.wait()
    await asyncio.to_thread(own_postgres.stop)
    with pytest.raises(StoreError, match="cannot be reached"):
        await giving_up  # it has asked while nobody answered
    await asyncio.to_thread(own_postgres.start)
    log.event("stall", "n", log.root, {"n": 3})
    log.close("ok")
    await watching
    assert seen == list(range(6))
    for each in (store, reader, hasty):
        await each.close()


async def test_a_follower_is_told_and_need_not_ask(open_store: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penguiflow.state.postgres.changes.LOOK_S", HANG_S * 10)
    store = open_store()
    log = record(store, "t", status=None)
    await store.flush()
    following = store.follow("t", after=3)
    coming = asyncio.ensure_future(anext(following))
    for number in range(3, 6):
        log.event("stall", "n", log.root, {"n": number})
        event = await coming
        assert event.data == {"n": number}
        coming = asyncio.ensure_future(anext(following))
    log.close("ok")
    assert (await coming).kind == "trace.end"
    await following.aclose()


# Others at the same time


async def test_what_cannot_be_saved_is_told_and_stops_nobody(open_store: Open) -> None:
    store = open_store()
    record(store, "t")
    bad = store._execute("INSERT INTO planner_events (trace_id, saved, event) VALUES (?, ?, NULL)", ("t", 1.0))
    good = store.save_planner_event("t", "kept")
    told = await asyncio.gather(bad, good, return_exceptions=True)
    assert isinstance(told[0], StoreError)
    assert told[1] is None
    assert await store.list_planner_events("t") == ["kept"]
    assert await numbers(store, "t") == [0, 1, 2]


async def test_writers_of_many_traces_at_once_get_in_nobodys_way(open_store: Open) -> None:
    stores = [open_store() for _ in range(3)]
    logs = [[Recorder(store=store).open(f"t{number}") for number in range(20)] for store in stores]
    for turn in range(10):
        for ours in logs:
            # Each in another order.
            for log in ours[turn:] + ours[:turn]:
                log.event("stall", "n", log.root, {"n": turn})
            if turn % 3 == 0:
                await asyncio.gather(*(each.flush() for each in stores))
    for ours in logs:
        for log in ours:
            log.close("ok")
    await asyncio.gather(*(store.flush() for store in stores))
    for number in range(20):
        assert sorted(await numbers(stores[0], f"t{number}")) == sorted([*range(10)] * 3)


async def test_values_of_all_writers_change_one_after_the_other(open_store: Open) -> None:
    stores = [open_store() for _ in range(4)]

    async def count(store: PostgresStateStore) -> None:
        for _ in range(10):
            while True:
                before = await store.load_memory_state("key") or {"revision": 0, "n": 0}
                after = {"revision": before["revision"] + 1, "n": before["n"] + 1}
                if await store.swap_memory_state("key", after, revision=before["revision"]):
                    break

    await asyncio.gather(*(count(store) for store in stores))
    assert await stores[0].load_memory_state("key") == {"revision": 40, "n": 40}


async def test_large_payloads_are_kept_once_and_go_with_the_last_trace(open_store: Open) -> None:
    from penguiflow.observer import Payload

    store = open_store(inline_bytes=1000)
    for name in ("t", "u"):
        log = Recorder(store=store).open(name)
        log.event("message.enqueued", "OpenSea->a", log.root, {"message_id": "1", "payload": Payload("x" * 5000)})
        log.close("ok")
    await store.flush()

    async def kept() -> int:
        rows = await store._rows("SELECT count(*) FROM payloads", ())
        return int(rows[0][0])

    assert await kept() == 1
    assert (await store.load_events("t"))[1].data["payload"]["value"] == "x" * 5000
    await store.prune(Retention(max_traces=1))
    assert await kept() == 1
    await store.prune(Retention(max_traces=0))
    assert await kept() == 0


async def test_pieces_are_read_where_a_loop_runs_as_well(open_store: Open) -> None:
    store = open_store()
    record(store, "t", events=600)
    await store.flush()
    pieces = await store.open_pieces("t")
    assert pieces.events == 602
    assert sum(len(pieces.chunk(number).kinds) for number in range(len(pieces))) == 602
    assert b'"n":300' in await asyncio.to_thread(pieces.text, 1)


def test_a_store_outlives_its_loop(postgres_server: Any) -> None:
    store = PostgresStateStore(postgres_server.fresh_url())

    async def first() -> None:
        record(store, "t")  # neither flushed nor closed

    async def second() -> None:
        assert await numbers(store, "t") == [0, 1, 2]
        record(store, "u")
        await store.flush()
        assert await numbers(store, "u") == [0, 1, 2]
        await store.close()

    asyncio.run(first())
    asyncio.run(second())
