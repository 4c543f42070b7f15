"""Results in PostgreSQL: the table `task_runs`."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from peagen.plugins.errors import BackendFailed, masked, needs_extra
from peagen.plugins.result_backends.task_run import TaskRun, in_order, task_run_of

if TYPE_CHECKING:
    from asyncpg import Pool

TIMEOUT_S = 30.0
_JSON = ("payload", "result", "deps", "labels", "oids")
_COLUMNS = tuple(TaskRun.model_fields)
_TABLE = """
CREATE TABLE IF NOT EXISTS task_runs (
    id text PRIMARY KEY, pool text NOT NULL, task_type text NOT NULL, status text NOT NULL,
    payload jsonb NOT NULL, result jsonb, deps jsonb NOT NULL, edge_pred text, labels jsonb NOT NULL,
    in_degree integer NOT NULL, config_toml text, oids jsonb, commit_hexsha text,
    started_at timestamptz, finished_at timestamptz, duration double precision
)"""
_VALUES = ", ".join(f"${place}" for place in range(1, len(_COLUMNS) + 1))
_CHANGES = ", ".join(f"{name} = EXCLUDED.{name}" for name in _COLUMNS[1:])
_UPSERT = f"INSERT INTO task_runs ({', '.join(_COLUMNS)}) VALUES ({_VALUES}) ON CONFLICT (id) DO UPDATE SET {_CHANGES}"  # noqa: S608 - names of ours
_NULL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")
_LOCK = 4_242_101  # two that make the table at once wait for each other


class PostgresResultBackend:
    """Keeps rows in one table, which it makes if need be. Connects when it is first asked."""

    def __init__(self, dsn: str | None = None, *, timeout_s: float = TIMEOUT_S) -> None:
        """`dsn`: `postgresql://…`; by default that of the environment's `PG_DSN`. Raises `ValueError` without any."""
        found = dsn or os.environ.get("PG_DSN")
        if not found:
            raise ValueError("PostgresResultBackend needs a dsn, or PG_DSN in the environment")
        self._dsn = found
        self._timeout_s = timeout_s
        self._pool: Pool | None = None
        self._opening = asyncio.Lock()

    def __repr__(self) -> str:
        return f"PostgresResultBackend({masked(self._dsn)!r})"

    async def store(self, task_run: TaskRun | Mapping[str, Any]) -> None:
        """Keep a row; one with the same id is replaced. Raises `BackendFailed`."""
        run = task_run_of(task_run)
        row, plain = run.model_dump(), json.loads(run.model_dump_json(include=set(_JSON)))
        for name in _JSON:
            # PostgreSQL's JSON has no place for the null character.
            row[name] = None if plain[name] is None else _NULL.sub(r"\1\\ufffd", json.dumps(plain[name]))
        await self._do("execute", _UPSERT, *(row[name] for name in _COLUMNS))

    async def list_tasks(self) -> list[TaskRun]:
        """All rows. Raises `BackendFailed`."""
        rows = await self._do("fetch", f"SELECT {', '.join(_COLUMNS)} FROM task_runs")  # noqa: S608 - names of ours
        return in_order([TaskRun.model_validate(_read(dict(row))) for row in rows])

    async def close(self) -> None:
        """Give the connections back."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()

    async def _do(self, method: str, sql: str, *values: Any) -> Any:
        try:
            import asyncpg
        except ImportError:
            raise needs_extra("asyncpg", "postgres") from None
        try:
            async with asyncio.timeout(self._timeout_s), self._opening:
                if self._pool is None:
                    self._pool = await self._opened()
            return await getattr(self._pool, method)(sql, *values, timeout=self._timeout_s)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ValueError, TimeoutError) as error:
            said = masked(str(error)) or type(error).__name__
            raise BackendFailed(f"PostgreSQL does not do it: {said}", where=masked(self._dsn)) from None

    async def _opened(self) -> Pool:
        import asyncpg

        pool = await asyncpg.create_pool(self._dsn, min_size=0, max_size=4, timeout=self._timeout_s)
        try:
            async with pool.acquire() as connection, connection.transaction():
                await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
                await connection.execute(_TABLE)
        except BaseException:
            pool.terminate()
            raise
        return pool


def _read(row: dict[str, Any]) -> dict[str, Any]:
    return row | {name: json.loads(row[name]) for name in _JSON if row[name] is not None}
