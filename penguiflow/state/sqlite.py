"""Traces in an SQLite file: `.penguiflow/state.db` of a project.

Many processes may write to one file and read it at once. Each store has one thread that writes
(`penguiflow-store-writer`); reads have their own connections and see what is committed.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from penguiflow.state import schema
from penguiflow.state.connection import Connection
from penguiflow.state.database import DatabaseStore
from penguiflow.state.derived import open_derived
from penguiflow.state.errors import StoreError
from penguiflow.state.files import BUSY_TIMEOUT_S, explain, open_to_write
from penguiflow.state.liveness import register
from penguiflow.state.reader import Reader
from penguiflow.state.retention import Pruned, Retention, prune, shrink
from penguiflow.state.rows import NEXT_ID
from penguiflow.state.spill import INLINE_BYTES
from penguiflow.state.writer import Writer

if TYPE_CHECKING:
    from penguiflow.artifacts import ArtifactRetentionConfig

__all__ = ["SQLiteStateStore"]

_EXIT_TIMEOUT_S = 5.0
"""How long the interpreter's exit waits for the last commit of a store that nobody closed."""

T = TypeVar("T")


class SQLiteStateStore(DatabaseStore):
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

    _next_id = NEXT_ID
    _writer: Writer | None

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
        reading = Reader(self.path, patience_s=patience_s)
        super().__init__(reading, str(self.path), artifact_retention=artifact_retention)
        self._reader: Reader = reading
        self._writer = (
            None
            if read_only
            else _start_writer(self.path, durability, retention or Retention(), inline_bytes, patience_s)
        )
        # For those who forget to close: events of the last moments are still written when the interpreter exits.
        self._forgotten = weakref.finalize(self, _let_go, self._writer, self._reader)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r}{', read_only=True' if self._writer is None else ''})"

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

    # -- within --------------------------------------------------------------------------------------------------------

    async def size(self) -> int:
        """Bytes of the file and of the log beside it."""
        files = (self.path, self.path.with_name(self.path.name + "-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def _open_derived(self) -> sqlite3.Connection:
        return open_derived(self.path)

    async def _writer_id(self) -> int:
        self._writing()
        assert self._writer is not None
        return self._writer.writer_id

    def _last(self, table: str, column: str) -> str:
        return " ".join(("(SELECT max(", column, ") + 1 FROM", table, ")"))

    async def _execute(self, sql: str, parameters: Sequence[Any]) -> None:
        await self._writing().execute(sql, parameters)

    async def _job(self, work: Callable[[Any], T]) -> T:
        future: Future[T] = self._writing().submit(work)
        return await asyncio.wrap_future(future)

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


def _let_go(writer: Writer | None, reading: Reader) -> None:
    reading.close()
    if writer is not None:
        writer.close(_EXIT_TIMEOUT_S)
