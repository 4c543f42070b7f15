"""Trace files as a source: their runs can be looked at, and nothing can be run."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

from penguiflow.recording.events import TraceEvent
from penguiflow.state.errors import StoreError
from penguiflow.state.importing import TraceExists
from penguiflow.state.pieces import Pieces
from penguiflow.state.sqlite import SQLiteStateStore
from penguiflow.state.statistics import FlowStatistics, StatisticsQuery
from penguiflow.state.traces import TraceQuery, TraceSummary
from playground.breakpoints import Breakpoint
from playground.protocol import (
    Answer,
    Breakpoints,
    Context,
    ContextEdit,
    ContextGet,
    Decide,
    Kv,
    KvEdit,
    KvGet,
    LettersEdit,
    Memory,
    MemoryEdit,
    MemoryGet,
    Queues,
    QueuesGet,
    Run,
    Steer,
)
from playground.sources import HostState, Inbox, Notice, RunRefused

__all__ = ["FileSource"]


class _Left(Exception):
    """Nobody waits for the file any more."""


class FileSource:
    """The runs of some trace files (this is a `playground.sources.Source`)."""

    can_run = False
    can_decide = False
    local = False

    def __init__(self, paths: Sequence[Path]) -> None:
        self.inbox = Inbox()
        self._paths = list(paths)
        self._folder: TemporaryDirectory[str] | None = None
        self._store: SQLiteStateStore | None = None
        self._reading: asyncio.Task[None] | None = None
        self._leaving = threading.Event()

    async def start(self) -> None:
        """Begin to read the files; one that cannot be read is told."""
        self.inbox.modules = []
        self._tell(", ".join(path.name for path in self._paths))
        self._folder = TemporaryDirectory(prefix="penguiflow-", ignore_cleanup_errors=True)
        self._store = SQLiteStateStore(Path(self._folder.name) / "state.db")
        self._reading = asyncio.create_task(self._read(self._store))

    async def _read(self, store: SQLiteStateStore) -> None:
        taken = 0
        for path in self._paths:
            try:
                found = await store.import_trace(path, progress=self._progress(path, asyncio.get_running_loop()))
            except (StoreError, TraceExists) as error:
                self.inbox.notices.append(Notice(str(error), "error"))
                continue
            taken += 1
            if taken == 1:
                self.inbox.opened = found.trace_id
        self.inbox.host = HostState("recorded", "")

    def _progress(self, path: Path, loop: asyncio.AbstractEventLoop) -> Callable[[int, int], None]:
        """What tells how much of a file is read, and ends that when somebody leaves."""
        told = -1

        def progress(events: int, total: int) -> None:
            nonlocal told
            if self._leaving.is_set():
                raise _Left
            share = 100 * events // max(total, 1)
            if share > told:
                told = share
                loop.call_soon_threadsafe(self._tell, f"{path.name}: {share} % of {total:,} events")

        return progress

    def _tell(self, text: str) -> None:
        self.inbox.host = HostState("reading", text)

    async def stop(self) -> None:
        """Forget what was read."""
        self._leaving.set()
        if self._reading is not None:
            self._reading.cancel()
            with suppress(asyncio.CancelledError):
                await self._reading
        if self._store is not None:
            await self._store.close()
        if self._folder is not None:
            self._folder.cleanup()

    def _kept(self) -> SQLiteStateStore:
        if self._store is None:
            raise RuntimeError("the source is not started")
        return self._store

    def _refuse(self) -> NoReturn:
        raise RunRefused("this is a recorded run: nothing can be run here")

    # -- what can be read ---------------------------------------------------------------------------------------------

    async def find_traces(self, query: TraceQuery) -> list[TraceSummary]:
        """The runs of the files, as far as they are read."""
        return await self._kept().find_traces(query)

    async def statistics(self, query: StatisticsQuery) -> list[FlowStatistics]:
        """Numbers over them."""
        return await self._kept().statistics(query)

    async def load_events(self, trace_id: str, *, after: int = -1, limit: int | None = None) -> list[TraceEvent]:
        """Events of a run."""
        return await self._kept().load_events(trace_id, after=after, limit=limit)

    async def open_pieces(self, trace_id: str) -> Pieces | None:
        """What there is of a run, piece by piece."""
        return await self._kept().open_pieces(trace_id)

    async def load_event_bytes(self, trace_id: str, *, after: int = -1, limit: int | None = None) -> list[bytes]:
        """Events of a run, as JSON bytes."""
        return await self._kept().load_event_bytes(trace_id, after=after, limit=limit)

    # -- what cannot be done ------------------------------------------------------------------------------------------

    async def run(self, request: Run) -> str:
        """Refused."""
        self._refuse()

    async def cancel(self, trace_id: str) -> bool:
        """Nothing runs."""
        return False

    async def set_breakpoints(self, put: list[Breakpoint], remove: list[str]) -> Breakpoints:
        """Refused."""
        self._refuse()

    async def decide(self, request: Decide) -> None:
        """Refused."""
        self._refuse()

    async def halt(self, trace_id: str) -> bool:
        """Nothing runs."""
        return False

    async def context(self, request: ContextGet | ContextEdit) -> Context:
        """Refused."""
        self._refuse()

    async def memory(self, request: MemoryGet | MemoryEdit, *, stop: str | None = None) -> Memory:
        """Refused."""
        self._refuse()

    async def kv(self, request: KvGet | KvEdit, *, stop: str | None = None) -> Kv:
        """Refused."""
        self._refuse()

    async def queues(self, request: QueuesGet | LettersEdit) -> Queues:
        """Refused."""
        self._refuse()

    async def answer_question(self, request: Answer) -> None:
        """Refused."""
        self._refuse()

    async def steer(self, request: Steer) -> None:
        """Refused."""
        self._refuse()

    async def kill_silent(self) -> bool:
        """There is no host."""
        return False

    async def reload(self) -> None:
        """There is no code."""
