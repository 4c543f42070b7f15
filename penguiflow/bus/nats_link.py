"""A connection to NATS that outlives the server's absences, and says in one sentence what is wrong.

A client that lost its connection is thrown away and another one made: what it still had to send is not sent late, and
whoever waited for an answer asks again. The client's own reconnecting does neither (and begins after two seconds).
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from penguiflow.bus.errors import BusAway, BusClosed, BusError, BusRefused, BusTooOld
from penguiflow.bus.naming import CLOSED, shown
from penguiflow.bus.nats_client import NatsClient, NotSecure, explain
from penguiflow.bus.protocol import Limits
from penguiflow.bus.waiting import Backoff, Patience, heeding
from penguiflow.ids import new_id

__all__ = ["Channel", "Lost", "NatsLink", "Unanswered", "status_of"]

_log = logging.getLogger("penguiflow.bus")

_OLDEST = (2, 10)
"""Streams and consumers that say whose they are came with it."""
_ANSWER_S = 10.0
"""A server that does not answer for so long is away, in seconds."""
_CLOSE_S = 1.0
_PING_S = 5
_SCHEMES = ("nats", "tls", "ws", "wss")
_NOBODY = "503"
"""Nobody answers on a subject: JetStream is not there yet."""

_HEADERS_BYTES = 1024
"""Room for the headers of a message, also when it becomes a dead letter."""

Handler = Callable[[Msg | None], None]
"""Is told of a message; of None when the connection was lost."""


class Lost(Exception):
    """The connection was lost, or nobody answered, before the answer came."""


class Unanswered(Lost):
    """Nobody answered, and the connection holds."""


class _NoConnection(Exception):
    """It was not made, or not all that is needed with it; says why."""


class Channel:
    """A subscription for the messages of one request at a time."""

    __slots__ = ("handler", "inbox", "subscription")

    def __init__(self, inbox: str) -> None:
        self.inbox = inbox
        self.handler: Handler | None = None
        self.subscription: Subscription | None = None

    async def arrived(self, msg: Msg) -> None:
        """Tell whoever asked."""
        if self.handler is not None:
            self.handler(msg)


class NatsLink:
    """Asks and listens; connects again when the server went away."""

    def __init__(self, url: str, limits: Limits) -> None:
        self.name = shown(url)
        try:
            parts = urlsplit(url)
            parts.port  # noqa: B018 - it is looked at here, where a wrong one can be told of
        except ValueError:
            raise _unclear(self.name) from None
        if parts.scheme not in _SCHEMES or not parts.hostname:
            raise _unclear(self.name)
        self._url = url
        self._login = _Login.of(parts)
        self._limits = limits
        self._secure = parts.scheme == "tls"
        self._client: Client | None = None
        self._lock = asyncio.Lock()
        self._inbox = f"_INBOX.{new_id()}"
        self._tokens = itertools.count()
        self._handlers: dict[str, Handler] = {}
        self._channels: set[Channel] = set()
        self._free: list[Channel] = []
        self._refused: Exception | None = None
        self._missed = False
        """Whether the connection was lost, which was said."""
        self.closed = False
        self.on_connect: Callable[[Client, Patience], Awaitable[None]] | None = None
        """Is called with each new connection before it is used, and tells of each answer."""

    @property
    def client(self) -> Client:
        """The connection of this moment. Raises `BusAway`."""
        if self._client is None:
            raise BusAway(f"no NATS answers at {self.name}")
        return self._client

    @property
    def most_bytes(self) -> int | None:
        """The largest message that the server takes beside headers; None while it is away."""
        return None if self._client is None else max(0, self._client.max_payload - _HEADERS_BYTES)

    async def ready(self, patience_s: float | None = None) -> Client:
        """A connection; waits for a server that is away."""
        if self._client is not None:
            return self._client
        async with self._lock:
            patience = Patience(self._limits.away_s if patience_s is None else patience_s)
            backoff = Backoff(0.05, 2.0)
            before: _NoConnection | None = None
            while True:
                self._check()
                if self._client is not None:
                    return self._client
                try:
                    self._client = await self._connect(patience)
                except _NoConnection as error:
                    # The last attempt is cut short: the one before it may know more.
                    before = before if before and isinstance(error.__cause__, TimeoutError) else error
                    wait_s = backoff()
                    if wait_s > patience.left_s():
                        raise BusAway(str(before)) from before.__cause__
                    await asyncio.sleep(wait_s)
                else:
                    if self._missed:
                        self._missed = False
                        _log.warning("the NATS at %s answers again", self.name)

    async def _connect(self, patience: Patience) -> Client:
        client = NatsClient(secure=self._secure)
        connected = False

        async def lost() -> None:
            self._lose(client)

        async def failed(error: Exception) -> None:
            if not connected:
                raise error  # else the client tries again by itself, and never says why
            if "permissions violation" in str(error).lower():
                self._refused = error
                self._lose(client)

        try:
            async with patience.bound():
                connecting = client.connect(
                    self._url,
                    user=self._login.user,
                    password=self._login.password,
                    token=self._login.token,
                    name="penguiflow",
                    allow_reconnect=False,
                    connect_timeout=max(1, int(patience.left_s())),
                    ping_interval=_PING_S,
                    error_cb=failed,
                    closed_cb=lost,
                )
                await heeding(connecting)
                connected = True
                self._look_at(client)
                await client.subscribe(f"{self._inbox}.*", cb=self._arrived)
                if self.on_connect is not None:
                    await heeding(self.on_connect(client, patience))
            if client.is_closed:
                raise nats.errors.ConnectionClosedError
        except BaseException as error:
            await _closed(client)
            if isinstance(error, NotSecure):
                raise BusError(
                    f"the NATS at {self.name} speaks no TLS: nothing was sent to it; "
                    "nats:// does without, or give the server a certificate"
                ) from error
            if isinstance(error, nats.errors.Error) and "authorization" in str(error).lower():
                said = str(error).removeprefix("nats: ").strip("'")
                raise BusRefused(
                    f"the server at {self.name} does not let us in: {said}; "
                    "the address says who we are: nats://user:password@host:4222"
                ) from error
            if isinstance(error, (OSError, EOFError, TimeoutError, nats.errors.Error)):
                raise _NoConnection(explain(client, error, self.name, patience)) from error
            raise
        return client

    def _look_at(self, client: Client) -> None:
        version: Any = client.connected_server_version
        if (version.major, version.minor) < _OLDEST:
            wanted = ".".join(map(str, _OLDEST))
            raise BusTooOld(
                f"the server at {self.name} is NATS {version.major}.{version.minor}; edges need {wanted} or newer"
            )
        if not client._server_info.get("jetstream"):
            raise BusError(f"the NATS server at {self.name} has no JetStream: start it with -js")

    def _lose(self, client: Client) -> None:
        if self._client is not client:
            return
        self._client = None
        if not self.closed and not self._missed:
            self._missed = True
            _log.warning("the NATS at %s is away, and tried again and again", self.name)
        handlers = [*self._handlers.values(), *(each.handler for each in self._channels if each.handler is not None)]
        self._handlers.clear()
        self._channels.clear()
        self._free.clear()
        for handler in handlers:
            handler(None)

    async def _arrived(self, msg: Msg) -> None:
        handler = self._handlers.get(msg.subject.rpartition(".")[2])
        if handler is not None:
            handler(msg)

    async def borrow(self) -> Channel:
        """A channel that nobody uses, until `give`. Raises `Lost`."""
        client = await self.ready()
        if self._free:
            return self._free.pop()
        channel = Channel(f"{self._inbox}.pull.{next(self._tokens)}")
        try:
            channel.subscription = await client.subscribe(channel.inbox, cb=channel.arrived)
        except (nats.errors.Error, OSError) as error:
            self._lose(client)
            raise Lost from error
        self._channels.add(channel)
        return channel

    def give(self, channel: Channel) -> None:
        """Nothing more comes by this channel for whoever had it."""
        channel.handler = None
        if channel in self._channels:
            self._free.append(channel)

    def listen(self, handler: Handler) -> tuple[str, str]:
        """A subject whose messages go to `handler` until `forget`, and the token by which to forget it."""
        token = str(next(self._tokens))
        self._handlers[token] = handler
        return f"{self._inbox}.{token}", token

    def forget(self, token: str) -> None:
        """Listen no more."""
        self._handlers.pop(token, None)

    async def send(self, subject: str, body: bytes, headers: Mapping[str, str] | None = None, reply: str = "") -> None:
        """Send a message. Raises `Lost`."""
        client = await self.ready()
        # The client does not count headers. A server that is sent too much hangs up, each time it is tried again.
        most = max(0, client.max_payload - (_HEADERS_BYTES if headers else 0))
        if len(body) > most:
            told = f"a message of {len(body)} bytes is more than the server at {self.name} takes"
            raise BusError(f"{told} ({most}): raise its max_payload")
        try:
            await client.publish(subject, body, reply, dict(headers) if headers else None)
        except (nats.errors.Error, OSError) as error:
            self._lose(client)
            raise Lost from error

    async def begin(
        self, subject: str, body: bytes, headers: Mapping[str, str] | None = None, *, within_s: float = _ANSWER_S
    ) -> asyncio.Future[Msg]:
        """Send a request; its answer is in the future. Raises `Lost`, as the future does (or `Unanswered`)."""
        await self.ready()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Msg] = loop.create_future()

        def answered(msg: Msg | None) -> None:
            if future.done():
                return
            if msg is None or status_of(msg) == _NOBODY:
                future.set_exception(Lost())
            else:
                future.set_result(msg)

        def unanswered() -> None:
            if not future.done():
                future.set_exception(Unanswered())

        inbox, token = self.listen(answered)
        timer = loop.call_later(within_s, unanswered)

        def over(_: asyncio.Future[Msg]) -> None:
            timer.cancel()
            self.forget(token)
            if not future.cancelled():
                future.exception()  # who sent several may not come to look at all of them

        future.add_done_callback(over)
        try:
            await self.send(subject, body, headers, inbox)
        except BaseException:
            future.cancel()
            raise
        return future

    async def patiently(self, ask: Callable[[], Awaitable[Any]]) -> Any:
        """Ask, and again while nobody answers."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._limits.away_s
        backoff = Backoff(0.02, 2.0)
        while True:
            self._check()
            try:
                return await ask()
            except (Lost, nats.errors.Error, OSError) as error:
                self._check()
                if self._refused is not None:
                    refused, self._refused = self._refused, None
                    raise BusRefused(f"the server at {self.name} refuses: {refused}") from error
                wait_s = backoff()
                if loop.time() + wait_s > end:
                    raise BusAway(f"JetStream does not answer at {self.name}, for {self._limits.away_s:g} s") from error
                await asyncio.sleep(wait_s)

    def _check(self) -> None:
        if self.closed:
            raise BusClosed(CLOSED)

    async def close(self) -> None:
        """Disconnect; whoever waits is told."""
        self.closed = True
        client = self._client
        if client is not None:
            self._lose(client)
            await _closed(client)


async def _closed(client: Client) -> None:
    # It is gone already; or its TLS was not agreed upon, then the client waits for an end that nobody tells.
    with suppress(OSError, nats.errors.Error):
        async with asyncio.timeout(_CLOSE_S):
            await client.close()


def status_of(msg: Msg) -> str:
    """What the server says in place of a message; empty for a message."""
    return "" if msg.data or not msg.headers else msg.headers.get("Status", "")


def _unclear(name: str) -> BusError:
    return BusError(
        f"'{name}' is no address of a NATS server: nats://host:4222, tls://… or wss://…; "
        "signs such as @ : / # ? % within a password are written as %40 %3A %2F %23 %3F %25"
    )


class _Login(NamedTuple):
    """Who we are, for the client: it takes what stands in an address as it stands there."""

    user: str | None = None
    password: str | None = None
    token: str | None = None

    @classmethod
    def of(cls, parts: SplitResult) -> _Login:
        """What an address says."""
        if parts.username is None:
            return cls()
        if parts.password is None:
            return cls(token=unquote(parts.username))
        return cls(unquote(parts.username), unquote(parts.password))
