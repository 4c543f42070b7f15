"""A connection to Redis or Valkey that outlives the server's absences, and says in one sentence what is wrong."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import redis.asyncio as redis
from redis import exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from penguiflow.bus.errors import BusAway, BusClosed, BusError, BusRefused, BusTooOld
from penguiflow.bus.naming import CLOSED, shown
from penguiflow.bus.protocol import Limits
from penguiflow.bus.waiting import Backoff, heeding
from penguiflow.unreachable import AUTHORITIES, HANGS_UP, SILENT, distrusted, reason

__all__ = ["RedisServer", "Script"]

_log = logging.getLogger("penguiflow.bus")

_OLDEST = (6, 2)
"""XAUTOCLAIM came with it."""
_COMMAND_S = 5.0
"""A server that says nothing for so long is away, in seconds."""
# `BusyLoadingError` is a ConnectionError: a server that starts reads its file first.
_AWAY = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.ReadOnlyError,
    exceptions.OutOfMemoryError,  # what is acknowledged makes room
    exceptions.InvalidResponse,  # somebody else answers
    OSError,
)
_REFUSED = (exceptions.AuthenticationError, exceptions.NoPermissionError, exceptions.AuthorizationError)

T = TypeVar("T")


class Script:
    """A script and the name by which the server knows it."""

    __slots__ = ("sha", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class RedisServer:
    """Runs scripts and commands; waits for a server that went away."""

    def __init__(self, url: str, limits: Limits) -> None:
        self.name = shown(url)
        self._limits = limits
        self.closed = False
        self._met = False
        """Whether it has answered."""
        self._missed = False
        """Whether it does not answer at the moment, which was said."""
        try:
            # Retries are ours: they are bounded by time, and say what they wait for.
            # Its types are those of both protocols, with and without decoding; here it is the first, without.
            self.db: Any = redis.Redis.from_url(
                url,
                protocol=2,
                retry=Retry(NoBackoff(), 0),
                socket_timeout=_COMMAND_S,
                socket_connect_timeout=_COMMAND_S,
            )
        except ValueError as error:
            raise BusError(
                f"'{self.name}' is no address of a Redis server: redis://host:6379/0, rediss://… or unix:///path"
            ) from error

    async def connect(self) -> None:
        """Make sure that somebody answers who lets us in and is young enough."""
        try:
            about: dict[str, Any] = await self.patiently(lambda: self.db.info("server"), self._limits.start_s)
        except exceptions.ResponseError as error:
            raise BusError(f"the server at {self.name} does not say what it is: {error}") from error
        self._look_at(about)
        memory = await self.patiently(lambda: self.db.info("memory"))
        if str(memory.get("maxmemory_policy", "")).startswith("allkeys"):
            raise BusError(
                f"the server at {self.name} throws keys away when its memory is full "
                f"(maxmemory-policy {memory['maxmemory_policy']}): edges need noeviction, or a volatile-… policy"
            )

    def _look_at(self, about: dict[str, Any]) -> None:
        version = str(about.get("redis_version", "0"))
        if tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < _OLDEST:
            wanted = ".".join(map(str, _OLDEST))
            raise BusTooOld(f"the server at {self.name} is Redis {version}; edges need {wanted} or newer, or Valkey")

    async def close(self) -> None:
        """Disconnect."""
        self.closed = True
        await self.db.aclose()

    async def run(self, script: Script, keys: Sequence[Any], args: Sequence[Any]) -> Any:
        """Run a script. Raises `exceptions.ResponseError` for what it does not know how to help."""
        try:
            return await heeding(self.db.evalsha(script.sha, len(keys), *keys, *args))
        except (*_AWAY, *_REFUSED, exceptions.NoScriptError):
            return await self.patiently(lambda: self.db.eval(script.text, len(keys), *keys, *args))

    async def patiently(self, call: Callable[[], Awaitable[T]], patience_s: float | None = None) -> T:
        """Make a call, again and again while the server is away."""
        loop = asyncio.get_running_loop()
        patience_s = self._limits.away_s if patience_s is None else patience_s
        end = loop.time() + patience_s
        backoff = Backoff(0.05, 2.0)
        while True:
            if self.closed:
                raise BusClosed(CLOSED)
            try:
                answer = await heeding(call())
            except _REFUSED as error:
                raise self._refused(error) from error
            except _AWAY as error:
                # A password that is wrong comes wrapped in what it kept from being made.
                if isinstance(error.__cause__, _REFUSED):
                    raise self._refused(error.__cause__) from error
                if self.closed:
                    raise BusClosed(CLOSED) from error
                wait_s = backoff()
                if loop.time() + wait_s > end:
                    raise BusAway(self._explain(error, patience_s)) from error
                if self._met and not self._missed:
                    self._missed = True
                    _log.warning("the Redis at %s is away, and tried again and again: %s", self.name, error)
                await asyncio.sleep(wait_s)
            else:
                self._met = True
                if self._missed:
                    self._missed = False
                    _log.warning("the Redis at %s answers again", self.name)
                return answer

    def _refused(self, error: Exception) -> BusRefused:
        said = str(error).rstrip(".")
        return BusRefused(
            f"the server at {self.name} does not let us in: {said}; "
            "the address says who we are: redis://user:password@host:6379/0"
        )

    def _explain(self, error: Exception, patience_s: float) -> str:
        """Why nobody answers: what happened, where, and what to do."""
        within = f"for {patience_s:g} s"
        if isinstance(error, exceptions.OutOfMemoryError):
            return f"the Redis at {self.name} has no memory left, {within}: make room there, or raise its maxmemory"
        if isinstance(error, exceptions.ReadOnlyError):
            return f"the Redis at {self.name} is a replica that takes no messages, {within}: name the server it follows"
        why = reason(error)
        if distrusted(error):
            return f"no safe connection to the Redis at {self.name}, {within}: {why}; {AUTHORITIES}"
        if isinstance(error, exceptions.InvalidResponse):
            why = (
                "whoever takes the connection there does not speak as a Redis does; "
                "is it another service's port, or one that wants TLS?"
            )
        elif why == SILENT and "reading" in str(error):
            why = "whoever takes the connection there says nothing; is it another service's port?"
        elif not self._met and "closed by server" in str(error):
            why = HANGS_UP
        return f"no Redis answers at {self.name}, {within}: {why or error}"
