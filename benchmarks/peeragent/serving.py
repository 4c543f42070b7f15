"""A PeerAgent in a process of its own, for the benchmarks beside this file."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def serving(command: list[str], folder: Path, **environment: str) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """The port and the process of a server whose first line on stderr ends in its address."""
    environ = {**os.environ, "PENGUIFLOW_HOME": str(folder / "home"), "LOG_LEVEL": "ERROR", **environment}
    server = subprocess.Popen(command, cwd=folder, env=environ, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    try:
        yield int(server.stderr.readline().split()[-1].rsplit(":", 1)[1]), server
    finally:
        server.terminate()
        server.communicate()


def peeragent() -> list[str]:
    """The command that serves on a free port."""
    return [sys.executable, "-m", "peeragent", "serve", "--port", "0"]


def resident_mb(pid: int) -> float:
    """The memory of a process, in MB."""
    line = next(each for each in Path(f"/proc/{pid}/status").read_text().splitlines() if each.startswith("VmRSS"))
    return int(line.split()[1]) / 1024
