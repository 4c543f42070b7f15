"""Start a worker process. Imports hardly more than the standard library: it can be done before anything else."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from playground.host.started import MARK, new_mark

BACKLOG = 128
LOOPBACK = "127.0.0.1"
PYTHON_PATH = "PYTHONPATH"
PACKAGE_FOLDER = str(Path(__file__).resolve().parents[2])
"""Where `playground` and, in a checkout, `penguiflow` are imported from."""


class PortInUse(OSError):
    """Somebody else listens on the port that was asked for."""


class Spawned(NamedTuple):
    """A process that was just started, with our ends of its channels."""

    process: subprocess.Popen[bytes]
    control: socket.socket
    stdout: int
    stderr: int
    mark: str
    """What it and all that it starts have in their environment; see `playground.host.started`."""


class Prestarted(NamedTuple):
    """A listening socket, and a first worker that warms up while its supervisor is still being imported."""

    listening: socket.socket
    spawned: Spawned


def prestart(port: int = 0) -> Prestarted:
    """Listen, and start the first worker. Raises `PortInUse`."""
    listening = listen(port)
    try:
        return Prestarted(listening, spawn(listening))
    except BaseException:
        listening.close()
        raise


def listen(port: int = 0, host: str = LOOPBACK) -> socket.socket:
    """A listening socket, on the loopback interface unless told otherwise; port 0 takes a free one.

    Raises `PortInUse`.
    """
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        # Not SO_REUSEPORT: two supervisors must not share one port.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        # A name that nobody knows has an error number of its own kind.
        why = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
        raise PortInUse(f"cannot listen on {host}:{port}: {why}") from None
    listening.setblocking(False)
    return listening


def spawn(listening: socket.socket) -> Spawned:
    """Start a worker in a session of its own.

    It inherits the listening socket and one end of a socket pair; the pipes of its output are ours to read, so that
    what it said last can be read after its death.
    """
    ours, theirs = socket.socketpair()
    out_read, out_write = os.pipe()
    err_read, err_write = os.pipe()
    mark = new_mark()
    try:
        process = subprocess.Popen(  # noqa: S603 (this interpreter, this package)
            [sys.executable, "-P", "-m", "playground.host", str(theirs.fileno()), str(listening.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=out_write,
            stderr=err_write,
            pass_fds=(theirs.fileno(), listening.fileno()),
            start_new_session=True,
            env=_environment(mark),
        )
    except BaseException:
        ours.close()
        for number in (out_read, err_read):
            os.close(number)
        raise
    finally:
        theirs.close()
        for number in (out_write, err_write):
            os.close(number)
    for channel in (out_read, err_read):
        os.set_blocking(channel, False)
    ours.setblocking(False)
    return Spawned(process, ours, out_read, err_read, mark)


def python_path() -> list[str]:
    """The entries of PYTHONPATH, absolute."""
    value = os.environ.get(PYTHON_PATH, "")
    return [os.path.abspath(entry) for entry in value.split(os.pathsep) if entry]  # noqa: PTH100 (no dot, no symlink)


def _environment(mark: str) -> dict[str, str]:
    """As ours, without PYTHONPATH, which would come before the host's own modules; the worker sets it for user code."""
    environment = {name: value for name, value in os.environ.items() if name != PYTHON_PATH}
    environment[MARK] = mark
    if PACKAGE_FOLDER in python_path():
        environment[PYTHON_PATH] = PACKAGE_FOLDER
    return environment
