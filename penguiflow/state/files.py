"""Opening the database's file, to write and to read, and what its errors mean."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

from penguiflow.state import schema
from penguiflow.state.errors import StoreError, StoreNotWritable, StoreTooNew, StoreUnreadable

__all__ = ["ReadConnection", "check_file", "explain", "open_to_read", "open_to_write"]

BUSY_TIMEOUT_S = 10.0
"""How long to wait for other processes that write to the same file."""
_CHECKPOINT_PAGES = 4000
"""Pages that gather in the log before they go into the database: pages that change again and again go there once."""
_MAX_WAL_BYTES = 64 * 1024 * 1024
_SYNCHRONOUS = {"batched": "NORMAL", "every_event": "FULL"}

_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT}
_REFUSED = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_AUTH}
_FULL = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_TOOBIG}
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_SEEN_BY_READERS = (
    "SELECT count(*) FROM traces WHERE status = 'running'",
    "SELECT started FROM traces WHERE session IS NOT NULL ORDER BY session DESC, started DESC LIMIT 1",
)
"""Questions to indexes that a run need not touch while it is written, and lists of runs do."""


def open_to_write(path: Path, durability: str, *, timeout_s: float = BUSY_TIMEOUT_S) -> sqlite3.Connection:
    """A connection that can write, to a database of this version; the file and its folder are made when missing.

    Raises `StoreNotWritable`, `StoreUnreadable`, `StoreTooNew`.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _in_the_way(path, StoreNotWritable) or _not_writable(path, error.strerror or str(error)) from error
    wrong = _in_the_way(path, StoreNotWritable)
    if wrong is not None:
        raise wrong
    connection = None
    try:
        connection = _connect(path, "mode=rwc", timeout_s)
        # Before anything is changed: what is not ours, or newer, is left as it is.
        if schema.check(connection, str(path)) == 0:
            # Takes effect on a file that is still empty: what is removed later can then be given back.
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        _use_wal(connection, timeout_s)
        connection.execute(f"PRAGMA synchronous = {_SYNCHRONOUS[durability]}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA journal_size_limit = {_MAX_WAL_BYTES}")
        schema.migrate(connection, str(path))
        _ask(connection, *_SEEN_BY_READERS)
    except BaseException as error:
        if connection is not None:
            connection.close()
        if isinstance(error, sqlite3.Error):
            raise explain(error, path, writing=True, waited_s=timeout_s) from error
        raise
    return connection


class ReadConnection:
    """A connection that only reads, and the state of the file that it shows."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: Path,
        *,
        frozen: bool = False,
        folder: tempfile.TemporaryDirectory[str] | None = None,
    ) -> None:
        self.connection = connection
        self._path = path
        self._frozen = frozen
        """It does not see what is written from now on."""
        self._folder = folder
        self._identity = self._identify()

    @property
    def is_current(self) -> bool:
        """False when the file was replaced, or has changed in a way that the connection does not see."""
        return self._identity is not None and self._identify() == self._identity

    def close(self) -> None:
        """Let go of the file, and of the copy if there is one."""
        self.connection.close()
        if self._folder is not None:
            self._folder.cleanup()

    def _identify(self) -> list[tuple[int, ...] | None] | None:
        found = _stat(self._path)
        if found is None:
            return None
        if not self._frozen:
            return [(found.st_dev, found.st_ino)]
        states = [found, _stat(_wal_of(self._path))]
        return [None if of is None else (of.st_dev, of.st_ino, of.st_size, of.st_mtime_ns) for of in states]


def check_file(path: Path, *, timeout_s: float) -> None:
    """Look whether the file can be read, as far as its first pages, its last trace and the indexes of traces tell.

    A file that does not exist is fine, and so is one that another program keeps locked for longer than `timeout_s`.
    Raises `StoreUnreadable` and `StoreTooNew`.
    """
    opened = None
    try:
        opened = open_to_read(path, timeout_s=timeout_s)
        if opened is not None:
            last = "SELECT * FROM traces ORDER BY started DESC, id DESC LIMIT 1"
            _ask(opened.connection, last, *_SEEN_BY_READERS)
    except sqlite3.Error as error:
        told = explain(error, path, writing=False)
        if isinstance(told, StoreUnreadable):
            raise told from error
    except (StoreUnreadable, StoreTooNew):
        raise
    except StoreError:  # it is locked: whoever needs it will wait for it
        return
    finally:
        if opened is not None:
            opened.close()


def open_to_read(path: Path, *, timeout_s: float = BUSY_TIMEOUT_S) -> ReadConnection | None:
    """A connection that only reads; None when there is no database yet.

    Nothing is created beside the file that SQLite itself does not need. Where the folder may not be written, and a
    reader therefore cannot take part in the write-ahead log, the file is read as it stands; where that log still holds
    something, from a copy. Raises `StoreUnreadable` and `StoreTooNew`.
    """
    try:
        path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _in_the_way(path, StoreUnreadable) or _not_readable(path, error.strerror or str(error)) from error
    wrong = _in_the_way(path, StoreUnreadable)
    if wrong is not None:
        raise wrong
    try:
        if _stat(_wal_of(path)) is None:
            _refuse_newer(path)
        return _checked(path, path, "mode=ro", timeout_s=timeout_s)
    except sqlite3.Error as error:
        if os.access(path.parent, os.W_OK) or not os.access(path, os.R_OK):
            raise explain(error, path, writing=False, waited_s=timeout_s) from error
    folder = None
    try:
        wal = _stat(_wal_of(path))
        if wal is None or not wal.st_size:
            return _checked(path, path, "mode=ro&immutable=1", frozen=True, timeout_s=timeout_s)
        folder = tempfile.TemporaryDirectory(prefix="penguiflow-", ignore_cleanup_errors=True)
        copy = Path(folder.name) / "state.db"
        shutil.copyfile(path, copy)
        shutil.copyfile(_wal_of(path), _wal_of(copy))
        return _checked(copy, path, "mode=ro", frozen=True, folder=folder, timeout_s=timeout_s)
    except BaseException as error:
        if folder is not None:
            folder.cleanup()
        if isinstance(error, sqlite3.Error | OSError):
            raise explain(error, path, writing=False, waited_s=timeout_s) from error
        raise


def explain(error: BaseException, path: Path, *, writing: bool, waited_s: float = BUSY_TIMEOUT_S) -> StoreError:
    """The `StoreError` for what sqlite3 or the system says about the file: what happened, where, what to do."""
    if isinstance(error, StoreError):
        return error
    code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
    if code in _DAMAGED:
        return StoreUnreadable(
            f"{path} is damaged, or is no database ({error}); it was left as it is: move it aside to begin a new one, "
            "or let PENGUIFLOW_HOME name another folder",
            path=str(path),
        )
    if code in _BUSY:
        return StoreError(f"{path} has been locked by another program for {waited_s:g} s", path=str(path))
    if writing and code in _FULL:
        return StoreNotWritable(
            f"cannot write to {path}: {error}; make room on the disk, or let PENGUIFLOW_HOME name another folder",
            path=str(path),
        )
    if writing and code in _REFUSED:
        return _not_writable(path, str(error))
    if code in _REFUSED | _FULL or isinstance(error, OSError):
        return _not_readable(path, str(error))
    return StoreError(f"{path}: {error}", path=str(path))


def _ask(connection: sqlite3.Connection, *questions: str) -> None:
    """Look here and there. Raises what sqlite3 says of a damaged file."""
    for question in questions:
        connection.execute(question).fetchone()


def _connect(path: Path, options: str, timeout_s: float) -> sqlite3.Connection:
    uri = f"file:{quote(os.fsencode(path.absolute()))}?{options}"
    # Transactions are begun by name; a connection is used by one thread at a time, not always the same.
    return sqlite3.connect(
        uri, uri=True, timeout=timeout_s, isolation_level=None, check_same_thread=False, cached_statements=64
    )


def _checked(
    file: Path,
    path: Path,
    options: str,
    *,
    timeout_s: float,
    frozen: bool = False,
    folder: tempfile.TemporaryDirectory[str] | None = None,
) -> ReadConnection | None:
    connection = _connect(file, options, timeout_s)
    try:
        written = schema.check(connection, str(path)) > 0
        connection.create_function("fold", 1, str.casefold, deterministic=True)
    except BaseException:
        connection.close()
        raise
    opened = ReadConnection(connection, path, frozen=frozen, folder=folder)
    if written:
        return opened
    # Made a moment ago by a process that is about to write its tables, or an empty file.
    opened.close()
    return None


def _refuse_newer(path: Path) -> None:
    """Raise `StoreTooNew` by a look that takes no part in the write-ahead log, and so leaves none behind."""
    connection = _connect(path, "mode=ro&immutable=1", 0.0)
    try:
        schema.check(connection, str(path))
    except sqlite3.Error:  # the file changes just now, or is damaged: whoever reads it will see
        return
    finally:
        connection.close()


def _use_wal(connection: sqlite3.Connection, timeout_s: float) -> None:
    """Switch to the write-ahead log. The switch needs the file for itself and does not wait for it as others do."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in _BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.005)
        else:
            return


def _wal_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def _in_the_way(path: Path, kind: type[StoreError]) -> StoreError | None:
    """The error for what stands where the file, or a folder around it, should be; None when nothing does."""
    for place in (path, *path.parents):
        found = _stat(place)
        if found is None:
            continue
        if place == path:
            fits, what = stat.S_ISREG(found.st_mode), f"is {_sort(found)}, and no database"
        else:
            fits, what = stat.S_ISDIR(found.st_mode), f"is {_sort(found)}, and no folder that could hold {path.name}"
        if fits:
            return None
        return kind(f"{place} {what}: move it aside, or let PENGUIFLOW_HOME name another folder", path=str(path))
    return None


def _sort(found: os.stat_result) -> str:
    if stat.S_ISDIR(found.st_mode):
        return "a folder"
    return "a file" if stat.S_ISREG(found.st_mode) else "a pipe or a device"


def _not_readable(path: Path, reason: str) -> StoreUnreadable:
    return StoreUnreadable(
        f"cannot read {path}: {reason}; check its permissions, or let PENGUIFLOW_HOME name another folder",
        path=str(path),
    )


def _not_writable(path: Path, reason: str) -> StoreNotWritable:
    return StoreNotWritable(
        f"cannot write to {path}: {reason}; check the folder's permissions, or let PENGUIFLOW_HOME name another one",
        path=str(path),
    )
