"""Events over Redis or Valkey: `PUBLISH channel JSON`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from peagen.plugins.errors import PublishFailed, masked, needs_extra
from peagen.plugins.publishers.encoding import TIMEOUT_S, encoded

if TYPE_CHECKING:
    from redis import Redis


class RedisPublisher:
    """Publishes over one client; threads may share it. Connects when the first event is sent."""

    def __init__(
        self,
        uri: str | None = None,
        *,
        host: str | None = None,
        port: int | None = None,
        db: int | None = None,
        user: str | None = None,
        password: str | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """Either `uri` (`redis://[user:password@]host:port/db`, `rediss://`, `unix:///path`), or the parts of it.

        Raises `ValueError` for both, or neither.
        """
        parts = (host, port, db, user, password)
        if (uri is None) == all(part is None for part in parts):
            raise ValueError("RedisPublisher takes either a uri, or host, port, db, user and password")
        self._uri = uri
        self._parts: dict[str, Any] = {"host": host or "localhost", "port": port or 6379, "db": db or 0}
        self._login: dict[str, Any] = {"username": user, "password": password}
        self._timeout_s = timeout_s
        self._client: Redis | None = None

    def __repr__(self) -> str:
        return f"RedisPublisher({self.address!r})"

    @property
    def address(self) -> str:
        """Where it is, without secrets."""
        return masked(self._uri or "redis://{host}:{port}/{db}".format_map(self._parts))

    def publish(self, channel: str, payload: Mapping[str, Any]) -> None:
        """Send one event. Raises `PublishFailed`."""
        data = encoded(payload)
        client = self._connected()
        import redis

        try:
            client.publish(channel, data)
        except (redis.RedisError, OSError) as error:
            raise PublishFailed(f"the event was not taken: {masked(str(error))}", where=self.address) from None

    def close(self) -> None:
        """Give the connections back."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _connected(self) -> Redis:
        if self._client is None:
            try:
                import redis
            except ImportError:
                raise needs_extra("redis", "redis") from None
            limits: dict[str, Any] = {"socket_timeout": self._timeout_s, "socket_connect_timeout": self._timeout_s}
            try:
                self._client = (
                    redis.Redis(**self._parts, **self._login, **limits)
                    if self._uri is None
                    else redis.Redis.from_url(self._uri, **limits)
                )
            except ValueError as error:
                raise PublishFailed(f"this is no address of Redis: {masked(str(error))}", where=self.address) from None
        return self._client
