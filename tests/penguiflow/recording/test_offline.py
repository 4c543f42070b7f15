"""Nothing connects while a replay is offline; processes that are started are noted."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from penguiflow.recording.offline import MAX_NOTED, ConnectionBlocked, offline

NOWHERE = ("192.0.2.1", 443)


def test_connections_are_noted_once_each() -> None:
    with offline() as guard:
        for _ in range(3):
            with pytest.raises(ConnectionBlocked, match=r"no connection to 192\.0\.2\.1:443"):
                socket.create_connection(NOWHERE)
    assert [(each.to, each.file) for each in guard.blocked] == [("192.0.2.1:443", __file__)]


def test_no_more_are_noted_than_can_be_read() -> None:
    with offline() as guard:
        for port in range(1, MAX_NOTED + 50):
            with pytest.raises(ConnectionBlocked):
                socket.create_connection(("192.0.2.1", port))
    assert len(guard.blocked) == MAX_NOTED


def test_processes_are_noted_and_let_run() -> None:
    with offline() as guard:
        for _ in range(2):
            subprocess.run([sys.executable, "-c", "pass"], check=True)
        assert os.system("true") == 0
        subprocess.run("true " + "x" * 1000, shell=True, check=True)
    commands = [each.command for each in guard.started]
    assert commands[:2] == [f"{sys.executable} -c pass", "true"]
    assert commands[2].endswith("xxx…")
    assert {each.file for each in guard.started} == {__file__}
    assert guard.blocked == []


def test_what_is_lifted_and_what_is_over_is_not_watched() -> None:
    with offline() as guard:
        guard.lift()
        os.system("true")
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname()).close()
    os.system("true")
    assert guard.started == []


def test_a_fork_cannot_connect_either() -> None:
    code = """
import os, socket, sys
from penguiflow.recording.offline import ConnectionBlocked, offline
with offline() as guard:
    child = os.fork()
    if child == 0:
        try:
            socket.create_connection(("192.0.2.1", 443))
        except ConnectionBlocked:
            os._exit(7)
        os._exit(0)
    _, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status), [each.command for each in guard.started])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "7 ['os.fork()']\n"
