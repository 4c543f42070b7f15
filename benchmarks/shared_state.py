"""What it costs a worker to commit what a trace remembers: beside bare `UPDATE … RETURNING` in the same run.

    .venv/bin/python -m benchmarks.shared_state [--commits 400] [--rounds 5] [--group 20] [--traces 20]

A commit is that of a delivery: a message that is handled, a row that is compared and swapped, two counters. `one` are
commits one after the other, `group` so many at once, as of a worker with that many deliveries under way, each of
another trace. In rounds that take turns, for each store:

- `bare`: the driver changes one row that counts (`UPDATE … SET n = n + 1 … RETURNING n`), a transaction for each;
- `bare, group`: the same in one transaction for the group, one statement for each;
- `store, one` and `store, group`: `commit_shared`.

Milliseconds are those of the best round and of the middle one, for one commit. Ratios hold where the machine is busy;
absolute figures do not. The servers do not wait for the disk.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg

from penguiflow.state import InMemoryStateStore, PostgresStateStore, SQLiteStateStore
from penguiflow.state.postgres.address import parse_address
from penguiflow.state.shared import SharedChange, SupportsSharedState
from tests.servers import PostgresPrograms, PostgresServer

Measure = Callable[[], Awaitable[float]]
_TABLE = "CREATE TABLE IF NOT EXISTS bare (id integer PRIMARY KEY, n integer NOT NULL)"
_COUNT = "UPDATE bare SET n = n + 1 WHERE id = {} RETURNING n"


class Work:
    """Commits on one store; each trace knows the version that its row has."""

    def __init__(self, store: SupportsSharedState, traces: int) -> None:
        self._store = store
        self._versions = [0] * traces
        self._round = 0
        self._numbers = 0

    async def one_by_one(self, commits: int) -> float:
        """Seconds for so many, one after the other."""
        self._begin()
        begun = time.perf_counter()
        for number in range(commits):
            await self._commit(number % len(self._versions))
        return time.perf_counter() - begun

    async def in_groups(self, commits: int, group: int) -> float:
        """Seconds for so many, a group at once."""
        self._begin()
        begun = time.perf_counter()
        for first in range(0, commits, group):
            some = range(first, min(commits, first + group))
            await asyncio.gather(*(self._commit(number % len(self._versions)) for number in some))
        return time.perf_counter() - begun

    def _begin(self) -> None:
        self._round += 1
        self._versions = [0] * len(self._versions)

    async def _commit(self, trace: int) -> None:
        self._numbers += 1
        change = SharedChange(
            trace_id=f"trace-{self._round}-{trace}",
            handled=f"node:{self._numbers:016x}",
            expect={"node": self._versions[trace]},
            put={"node": b'{"state":{"bucket":[1,2,3]},"hold":null}'},
            add={"messages": 1, "ids": self._numbers},
        )
        (outcome,) = await self._store.commit_shared(change)
        assert outcome.done
        self._versions[trace] += 1


def bare_sqlite(path: Path, commits: int, group: int, traces: int) -> float:
    """Seconds for so many changes of rows, `group` of them in a transaction."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(_TABLE)
    connection.executemany("INSERT OR IGNORE INTO bare VALUES (?, 0)", [(number,) for number in range(traces)])
    begun = time.perf_counter()
    for first in range(0, commits, group):
        connection.execute("BEGIN IMMEDIATE")
        for number in range(first, min(commits, first + group)):
            connection.execute(_COUNT.format("?"), (number % traces,)).fetchone()
        connection.execute("COMMIT")
    took = time.perf_counter() - begun
    connection.close()
    return took


async def bare_postgres(dsn: str, commits: int, group: int, traces: int) -> float:
    """As `bare_sqlite`."""
    connection = await asyncpg.connect(dsn)
    await connection.execute(_TABLE)
    numbers = [(number,) for number in range(traces)]
    await connection.executemany("INSERT INTO bare VALUES ($1, 0) ON CONFLICT DO NOTHING", numbers)
    statement = await connection.prepare(_COUNT.format("$1"))
    begun = time.perf_counter()
    for first in range(0, commits, group):
        some = range(first, min(commits, first + group))
        if group == 1:
            await statement.fetchval(first % traces)
            continue
        async with connection.transaction():
            for number in some:
                await statement.fetchval(number % traces)
    took = time.perf_counter() - begun
    await connection.close()
    return took


async def measure(arguments: argparse.Namespace, folder: Path, url: str) -> None:
    """Print a line for each way."""
    commits, group, traces = arguments.commits, arguments.group, arguments.traces
    dsn = parse_address(url).dsn
    stores: dict[str, Any] = {
        "memory": InMemoryStateStore(),
        "sqlite": SQLiteStateStore(folder / "state.db"),
        "postgres": PostgresStateStore(url),
    }
    ways: dict[str, Measure] = {}
    file = folder / "bare.db"
    ways["sqlite    bare"] = lambda: asyncio.to_thread(bare_sqlite, file, commits, 1, traces)
    ways["sqlite    bare, group"] = lambda: asyncio.to_thread(bare_sqlite, file, commits, group, traces)
    ways["postgres  bare"] = lambda: bare_postgres(dsn, commits, 1, traces)
    ways["postgres  bare, group"] = lambda: bare_postgres(dsn, commits, group, traces)
    for name, store in stores.items():
        work = Work(store, traces)
        ways[f"{name:<9} store, one"] = lambda work=work: work.one_by_one(commits)  # type: ignore[misc]
        ways[f"{name:<9} store, group"] = lambda work=work: work.in_groups(commits, group)  # type: ignore[misc]
    took: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(arguments.rounds + 1):
        for name, way in ways.items():
            seconds = await way()
            if number:  # the first one opens connections
                took[name].append(seconds / commits * 1e3)
    for store in stores.values():
        await store.close()
    print(f"{commits} commits, {arguments.rounds} rounds, groups of {group}, {traces} traces; ms for one commit")
    for name in sorted(took):
        print(f"{name:<24} best {min(took[name]):7.3f}   middle {statistics.median(took[name]):7.3f}")
    for name in ("sqlite   ", "postgres "):
        for kind in ("one", "group"):
            bare = min(took[f"{name} bare, group" if kind == "group" else f"{name} bare"])
            print(f"{name} {kind}: {min(took[f'{name} store, {kind}']) / bare:.1f} times bare")


def main() -> None:
    """Measure with what the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--commits", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--group", type=int, default=20)
    parser.add_argument("--traces", type=int, default=20)
    arguments = parser.parse_args()
    programs = PostgresPrograms()
    server = PostgresServer(programs)
    try:
        server.start()
        with tempfile.TemporaryDirectory(prefix="penguiflow-") as folder:
            asyncio.run(measure(arguments, Path(folder), server.fresh_url()))
    finally:
        server.remove()
        shutil.rmtree(programs.home, ignore_errors=True)


if __name__ == "__main__":
    main()
