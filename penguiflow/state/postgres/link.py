"""The writer's connection: made when it is needed, and again when the server was away; signed in under a number."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from penguiflow.state.postgres import migrations
from penguiflow.state.postgres.address import Address
from penguiflow.state.postgres.commit import register
from penguiflow.state.postgres.driver import connect, quiet_close
from penguiflow.state.postgres.problems import DRIVER_ERRORS, explain, is_conflict, is_lost

if TYPE_CHECKING:
    from asyncpg import Connection

__all__ = ["Link", "nothing"]

T = TypeVar("T")

_FIRST_RETRY_S = 0.02
_LAST_RETRY_S = 0.5
"""Pauses between attempts to reach a server that is away."""
_MAX_CONFLICTS = 20


class Link:
    """`patience_s` is how long the server may be away before that is an error."""

    def __init__(self, address: Address, patience_s: float) -> None:
        self.patience_s = patience_s
        self.writer_id = 0
        """0 until it was entered."""
        self.last_sign = time.monotonic()
        """When the writer last said that it is there."""
        self._address = address
        self._connection: Connection[Any] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def patiently(self, work: Callable[[Connection[Any]], Awaitable[T]], *, once: bool = False) -> T:
        """What the work gives; done again when others wrote the same, and when the server was away for a moment.

        Raises `StoreError` and what the work raises. With `once` a server that is away is not waited for.
        """
        begun = time.monotonic()
        conflicts, pause = 0, _FIRST_RETRY_S
        while True:
            try:
                return await work(await self._connected())
            except DRIVER_ERRORS as error:
                if is_conflict(error) and conflicts < _MAX_CONFLICTS:
                    conflicts += 1
                    continue
                await self.drop()
                if not is_lost(error) or once or time.monotonic() + pause > begun + self.patience_s:
                    raise explain(error, self._address.place) from error
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LAST_RETRY_S)

    async def drop(self) -> None:
        """Let go of the server."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await quiet_close(connection)

    async def sign(self, connection: Connection[Any]) -> None:
        """Say that the writer is there."""
        sql = "UPDATE writers SET seen = $1, closed = NULL WHERE id = $2"
        await connection.execute(sql, time.time(), self.writer_id)
        self.last_sign = time.monotonic()

    async def sign_off(self, connection: Connection[Any]) -> None:
        """Note that the writer has ended in an orderly way."""
        sql = "UPDATE writers SET seen = $1, closed = $1 WHERE id = $2"
        await connection.execute(sql, time.time(), self.writer_id)

    async def _connected(self) -> Connection[Any]:
        if self._loop is not asyncio.get_running_loop():
            # That of a loop that is gone went with it.
            self._loop, self._connection = asyncio.get_running_loop(), None
        connection = self._connection
        if connection is not None and not connection.is_closed():
            return connection
        connection = await connect(self._address)
        try:
            await migrations.migrate(connection, self._address)
            if not self.writer_id:
                self.writer_id = await register(connection)
        except BaseException:
            connection.terminate()
            raise
        self._connection = connection
        return connection


async def nothing(connection: Connection[Any]) -> None:
    """To be connected is all that is wanted."""
