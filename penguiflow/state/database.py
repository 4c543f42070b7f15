"""What stores have in common that keep everything in a database: questions to it, whatever database it is."""

from __future__ import annotations

import asyncio
import sqlite3
from abc import abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractContextManager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from penguiflow.recording.events import EventSink, TraceEvent
from penguiflow.recording.payloads import encode_data
from penguiflow.recording.recorder import Recorder
from penguiflow.recording.text import clean_text
from penguiflow.state import reader, recovery
from penguiflow.state.claims import claim
from penguiflow.state.connection import Asks, Connection
from penguiflow.state.follow import follow
from penguiflow.state.history import stored_events
from penguiflow.state.kept import KeepsState
from penguiflow.state.models import GLOBAL_TRACE, StoredEvent
from penguiflow.state.pieces import Pieces, find_pieces
from penguiflow.state.shared_store import SharesInDatabase
from penguiflow.state.traces import TraceQuery, TraceSummary
from penguiflow.state.writes import WritesEvents

if TYPE_CHECKING:
    from penguiflow.artifacts import ArtifactRetentionConfig, ArtifactStore
    from penguiflow.recording.spans import Span
    from penguiflow.state.artifacts import DatabaseArtifactStore
    from penguiflow.state.conversations import SessionSummary
    from penguiflow.state.importing import Imported
    from penguiflow.state.retention import Pruned, Retention
    from penguiflow.state.search import Found, Looked, SearchQuery
    from penguiflow.state.statistics import FlowStatistics, Progress, StatisticsQuery

__all__ = ["DatabaseStore"]

T = TypeVar("T")

_SAVE_EVENT = (
    "INSERT INTO flow_events (trace_id, ts, kind, node_name, node_id, payload, fingerprint)"
    " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
)


class DatabaseStore(WritesEvents, KeepsState, SharesInDatabase):
    """A `TraceStore` and a `StateStore` with all its capabilities, given a way to ask a database and to change it.

    Also what workers share.
    """

    _next_id: str
    """The question for the id of another trace's row."""

    def __init__(self, reader: Asks, place: str, *, artifact_retention: ArtifactRetentionConfig | None = None) -> None:
        SharesInDatabase.__init__(self)
        self._reader = reader
        self.place = place
        """Where it is, to be shown: a path, or an address without its password."""
        self._artifact_retention = artifact_retention
        self._artifacts: DatabaseArtifactStore | None = None

    @abstractmethod
    async def close(self) -> None:
        """Commit what is left and let go of the database. Can be repeated.

        Raises `StoreError` when something could not be committed; the database is let go all the same.
        """

    @abstractmethod
    async def prune(self, retention: Retention, *, dry_run: bool = False) -> Pruned:
        """Forget what is beyond the limits, the oldest first; tells what was removed.

        Running traces stay. With `dry_run` nothing is changed.
        """

    @abstractmethod
    async def size(self) -> int:
        """Bytes that it takes on the disk."""

    @abstractmethod
    def _open_derived(self) -> sqlite3.Connection:
        """Open what is worked out of traces and kept: see `derived`."""

    @abstractmethod
    async def _writer_id(self) -> int:
        """This store among those that write to the database. Raises `StoreNotWritable` when opened read-only."""

    async def open(self) -> None:
        """Find out what is wrong before anything is asked or written. Raises `StoreError`."""

    def reading(self) -> AbstractContextManager[Connection | None]:
        """A connection to ask one question after the other, in a thread without a loop; None without a database yet.

        Raises `StoreError`, also for what goes wrong within.
        """
        return self._reader.connected()

    def recorder(self, *sinks: EventSink, name: str = "flow", data: Mapping[str, Any] | None = None) -> Recorder:
        """A recorder that writes to this store, and to the other sinks."""
        assert self.sink is not None
        return Recorder(*sinks, store=self, name=name, data=data)

    # -- changing ------------------------------------------------------------------------------------------------------

    async def save_event(self, event: StoredEvent) -> None:
        """Keep one event of a flow's middleware stream, committed on return; the same event again changes nothing."""
        trace_id = clean_text(event.trace_id or GLOBAL_TRACE)
        payload = encode_data(event.payload)
        names = [None if name is None else clean_text(name) for name in (event.kind, event.node_name, event.node_id)]
        identity = encode_data({"of": [trace_id, float(event.ts), *names]})
        fingerprint = sha256(identity + payload).digest()
        await self._execute(_SAVE_EVENT, (trace_id, float(event.ts), *names, payload, fingerprint))

    async def recover(self, died: Mapping[str, Any] | None = None) -> list[str]:
        """Close running traces whose writer is gone as `interrupted`; returns their ids, oldest first.

        `died` is what is known of the death: `exit_code` and `signal` stand in each trace's `host.died`, `at` (unix
        seconds) becomes the time of its end; with a `pid`, all that is said of that process's traces alone. Traces of
        writers that are alive are left alone. Until somebody calls this, readers see such traces as interrupted too.
        """
        about = dict(died or {})
        return await self._job(lambda connection: recovery.recover(connection, about))

    async def import_trace(
        self, path: Path, *, trace_id: str | None = None, progress: Progress | None = None
    ) -> Imported:
        """Take in the trace of a trace file, under its own id or another one: all of it or nothing.

        `progress` is called in a thread with how many events were read, and how many there are to be read; what it
        raises ends the import.

        One that is here already is left as it is. Raises `StoreUnreadable` and `StoreTooNew` for the file,
        `TraceExists` when another trace has the id.
        """
        from penguiflow.state import importing

        await self._writer_id()
        ready = await asyncio.to_thread(importing.prepare, path, trace_id, progress)
        try:
            new = not await importing.exists(self, ready)
            if new:
                await self._transact(lambda connection: importing.insert(connection, ready, next_id=self._next_id))
            return importing.Imported(ready.trace_id, ready.row.events, new)
        finally:
            ready.close()

    async def claim(self, trace_id: str, events: int) -> bool:
        """Take over an interrupted trace that has so many events, to resume it; False when somebody else has."""
        writer = await self._writer_id()
        return await self._job(lambda connection: claim(connection, trace_id, events, writer=writer))

    # -- reading -------------------------------------------------------------------------------------------------------

    async def find_traces(self, query: TraceQuery | None = None) -> list[TraceSummary]:
        """Traces that match, newest first."""
        wanted = query or TraceQuery()
        return await self._reader.ask(lambda connection: reader.find_traces(connection, wanted), [])

    async def get_trace(self, trace_id: str) -> TraceSummary | None:
        """One trace by its full id, or None."""
        return await self._reader.ask(lambda connection: reader.get_trace(connection, trace_id), None)

    async def resolve_trace(self, prefix: str) -> str:
        """The full id behind a unique prefix, or behind `last`: the trace that started last.

        Raises `TraceNotFound`, and `AmbiguousTrace` with the candidates.
        """
        where = self.place
        found = await self._reader.ask(lambda connection: reader.resolve_trace(connection, prefix, where), None)
        if found is None:
            raise reader.no_such_trace(prefix, where)
        return found

    async def load_events(
        self, trace_id: str, *, after: int = -1, limit: int | None = None, kinds: Sequence[str] | None = None
    ) -> list[TraceEvent]:
        """Committed events with `seq > after`, in order; `kinds` may end in `*`. An unknown trace has none."""
        return await self._reader.ask(
            lambda connection: reader.load_events(connection, trace_id, after, limit, kinds), []
        )

    async def load_event_bytes(self, trace_id: str, *, after: int = -1, limit: int | None = None) -> list[bytes]:
        """As `load_events`, each event as JSON bytes."""
        return await self._reader.ask(
            lambda connection: reader.load_event_bytes(connection, trace_id, after, limit), []
        )

    async def open_pieces(self, trace_id: str) -> Pieces:
        """A trace as it is stored, to be read piece by piece: see `penguiflow.state.pieces`."""
        found = await self._reader.ask(find_pieces(self._reader, trace_id), None)
        return found or Pieces(self._reader, trace_id, [])

    async def load_spans(self, trace_id: str, *, fold: bool = False) -> list[Span]:
        """The roots of a trace's tree. With `fold`, many siblings alike become a few and a `Crowd`: see `overview`."""
        nothing: list[Span] = []
        return await self._reader.ask(lambda connection: reader.load_spans(connection, trace_id, fold), nothing)

    async def statistics(
        self, query: StatisticsQuery | None = None, *, progress: Progress | None = None
    ) -> list[FlowStatistics]:
        """Numbers over runs, by flow, the one that ran last first: see `penguiflow.state.statistics`.

        The first question takes as long as reading the traces takes; `progress` is called with how many were read, and
        how many there are to be read.
        """
        from penguiflow.state import statistics

        return await statistics.statistics(
            self._reader, self._open_derived, query or statistics.StatisticsQuery(), progress
        )

    def search(self, query: SearchQuery) -> AsyncGenerator[Found | Looked, None]:
        """Events by text and kind, those of the newest run first, and how far it is: see `penguiflow.state.search`.

        Raises `re.error` for a regular expression that is none.
        """
        from penguiflow.state import search

        return search.search(self._reader, query)

    async def sessions(self, *, limit: int = 50) -> list[SessionSummary]:
        """The sessions that were active last, newest first, with the keys of their memories."""
        from penguiflow.state import conversations

        return await conversations.sessions(self._reader, limit)

    async def load_history(self, trace_id: str) -> Sequence[StoredEvent]:
        """What `save_event` kept and what was recorded, ascending in time; empty for an unknown trace."""
        nothing: list[StoredEvent] = []
        saved = await self._reader.ask(lambda connection: reader.load_flow_events(connection, trace_id), nothing)
        recorded = stored_events(await self.load_events(trace_id))
        return sorted([*saved, *recorded], key=lambda event: event.ts)

    def follow(self, trace_id: str, *, after: int = -1) -> AsyncGenerator[TraceEvent, None]:
        """Committed events with `seq > after`, and those to come, until the trace is over. An unknown one has none."""
        return follow(self, trace_id, after)

    @property
    def artifact_store(self) -> ArtifactStore:
        """Where artifacts are kept, by session."""
        if self._artifacts is None:
            from penguiflow.state.artifacts import DatabaseArtifactStore

            self._artifacts = DatabaseArtifactStore(self, self._artifact_retention)
        return self._artifacts
