"""Reading the database: connections of its own, used in threads, one question after the other."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from penguiflow.state.connection import Connection
from penguiflow.state.errors import StoreError
from penguiflow.state.idle import Idle
from penguiflow.state.postgres import migrations
from penguiflow.state.postgres.address import Address
from penguiflow.state.postgres.blocking import BlockingConnection, off_loop
from penguiflow.state.postgres.problems import DRIVER_ERRORS, explain, is_conflict, is_lost, is_missing_table

__all__ = ["Reader"]

T = TypeVar("T")

_MAX_IDLE = 2
_MAX_CONNECTIONS = 4
"""At a time; more questions wait for one of them."""
_MAX_TRIES = 20


class Reader:
    """Answers questions about what is committed; a schema without tables has no traces."""

    def __init__(self, address: Address, *, timeout_s: float) -> None:
        """`timeout_s` is how long the server may take to let somebody in."""
        self._address = address
        self._timeout_s = timeout_s
        self._idle: Idle[BlockingConnection] = Idle(address.place, _MAX_IDLE)
        self._places = threading.BoundedSemaphore(_MAX_CONNECTIONS)

    async def ask(self, question: Callable[[Connection], T], otherwise: T) -> T:
        """The answer of a function that gets a connection, in a thread; `otherwise` when there are no tables yet.

        Raises `StoreError`, and what the function raises.
        """
        return await asyncio.to_thread(self._ask, question, otherwise)

    def ask_here(self, question: Callable[[Connection], T], otherwise: T) -> T:
        """As `ask`, while the caller waits."""
        return off_loop(lambda: self._ask(question, otherwise))

    async def change(self, work: Callable[[Connection], T]) -> T:
        """As `ask`, for a function that changes something: it is called again where others change it at once."""
        return await asyncio.to_thread(self._change, work)

    def close(self) -> None:
        """Let go of the server. Can be repeated."""
        if idle := self._idle.take_all(last=True):
            off_loop(lambda: _close_all(idle))

    def _ask(self, question: Callable[[Connection], T], otherwise: T) -> T:
        try:
            try:
                return self._answer(question, otherwise)
            except DRIVER_ERRORS as error:
                if not is_lost(error):
                    raise
                # The server may have been away since this connection, and others, were used last.
                _close_all(self._idle.take_all())
                return self._answer(question, otherwise)
        except DRIVER_ERRORS as error:
            if is_missing_table(error):
                return otherwise
            raise explain(error, self._address.place) from error
        except (sqlite3.DatabaseError, ValueError) as error:  # events that are none, or JSON that is none any more
            raise explain(sqlite3.DatabaseError(f"events cannot be read: {error}"), self._address.place) from error

    @contextmanager
    def connected(self) -> Iterator[Connection | None]:
        """A connection, in a thread without a loop; None when there are no tables yet. Raises `StoreError`."""
        try:
            with self._connection() as connection:
                yield connection
        except DRIVER_ERRORS as error:
            raise explain(error, self._address.place) from error
        except (sqlite3.DatabaseError, ValueError) as error:
            raise explain(sqlite3.DatabaseError(f"events cannot be read: {error}"), self._address.place) from error

    def _answer(self, question: Callable[[Connection], T], otherwise: T) -> T:
        with self._connection() as connection:
            return otherwise if connection is None else question(connection)

    def _change(self, work: Callable[[Connection], T]) -> T:
        for _ in range(_MAX_TRIES):
            try:
                with self._connection() as connection:
                    if connection is None:
                        raise StoreError(f"{self._address.place}: there are no tables", path=self._address.place)
                    return work(connection)
            except DRIVER_ERRORS as error:
                if not is_conflict(error):
                    raise explain(error, self._address.place) from error
            except sqlite3.DatabaseError as error:
                raise explain(error, self._address.place) from error
        raise StoreError(f"{self._address.place}: others change the same all the time", path=self._address.place)

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        with self._places:
            opened = self._idle.take() or self._open()
            if opened is None:
                yield None
                return
            with self._idle.used(opened):
                yield opened
                opened.reset()

    def _open(self) -> BlockingConnection | None:
        opened = BlockingConnection(self._address, timeout_s=self._timeout_s)
        try:
            if opened.run(migrations.check(opened.raw, self._address)):
                return opened
        except BaseException:
            opened.close()
            raise
        opened.close()
        return None


def _close_all(connections: list[BlockingConnection]) -> None:
    for each in connections:
        each.close()
