"""What is worked out of a store's traces, kept in a file of its own beside it.

Numbers of runs and an index of their text cost nothing while runs are recorded: whoever asks first has them worked out,
and from then on what is new is added. The file holds nothing that the store does not have. It may be removed at any
time; one that is damaged or of another version is made anew, and where none can be written it is kept in memory.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import TypeVar

from penguiflow.state.connection import transaction

__all__ = ["Derived", "derived_path", "in_memory", "open_derived"]

T = TypeVar("T")

APPLICATION_ID = 0x50464C58
VERSION = 2
_BUSY_TIMEOUT_S = 10.0
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT}

_TABLES = (
    # Traces of which the numbers are known, as they were at that many events.
    """
    CREATE TABLE counted (
        id INTEGER PRIMARY KEY,
        trace_id TEXT NOT NULL UNIQUE,
        started REAL NOT NULL,
        events INTEGER NOT NULL
    )
    """,
    """
    CREATE TABLE parts (
        id INTEGER PRIMARY KEY,
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        UNIQUE (kind, name)
    )
    """,
    """
    CREATE TABLE counts (
        trace INTEGER NOT NULL,
        part INTEGER NOT NULL,
        count INTEGER NOT NULL,
        failed INTEGER NOT NULL,
        retries INTEGER NOT NULL,
        tokens INTEGER NOT NULL,
        cost REAL NOT NULL,
        total_ns INTEGER NOT NULL,
        longest_ns INTEGER NOT NULL,
        PRIMARY KEY (trace, part)
    ) WITHOUT ROWID
    """,
    # How many took how long: see tallies.py.
    """
    CREATE TABLE times (
        trace INTEGER NOT NULL,
        part INTEGER NOT NULL,
        bucket INTEGER NOT NULL,
        count INTEGER NOT NULL,
        PRIMARY KEY (trace, part, bucket)
    ) WITHOUT ROWID
    """,
    """
    CREATE TRIGGER uncounted AFTER DELETE ON counted BEGIN
        DELETE FROM counts WHERE trace = old.id;
        DELETE FROM times WHERE trace = old.id;
    END
    """,
)


class Derived:
    """What is known of a store, asked in threads, by one at a time.

    Whoever asks may be cancelled while a thread is still at work: the connection is closed when that one is done with
    it. One that is closed under a statement ends the process, or leaves it waiting forever.
    """

    def __init__(self, opened: Callable[[], sqlite3.Connection]) -> None:
        """`opened` gives the connection; it is called by the first that asks."""
        self._open = opened
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.Lock()
        self._closed = False

    async def ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """The answer of a function that gets the connection. Raises `sqlite3.Error`, and what the function raises."""
        return await asyncio.to_thread(self._ask, question)

    def _ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        try:
            with self._lock:
                if self._closed:
                    raise sqlite3.ProgrammingError("nobody waits for the answer any more")
                if self._connection is None:
                    self._connection = self._open()
                return question(self._connection)
        finally:
            if self._closed:
                self.close()

    def close(self) -> None:
        """Let go of the file, now or when the thread that is at work is done. Never waits; can be repeated."""
        self._closed = True
        if not self._lock.acquire(blocking=False):
            return
        try:
            opened, self._connection = self._connection, None
        finally:
            self._lock.release()
        if opened is not None:
            opened.close()


def derived_path(store: Path) -> Path:
    """The file that belongs to a store's: `state.derived.db` beside `state.db`."""
    return store.with_name(f"{store.stem}.derived.db")


def open_derived(store: Path) -> sqlite3.Connection:
    """A connection to what is known of a store, to be closed by the caller. Transactions are begun by name."""
    return open_file(derived_path(store)) if store.exists() else in_memory()


def open_file(path: Path) -> sqlite3.Connection:
    """As `open_derived`, given the file itself, whose folder exists."""
    try:
        return _open(path)
    except sqlite3.Error as error:
        if (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF in _DAMAGED:
            with suppress(OSError, sqlite3.Error):
                _remove(path)
                return _open(path)
    return in_memory()


def in_memory() -> sqlite3.Connection:
    """As `open_derived`, where nothing can be kept."""
    return _prepared(_connect(":memory:"))


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _connect(path: Path | str) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)


def _open(path: Path) -> sqlite3.Connection:
    connection = _connect(path)
    try:
        # What is lost with the power is worked out again.
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")
        return _prepared(connection)
    except BaseException:
        connection.close()
        raise


def _prepared(connection: sqlite3.Connection) -> sqlite3.Connection:
    """With tables of this version, whatever was there. Another program's database is left alone: `sqlite3.Error`."""
    with transaction(connection):
        if not _is_ours(connection):
            for statement in _TABLES:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
    return connection


def _is_ours(connection: sqlite3.Connection) -> bool:
    """Whether the tables are there and of this version; those of another version are removed."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise sqlite3.OperationalError("the database of another program is in the way")
        return False
    if version == VERSION:
        return True
    with closing(connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")) as tables:
        names = [str(name) for (name,) in tables if not str(name).startswith("sqlite_")]
    for name in names:
        connection.execute(f'DROP TABLE IF EXISTS "{name}"')
    return False
