"""The service of `examples/embed_debug`, as its README has it: real processes, a socket and a terminal."""

from __future__ import annotations

import re
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.terminal import PF, Terminal

SERVICE = Path(__file__).parents[2] / "examples" / "embed_debug" / "service.py"
LIMIT_S = 60.0


@pytest.fixture
def service(tmp_path: Path) -> Iterator[tuple[int, str]]:
    """Its port, and the URL of its host."""
    (tmp_path / "pyproject.toml").touch()
    command = [sys.executable, str(SERVICE), "0", "0"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], LIMIT_S)
    line = process.stdout.readline() if ready else ""
    found = re.fullmatch(r"listening on 127\.0\.0\.1:(\d+); pf tui --attach (\S+)\n", line)
    try:
        assert found is not None, line
        yield int(found[1]), found[2]
    finally:
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, told) == (0, "")


def test_a_line_waits_while_somebody_looks_and_not_afterwards(tmp_path: Path, service: tuple[int, str]) -> None:
    port, url = service
    with socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S) as line:
        with Terminal([PF, "tui", "--attach", url], cwd=tmp_path, size=(140, 40)) as terminal:
            terminal.until_shown("flow", "ready")
            line.sendall(b"where are my metrics\n")
            assert line.recv(200) == b"metrics: we look into 'where are my metrics'\n"
            terminal.until_shown("✔", "route", "answer")
            terminal.press(b"q")
            assert terminal.wait(LIMIT_S) == 0
        line.sendall(b"and now\n")
        assert line.recv(200) == b"front desk: we look into 'and now'\n"
