"""What errors of the driver mean: which can be tried again, and what to say about the others."""

from __future__ import annotations

import asyncio
import sqlite3

import asyncpg

from penguiflow.state.errors import StoreError, StoreNotWritable, StoreUnreadable
from penguiflow.unreachable import NO_TLS, distrusted, reason

__all__ = ["DRIVER_ERRORS", "explain", "is_conflict", "is_lost", "is_missing_table"]

DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
"""Whatever the driver raises."""
_LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    OSError,
    TimeoutError,
)
_CONFLICTS = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError, asyncpg.UniqueViolationError)
_FULL = (asyncpg.DiskFullError, asyncpg.OutOfMemoryError)
_REFUSED = (asyncpg.InsufficientPrivilegeError, asyncpg.ReadOnlySQLTransactionError)


def is_lost(error: BaseException) -> bool:
    """Whether the server is not there, or the connection is gone: another one may do."""
    if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError):
        # One that was closed, or broke off in the middle of something; an address that is none is another thing.
        return not isinstance(error, ValueError)
    return isinstance(error, _LOST)


def is_conflict(error: BaseException) -> bool:
    """Whether others wrote the same rows at once: tried again, it works."""
    return isinstance(error, _CONFLICTS)


def is_missing_table(error: BaseException) -> bool:
    """Whether there is no store in this schema yet."""
    return isinstance(error, asyncpg.UndefinedTableError)


def explain(error: BaseException, place: str) -> StoreError:
    """The `StoreError` for what the driver says: what happened, where, what to do. Never with a password."""
    if isinstance(error, StoreError):
        return error
    if isinstance(error, sqlite3.DatabaseError):  # what `unpack` says of events that are none
        return StoreUnreadable(f"{place} is damaged: {error}", path=place)
    if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):
        return StoreUnreadable(
            f"{place} lets nobody in: {_line(error)}; the password belongs into the address, PGPASSWORD or ~/.pgpass",
            path=place,
        )
    if isinstance(error, asyncpg.InvalidCatalogNameError):
        return StoreUnreadable(f"{place}: {_line(error)}; `createdb` makes it", path=place)
    if isinstance(error, asyncpg.ClientConfigurationError):
        return StoreUnreadable(f"{place}: the address has something that the driver does not know", path=place)
    if isinstance(error, _REFUSED):
        return StoreNotWritable(
            f"cannot write to {place}: {_line(error)}; grant it, or name another server", path=place
        )
    if isinstance(error, _FULL):
        return StoreNotWritable(f"cannot write to {place}: {_line(error)}; make room on the server", path=place)
    if is_lost(error):
        return StoreError(f"{place} cannot be reached: {_away(error)}", path=place)
    return StoreError(f"{place}: {_line(error)}", path=place)


def _away(error: BaseException) -> str:
    """Why the server is not there, and what to do about it."""
    if distrusted(error):
        return f"{reason(error)}; sslrootcert=FILE in the address names the authorities that are"
    text = str(error)
    if "rejected SSL upgrade" in text:
        return f"{NO_TLS}, or is no PostgreSQL; sslmode=disable in the address does without"
    if "connection_lost" in text or isinstance(error, ConnectionResetError):
        return "it hangs up; is the server running, and is it a PostgreSQL?"
    if isinstance(error, OSError) and not isinstance(error, asyncpg.PostgresError):
        return reason(error)
    return f"{_line(error)}; is the server running?"


def _line(error: BaseException) -> str:
    if isinstance(error, asyncio.TimeoutError) and not str(error):
        return "it did not answer in time"
    lines = str(error).splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
