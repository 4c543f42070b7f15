"""Lines that somebody types, or a program writes, while the loop goes on."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import deque

__all__ = ["Lines"]

_READ_BYTES = 1 << 16
MAX_LINE_BYTES = 64 * 1024 * 1024


class Lines:
    """stdin, line by line. It is read only while somebody waits for a line: meanwhile others may have it."""

    def __init__(self, descriptor: int | None = None) -> None:
        self._descriptor = sys.stdin.fileno() if descriptor is None else descriptor
        self._lines: deque[str] = deque()
        self._rest = bytearray()
        self._ended = False
        self.turn = asyncio.Lock()
        """Held by who talks with whoever types: one conversation at a time."""

    async def next(self) -> str | None:
        """The next line, without its end; None at the end of the file. At a terminal there may be more after that."""
        while not self._lines:
            if self._ended:
                self._ended = False
                if self._rest:
                    return self._decoded(self._take_rest())
                return None
            await self._readable()
            self._read()
        return self._lines.popleft()

    async def _readable(self) -> None:
        """Return once reading does not block."""
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        try:
            loop.add_reader(self._descriptor, _wake, ready)
        except OSError:  # a plain file, which never blocks
            await asyncio.sleep(0)
            return
        try:
            await ready
        finally:
            loop.remove_reader(self._descriptor)

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, _READ_BYTES)
        except OSError:  # the terminal is gone
            data = b""
        if not data:
            self._ended = True
            return
        self._rest += data
        if b"\n" not in data:
            if len(self._rest) > MAX_LINE_BYTES:
                self._ended = True
            return
        *whole, rest = bytes(self._rest).split(b"\n")
        self._rest = bytearray(rest)
        self._lines.extend(self._decoded(line) for line in whole)

    def _take_rest(self) -> bytes:
        rest, self._rest = bytes(self._rest), bytearray()
        return rest

    @staticmethod
    def _decoded(line: bytes) -> str:
        return line.decode("utf-8", "replace").removesuffix("\r")


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
