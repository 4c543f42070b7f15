"""The project's store, as commands use it."""

from __future__ import annotations

import shlex
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from penguiflow.recording.events import TraceEvent
from penguiflow.recording.tracefile import is_trace_file
from penguiflow.state.database import DatabaseStore
from penguiflow.state.errors import StoreError
from penguiflow.state.sqlite import SQLiteStateStore
from penguiflow.state.traces import TraceSummary
from playground.cli.console import Console
from playground.cli.failures import ExitCode, Failure
from playground.cli.waiting import waiting
from playground.dashboard.text import one_line
from playground.project import Project, find_project
from playground.storing import open_store

__all__ = ["PAGE", "close_abandoned", "events_of", "open_trace", "reading", "refuse_file", "told"]

PAGE = 2000
"""Events that are in memory at a time."""


@asynccontextmanager
async def reading() -> AsyncIterator[DatabaseStore]:
    """The store of the project around the working directory. A project without one has no traces; none is made."""
    store = open_store(find_project(), read_only=True)
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def open_trace(
    reference: str, *, say: Callable[[str], None] | None = None
) -> AsyncIterator[tuple[DatabaseStore, TraceSummary]]:
    """The trace behind an id, the beginning of one, `last`, or in a trace file, with a store that has it.

    How much of a file is read is told to `say`, where the command has a line of its own for that. One whose writer died
    without a word is closed first. Raises `Failure` and `StoreError`.
    """
    path = Path(reference)
    if is_trace_file(path):
        async with _unpacked(path, say) as found:
            yield found
        return
    async with reading() as store:
        trace_id = await store.resolve_trace(reference)
        trace = await store.get_trace(trace_id)
        if trace is not None and trace.status == "interrupted" and await _is_open(store, trace):
            await close_abandoned(find_project())
            trace = await store.get_trace(trace_id)
        if trace is None:
            raise Failure(f"no trace {reference}", ExitCode.NOT_FOUND)
        yield store, trace


def refuse_file(reference: str) -> None:
    """Raise `Failure` for a trace file, where only a trace of the project will do: what runs is recorded beside it."""
    if is_trace_file(Path(reference)):
        name = one_line(shlex.quote(reference))
        hint = f"`pf import {name}` takes it in, and says its id"
        raise Failure(f"{one_line(reference)} is a file, and no trace of this project yet", hint=hint)


@asynccontextmanager
async def _unpacked(path: Path, say: Callable[[str], None] | None) -> AsyncIterator[tuple[DatabaseStore, TraceSummary]]:
    """The trace of a file, in a store that is gone afterwards."""
    with TemporaryDirectory(prefix="penguiflow-", ignore_cleanup_errors=True) as folder:
        store = SQLiteStateStore(Path(folder) / "state.db")
        try:
            if say is not None:
                found = await store.import_trace(path, progress=told(path, say))
            else:
                async with waiting(Console(), "reading") as say_here:
                    found = await store.import_trace(path, progress=told(path, say_here))
            trace = await store.get_trace(found.trace_id)
            assert trace is not None
            yield store, trace
        finally:
            await store.close()


def told(path: Path, say: Callable[[str], None]) -> Callable[[int, int], None]:
    """Says how much of a trace file is read."""
    name = one_line(path.name)
    return lambda events, total: say(f"reading {name}: {100 * events // max(total, 1)} % of {total:,} events")


async def _is_open(store: DatabaseStore, trace: TraceSummary) -> bool:
    last = await store.load_events(trace.trace_id, after=trace.events - 2, limit=1)
    return not last or last[0].kind != "trace.end"


async def events_of(store: DatabaseStore, trace_id: str) -> AsyncIterator[TraceEvent]:
    """All events of a trace, a page of them in memory at a time."""
    after = -1
    while page := await store.load_events(trace_id, after=after, limit=PAGE):
        for event in page:
            yield event
        after = page[-1].seq


async def close_abandoned(project: Project) -> None:
    """Mark what dead processes left running as interrupted, as far as the store can be written."""
    with suppress(StoreError):
        store = open_store(project)
        try:
            await store.recover()
        finally:
            await store.close()
