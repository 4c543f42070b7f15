"""What a store in PostgreSQL costs: the events of traces, and what workers remember together."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from benchmarks.capacity.costs import Spent, StoreCosts
from benchmarks.capacity.meter import Meter, family, written_bytes
from benchmarks.store import record_waiting
from penguiflow.state import PostgresStateStore
from penguiflow.state.shared import SharedChange, SupportsSharedState
from tests.servers import PostgresPrograms, PostgresServer

__all__ = ["measure_store", "postgres_server"]

GROUP = 20
_SIZE = "SELECT coalesce(sum(pg_total_relation_size(oid)), 0) FROM pg_class WHERE relkind = 'r'"


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """One that waits for no disk: what is measured is CPU time."""
    programs = PostgresPrograms()
    try:
        server = PostgresServer(programs)
        try:
            server.start()
            yield server
        finally:
            server.remove()
    finally:
        shutil.rmtree(programs.home, ignore_errors=True)


def postmaster(server: PostgresServer) -> int:
    """Process id of the server's parent of all."""
    return int((server.folder / "data" / "postmaster.pid").read_text(encoding="ascii").split()[0])


@asynccontextmanager
async def _opened(url: str) -> AsyncIterator[PostgresStateStore]:
    store = PostgresStateStore(url)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def _events(server: PostgresServer, meter: Meter, messages: int) -> tuple[Spent, float, float]:
    """CPU, bytes in the database and bytes written, for each event."""
    async with _opened(server.fresh_url()) as store:
        recorder = store.recorder()
        server.execute("CHECKPOINT")
        size, written = int(server.execute(_SIZE)), written_bytes(*family(postmaster(server)))
        with meter.on():
            for number in range(messages):
                record_waiting(recorder, number, "capacity")
                if recorder.congested:
                    await recorder.wait_ready()
            await store.flush()
        server.execute("CHECKPOINT")
        events = messages * len(await store.load_events(f"capacity-{0:024d}"))
        more = int(server.execute(_SIZE)) - size
        wrote = written_bytes(*family(postmaster(server))) - written
    return meter.spent.times(1 / events), more / events, max(0, wrote) / events


async def _commits(server: PostgresServer, meter: Meter, messages: int) -> tuple[Spent, Spent] | None:
    """CPU of a delivery's commit, one by one and in groups; None where the store cannot do it."""
    async with _opened(server.fresh_url()) as store:
        shared: Any = store
        if not isinstance(shared, SupportsSharedState):
            return None
        spent = []
        for number, group in enumerate((1, GROUP)):
            with meter.on():
                for start in range(0, messages, group):
                    changes = [
                        SharedChange(trace_id=f"t{number}-{each}", handled=f"node/{each}", add={"pending": 1})
                        for each in range(start, start + group)
                    ]
                    await shared.commit_shared(*changes)
            spent.append(meter.spent.times(1 / messages))
    return spent[0], spent[1]


async def measure_store(server: PostgresServer, *, messages: int) -> StoreCosts:
    """Measure a store, with so many traces of five nodes and as many commits."""
    meter = Meter(postmaster(server))
    event, size, written = await _events(server, meter, messages)
    commits = await _commits(server, meter, messages)
    return StoreCosts(
        event=event,
        bytes_event=size,
        written_event=written,
        commit=commits and commits[0],
        commit_group=commits and commits[1],
    )
