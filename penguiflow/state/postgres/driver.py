"""Connections to the server, as all of the store's are made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from penguiflow.recording.offline import own_connection
from penguiflow.state.errors import StoreError
from penguiflow.state.postgres.address import Address

if TYPE_CHECKING:
    from asyncpg import Connection

__all__ = ["CONNECT_S", "OLDEST", "connect", "escape", "numbered", "quiet_close"]

CONNECT_S = 10.0
"""How long a server may take to let somebody in."""
OLDEST = 14
"""Version of the server."""
_CLOSE_S = 2.0
_HANGS_MS = 5_000
"""A process that stands still in a transaction for so long loses it: others wait for what it has locked."""
_ESCAPE, _NUL = "\x01", "\0"


async def connect(address: Address, *, timeout_s: float = CONNECT_S) -> Connection[Any]:
    """A connection whose statements see the store's schema. Raises what the driver does, and `StoreError`.

    `timeout_s` is how long the server may take to let somebody in.
    """
    import asyncpg

    with own_connection(address.hosts):
        connection = await asyncpg.connect(
            address.dsn,
            timeout=timeout_s,
            server_settings={
                "search_path": f'"{address.schema}"',
                "application_name": "penguiflow",
                "idle_in_transaction_session_timeout": str(_HANGS_MS),
            },
        )
    try:
        version = connection.get_server_version()
        if version.major < OLDEST:
            raise StoreError(
                f"{address.place} is PostgreSQL {version.major}.{version.minor}: {OLDEST} or later is needed",
                path=address.place,
            )
        await connection.set_type_codec("text", schema="pg_catalog", encoder=_encode, decoder=_decode, format="binary")
    except BaseException:
        connection.terminate()
        raise
    return connection


async def quiet_close(connection: Connection[Any]) -> None:
    """Let go of a connection, whatever state it is in."""
    from penguiflow.state.postgres.problems import DRIVER_ERRORS

    try:
        await connection.close(timeout=_CLOSE_S)
    except DRIVER_ERRORS:
        connection.terminate()


def escape(text: str) -> str:
    """Text as it is stored: PostgreSQL has no character 0."""
    if _NUL in text or _ESCAPE in text:
        return text.replace(_ESCAPE, f"{_ESCAPE}b").replace(_NUL, f"{_ESCAPE}a")
    return text


def numbered(sql: str) -> str:
    """The statement with `$1`, `$2` … for its `?`."""
    first, *rest = sql.split("?")
    return first + "".join(f"${number}{part}" for number, part in enumerate(rest, 1))


def _encode(text: str) -> bytes:
    return escape(text).encode()


def _decode(data: bytes) -> str:
    text = bytes(data).decode()
    if _ESCAPE in text:
        return text.replace(f"{_ESCAPE}a", _NUL).replace(f"{_ESCAPE}b", _ESCAPE)
    return text
