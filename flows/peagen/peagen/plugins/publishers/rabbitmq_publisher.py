"""Events over RabbitMQ (AMQP 0-9-1): JSON, with the broker's confirmation."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from peagen.plugins.errors import PublishFailed, masked, needs_extra
from peagen.plugins.publishers.encoding import TIMEOUT_S, encoded

if TYPE_CHECKING:
    from aio_pika.abc import AbstractConnection, AbstractExchange

T = TypeVar("T")


class RabbitMQPublisher:
    """Publishes over one connection, which a thread of its own keeps. Connects when the first event is sent."""

    def __init__(
        self,
        uri: str | None = None,
        *,
        host: str | None = None,
        port: int | None = None,
        user: str | None = None,
        password: str | None = None,
        exchange: str = "",
        routing_key: str | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """Either `uri` (`amqp[s]://[user:password@]host:port/vhost`), or the parts of it.

        Args:
            exchange: One that is there; by default the broker's own, which gives events to the queue of that name.
            routing_key: Of every event; by default its channel.

        Raises `ValueError` for both, or neither.
        """
        parts = (host, port, user, password)
        if (uri is None) == all(part is None for part in parts):
            raise ValueError("RabbitMQPublisher takes either a uri, or host, port, user and password")
        login = f"{quote(user or 'guest', safe='')}:{quote(password or 'guest', safe='')}"
        self._uri = uri or f"amqp://{login}@{host or 'localhost'}:{port or 5672}/"
        self._exchange_name = exchange
        self._routing_key = routing_key
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._connection: AbstractConnection | None = None
        self._exchange: AbstractExchange | None = None

    def __repr__(self) -> str:
        return f"RabbitMQPublisher({self.address!r})"

    @property
    def address(self) -> str:
        """Where it is, without secrets."""
        return masked(self._uri)

    def publish(self, channel: str, payload: Mapping[str, Any]) -> None:
        """Send one event, and wait until the broker has it. Raises `PublishFailed`."""
        data = encoded(payload)
        try:
            import aio_pika
        except ImportError:
            raise needs_extra("aio-pika", "rabbitmq") from None
        # The last two: what its parser of URLs says, and a channel that broke meanwhile.
        told = (aio_pika.exceptions.AMQPError, aio_pika.exceptions.DeliveryError, OSError, ValueError, RuntimeError)
        with self._lock:
            try:
                self._run(self._send(channel, data, told))
            except told as error:
                said = masked(str(error)) or type(error).__name__
                raise PublishFailed(f"the event was not taken: {said}", where=self.address) from None

    def close(self) -> None:
        """Close the connection, and end the thread."""
        with self._lock:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
            if loop is None or thread is None:
                return
            asyncio.run_coroutine_threadsafe(self._disconnect(), loop).result(self._timeout_s + 1)
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name="peagen rabbitmq", daemon=True)
            self._thread.start()
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _send(self, channel: str, data: bytes, broken: tuple[type[Exception], ...]) -> None:
        """Over the connection that there is; where that broke, once more over a new one."""
        kept = self._connection is not None
        try:
            await self._send_once(channel, data)
        except broken:
            await self._disconnect()
            if not kept:
                raise
            await self._send_once(channel, data)

    async def _send_once(self, channel: str, data: bytes) -> None:
        import aio_pika

        async with asyncio.timeout(self._timeout_s):
            exchange = await self._connected()
            message = aio_pika.Message(data, content_type="application/json")
            await exchange.publish(message, self._routing_key or channel, mandatory=False)

    async def _connected(self) -> AbstractExchange:
        import aio_pika

        if self._exchange is None or self._connection is None or self._connection.is_closed:
            await self._disconnect()
            self._connection = await aio_pika.connect(self._uri, timeout=self._timeout_s)
            channel = await self._connection.channel(publisher_confirms=True)
            name = self._exchange_name
            self._exchange = await channel.get_exchange(name, ensure=True) if name else channel.default_exchange
        return self._exchange

    async def _disconnect(self) -> None:
        connection, self._connection, self._exchange = self._connection, None, None
        if connection is not None and not connection.is_closed:
            try:
                async with asyncio.timeout(self._timeout_s):
                    await connection.close()
            except (OSError, RuntimeError):
                pass  # it is gone anyway
