"""Who writes to a store, and whether they are still alive."""

from __future__ import annotations

import os
import platform
import sqlite3
import time
from pathlib import Path

from penguiflow.state.connection import Connection

__all__ = [
    "ADD_WRITER",
    "FORGET_WRITERS",
    "SEVERAL",
    "SIGN_OF_LIFE_S",
    "dead_writers",
    "entry",
    "long_gone",
    "process_is_alive",
    "process_started",
    "register",
    "sign_off",
]

SIGN_OF_LIFE_S = 60.0
"""A writer with open traces says at least this often that it is there."""
_SILENCE_S = 10 * SIGN_OF_LIFE_S
"""A writer on another machine that has been silent for this long is taken for dead."""
_KEEP_S = 7 * 24 * 3600.0
SEVERAL = -2
"""In place of the writer of a trace that several processes write: it goes on when one of them dies."""
_PROC = Path("/proc")
_DEFUNCT = {"Z", "X"}


def process_started(pid: int) -> str:
    """What tells two processes with the same pid apart, as far as the system says: empty where it does not."""
    state, started = _stat(pid)
    return "" if state in _DEFUNCT else started


def process_is_alive(pid: int, started: str) -> bool:
    """Whether the process of this pid on this machine is still the one that started then."""
    state, now = _stat(pid)
    if state:
        return state not in _DEFUNCT and (not started or now == started)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is there, and somebody else's
        return True
    return True


def _stat(pid: int) -> tuple[str, str]:
    """State and start of a process; empty where the system does not tell."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        # The name, in parentheses, may contain anything; the state follows it, and 19 fields later the start.
        fields = (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
        return fields[0], f"{boot}:{fields[19]}"
    except (OSError, IndexError):
        return "", ""


FORGET_WRITERS = "DELETE FROM writers WHERE seen < ? AND id NOT IN (SELECT writer FROM traces WHERE status = 'running')"
"""Of those that are long gone, with nothing left to close."""
ADD_WRITER = "INSERT INTO writers (pid, started, host, opened, seen) VALUES (?, ?, ?, ?, ?)"


def entry() -> tuple[int, str, str, float, float]:
    """What `ADD_WRITER` enters for this process."""
    pid, now = os.getpid(), time.time()
    return pid, process_started(pid), platform.node(), now, now


def long_gone() -> float:
    """What `FORGET_WRITERS` takes."""
    return time.time() - _KEEP_S


def register(connection: sqlite3.Connection) -> int:
    """Enter this process as a writer; returns the writer's id. Within a transaction."""
    connection.execute(FORGET_WRITERS, (long_gone(),))
    cursor = connection.execute(ADD_WRITER, entry())
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def sign_off(connection: Connection, writer: int) -> None:
    """Note that the writer has ended in an orderly way."""
    now = time.time()
    connection.execute("UPDATE writers SET closed = ?, seen = ? WHERE id = ?", (now, now, writer))


def dead_writers(connection: Connection) -> list[int]:
    """Writers that are gone and have left traces running.

    A trace that several processes write is none of theirs: whoever is left, or comes, goes on with it.
    """
    rows = connection.execute(
        "SELECT running.writer, pid, writers.started, host, seen, closed"
        " FROM (SELECT DISTINCT writer FROM traces WHERE status = 'running') AS running"
        " LEFT JOIN writers ON writers.id = running.writer"
    ).fetchall()
    return [writer for writer, *about in rows if writer != SEVERAL and not _is_there(*about)]


def _is_there(pid: int | None, started: str, host: str, seen: float, closed: float | None) -> bool:
    if pid is None or closed is not None:
        return False
    if host == platform.node():
        return process_is_alive(pid, started)
    return seen > time.time() - _SILENCE_S
