"""What is changed only as it is known: single statements, so that nobody waits for anybody else's transaction."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from pydantic_core import from_json

from penguiflow.recording.payloads import encode_data
from penguiflow.recording.text import clean_text
from penguiflow.state.errors import StoreError
from penguiflow.state.postgres import migrations
from penguiflow.state.postgres.address import Address
from penguiflow.state.postgres.driver import connect, quiet_close
from penguiflow.state.postgres.problems import DRIVER_ERRORS, explain, is_lost, is_missing_table

if TYPE_CHECKING:
    from asyncpg import Connection

__all__ = ["SAVE_MEMORY", "Statements", "Values", "revision_in"]

T = TypeVar("T")

_MAX_IDLE = 4
_MAX_CONNECTIONS = 8
SAVE_MEMORY = (
    "INSERT INTO memory_states (key, updated, state, revision) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (key) DO UPDATE SET updated = excluded.updated, state = excluded.state, revision = excluded.revision"
)
_PUT_FIRST = (
    "INSERT INTO memory_states AS kept (key, updated, state, revision) VALUES ($1, $2, $3, $4) ON CONFLICT (key)"
    " DO UPDATE SET updated = excluded.updated, state = excluded.state, revision = excluded.revision"
    " WHERE kept.revision = 0 RETURNING 1"
)
_PUT_NEXT = (
    "UPDATE memory_states SET updated = $2, state = $3, revision = $4 WHERE key = $1 AND revision = $5 RETURNING 1"
)
_REMOVE = "DELETE FROM memory_states WHERE key = $1 AND revision = $2 RETURNING 1"
_TAKE = "DELETE FROM planner_states WHERE token = $1 RETURNING expires, payload"
_ANSWERED = "UPDATE traces SET status = 'ok' WHERE trace_id = $1 AND status = 'paused'"


class _Pool:
    """Connections of one loop."""

    def __init__(self) -> None:
        self.idle: list[Connection[Any]] = []
        self.places = asyncio.Semaphore(_MAX_CONNECTIONS)


class Statements:
    """Runs statements, each on a connection that nobody else uses at the time, of the loop that asks."""

    def __init__(self, address: Address, *, writes: bool, timeout_s: float) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._writes = writes
        self._pools: WeakKeyDictionary[asyncio.AbstractEventLoop, _Pool] = WeakKeyDictionary()
        self._closed = False

    async def rows(self, sql: str, parameters: Sequence[Any]) -> list[Any]:
        """What a question finds; nothing where there are no tables. Asked again when the connection was lost."""
        try:
            try:
                return await self._fetch(sql, parameters)
            except DRIVER_ERRORS as error:
                if not is_lost(error):
                    raise
                await self.forget_idle()
                return await self._fetch(sql, parameters)
        except DRIVER_ERRORS as error:
            if is_missing_table(error):
                return []
            raise explain(error, self._address.place) from error

    async def change(self, sql: str, parameters: Sequence[Any]) -> list[Any]:
        """What a statement that changes something gives back. Whether it did so is not known when it raises."""
        try:
            return await self._fetch(sql, parameters)
        except DRIVER_ERRORS as error:
            raise explain(error, self._address.place) from error

    async def close(self) -> None:
        """Let go of the server."""
        self._closed = True
        await self.forget_idle()
        for loop, pool in list(self._pools.items()):
            idle, pool.idle = pool.idle, []
            for connection in () if loop.is_closed() else idle:
                loop.call_soon_threadsafe(connection.terminate)

    async def use(self, work: Callable[[Connection[Any]], Awaitable[T]]) -> T:
        """What the work gives, with a connection of its own. Raises what it and the driver raise, and `StoreError`.

        A connection on which it did not come to its end is not used again.
        """
        pool = self._pools.setdefault(asyncio.get_running_loop(), _Pool())
        async with pool.places:
            if self._closed:
                raise StoreError(f"{self._address.place}: the store is closed", path=self._address.place)
            connection = pool.idle.pop() if pool.idle else await self._open()
            try:
                result = await work(connection)
            except BaseException:
                connection.terminate()
                raise
            if self._closed or len(pool.idle) >= _MAX_IDLE:
                await quiet_close(connection)
            else:
                pool.idle.append(connection)
            return result

    async def forget_idle(self) -> None:
        """Let go of connections that nobody uses: the server was away."""
        pool = self._pools.get(asyncio.get_running_loop())
        if pool is None:
            return
        idle, pool.idle = pool.idle, []
        for connection in idle:
            await quiet_close(connection)

    async def _fetch(self, sql: str, parameters: Sequence[Any]) -> list[Any]:
        async def fetch(connection: Connection[Any]) -> list[Any]:
            found: list[Any] = await connection.fetch(sql, *parameters)
            return found

        return await self.use(fetch)

    async def _open(self) -> Connection[Any]:
        connection = await connect(self._address, timeout_s=self._timeout_s)
        try:
            if self._writes:
                await migrations.migrate(connection, self._address)
            else:
                await migrations.check(connection, self._address)
        except BaseException:
            connection.terminate()
            raise
        return connection


class Values:
    """Memories that count their changes, and states of planners that are given out once."""

    def __init__(self, statements: Statements) -> None:
        self._statements = statements

    async def swap(self, key: str, state: dict[str, Any], revision: int) -> bool:
        """Keep a memory if the one before has this revision; whether it did."""
        values = (clean_text(key), time.time(), encode_data(state), revision_in(state))
        if revision == 0:
            return bool(await self._statements.change(_PUT_FIRST, values))
        return bool(await self._statements.change(_PUT_NEXT, (*values, revision)))

    async def remove(self, key: str, revision: int) -> bool:
        """Remove a memory if it has this revision; whether it did."""
        return bool(await self._statements.change(_REMOVE, (clean_text(key), revision)))

    async def take(self, token: str) -> dict[str, Any] | None:
        """Give a planner's state out, to one; its trace is `paused` no longer."""
        found = await self._statements.change(_TAKE, (clean_text(token),))
        if not found or found[0][0] < time.time():
            return None
        payload: dict[str, Any] = from_json(found[0][1])
        if isinstance(trace_id := payload.get("trace_id"), str):
            await self._statements.change(_ANSWERED, (clean_text(trace_id),))
        return payload


def revision_in(state: dict[str, Any]) -> int | None:
    """The number that is compared; None for what is no number."""
    found = state.get("revision", 0)
    return found if isinstance(found, int) and not isinstance(found, bool) and abs(found) < 2**63 else None
