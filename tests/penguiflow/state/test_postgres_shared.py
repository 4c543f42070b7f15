"""What workers share on a server that goes away in the middle of it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import asyncpg
import pytest

from penguiflow.state import PostgresStateStore
from penguiflow.state.errors import StoreError, StoreNotWritable
from penguiflow.state.postgres import shared
from penguiflow.state.shared import SharedChange

HANG_S = 120.0
Open = Callable[..., PostgresStateStore]
T = "trace"


@pytest.fixture
async def open_store() -> AsyncIterator[Open]:
    opened: list[PostgresStateStore] = []

    def open_one(address: str, **options: Any) -> PostgresStateStore:
        opened.append(PostgresStateStore(address, **options))
        return opened[-1]

    async with asyncio.timeout(HANG_S):
        yield open_one
        for store in opened:
            with suppress(StoreError):
                await store.close()


@pytest.mark.parametrize("committed", [True, False])
async def test_an_answer_that_is_lost_is_found_out(
    open_store: Open, postgres_server: Any, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    store = open_store(postgres_server.fresh_url())
    await store.commit_shared(SharedChange(trace_id=T, add={"n": 1}))
    real = asyncpg.Connection.execute
    lost: list[str] = []

    async def lose(connection: Any, query: str, *arguments: Any, **options: Any) -> str:
        if query == "COMMIT" and len(lost) < 2:
            lost.append(query)
            if committed:
                await real(connection, query)
            raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")
        told: str = await real(connection, query, *arguments, **options)
        return told

    monkeypatch.setattr(asyncpg.Connection, "execute", lose)
    (outcome,) = await store.commit_shared(SharedChange(trace_id=T, add={"n": 1}, put={"a": b"1"}, handled="m"))
    memory = await store.load_shared(T, ["a"], "m")

    assert len(lost) == (1 if committed else 2)
    assert (outcome.done, outcome.repeat, dict(outcome.counters)) == (True, False, {"n": 2})
    assert (dict(memory.counters), memory.rows["a"].value, memory.handled) == ({"n": 2}, b"1", True)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
async def test_counters_are_right_behind_a_server_that_died(
    open_store: Open, own_postgres: Any, how: signal.Signals
) -> None:
    stores = [open_store(own_postgres.fresh_url(), patience_s=HANG_S)]
    stores.append(open_store(f"{stores[0]._address.dsn}&schema={stores[0]._address.schema}", patience_s=HANG_S))
    done: asyncio.Queue[int] = asyncio.Queue()
    enough = asyncio.Event()
    count = 0

    async def work(store: PostgresStateStore, number: int) -> None:
        turn = 0
        while not enough.is_set():
            # Without an id: a repeat would count twice.
            (outcome,) = await store.commit_shared(SharedChange(trace_id=f"t{(number + turn) % 3}", add={"n": 1}))
            assert outcome.done
            turn += 1
            done.put_nowait(number)

    tasks = [asyncio.create_task(work(store, number)) for number in range(3) for store in stores]
    for _ in range(2):
        count += len([await done.get() for _ in range(30)])
        await asyncio.to_thread(own_postgres.stop, how)
        await asyncio.to_thread(own_postgres.start)
    count += len([await done.get() for _ in range(30)])
    enough.set()
    await asyncio.gather(*tasks)
    found = [dict((await stores[0].load_shared(f"t{each}")).counters).get("n", 0) for each in range(3)]

    assert sum(found) == count + done.qsize()


async def test_who_has_no_patience_is_told(open_store: Open, own_postgres: Any) -> None:
    store = open_store(own_postgres.fresh_url(), patience_s=0.05)
    await store.commit_shared(SharedChange(trace_id=T, add={"n": 1}))
    await asyncio.to_thread(own_postgres.stop)

    with pytest.raises(StoreError, match="is the server running"):
        await store.commit_shared(SharedChange(trace_id=T, add={"n": 1}))
    with pytest.raises(StoreError, match="is the server running"):
        await store.load_shared(T)


async def test_who_only_reads_changes_nothing(open_store: Open, postgres_server: Any) -> None:
    address = postgres_server.fresh_url()
    reader = open_store(address, read_only=True)

    assert (await reader.load_shared(T, ["a"], "m")).ended is None
    assert await reader.list_workers() == []
    with pytest.raises(StoreNotWritable):
        await reader.commit_shared(SharedChange(trace_id=T, add={"n": 1}))
    with pytest.raises(StoreNotWritable):
        await reader.cancel_shared(T, "why")


async def test_old_traces_are_forgotten_some_at_a_time(
    open_store: Open, postgres_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "_TRACES_AT_ONCE", 3)
    store = open_store(postgres_server.fresh_url())
    await store.commit_shared(*(SharedChange(trace_id=f"t{each}", put={"a": b"1"}, end="ok") for each in range(8)))

    assert await store.forget_shared(older_than_s=-10) == 8
    assert dict((await store.load_shared("t7", ["a"])).rows) == {}


async def test_a_commit_reads_no_table_as_a_whole(open_store: Open, postgres_server: Any) -> None:
    store = open_store(postgres_server.fresh_url())
    for number in range(20):  # the server keeps its plans, which are those of small tables
        await store.commit_shared(SharedChange(trace_id=T, handled=f"old{number}", put={"s": b"1"}))
    connection = await asyncpg.connect(store._address.dsn)
    try:
        schema = store._address.schema
        # They grow, and the server knows nothing of it yet.
        for table, columns, values in (
            ("shared_traces", "trace_id", "'t' || n"),
            ("shared_handled", "trace_id, message", "'t' || n, 'm' || n"),
            ("shared_rows", "trace_id, scope, version, value", "'t' || n, 's', 1, ''"),
        ):
            insert = f"INSERT INTO {schema}.{table} ({columns}) SELECT {values} FROM generate_series(1, 20000) AS n"
            await connection.execute(insert)
        read = "SELECT sum(seq_tup_read) FROM pg_stat_user_tables WHERE schemaname = $1 AND relname LIKE 'shared%'"
        before = await connection.fetchval(read, schema)
        for number in range(1, 11):
            change = SharedChange(trace_id=f"t{number}", handled=f"new{number}", expect={"s": 1}, put={"s": b"2"})
            (outcome,) = await store.commit_shared(change)
            assert outcome.done
        await store.close()  # its connections tell what they have read as they go
        used = "SELECT sum(idx_tup_fetch) FROM pg_stat_user_tables WHERE schemaname = $1 AND relname = 'shared_rows'"
        while not await connection.fetchval(used, schema):
            await connection.execute("SELECT pg_sleep(0.05)")
        assert await connection.fetchval(read, schema) - before < 20_000
    finally:
        await connection.close()
