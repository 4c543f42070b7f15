"""Traces in an SQLite file: `.penguiflow/state.db` of a project.

Many processes may write to one file and read it at once. Each store has one thread that writes
(`penguiflow-store-writer`); reads have their own connections and see what is committed.
"""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from penguiflow.recording.events import EventSink, TraceEvent
from penguiflow.recording.payloads import encode_data
from penguiflow.recording.recorder import Recorder
from penguiflow.recording.text import clean_text
from penguiflow.state import reader, recovery
from penguiflow.state.errors import StoreError, StoreNotWritable
from penguiflow.state.files import explain, open_to_write
from penguiflow.state.history import stored_events
from penguiflow.state.liveness import register
from penguiflow.state.models import GLOBAL_TRACE, RemoteBinding, StoredEvent
from penguiflow.state.traces import TraceQuery, TraceSummary
from penguiflow.state.writer import Writer

__all__ = ["SQLiteStateStore"]

_EXIT_TIMEOUT_S = 5.0
"""How long the interpreter's exit waits for the last commit of a store that nobody closed."""

_SAVE_EVENT = (
    "INSERT OR IGNORE INTO flow_events (trace_id, ts, kind, node_name, node_id, payload, fingerprint)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_SAVE_BINDING = (
    "INSERT OR REPLACE INTO remote_bindings (trace_id, context_id, task_id, agent_url, router_session_id,"
    " remote_skill, tenant_id, user_id, last_remote_task_id, is_terminal, metadata)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


class SQLiteStateStore:
    """A `TraceStore` and a `StateStore` in one file.

    Args:
        path: The database's file; it and its folder are made when missing (not with `read_only`).
        read_only: Only read. A file that does not exist (yet) has no traces, and is not made.
        durability: `batched`: a commit survives the process; after a power cut the last ones may be missing.
            `full`: a commit survives a power cut too, and takes longer.

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
    ) -> None:
        # Whoever changes the working directory later must not get another file.
        self.path = Path(path).absolute()
        self._reader = reader.Reader(self.path)
        self._writer = None if read_only else _start_writer(self.path, durability)
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

    async def save_remote_binding(self, binding: RemoteBinding) -> None:
        """Keep one binding, committed on return; the same trace, context and task again replaces it."""
        texts = (
            binding.trace_id, binding.context_id or "", binding.task_id, binding.agent_url, binding.router_session_id,
            binding.remote_skill, binding.tenant_id, binding.user_id, binding.last_remote_task_id,
        )  # fmt: skip
        values = [None if text is None else clean_text(text) for text in texts]
        await self._execute(_SAVE_BINDING, (*values, bool(binding.is_terminal), encode_data(binding.metadata)))

    async def recover(self, died: Mapping[str, Any] | None = None) -> list[str]:
        """Close running traces whose writer is gone as `interrupted`; returns their ids, oldest first.

        `died` is what is known of the death (`exit_code`, `signal`): it stands in each trace's `host.died`. Traces of
        writers that are alive are left alone. Until somebody calls this, readers see such traces as interrupted too.
        """
        about = dict(died or {})
        ids: list[str] = await asyncio.wrap_future(
            self._writing().submit(lambda connection: recovery.recover(connection, about))
        )
        return ids

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

    async def load_history(self, trace_id: str) -> Sequence[StoredEvent]:
        """What `save_event` kept and what was recorded, ascending in time; empty for an unknown trace."""
        nothing: list[StoredEvent] = []
        saved = await self._reader.ask(lambda connection: reader.load_flow_events(connection, trace_id), nothing)
        recorded = stored_events(await self.load_events(trace_id))
        return sorted([*saved, *recorded], key=lambda event: event.ts)

    # -- within --------------------------------------------------------------------------------------------------------

    def _writing(self) -> Writer:
        if self._writer is None:
            raise StoreNotWritable(f"{self.path} was opened to be read only", path=str(self.path))
        return self._writer

    async def _execute(self, sql: str, parameters: Sequence[Any]) -> None:
        await self._writing().execute(sql, parameters)


def _start_writer(path: Path, durability: str) -> Writer:
    connection = open_to_write(path, durability)
    try:
        # Entering the writer is also the proof that the file can be written.
        writer_id = register(connection)
    except BaseException as error:
        connection.close()
        if isinstance(error, Exception) and not isinstance(error, StoreError):
            raise explain(error, path, writing=True) from error
        raise
    return Writer(connection, path, writer_id)


def _let_go(writer: Writer | None, reading: reader.Reader) -> None:
    reading.close()
    if writer is not None:
        writer.close(_EXIT_TIMEOUT_S)
