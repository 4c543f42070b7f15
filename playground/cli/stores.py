"""The project's store, as commands use it."""

from __future__ import annotations

import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from penguiflow.recording.events import TraceEvent
from penguiflow.recording.tracefile import is_trace_file
from penguiflow.state.errors import StoreError
from penguiflow.state.sqlite import SQLiteStateStore
from penguiflow.state.traces import TraceSummary
from playground.cli.failures import ExitCode, Failure
from playground.dashboard.text import one_line
from playground.project import Project, find_project

__all__ = ["close_abandoned", "events_of", "open_trace", "reading", "refuse_file"]

PAGE = 2000
"""Events that are in memory at a time."""


@asynccontextmanager
async def reading() -> AsyncIterator[SQLiteStateStore]:
    """The store of the project around the working directory. A project without one has no traces; none is made."""
    store = SQLiteStateStore(find_project().database, read_only=True)
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def open_trace(reference: str) -> AsyncIterator[tuple[SQLiteStateStore, TraceSummary]]:
    """The trace behind an id, the beginning of one, `last`, or in a trace file, with a store that has it.

    One whose writer died without a word is closed first. Raises `Failure` and `StoreError`.
    """
    path = Path(reference)
    if is_trace_file(path):
        async with _unpacked(path) as found:
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
async def _unpacked(path: Path) -> AsyncIterator[tuple[SQLiteStateStore, TraceSummary]]:
    """The trace of a file, in a store that is gone afterwards."""
    with TemporaryDirectory(prefix="penguiflow-", ignore_cleanup_errors=True) as folder:
        store = SQLiteStateStore(Path(folder) / "state.db")
        try:
            found = await store.import_trace(path)
            trace = await store.get_trace(found.trace_id)
            assert trace is not None
            yield store, trace
        finally:
            await store.close()


async def _is_open(store: SQLiteStateStore, trace: TraceSummary) -> bool:
    last = await store.load_events(trace.trace_id, after=trace.events - 2, limit=1)
    return not last or last[0].kind != "trace.end"


async def events_of(store: SQLiteStateStore, trace_id: str) -> AsyncIterator[TraceEvent]:
    """All events of a trace, a page of them in memory at a time."""
    after = -1
    while page := await store.load_events(trace_id, after=after, limit=PAGE):
        for event in page:
            yield event
        after = page[-1].seq


async def close_abandoned(project: Project) -> None:
    """Mark what dead processes left running as interrupted, as far as the store can be written."""
    with suppress(StoreError):
        store = SQLiteStateStore(project.database)
        try:
            await store.recover()
        finally:
            await store.close()
