"""Telling those who follow a trace that there is more of it: NOTIFY with each commit, LISTEN for all followers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from pydantic_core import from_json, to_json

from penguiflow.state.errors import StoreError
from penguiflow.state.postgres.address import Address
from penguiflow.state.postgres.driver import connect, quiet_close
from penguiflow.state.postgres.problems import DRIVER_ERRORS

if TYPE_CHECKING:
    from asyncpg import Connection

__all__ = ["Changes", "announce"]

LOOK_S = 2.0
"""How often a trace is looked at although nobody told of it: its writer may have died."""
POLL_S = 0.05
"""The same, as long as nobody can tell."""
_MAX_BYTES = 7_900
"""Of what PostgreSQL takes with one notification."""
_NOTIFY = "SELECT pg_notify('penguiflow_' || current_schema(), $1)"
_ANY = "*"


async def announce(connection: Connection[Any], trace_ids: Sequence[str]) -> None:
    """Tell, once the transaction is committed, that there is more of these traces."""
    told = to_json(list(trace_ids)) if len(trace_ids) * 8 < _MAX_BYTES else b""
    await connection.execute(_NOTIFY, told.decode() if 0 < len(told) < _MAX_BYTES else _ANY)


class Changes:
    """Wakes followers. On each loop one connection listens for all of them, as long as there are any."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._ears: WeakKeyDictionary[asyncio.AbstractEventLoop, _Ear] = WeakKeyDictionary()

    @asynccontextmanager
    async def of(self, trace_id: str) -> AsyncIterator[Follower]:
        """Somebody who wants to know of changes to a trace."""
        ear = self._ears.setdefault(asyncio.get_running_loop(), _Ear(self._address))
        changed = asyncio.Event()
        ear.followers[changed] = trace_id
        try:
            yield Follower(ear, changed)
        finally:
            del ear.followers[changed]
            if not ear.followers:
                await ear.close()

    async def close(self) -> None:
        """Listen no longer, on this loop."""
        ear = self._ears.get(asyncio.get_running_loop())
        if ear is not None:
            await ear.close()


class _Ear:
    """The connection that listens, on one loop."""

    def __init__(self, address: Address) -> None:
        self.followers: dict[asyncio.Event, str] = {}
        self._address = address
        self._connection: Connection[Any] | None = None
        self._opening = asyncio.Lock()

    async def close(self) -> None:
        """Let go of the server."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await quiet_close(connection)

    async def listen(self) -> bool:
        """Have a connection that listens; False when there can be none just now."""
        async with self._opening:
            if self._connection is not None and not self._connection.is_closed():
                return True
            connection = None
            try:
                connection = await connect(self._address)
                await connection.add_listener(f"penguiflow_{self._address.schema}", self._heard)
            except (*DRIVER_ERRORS, StoreError):
                if connection is not None:
                    connection.terminate()
                return False
            self._connection = connection
            return True

    def _heard(self, connection: object, pid: int, channel: str, told: object) -> None:
        traces = None if told == _ANY else set(from_json(str(told)))
        for changed, trace_id in self.followers.items():
            if traces is None or trace_id in traces:
                changed.set()


class Follower:
    """Waits for changes of one trace."""

    def __init__(self, ear: _Ear, changed: asyncio.Event) -> None:
        self._ear = ear
        self._changed = changed
        self._listens = False

    async def wait(self) -> None:
        """Return when there may be more: at once after listening has begun, for something may have come before."""
        if not await self._ear.listen():
            self._listens = False
            await asyncio.sleep(POLL_S)
            return
        if not self._listens:
            self._listens = True
            return
        try:
            async with asyncio.timeout(LOOK_S):
                await self._changed.wait()
        except TimeoutError:
            # Whoever told of it may be gone: a connection is known to be dead when it is asked something.
            return
        finally:
            self._changed.clear()
