"""A client's side of the WebSocket: one connection to one worker."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, WebSocketException

from playground.protocol import (
    MAX_FRAME_BYTES,
    PROTOCOL_VERSION,
    BaseFrame,
    Error,
    FrameError,
    Hello,
    Subscribe,
    decode,
    encode,
)
from playground.supervisor.batches import split_page

CONNECT_TIMEOUT_S = 30.0
REPLY_TIMEOUT_S = 60.0
CLIENT_NAME = "pf"
LOST_S = 5.0
REPLY_HEAD = b'{"reply_to":'
HANGING_UP = (WebSocketException, OSError, AssertionError)
"""What closing may raise: the library asserts states that a transport which breaks just then does not keep to."""
MIB = 1024 * 1024
UNKNOWN_TOKEN = 401
NO_HOST = "what answers there is no host of penguiflow"
TOO_LARGE = "the request is too large for the host: {:.1f} MiB, at most {} MiB (let the flow read a file instead)"


class ConnectionLost(Exception):
    """The worker is gone, or does not talk to us."""


class NotAdmitted(ConnectionLost):
    """Somebody is there, and does not let us in; trying again will not help by itself."""


class Refused(NotAdmitted):
    """It does not know the token: the same one will be refused again."""


class Connection:
    """Requests with their answers, and everything else as it comes.

    Frames of `events` and `stream` are handed over undecoded: whoever keeps events keeps bytes.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        on_data: Callable[[bytes], Awaitable[None]],
        name: str = CLIENT_NAME,
        ping_s: float | None = None,
    ) -> None:
        """`ping_s`: how often to ask whether the other side is there, which need not tell when it is not."""
        self._url = url
        self._token = token
        self._on_data = on_data
        self._name = name
        self._ping_s = ping_s
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._socket: ClientConnection | None = None
        self._reading: asyncio.Task[None] | None = None
        self.hello: Hello | None = None
        self.closed = asyncio.Event()

    async def open(self, since: dict[str, int] | None = None) -> None:
        """Connect, greet, and follow every trace. Raises `ConnectionLost`."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                self._socket = await connect(
                    self._url,
                    additional_headers={"Authorization": f"Bearer {self._token}"},
                    compression=None,
                    max_size=None,
                    ping_interval=self._ping_s,
                    ping_timeout=self._ping_s,
                    proxy=None,
                    close_timeout=0.5,
                )
                self.hello = await self._greet(self._socket)
                await self._send(encode(Subscribe(since=since or {})))
        except InvalidStatus as error:
            kind = Refused if error.response.status_code == UNKNOWN_TOKEN else NotAdmitted
            raise kind(_refusal(error)) from None
        except (OSError, TimeoutError, InvalidHandshake, ConnectionClosed) as error:
            if isinstance(error, InvalidHandshake) and not isinstance(error.__cause__, EOFError):
                raise NotAdmitted(NO_HOST) from None
            raise ConnectionLost(f"cannot connect to the host: {_reason(error)}") from error
        self._reading = asyncio.create_task(self._read(self._socket))

    async def request(self, frame: BaseFrame) -> Any:
        """Send a request and return the frame that answers it, a page as `PageBytes`. Raises `ConnectionLost`.

        One that is too large is refused here: the host would hang up.
        """
        frame.id = next(self._ids)
        data = encode(frame)
        if len(data) > MAX_FRAME_BYTES:
            return Error(code="invalid_input", message=TOO_LARGE.format(len(data) / MIB, MAX_FRAME_BYTES // MIB))
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[frame.id] = answer
        try:
            await self._send(data)
            async with asyncio.timeout(REPLY_TIMEOUT_S):
                return await answer
        except TimeoutError:
            raise ConnectionLost(f"the host did not answer within {REPLY_TIMEOUT_S:g} s") from None
        finally:
            self._waiting.pop(frame.id, None)

    async def lost(self) -> None:
        """The worker is dead: return when everything it had sent is read.

        A process that it left behind may hold the connection open; after a while nobody waits for that.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOST_S):
                await self.closed.wait()

    async def close(self) -> None:
        """Hang up. A peer that did so before, even in the middle of what we sent, is no error."""
        if self._socket is not None:
            try:
                await self._socket.close()
            except HANGING_UP:
                self._socket.transport.abort()
        if self._reading is not None:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reading

    async def _greet(self, socket: ClientConnection) -> Hello:
        try:
            hello = decode(await socket.recv())
        except FrameError:
            hello = None
        if not isinstance(hello, Hello):
            await socket.close()
            raise NotAdmitted(NO_HOST)
        if hello.protocol != PROTOCOL_VERSION:
            await socket.close()
            its = f"it has protocol {hello.protocol} (penguiflow {hello.version or '?'})"
            raise NotAdmitted(f"the host is of another version: {its}, this is protocol {PROTOCOL_VERSION}")
        await self._send(encode(Hello(client=self._name)))
        return hello

    async def _send(self, data: bytes) -> None:
        assert self._socket is not None
        try:
            await self._socket.send(data, text=True)
        except ConnectionClosed:
            raise ConnectionLost("the connection to the host is closed") from None

    async def _read(self, socket: ClientConnection) -> None:
        try:
            while True:
                data = await socket.recv(decode=False)
                if data.startswith(REPLY_HEAD):
                    # Events of a page stay JSON, as those of a batch do.
                    frame = split_page(data) or decode(data)
                    waiting = self._waiting.get(frame.reply_to) if frame.reply_to is not None else None
                    if waiting is not None and not waiting.done():
                        waiting.set_result(frame)
                        continue
                await self._on_data(data)
        except ConnectionClosed:
            pass
        finally:
            self.closed.set()
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(ConnectionLost("the connection to the host is closed"))


def _refusal(error: InvalidStatus) -> str:
    status = error.response.status_code
    why = {
        UNKNOWN_TOKEN: "the host does not know this token",
        403: "the host does not let this origin in",
        503: "the host has too many clients",
    }
    return why.get(status, f"{NO_HOST} (HTTP {status})")


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {CONNECT_TIMEOUT_S:g} s"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
