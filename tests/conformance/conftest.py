"""One fixture for each backend, under the id that its tests carry, and what the tests of stores share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

import pytest

from penguiflow.recording import EventRecord, Recorder, TraceEvent
from penguiflow.state import InMemoryStateStore, PostgresStateStore, SQLiteStateStore

Open = Callable[[], Any]
"""Opens the same store once more, as another process would."""


class Sink:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.records: list[EventRecord] = []

    def write(self, record: EventRecord) -> None:
        self.records.append(record)

    def events(self) -> list[TraceEvent]:
        """What was written."""
        return [each.decode() for each in self.records]


class Record(Protocol):
    """Records a trace of `events` events between its start and its end; returns what was recorded."""

    def __call__(
        self, store: Any, trace_id: str, *, events: int = 0, status: str | None = "ok", **data: Any
    ) -> list[TraceEvent]: ...


def opener(backend: str, request: pytest.FixtureRequest) -> Open:
    """Opens a store of this kind, each time the same one."""
    if backend == "memory":
        return InMemoryStateStore
    if backend == "sqlite":
        path = request.getfixturevalue("tmp_path") / "state.db"
        return lambda: SQLiteStateStore(path)
    url = request.getfixturevalue("postgres_server").fresh_url()
    return lambda: PostgresStateStore(url)


@pytest.fixture(params=["sqlite", "postgres"])
async def open_store(request: pytest.FixtureRequest) -> AsyncIterator[Open]:
    """For what only those can do that outlive their process."""
    again, opened = opener(request.param, request), []

    def open_another() -> Any:
        opened.append(again())
        return opened[-1]

    yield open_another
    for store in opened:
        await store.close()


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    made = opener(request.param, request)()
    yield made
    await made.close()


@pytest.fixture(params=["memory", "sqlite", "postgres", "sqlite-each", "postgres-each"])
async def stores(request: pytest.FixtureRequest) -> AsyncIterator[list[Any]]:
    """The store of three writers: they share one, or each has its own on the same database."""
    backend, _, each = request.param.partition("-")
    again = opener(backend, request)
    made = [again() for _ in range(3)] if each else [again()] * 3
    yield made
    for store in made:
        await store.close()


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def record() -> Record:
    def one(store: Any, trace_id: str, *, events: int = 0, status: str | None = "ok", **data: Any) -> list[TraceEvent]:
        seen = Sink()
        log = Recorder(seen, store=store, name=data.get("flow", "flow"), data=data).open(trace_id)
        for number in range(events):
            log.event("node.retry" if number % 2 else "stall", "n", log.root, {"n": number, "text": "ü\n\0"})
        if status is not None:
            log.close(status)
        return seen.events()

    return one
