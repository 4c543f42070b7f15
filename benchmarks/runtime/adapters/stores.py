"""W9 as programs for penguiflow: every event is kept before anybody gets the result."""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.runtime.adapters.program import chain_of, message, registry_of, started
from benchmarks.runtime.drivers import call_in_flight, keep_in_flight
from benchmarks.runtime.measure import IN_FLIGHT, NODES, Run
from penguiflow import Message


class PlainStore:
    """A state store as one would write it for the forerunner: a commit for each event."""

    def __init__(self, path: Path) -> None:
        self.events = 0
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute(
            "CREATE TABLE events (id INTEGER PRIMARY KEY, trace TEXT, ts REAL, kind TEXT, node TEXT, payload BLOB)"
        )

    async def save_event(self, event: Any) -> None:
        """Keep one event, committed on return."""
        import pydantic_core

        self.events += 1
        row = (event.trace_id, event.ts, event.kind, event.node_name, pydantic_core.to_json(dict(event.payload)))
        self._connection.execute("INSERT INTO events (trace, ts, kind, node, payload) VALUES (?, ?, ?, ?, ?)", row)

    async def load_history(self, trace_id: str) -> list[Any]:
        """Nobody asks here."""
        return []

    async def save_remote_binding(self, binding: Any) -> None:
        """There are none."""

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()


async def w9_plain(run: Run) -> None:
    """The chain, with a store that commits each event."""
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(PlainStore(Path(folder, "events.db"))) as store:
        flow, nodes = chain_of(run, state_store=store)
        async with started(flow, registry_of(nodes, Message)):

            async def drive(count: int) -> None:
                store.events = 0
                await keep_in_flight(lambda number: flow.emit(message(number)), flow.fetch, count, IN_FLIGHT)
                run.figures["events"] = store.events / count

            await run.measure(drive, calls=NODES, smallest=IN_FLIGHT)


async def w9(run: Run) -> None:
    """The chain: all that is recorded, payloads included, is in the store before its caller gets the result."""
    from penguiflow.state import SQLiteStateStore
    from penguiflow.state.traces import TraceQuery

    with tempfile.TemporaryDirectory() as folder:
        store = SQLiteStateStore(Path(folder, "state.db"), durability="every_event")
        flow, nodes = chain_of(run)
        flow.run(registry=registry_of(nodes, Message), recorder=store.recorder())

        async def drive(count: int) -> None:
            await call_in_flight(lambda number: flow.call(message(number)), count, IN_FLIGHT)

        await run.measure(drive, calls=NODES, smallest=IN_FLIGHT)
        (newest,) = await store.find_traces(TraceQuery(limit=1))
        run.figures["events"] = newest.events
        await flow.stop()
        await store.close()
