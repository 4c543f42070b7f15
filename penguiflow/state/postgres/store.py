"""Traces and state in a PostgreSQL database, for any number of processes on any number of machines."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from penguiflow.recording.events import TraceEvent
from penguiflow.recording.payloads import encode_data
from penguiflow.recording.text import clean_text
from penguiflow.state.connection import Connection
from penguiflow.state.database import DatabaseStore
from penguiflow.state.derived import in_memory, open_file
from penguiflow.state.errors import StoreError
from penguiflow.state.follow import follow
from penguiflow.state.postgres.address import parse_address
from penguiflow.state.postgres.driver import CONNECT_S, numbered
from penguiflow.state.recovery import close_trace
from penguiflow.state.retention import Pruned, Retention, Storage, prune
from penguiflow.state.shared import SharedChange, SharedOutcome
from penguiflow.state.shared_rules import WORKERS_S
from penguiflow.state.spill import INLINE_BYTES

try:
    from penguiflow.state.postgres.changes import Changes
    from penguiflow.state.postgres.commit import PAYLOAD_LOCK
    from penguiflow.state.postgres.problems import is_lost
    from penguiflow.state.postgres.reader import Reader
    from penguiflow.state.postgres.shared import NOW, Commits
    from penguiflow.state.postgres.values import SAVE_MEMORY, Statements, Values, revision_in
    from penguiflow.state.postgres.writer import Writer
except ModuleNotFoundError as missing:
    if missing.name != "asyncpg":
        raise
    raise ModuleNotFoundError(
        "a store in PostgreSQL needs the package asyncpg: pip install 'penguiflow[postgres]'", name="asyncpg"
    ) from None

if TYPE_CHECKING:
    from penguiflow.artifacts import ArtifactRetentionConfig

__all__ = ["PostgresStateStore"]

T = TypeVar("T")

PATIENCE_S = 10.0
"""How long a server may be away before that is an error."""
AWAY_S = 0.2
"""How often a follower asks a server that is away."""
_LEAST_TIMEOUT_S = 1.0
"""How long a server may take at least to let somebody in."""
_SIZE = (
    "SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class"
    " WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace"
)
_OVERHEAD_BYTES = 512
"""What a trace takes beside its chunks, roughly."""


class PostgresStateStore(DatabaseStore):
    """A `TraceStore` and a `StateStore` with all its capabilities, in a schema of a PostgreSQL database.

    Nothing is connected before something is asked or written. What is written is committed by a task of the loop on
    which it was written first, in groups, every 20 ms. While the server is away it is kept, up to 100,000 events or
    64 MB, and written once when it is back; for `patience_s` whoever writes more has to wait, then events are lost.

    Args:
        url: `postgresql://user:password@host:5432/database`; `?schema=` names the schema of its tables, which is made
            when it is missing and else `penguiflow`.
        read_only: Only read. A schema without tables has no traces, and gets none.
        durability: `batched`: a process that is killed loses its last events, those of 20 ms and of the commit under
            way. `every_event`: a result is given out when the events of its trace up to it are committed.
        retention: What to forget, looked after when there is nothing to write. Everything is kept by default.
        artifact_retention: How long and how much the artifact store keeps.
        inline_bytes: Payloads whose JSON is larger are kept once for all that are equal.
        patience_s: How long a server may be away before that is an error.
        home: A folder for what is worked out of traces and for the key by which hidden secrets can be compared.

    Raises `StoreError` for an address that is none; everything else is raised by what is asked of it.
    """

    _next_id = "SELECT nextval('trace_ids')"
    _now = NOW
    _writer: Writer | None

    def __init__(
        self,
        url: str,
        *,
        read_only: bool = False,
        durability: Literal["batched", "every_event"] = "batched",
        retention: Retention | None = None,
        artifact_retention: ArtifactRetentionConfig | None = None,
        inline_bytes: int = INLINE_BYTES,
        patience_s: float = PATIENCE_S,
        home: Path | None = None,
    ) -> None:
        if durability not in ("batched", "every_event"):
            raise ValueError(f"durability is 'batched' or 'every_event', not {durability!r}")
        address = parse_address(url)
        # Whoever has little patience is not to wait for a server that lets nobody in, and refuses nobody.
        timeout_s = min(CONNECT_S, max(patience_s, _LEAST_TIMEOUT_S))
        reading = Reader(address, timeout_s=timeout_s)
        super().__init__(reading, address.place, artifact_retention=artifact_retention)
        self._reader: Reader = reading
        self._address = address
        self._patience_s = patience_s
        self._every_event = durability == "every_event"
        self._retention = retention or Retention()
        self._home = home
        self._statements = Statements(address, writes=not read_only, timeout_s=timeout_s)
        self._values = Values(self._statements)
        self._changes = Changes(address)
        self._commits = Commits(self._statements, address.place, patience_s)
        self._closed = False
        self._writer = None
        if not read_only:
            self._writer = Writer(
                address,
                inline=inline_bytes,
                patience_s=patience_s,
                break_off=self._break_off,
                upkeep=None if self._retention.keeps_everything else self._upkeep,
            )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.place!r}{', read_only=True' if self._writer is None else ''})"

    @property
    def home(self) -> Path | None:
        """The folder for what belongs to the store and not into the database."""
        return self._home

    async def open(self) -> None:
        """Connect, and make or bring up to date the tables: for who wants to know of problems before anything runs.

        Raises `StoreUnreadable` (nobody is let in, no such database), `StoreTooNew`, `StoreError` (server away, or too
        old). Read-only it changes nothing.
        """
        await self._statements.rows("SELECT 1", ())

    async def close(self) -> None:
        """Commit what is left and let go of the server. Can be repeated.

        Raises `StoreError` when something could not be committed; the server is let go all the same.
        """
        if self._closed:
            return
        self._closed = True
        failure = None if self._writer is None else await self._writer.close()
        await self._changes.close()
        await self._statements.close()
        await asyncio.to_thread(self._reader.close)
        if failure is not None:
            raise failure

    async def prune(self, retention: Retention, *, dry_run: bool = False) -> Pruned:
        """Forget what is beyond the limits, the oldest first; tells what was removed.

        Running traces stay. With `dry_run` nothing is changed. The server uses the room again for what comes.
        """
        removed = Pruned()
        while True:
            some, more = await self._job(lambda connection: _prune(connection, retention, dry_run=dry_run))
            removed.add(some)
            if dry_run or not (more or (retention.max_bytes is not None and some.traces)):
                return removed

    async def size(self) -> int:
        """Bytes of the tables, with their indexes."""
        found = await self._statements.rows(_SIZE, ())
        return int(found[0][0])

    # -- what is changed as it is known --------------------------------------------------------------------------------

    async def save_memory_state(self, key: str, state: dict[str, Any]) -> None:
        """Keep a memory, in place of the one before."""
        await self._execute(SAVE_MEMORY, (clean_text(key), time.time(), encode_data(state), revision_in(state)))

    async def swap_memory_state(self, key: str, state: dict[str, Any], *, revision: int) -> bool:
        """Keep a memory if the one before has this `revision` (0: it has none, or there is none); whether it did."""
        self._writing()
        return await self._values.swap(key, state, revision)

    async def remove_memory_state(self, key: str, *, revision: int) -> bool:
        """Remove a memory if it has this `revision`; whether it did."""
        self._writing()
        return await self._values.remove(key, revision)

    async def forget_shared(self, *, older_than_s: float) -> int:
        """Forget what is remembered of traces that ended so long ago, all but how they ended; how many."""
        self._writing()
        return await self._commits.forget(older_than_s, WORKERS_S)

    async def load_planner_state(self, token: str) -> dict[str, Any] | None:
        """Give a state out, once, whoever asks first; None for an unknown, used or expired token.

        The trace that it is of is `paused` no longer.
        """
        self._writing()
        return await self._values.take(token)

    # -- reading -------------------------------------------------------------------------------------------------------

    async def follow(self, trace_id: str, *, after: int = -1) -> AsyncGenerator[TraceEvent, None]:
        """Committed events with `seq > after`, and those to come, until the trace is over. An unknown one has none."""
        away: float | None = None  # since when

        async def pause() -> None:
            nonlocal away
            away = None
            await changed.wait()

        async with self._changes.of(clean_text(trace_id)) as changed:
            while True:
                try:
                    async for event in follow(self, trace_id, after, pause=pause):
                        yield event
                        after, away = event.seq, None
                    return
                except StoreError as error:
                    away = away or time.monotonic()
                    lost = error.__cause__ is not None and is_lost(error.__cause__)
                    if not lost or time.monotonic() > away + self._patience_s:
                        raise
                await asyncio.sleep(AWAY_S)

    # -- within --------------------------------------------------------------------------------------------------------

    def _open_derived(self) -> sqlite3.Connection:
        if self._home is None or not self._home.is_dir():
            return in_memory()
        return open_file(self._home / f"{self._address.schema}.postgres.derived.db")

    async def _writer_id(self) -> int:
        return await self._entered()

    async def _entered(self) -> int:
        self._writing()
        assert self._writer is not None
        return await self._writer.enter()

    def _last(self, table: str, column: str) -> str:
        return "DEFAULT"

    async def _execute(self, sql: str, parameters: Sequence[Any]) -> None:
        await self._writing().execute(sql, parameters)

    async def _rows(self, sql: str, parameters: Sequence[Any]) -> list[Any]:
        return await self._statements.rows(numbered(sql), parameters)

    async def _commit_shared(self, changes: Sequence[SharedChange]) -> list[SharedOutcome]:
        self._writing()
        return await self._commits.commit(changes)

    async def _change(self, sql: str, parameters: Sequence[Any]) -> int:
        self._writing()
        return len(await self._commits.run(f"{numbered(sql)} RETURNING 1", parameters))

    async def _job(self, work: Callable[[Connection], T]) -> T:
        await self._entered()
        await self.flush()
        return await self._reader.change(work)

    async def _break_off(self, trace_id: str, writer: int) -> None:
        about = {"reason": "events were lost"}
        await self._reader.change(lambda connection: close_trace(connection, trace_id, about, writer=writer))

    async def _upkeep(self) -> bool:
        _, more = await self._reader.change(lambda connection: _prune(connection, self._retention))
        return more


def _prune(connection: Connection, retention: Retention, *, dry_run: bool = False) -> tuple[Pruned, bool]:
    return prune(connection, retention, dry_run=dry_run, storage=_STORAGE)


def _used_bytes(connection: Connection) -> int:
    """What the traces take: the server gives room back in its own time."""
    found = connection.execute("SELECT coalesce(sum(bytes + ?), 0)::bigint FROM traces", (_OVERHEAD_BYTES,)).fetchone()
    return int(found[0])


_STORAGE = Storage(
    _used_bytes,
    "convert_from(state, 'UTF8')::json #>> '{value,status}'",
    f"SELECT pg_advisory_xact_lock({PAYLOAD_LOCK})",
)
