"""A connection for those who ask one question after the other, in a thread: it answers as that of `sqlite3` does.

What is asked of a store is written once, for a connection that is called and answers. This one has a small loop of its
own, which runs while somebody waits for an answer and stands still otherwise.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from penguiflow.state.postgres.address import Address
from penguiflow.state.postgres.driver import CONNECT_S, connect, numbered, quiet_close

if TYPE_CHECKING:
    from asyncpg.cursor import Cursor

__all__ = ["STORE_LOCK", "BlockingConnection", "off_loop"]

T = TypeVar("T")

STORE_LOCK = 0x50464C58
"""Held within a transaction by whoever wants no other changes of this kind at the same time."""
_PREFETCH = 32
"""Rows that are fetched at once where not all are: some are large."""
_BEGIN, _COMMIT, _ROLLBACK = "BEGIN IMMEDIATE", "COMMIT", "ROLLBACK"


def off_loop(function: Callable[[], T]) -> T:
    """Call a function where no loop runs: in another thread, if one runs in this."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return function()
    with ThreadPoolExecutor(1, thread_name_prefix="penguiflow-store-reader") as elsewhere:
        return elsewhere.submit(function).result()


class BlockingConnection:
    """Owned by one thread at a time, in which no loop runs. Raises what the driver raises."""

    def __init__(self, address: Address, *, timeout_s: float = CONNECT_S) -> None:
        self._loop = asyncio.new_event_loop()
        try:
            self._connection = self.run(connect(address, timeout_s=timeout_s))
        except BaseException:
            self._loop.close()
            raise

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What a coroutine gives, on the connection's loop."""
        return self._loop.run_until_complete(work)

    @property
    def raw(self) -> Any:
        """The driver's connection, for `run`."""
        return self._connection

    @property
    def in_transaction(self) -> bool:
        """Whether one was begun and is not over."""
        return self._connection.is_in_transaction()

    @property
    def is_closed(self) -> bool:
        """Whether it was closed, as far as it is known."""
        return self._connection.is_closed()

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> BlockingCursor:
        """Run a statement; a question is asked when its rows are read."""
        if sql.startswith("SELECT"):
            return BlockingCursor(self, _translated(sql), parameters)
        if sql == _BEGIN:
            self.run(self._connection.execute("BEGIN"))
            self.run(self._connection.execute("SELECT pg_advisory_xact_lock($1)", STORE_LOCK))
            return BlockingCursor(self)
        if sql in (_COMMIT, _ROLLBACK):
            self.run(self._connection.execute(sql))
            return BlockingCursor(self)
        told: str = self.run(self._connection.execute(_translated(sql), *parameters))
        return BlockingCursor(self, rowcount=_count(told))

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]], /) -> None:
        """Run a statement for each of these, which need not be in memory together."""
        for each in parameters:
            self.run(self._connection.execute(_translated(sql), *each))

    def reset(self) -> None:
        """Leave what was begun and is not over."""
        if self.in_transaction:
            self.run(self._connection.execute(_ROLLBACK))

    def close(self) -> None:
        """Let go of the server."""
        with suppress(RuntimeError):  # its loop was closed before
            self.run(quiet_close(self._connection))
            self._loop.close()


class BlockingCursor:
    """What a statement found or did."""

    def __init__(
        self, connection: BlockingConnection, sql: str = "", parameters: Sequence[Any] = (), *, rowcount: int = -1
    ) -> None:
        self.rowcount = rowcount
        """Rows that were changed."""
        self._connection = connection
        self._sql = sql
        self._parameters = parameters
        self._rows: Iterator[Any] | None = None

    def fetchone(self) -> Any:
        """The first row that was not read yet; None without one."""
        return next(self._all(), None)

    def fetchall(self) -> list[Any]:
        """The rows that were not read yet."""
        return list(self._all())

    def __iter__(self) -> Iterator[Any]:
        """The rows, some of them in memory at a time."""
        if self._rows is None:
            self._rows = self._some_at_a_time()
        return self._rows

    def close(self) -> None:
        """Let go of rows that nobody will read."""
        close = getattr(self._rows, "close", None)
        if close is not None:
            close()

    def _all(self) -> Iterator[Any]:
        if self._rows is None:
            found = self._connection.run(self._connection.raw.fetch(self._sql, *self._parameters)) if self._sql else ()
            self._rows = map(tuple, found)
        return self._rows

    def _some_at_a_time(self) -> Iterator[Any]:
        connection = self._connection
        begins = not connection.in_transaction
        if begins:
            connection.run(connection.raw.execute("BEGIN"))
        try:
            cursor = connection.run(_cursor(connection.raw, self._sql, self._parameters))
            while rows := connection.run(cursor.fetch(_PREFETCH)):
                yield from map(tuple, rows)
        finally:
            if begins and not connection.is_closed:
                connection.reset()


async def _cursor(connection: Any, sql: str, parameters: Sequence[Any]) -> Cursor[Any]:
    cursor: Cursor[Any] = await connection.cursor(sql, *parameters)
    return cursor


def _count(told: str) -> int:
    """`UPDATE 3`: three rows."""
    last = told.rpartition(" ")[2]
    return int(last) if last.isdigit() else -1


_translated = lru_cache(maxsize=512)(numbered)
