"""The WebSocket side of the wire: who may come in, and what their frames ask for."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Protocol

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.http11 import Request, Response

from playground.debug_frames import DebugRequest
from playground.host.clients import Client, Hub
from playground.host.history import answer
from playground.host.outbox import FRAME, LINE
from playground.host.tokens import Tokens
from playground.protocol import (
    HOST_TRACE,
    MAX_FRAME_BYTES,
    PROTOCOL_VERSION,
    Accepted,
    BaseFrame,
    Breakpoints,
    Bye,
    Cancel,
    ContextGet,
    Error,
    Flows,
    FrameError,
    Hello,
    KvGet,
    LoadEvents,
    LogLine,
    MemoryGet,
    Numbers,
    Questions,
    QueuesGet,
    Reload,
    Run,
    Stats,
    Subscribe,
    Traces,
    decode,
    encode,
)

MAX_CLIENTS = 64
OPEN_TIMEOUT_S = 30.0
CLOSE_TIMEOUT_S = 0.5
LOOKING = (
    Hello,
    Flows,
    Stats,
    Subscribe,
    Traces,
    Numbers,
    LoadEvents,
    ContextGet,
    MemoryGet,
    KvGet,
    Questions,
    QueuesGet,
)
"""What a client may ask for that only looks on, besides the breakpoints; everything else would change something."""
HANGING_UP = (WebSocketException, OSError, AssertionError)
"""How a connection may end: the library asserts states that a transport which breaks just then does not keep to."""


class Host(Protocol):
    """What stands behind the server."""

    def hello(self) -> Hello:
        """Who this is."""
        ...

    def flows(self) -> Flows:
        """What can be run."""
        ...

    def stats(self) -> Stats:
        """How it is doing."""
        ...

    def run(self, client: Client, request: Run) -> None:
        """Start a run; the answers go to the client."""
        ...

    def cancel(self, client: Client, request: Cancel) -> None:
        """Cancel a run."""
        ...

    def debug(self, client: Client, request: DebugRequest) -> None:
        """Do what concerns debugging; the answers go to the client."""
        ...

    def joined(self, client: Client) -> None:
        """A client is there, and was greeted."""
        ...

    def left(self, client: Client) -> None:
        """A client is gone."""
        ...

    def reload(self) -> None:
        """Have the code loaded again."""
        ...


class WebSocketServer:
    """Accepts clients on a listening socket until told to yield."""

    def __init__(self, listening: socket.socket, tokens: Tokens, hub: Hub, host: Host) -> None:
        self._listening = listening
        self._tokens = tokens
        self._hub = hub
        self._host = host
        self._server: Server | None = None
        port = listening.getsockname()[1]
        self._origins = {f"http://{name}:{port}" for name in ("127.0.0.1", "localhost")}

    async def start(self) -> None:
        """Accept from now on."""
        self._server = await serve(
            self._talk,
            sock=self._listening,
            process_request=self._admit,
            compression=None,
            max_size=MAX_FRAME_BYTES,
            open_timeout=OPEN_TIMEOUT_S,
            close_timeout=CLOSE_TIMEOUT_S,
            ping_interval=None,
            logger=_wire_logger(self._log),
        )

    def stop_accepting(self) -> None:
        """Leave the socket to another process; connections stay."""
        if self._server is not None:
            self._server.close(close_connections=False)

    async def close(self) -> None:
        """Hang up on everybody; returns when they are gone."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        origin = request.headers.get("Origin")
        if origin is not None and origin not in self._origins:
            self._log(f"refused a connection from the foreign origin {origin[:100]!r}")
            return connection.respond(HTTPStatus.FORBIDDEN, "foreign origin\n")
        if self._tokens.role(request.headers.get("Authorization", "")) is None:
            self._log("refused a connection with a wrong token")
            return connection.respond(HTTPStatus.UNAUTHORIZED, "wrong token\n")
        if len(self._hub.clients) >= MAX_CLIENTS:
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "too many clients\n")
        return None

    async def _talk(self, connection: ServerConnection) -> None:
        client = Client(_Connection(connection))
        assert connection.request is not None
        client.controls = self._tokens.role(connection.request.headers.get("Authorization", "")) == "control"
        client.put(FRAME, encode(self._host.hello().model_copy(update={"control": client.controls})))
        self._host.joined(client)
        for line in self._hub.lines:
            client.put(LINE, line)
        self._hub.clients.add(client)
        sending = asyncio.create_task(client.send_all())
        try:
            async for data in connection:
                if not self._understand(client, data):
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(client.drained(), CLOSE_TIMEOUT_S)
                    await connection.close(1002, "protocol")
                    return
        except HANGING_UP:
            connection.transport.abort()
        finally:
            self._hub.remove(client)
            self._host.left(client)
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionClosed):
                await sending

    def _understand(self, client: Client, data: str | bytes) -> bool:
        """Do what a frame asks for; False when the connection cannot go on."""
        try:
            frame: BaseFrame = decode(data)
        except FrameError as error:
            self._log(f"did not understand a frame: {error}")
            client.put(FRAME, encode(Error(code=error.code, message=str(error))))
            return True
        if not client.controls and not _only_looks(frame):
            name = getattr(frame, "type", "?")
            message = f"this token is for looking on: {name!r} needs the one for full control"
            client.reply(frame, Error(code="forbidden", message=message))
            return True
        match frame:
            case Hello():
                return self._greet(client, frame)
            case Flows():
                client.reply(frame, self._host.flows())
            case Stats():
                client.reply(frame, self._host.stats())
            case Run():
                self._host.run(client, frame)
            case Cancel():
                self._host.cancel(client, frame)
            case _ if isinstance(frame, DebugRequest):
                self._host.debug(client, frame)
            case Subscribe():
                self._subscribe(client, frame)
            case Traces() | Numbers() | LoadEvents():
                answer(self._hub, client, frame)
            case Reload():
                self._host.reload()
                client.reply(frame, self._host.flows())
            case _:
                name = getattr(frame, "type", "?")
                client.reply(frame, Error(code="unknown_frame", message=f"a client does not send {name!r}"))
        return True

    def _greet(self, client: Client, frame: Hello) -> bool:
        client.name = frame.client
        if frame.protocol == PROTOCOL_VERSION:
            return True
        message = f"this host speaks protocol {PROTOCOL_VERSION}, the client {frame.protocol}"
        client.reply(frame, Error(code="malformed", message=message))
        client.put(FRAME, encode(Bye(reason="protocol")))
        return False

    def _subscribe(self, client: Client, frame: Subscribe) -> None:
        client.follow(frame.traces)
        missed = dict.fromkeys(frame.traces or (), -1) | {HOST_TRACE: -1} | frame.since
        for trace_id, after in missed.items():
            if client.follows(trace_id):
                self._hub.catch_up(client, trace_id, after)
        if frame.id is not None:
            client.reply(frame, Accepted())

    def _log(self, text: str) -> None:
        self._hub.add_line(LogLine(ts=time.time(), source="log", text=text, level="WARNING"))


def _only_looks(frame: BaseFrame) -> bool:
    if isinstance(frame, Breakpoints):
        return not frame.put and not frame.remove
    return isinstance(frame, LOOKING)


class _Connection:
    """A WebSocket as a client's transport."""

    def __init__(self, connection: ServerConnection) -> None:
        self._connection = connection

    async def send(self, data: bytes) -> None:
        await self._connection.send(data, text=True)

    def abort(self) -> None:
        self._connection.transport.abort()


class _LineHandler(logging.Handler):
    """Puts what the WebSocket library has to say into the log, one line each, without its tracebacks."""

    def __init__(self, log: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        reason = record.exc_info[1] if record.exc_info else None
        text = record.getMessage() if reason is None else f"{record.getMessage()}: {reason}"
        self._log(text.splitlines()[0][:500] if text else "")


def _wire_logger(log: Callable[[str], None]) -> logging.Logger:
    # Not in the tree of loggers: user code may configure that as it likes.
    logger = logging.Logger("playground.host.wire", logging.WARNING)
    logger.addHandler(_LineHandler(log))
    return logger
