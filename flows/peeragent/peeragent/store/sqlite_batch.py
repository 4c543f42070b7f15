"""One connection that writes, in groups; one that reads. Both in threads, so that no disk holds up the loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

from peeragent.store.base import StoreUnavailable

T = TypeVar("T")

MAX_BATCH = 500
SYNC_S = 1.0
"""How long what did not wait for the disk may be on its way there."""
LOG_PAGES = 10_000
"""Of 4 kB: so long the write-ahead log gets before it is put into the database."""

Change = Callable[[sqlite3.Connection], Any]
ForMany = Callable[[sqlite3.Connection, list[Any]], list[Any]]
"""A change that is made for many at a time; it gives an exception, or None, for each."""


class Batches:
    """Writes that come while one is under way share the next transaction: many requests, one sync of the disk."""

    def __init__(self, path: Path, schema: str, *, timeout_s: float) -> None:
        self._path, self._schema, self._timeout_s = path, schema, timeout_s
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._writing = ThreadPoolExecutor(1, "peeragent-writes")
        self._reading = ThreadPoolExecutor(1, "peeragent-reads")
        self._waiting: list[tuple[Change | Shared, asyncio.Future[Any]]] = []
        self._task: asyncio.Task[None] | None = None
        self._file: tuple[int, int] | None = None
        self._strict = True
        """Whether the last transaction waited for the disk."""
        self._syncing: asyncio.TimerHandle | None = None
        self._failed: Exception | None = None
        """Why the last write failed, if it did."""

    async def open(self) -> None:
        """Make the file. Raises `StoreUnavailable`."""
        loop = asyncio.get_running_loop()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._writer, self._strict = await loop.run_in_executor(self._writing, self._connect), True
            await loop.run_in_executor(self._writing, self._apply, self._writer, [])
            self._file = self._identity()
            self._reader = await loop.run_in_executor(self._reading, self._connect)
        except (OSError, sqlite3.Error) as error:
            raise self._unavailable(error) from error

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, timeout=self._timeout_s, isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        # Whoever commits the last page of so many waits until the disk has them all.
        db.execute(f"PRAGMA wal_autocheckpoint={LOG_PAGES}")
        db.executescript(self._schema)
        return db

    async def close(self) -> None:
        """Write what waits, and close."""
        while self._task is not None:
            await asyncio.wait([self._task])
        if self._syncing is not None:
            self._syncing.cancel()
            self._syncing = None
        loop = asyncio.get_running_loop()
        for db, pool in ((self._writer, self._writing), (self._reader, self._reading)):
            if db is not None:
                await loop.run_in_executor(pool, db.close)
            pool.shutdown(wait=False)
        self._writer = self._reader = None

    async def check(self) -> None:
        """Return when what is written is kept. Raises `StoreUnavailable`."""
        await self.read(lambda db: db.execute("SELECT 1 FROM tasks LIMIT 1").fetchone())
        if self._failed is not None:
            raise self._unavailable(self._failed)
        try:
            same = await asyncio.to_thread(self._identity) == self._file
        except OSError as error:
            raise self._unavailable(error) from error
        if not same:
            raise StoreUnavailable(f"{self._path} is another file now")

    def _identity(self) -> tuple[int, int]:
        found = self._path.stat()
        return found.st_dev, found.st_ino

    async def read(self, ask: Callable[[sqlite3.Connection], T]) -> T:
        """What `ask` finds. Raises `StoreUnavailable`."""
        if self._reader is None:
            raise StoreUnavailable(f"{self._path} is not open")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._reading, ask, self._reader)
        except sqlite3.Error as error:
            raise self._unavailable(error) from error

    async def write(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """What `change` gives, when it is committed. What it raises must come before its first write.

        Raises `StoreUnavailable`, and then nothing of it was written.
        """
        made: T = await self._write(change)
        return made

    async def _write(self, change: Change | Shared) -> Any:
        if self._writer is None:
            raise StoreUnavailable(f"{self._path} is not open")
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((change, done))
        if self._task is None:
            self._task = asyncio.create_task(self._flush(self._writer), name="peeragent store")
        return await done

    async def write_shared(self, change: ForMany, given: Any) -> None:
        """As `write`, together with the others for which the same change is to be made."""
        await self._write(Shared(change, given))

    async def _flush(self, db: sqlite3.Connection) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
                # What does not wait for the disk does not wait for those that do.
                await self._flush_some(db, [each for each in batch if isinstance(each[0], Shared)])
                await self._flush_some(db, [each for each in batch if not isinstance(each[0], Shared)])
        finally:
            self._task = None

    async def _flush_some(
        self, db: sqlite3.Connection, batch: list[tuple[Change | Shared, asyncio.Future[Any]]]
    ) -> None:
        if not batch:
            return
        loop = asyncio.get_running_loop()
        try:
            made = await loop.run_in_executor(self._writing, self._apply, db, [change for change, _ in batch])
        except sqlite3.Error as error:
            self._failed = error
            made = [self._unavailable(error)] * len(batch)
        else:
            self._failed = None
            if not self._strict and self._syncing is None:
                self._syncing = loop.call_later(SYNC_S, self._sync)
        for (_, done), outcome in zip(batch, made, strict=True):
            if done.done():
                continue
            if isinstance(outcome, BaseException):
                done.set_exception(outcome)
            else:
                done.set_result(outcome)

    def _apply(self, db: sqlite3.Connection, changes: list[Change | Shared]) -> list[Any]:
        """All changes in one transaction; what one raises is its outcome. Raises `sqlite3.Error`: none is made."""
        made: list[Any] = []
        strict = not changes or not all(isinstance(change, Shared) for change in changes)
        if strict != self._strict:
            db.execute(f"PRAGMA synchronous={'FULL' if strict else 'NORMAL'}")
            self._strict = strict
        db.execute("BEGIN IMMEDIATE")
        try:
            for shared, each in groupby(changes, _shared):
                if shared is not None:
                    made += shared(db, [change.given for change in each if isinstance(change, Shared)])
                else:
                    made += [_made(db, change) for change in each if not isinstance(change, Shared)]
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        return made

    def _sync(self) -> None:
        """Have on the disk what did not wait for it."""
        self._syncing = None
        # Beside the writes: on a busy disk this takes a while.
        asyncio.get_running_loop().run_in_executor(None, _sync_file, self._path.with_name(f"{self._path.name}-wal"))

    def _unavailable(self, error: Exception) -> StoreUnavailable:
        return StoreUnavailable(f"{self._path}: {error}")


@dataclass(frozen=True, slots=True)
class Shared:
    """One of the many. Those that follow each other are made together.

    Alone they do not wait for the disk: they survive the process as soon as they are made, and a power cut takes those
    of the last second at most.
    """

    change: ForMany
    given: Any


def _shared(change: Change | Shared) -> ForMany | None:
    return change.change if isinstance(change, Shared) else None


def _made(db: sqlite3.Connection, change: Change) -> Any:
    try:
        return change(db)
    except sqlite3.Error:
        raise
    except Exception as error:
        return error


def _sync_file(path: Path) -> None:
    # Where it is not there any more, its pages are in the database, and there SQLite has waited for the disk.
    with contextlib.suppress(OSError), path.open("rb") as file:
        os.fsync(file.fileno())
