"""The store's tables, and how those of an earlier version become those of this one: numbered files of SQL."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from penguiflow.state.errors import StoreTooNew, StoreUnreadable
from penguiflow.state.postgres.address import Address

if TYPE_CHECKING:
    from asyncpg import Connection

__all__ = ["check", "migrate", "version"]

_FOLDER = "migrations"
_LOCK = 0x50464C57
"""Held by whoever makes or changes tables."""


@cache
def _scripts() -> tuple[str, ...]:
    folder = files(__package__).joinpath(_FOLDER)
    found = sorted((each for each in folder.iterdir() if each.name.endswith(".sql")), key=lambda each: each.name)
    return tuple(each.read_text(encoding="utf-8") for each in found)


def version() -> int:
    """Version of the tables that this code reads and writes."""
    return len(_scripts())


async def check(connection: Connection[Any], address: Address) -> int:
    """The version that the tables have; 0 when there are none yet. Raises `StoreTooNew` and `StoreUnreadable`."""
    import asyncpg

    try:
        found = await connection.fetchval("SELECT max(version) FROM schema_version")
    except asyncpg.UndefinedTableError:
        await _look_in(connection, address)
        return 0
    except asyncpg.InsufficientPrivilegeError as error:
        raise StoreUnreadable(
            f"{address.place} may not be read: {error}; "
            f"GRANT SELECT ON ALL TABLES IN SCHEMA {address.schema} allows it",
            path=address.place,
        ) from error
    except (asyncpg.UndefinedColumnError, asyncpg.UndefinedFunctionError) as error:
        raise _foreign(address) from error
    if found is not None and not isinstance(found, int):
        raise _foreign(address)
    if found is not None and found > version():
        raise StoreTooNew(
            f"{address.place} was written by a newer penguiflow (version {found} of the tables; this one knows "
            f"{version()}): upgrade penguiflow, or name another schema with ?schema=",
            path=address.place,
            found=int(found),
            supported=version(),
        )
    return int(found or 0)


async def migrate(connection: Connection[Any], address: Address) -> None:
    """Bring the tables to this version. Several processes may do so at once."""
    import asyncpg

    if await check(connection, address) == version():
        return
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        # Whoever came first has done it by now.
        if not await connection.fetchval("SELECT count(*) FROM pg_namespace WHERE nspname = $1", address.schema):
            await connection.execute(f'CREATE SCHEMA "{address.schema}"')
        await connection.execute("CREATE TABLE IF NOT EXISTS schema_version (version bigint NOT NULL)")
        found = await check(connection, address)
        try:
            for script in _scripts()[found:]:
                await connection.execute(script)
        except asyncpg.DuplicateTableError as error:
            raise _foreign(address) from error
        if found < version():
            await connection.execute("DELETE FROM schema_version")
            await connection.execute("INSERT INTO schema_version (version) VALUES ($1)", version())


async def _look_in(connection: Connection[Any], address: Address) -> None:
    """Raise `StoreUnreadable` where tables cannot be seen, which is not the same as that there are none."""
    allowed = "SELECT has_schema_privilege(oid, 'USAGE') FROM pg_namespace WHERE nspname = $1"
    if await connection.fetchval(allowed, address.schema) is False:
        raise StoreUnreadable(
            f"{address.place} may not be read: nobody let this user into schema {address.schema}; "
            f"GRANT USAGE ON SCHEMA {address.schema} does",
            path=address.place,
        )


def _foreign(address: Address) -> StoreUnreadable:
    return StoreUnreadable(
        f"{address.place}: schema {address.schema} has tables of another program: name another with ?schema=",
        path=address.place,
    )
