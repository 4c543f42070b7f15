"""No connection leaves the process while this is on: a replay is answered from its recording, or not at all.

What other processes do cannot be seen from here. That some are started can, and is noted.
"""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from types import FrameType
from typing import Any, NamedTuple

from penguiflow.recording.failures import is_user_file

__all__ = ["Blocked", "ConnectionBlocked", "Offline", "Started", "offline", "own_connection"]

_CONNECTS = {"socket.connect", "socket.sendto", "socket.sendmsg"}
_LOOKUPS = {"socket.getaddrinfo", "socket.gethostbyname"}
# Which of its arguments says what is started; None for none.
_STARTS: dict[str, int | None] = {
    "subprocess.Popen": 1,
    "os.exec": 1,
    "os.posix_spawn": 1,
    "os.spawn": 2,
    "os.system": 0,
    "os.fork": None,
    "os.forkpty": None,
}
MAX_NOTED = 100
"""Attempts of each sort that are kept: one in a loop would fill the memory."""
_MAX_COMMAND = 200


class ConnectionBlocked(OSError):
    """User code tried to connect while a recording is replayed."""

    def __init__(self, to: str) -> None:
        super().__init__(f"the replay is offline: no connection to {to}; make the call in a node, with ctx.record(…)")
        self.to = to


class Blocked(NamedTuple):
    """One attempt to connect."""

    to: str
    """`host:port`, a host, or the path of a local socket."""
    file: str | None
    """The innermost frame of the user's code, if there was one."""
    line: int | None


class Started(NamedTuple):
    """One process that was started, and may have connected to anything."""

    command: str
    """The beginning of its command line; `os.fork()` for a copy of this process, which is watched like it."""
    file: str | None
    """The innermost frame of the user's code, if there was one."""
    line: int | None


class Offline:
    """One stretch of time without connections."""

    def __init__(self) -> None:
        self.blocked: list[Blocked] = []
        """What was tried, each once."""
        self.started: list[Started] = []
        """Processes that were started, each once."""
        self.lifted = False

    def lift(self) -> None:
        """Let connections through from now on."""
        self.lifted = True


_active: list[Offline] = []
_own: ContextVar[bool] = ContextVar("penguiflow_own_connection", default=False)
_own_hosts: set[str] = set()
"""Names that may be looked up, which happens in a thread of its own."""


@contextmanager
def own_connection(hosts: Iterable[str]) -> Iterator[None]:
    """What connects within, in this task, is no user's code: the store, to these hosts."""
    _own_hosts.update(hosts)
    token = _own.set(True)
    try:
        yield
    finally:
        _own.reset(token)


@contextmanager
def offline() -> Iterator[Offline]:
    """While this is on, whatever tries to connect (or to look up a host) gets `ConnectionBlocked`, and is noted.

    Holds for all threads of the process, and for copies of it (`os.fork`). Other children are noted and let run; those
    of `multiprocessing` with `spawn` are not even noticed. Sockets that listen, and connections that are there already,
    go on.
    """
    _install()
    guard = Offline()
    _active.append(guard)
    try:
        yield guard
    finally:
        _active.remove(guard)


@cache
def _install() -> None:
    """Once in a process: a hook sees connections of C code as well, and cannot be taken out again."""
    sys.addaudithook(_audit)


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if not _active:
        return
    if event in _STARTS:
        _note_start(event, arguments)
        return
    if event[:7] != "socket.":
        return
    if event in _CONNECTS:
        to = _address(arguments[1])
    elif event in _LOOKUPS and not _is_literal(arguments[0]):
        to = _text(arguments[0])
    else:
        return
    guards = [guard for guard in _active if not guard.lifted]
    if not to or not guards or _own.get() or (event in _LOOKUPS and to in _own_hosts):
        return
    blocked = Blocked(to, *_user_place())
    for guard in guards:
        if blocked not in guard.blocked and len(guard.blocked) < MAX_NOTED:
            guard.blocked.append(blocked)
    raise ConnectionBlocked(to)


def _note_start(event: str, arguments: tuple[Any, ...]) -> None:
    """A process is started, most likely at the end of the frames that call this."""
    position = _STARTS[event]
    command = f"{event}()" if position is None else _command(arguments[position])
    started = Started(command, *_user_place())
    for guard in _active:
        if not guard.lifted and started not in guard.started and len(guard.started) < MAX_NOTED:
            guard.started.append(started)


def _command(given: Any) -> str:
    words = given if isinstance(given, Sequence) and not isinstance(given, str | bytes) else [given]
    text = " ".join(_text(word) for word in words[:_MAX_COMMAND])
    return f"{text[:_MAX_COMMAND]}…" if len(text) > _MAX_COMMAND else text


def _address(address: Any) -> str:
    if isinstance(address, tuple) and len(address) >= 2:
        return f"{address[0]}:{address[1]}"
    return "" if address is None else _text(address)


def _text(value: Any) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def _is_literal(host: Any) -> bool:
    """Whether there is nothing to look up: what a server does that binds."""
    if host is None or host in ("", "localhost", b"localhost"):
        return True
    try:
        ipaddress.ip_address(_text(host))
    except ValueError:
        return False
    return True


def _user_place() -> tuple[str | None, int | None]:
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if is_user_file(frame.f_code.co_filename):
            return frame.f_code.co_filename, frame.f_lineno
        frame = frame.f_back
    return None, None
