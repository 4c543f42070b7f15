"""What those who ask a database need of a connection: that of `sqlite3`, and whatever answers in the same way.

Statements have `?` for each parameter, and are written so that SQLite and PostgreSQL understand them alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol, TypeVar

__all__ = ["Asks", "Connection", "Cursor", "any_of", "transaction"]

T = TypeVar("T")

_NO_ID = "-1"


class Cursor(Protocol):
    """What a statement found or did."""

    @property
    def rowcount(self) -> int:
        """Rows that were changed."""
        ...

    def fetchone(self) -> Any:
        """The first row that was not read yet; None without one."""
        ...

    def fetchall(self) -> list[Any]:
        """The rows that were not read yet."""
        ...

    def __iter__(self) -> Iterator[Any]: ...

    def close(self) -> None:
        """Let go of rows that nobody will read."""
        ...


class Connection(Protocol):
    """A connection, used by one thread at a time. Transactions are begun by name."""

    @property
    def in_transaction(self) -> bool:
        """Whether one was begun and is not over."""
        ...

    def execute(self, sql: str, parameters: Sequence[Any] = ..., /) -> Cursor:
        """Run a statement."""
        ...

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]], /) -> Any:
        """Run a statement for each of these."""
        ...


class Asks(Protocol):
    """Lets functions read what is committed."""

    async def ask(self, question: Callable[[Connection], T], otherwise: T) -> T:
        """The answer of a function that gets a connection, in a thread; `otherwise` when there is no database yet.

        Raises `StoreError`, and what the function raises.
        """
        ...

    def connected(self) -> AbstractContextManager[Connection | None]:
        """A connection for the thread that calls this, in which no loop runs; None when there is no database yet.

        Raises `StoreError`, also for what goes wrong within.
        """
        ...

    def ask_here(self, question: Callable[[Connection], T], otherwise: T) -> T:
        """As `ask`, while the caller waits: for what takes a moment."""
        ...


@contextmanager
def transaction(connection: Connection) -> Iterator[None]:
    """All that is done within, or nothing; others that write wait for it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def any_of(ids: Iterable[int]) -> str:
    """The ids for an `IN (…)`, which holds for none where there are none."""
    return ", ".join(map(str, ids)) or _NO_ID
