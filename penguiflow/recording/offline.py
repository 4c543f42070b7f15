"""No connection leaves the process while this is on: a replay is answered from its recording, or not at all."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import FrameType
from typing import Any, NamedTuple

from penguiflow.recording.failures import is_user_file

__all__ = ["Blocked", "ConnectionBlocked", "Offline", "offline"]

_CONNECTS = {"socket.connect", "socket.sendto", "socket.sendmsg"}
_LOOKUPS = {"socket.getaddrinfo", "socket.gethostbyname"}


class ConnectionBlocked(OSError):
    """User code tried to connect while a recording is replayed."""

    def __init__(self, to: str) -> None:
        super().__init__(f"the replay is offline: no connection to {to}; make the call with ctx.record(…)")
        self.to = to


class Blocked(NamedTuple):
    """One attempt to connect."""

    to: str
    """`host:port`, a host, or the path of a local socket."""
    file: str | None
    """The innermost frame of the user's code, if there was one."""
    line: int | None


class Offline:
    """One stretch of time without connections."""

    def __init__(self) -> None:
        self.blocked: list[Blocked] = []
        self.lifted = False

    def lift(self) -> None:
        """Let connections through from now on."""
        self.lifted = True


_active: list[Offline] = []


@contextmanager
def offline() -> Iterator[Offline]:
    """While this is on, whatever tries to connect (or to look up a host) gets `ConnectionBlocked`, and is noted.

    Holds for all threads of the process, not for its children. Sockets that listen, and connections that are there
    already, go on.
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
    if not _active or event[:7] != "socket.":
        return
    if event in _CONNECTS:
        to = _address(arguments[1])
    elif event in _LOOKUPS and not _is_literal(arguments[0]):
        to = _text(arguments[0])
    else:
        return
    guards = [guard for guard in _active if not guard.lifted]
    if not to or not guards:
        return
    for guard in guards:
        guard.blocked.append(Blocked(to, *_user_place()))
    raise ConnectionBlocked(to)


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
