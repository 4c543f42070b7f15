"""Telling a dead writer from one that is alive."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from penguiflow.state import liveness, schema


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    opened = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
    schema.migrate(opened, "state.db")
    yield opened
    opened.close()


def leave_running(connection: sqlite3.Connection, writer: int, trace_id: str = "t") -> None:
    connection.execute(
        "INSERT INTO traces (trace_id, writer, status, started, updated, epoch, events)"
        " VALUES (?, ?, 'running', 0, 0, 0, 1)",
        (trace_id, writer),
    )


def change(connection: sqlite3.Connection, writer: int, column: str, value: object) -> None:
    connection.execute(f"UPDATE writers SET {column} = ? WHERE id = ?", (value, writer))


def test_this_process_is_alive() -> None:
    started = liveness.process_started(os.getpid())
    assert liveness.process_is_alive(os.getpid(), started)
    assert liveness.process_is_alive(os.getpid(), "")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_a_pid_that_is_used_again_is_another_process() -> None:
    started = liveness.process_started(os.getpid())
    assert started
    assert not liveness.process_is_alive(os.getpid(), started + "0")


def test_a_process_that_ended_is_dead_even_before_it_is_waited_for() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        started = liveness.process_started(child.pid)
        assert liveness.process_is_alive(child.pid, started)
        assert child.stdin is not None
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        # Nobody has asked for its exit code: it is still in the table of processes.
        assert not liveness.process_is_alive(child.pid, started)
    assert not liveness.process_is_alive(child.pid, started)
    assert liveness.process_started(child.pid) == ""


def test_without_proc_the_pid_decides(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(liveness, "_PROC", tmp_path)
    assert liveness.process_started(os.getpid()) == ""
    assert liveness.process_is_alive(os.getpid(), "")
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    assert not liveness.process_is_alive(child.pid, "")
    if os.geteuid() != 0:
        # Somebody else's process cannot be signalled, and is there.
        assert liveness.process_is_alive(1, "")


def test_a_writer_of_this_process_is_alive_until_it_signs_off(connection: sqlite3.Connection) -> None:
    writer = liveness.register(connection)
    leave_running(connection, writer)
    assert liveness.dead_writers(connection) == []
    liveness.sign_off(connection, writer)
    assert liveness.dead_writers(connection) == [writer]


def test_a_writer_that_is_not_registered_is_dead(connection: sqlite3.Connection) -> None:
    leave_running(connection, 77)
    assert liveness.dead_writers(connection) == [77]


def test_a_writer_elsewhere_is_judged_by_its_silence(connection: sqlite3.Connection) -> None:
    writer = liveness.register(connection)
    leave_running(connection, writer)
    change(connection, writer, "host", platform.node() + "-other")
    change(connection, writer, "pid", 2**22 + 1)
    assert liveness.dead_writers(connection) == []
    change(connection, writer, "seen", time.time() - 3600)
    assert liveness.dead_writers(connection) == [writer]


def test_writers_of_long_ago_are_forgotten_unless_they_left_traces(connection: sqlite3.Connection) -> None:
    first, second = liveness.register(connection), liveness.register(connection)
    leave_running(connection, first)
    for writer in (first, second):
        change(connection, writer, "seen", 0.0)
    third = liveness.register(connection)
    assert [row[0] for row in connection.execute("SELECT id FROM writers ORDER BY id")] == [first, third]
    # An id is never used again: traces name their writer.
    assert third > second
    connection.execute("DELETE FROM writers")
    assert liveness.register(connection) > third
