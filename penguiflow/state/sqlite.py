"""Traces in an SQLite file: `.penguiflow/state.db` of a project.

Many processes may write to one file and read it at once. Each store has one thread that writes
(`penguiflow-store-writer`); reads have their own connections and see what is committed.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from penguiflow.recording.events import EventSink, TraceEvent
from penguiflow.recording.payloads import encode_data
from penguiflow.recording.recorder import Recorder
from penguiflow.recording.text import clean_text
from penguiflow.state import reader, recovery, schema
from penguiflow.state.claims import claim
from penguiflow.state.connection import Connection
from penguiflow.state.errors import StoreError, StoreNotWritable
from penguiflow.state.files import BUSY_TIMEOUT_S, explain, open_to_write
from penguiflow.state.follow import follow
from penguiflow.state.history import stored_events
from penguiflow.state.kept import KeepsState
from penguiflow.state.liveness import register
from penguiflow.state.models import GLOBAL_TRACE, StoredEvent
from penguiflow.state.pieces import Pieces, find_pieces
from penguiflow.state.retention import Pruned, Retention, prune, shrink
from penguiflow.state.spill import INLINE_BYTES
from penguiflow.state.traces import TraceQuery, TraceSummary
from penguiflow.state.writer import Writer

if TYPE_CHECKING:
    from penguiflow.artifacts import ArtifactRetentionConfig, ArtifactStore
    from penguiflow.recording.spans import Span
    from penguiflow.state.artifacts import DatabaseArtifactStore
    from penguiflow.state.conversations import SessionSummary
    from penguiflow.state.importing import Imported
    from penguiflow.state.search import Found, Looked, SearchQuery
    from penguiflow.state.statistics import FlowStatistics, Progress, StatisticsQuery

__all__ = ["SQLiteStateStore"]

_EXIT_TIMEOUT_S = 5.0
"""How long the interpreter's exit waits for the last commit of a store that nobody closed."""

_SAVE_EVENT = (
    "INSERT OR IGNORE INTO flow_events (trace_id, ts, kind, node_name, node_id, payload, fingerprint)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)"
)
T = TypeVar("T")


class SQLiteStateStore(KeepsState):
    """A `TraceStore` and a `StateStore` with all its capabilities, in one file.

    Args:
        path: The database's file; it and its folder are made when missing (not with `read_only`).
        read_only: Only read. A file that does not exist (yet) has no traces, and is not made.
        durability: `batched`: events are committed in groups, every 20 ms. A process that is killed loses those of its
            last 20 ms and of the commit under way; where the disk is slower than the flow, what waits for it: at most
            100,000 events or 64 MB. A power cut may take the last commits too.
            `every_event`: a result is given out when the events of its trace up to it are committed and on the disk:
            neither a kill nor a power cut takes an event that a result rests on.
        retention: What to forget, looked after when there is nothing to write. Everything is kept by default.
        artifact_retention: How long and how much the artifact store keeps.
        inline_bytes: Payloads whose JSON is larger are kept once for all that are equal.
        patience_s: How long another program may keep the file locked before that is an error.

    Raises:
        StoreNotWritable: The folder or file cannot be written.
        StoreUnreadable: The file is damaged, or no database of penguiflow; it is left as it is.
        StoreTooNew: The file was written by a later version.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        read_only: bool = False,
        durability: Literal["batched", "every_event"] = "batched",
        retention: Retention | None = None,
        artifact_retention: ArtifactRetentionConfig | None = None,
        inline_bytes: int = INLINE_BYTES,
        patience_s: float = BUSY_TIMEOUT_S,
    ) -> None:
        if durability not in ("batched", "every_event"):
            raise ValueError(f"durability is 'batched' or 'every_event', not {durability!r}")
        # Whoever changes the working directory later must not get another file.
        self.path = Path(path).absolute()
        self._every_event = durability == "every_event"
        self._artifact_retention = artifact_retention
        self._artifacts: DatabaseArtifactStore | None = None
        self._reader = reader.Reader(self.path, patience_s=patience_s)
        self._writer = (
            None
            if read_only
            else _start_writer(self.path, durability, retention or Retention(), inline_bytes, patience_s)
        )
        # For those who forget to close: events of the last moments are still written when the interpreter exits.
        self._forgotten = weakref.finalize(self, _let_go, self._writer, self._reader)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r}{', read_only=True' if self._writer is None else ''})"

    # -- writing -------------------------------------------------------------------------------------------------------

    @property
    def sink(self) -> EventSink:
        """Where a recorder sends this store's events. Raises `StoreNotWritable` when opened read-only."""
        return self._writing()

    def recorder(self, *sinks: EventSink, name: str = "flow", data: Mapping[str, Any] | None = None) -> Recorder:
        """A recorder that writes to this store, and to the other sinks."""
        self._writing()
        return Recorder(*sinks, store=self, name=name, data=data)

    @property
    def congested(self) -> bool:
        """True while the writer holds as much as it may."""
        return self._writer is not None and self._writer.congested

    @property
    def dropped(self) -> int:
        """Events that were lost because the file could not be written."""
        return 0 if self._writer is None else self._writer.dropped

    def durable(self) -> Awaitable[None] | None:
        """What to await before a result is given out; None when there is nothing to wait for.

        Never raises: while nothing can be written, which is logged and told by `flush`, nobody is held up.
        """
        return self._writer.durable() if self._every_event and self._writer is not None else None

    @property
    def hold(self) -> Callable[[asyncio.Future[None]], bool] | None:
        """As `durable`, with a future of the caller's own: False when there is nothing to wait for. None: never."""
        return self._writer.hold if self._every_event and self._writer is not None else None

    async def wait_ready(self) -> None:
        """Return once the writer has room again."""
        if self._writer is not None:
            await self._writer.wait_ready()

    async def flush(self) -> None:
        """Return once all that was written so far is committed.

        Raises `StoreNotWritable` when it cannot be; it is kept and tried again, as far as there is room.
        """
        if self._writer is not None:
            await asyncio.wrap_future(self._writer.submit(None))

    async def close(self) -> None:
        """Commit what is left and let go of the file. Can be repeated.

        Raises `StoreNotWritable` when something could not be committed; the file is let go all the same.
        """
        if self._forgotten.detach() is None:
            return
        self._reader.close()
        if self._writer is not None:
            failure = await asyncio.to_thread(self._writer.close)
            if failure is not None:
                raise failure

    async def save_event(self, event: StoredEvent) -> None:
        """Keep one event of a flow's middleware stream, committed on return; the same event again changes nothing."""
        trace_id = clean_text(event.trace_id or GLOBAL_TRACE)
        payload = encode_data(event.payload)
        names = [None if name is None else clean_text(name) for name in (event.kind, event.node_name, event.node_id)]
        identity = encode_data({"of": [trace_id, float(event.ts), *names]})
        fingerprint = sha256(identity + payload).digest()
        await self._execute(_SAVE_EVENT, (trace_id, float(event.ts), *names, payload, fingerprint))

    async def prune(self, retention: Retention, *, dry_run: bool = False) -> Pruned:
        """Forget what is beyond the limits, the oldest first, and give the space back; tells what was removed.

        Running traces stay. With `dry_run` nothing is changed.
        """
        removed = Pruned()
        while True:
            some, more = await self._job(lambda connection: prune(connection, retention, dry_run=dry_run))
            removed.add(some)
            if dry_run or not (more or (retention.max_bytes is not None and some.traces)):
                break
        if not dry_run:
            await self._job(lambda connection: shrink(connection, rewrite=True))
        return removed

    async def recover(self, died: Mapping[str, Any] | None = None) -> list[str]:
        """Close running traces whose writer is gone as `interrupted`; returns their ids, oldest first.

        `died` is what is known of the death: `exit_code` and `signal` stand in each trace's `host.died`, `at` (unix
        seconds) becomes the time of its end; with a `pid`, all that is said of that process's traces alone. Traces of
        writers that are alive are left alone. Until somebody calls this, readers see such traces as interrupted too.
        """
        about = dict(died or {})
        return await self._job(lambda connection: recovery.recover(connection, about))

    async def import_trace(self, path: Path, *, trace_id: str | None = None) -> Imported:
        """Take in the trace of a trace file, under its own id or another one: all of it or nothing.

        One that is here already is left as it is. Raises `StoreUnreadable` and `StoreTooNew` for the file,
        `TraceExists` when another trace has the id.
        """
        from penguiflow.state import importing

        self._writing()
        ready = await asyncio.to_thread(importing.prepare, path, trace_id)
        try:
            new = not await importing.exists(self, ready)
            if new:
                await self._transact(lambda connection: importing.insert(connection, ready))
            return importing.Imported(ready.trace_id, ready.row.events, new)
        finally:
            ready.close()

    async def claim(self, trace_id: str, events: int) -> bool:
        """Take over an interrupted trace that has so many events, to resume it; False when somebody else has."""
        writer = self._writing().writer_id
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
        where = str(self.path)
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

        return await statistics.statistics(self._reader, self.path, query or statistics.StatisticsQuery(), progress)

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

    # -- within --------------------------------------------------------------------------------------------------------

    def _writing(self) -> Writer:
        if self._writer is None:
            raise StoreNotWritable(f"{self.path} was opened to be read only", path=str(self.path))
        return self._writer

    def _last(self, table: str, column: str) -> str:
        return " ".join(("(SELECT max(", column, ") + 1 FROM", table, ")"))

    async def _execute(self, sql: str, parameters: Sequence[Any]) -> None:
        await self._writing().execute(sql, parameters)

    async def _job(self, work: Callable[[sqlite3.Connection], T]) -> T:
        future: Future[T] = self._writing().submit(work)
        return await asyncio.wrap_future(future)

    async def _transact(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await self._job(lambda connection: _in_transaction(connection, work))

    async def _rows(self, sql: str, parameters: Sequence[Any]) -> list[Any]:
        nothing: list[Any] = []

        def ask(connection: Connection) -> list[Any]:
            try:
                return connection.execute(sql, parameters).fetchall()
            except sqlite3.OperationalError as error:
                # A file of an earlier version that nobody has written to since.
                if schema.is_missing_table(error):
                    return nothing
                raise

        return await self._reader.ask(ask, nothing)


def _in_transaction(connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
    connection.execute("BEGIN IMMEDIATE")
    try:
        result = work(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return result


def _start_writer(path: Path, durability: str, retention: Retention, inline_bytes: int, patience_s: float) -> Writer:
    connection = open_to_write(path, durability, timeout_s=patience_s)
    try:
        # Entering the writer is also the proof that the file can be written.
        writer_id = register(connection)
    except BaseException as error:
        connection.close()
        if isinstance(error, Exception) and not isinstance(error, StoreError):
            raise explain(error, path, writing=True) from error
        raise
    # A reader may be in the way of giving space back: then it is tried again the next time.
    unshrunk = False

    def upkeep(connection: sqlite3.Connection) -> bool:
        nonlocal unshrunk
        removed, more = prune(connection, retention)
        unshrunk = unshrunk or removed.traces > 0
        if unshrunk and not more:
            unshrunk = not shrink(connection)
        return more

    upkeep_of = None if retention.keeps_everything else upkeep
    return Writer(connection, path, writer_id, upkeep=upkeep_of, inline=inline_bytes)


def _let_go(writer: Writer | None, reading: reader.Reader) -> None:
    reading.close()
    if writer is not None:
        writer.close(_EXIT_TIMEOUT_S)
