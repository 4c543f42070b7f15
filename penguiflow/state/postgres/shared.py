"""What workers share, in PostgreSQL: many changes in one transaction of four statements.

A commit locks the rows of its traces in the order of their ids, so that no two wait for each other. It has an id of its
own: whoever loses the connection while it is committed finds out by that id whether it was.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID, uuid4

from penguiflow.state.errors import StoreError
from penguiflow.state.postgres.driver import escape
from penguiflow.state.postgres.problems import DRIVER_ERRORS, explain, is_conflict, is_lost
from penguiflow.state.postgres.values import Statements
from penguiflow.state.shared import SharedChange, SharedOutcome, SharedRow
from penguiflow.state.shared_rules import Kept, Needs, make, needs_of

if TYPE_CHECKING:
    from asyncpg import Connection

__all__ = ["NOW", "Commits"]

T = TypeVar("T")

NOW = "unix_now()"
"""The server's clock, unix seconds."""
_FIRST_RETRY_S = 0.02
_LAST_RETRY_S = 0.5
_MAX_CONFLICTS = 20
_COMMITS_S = 3600.0
"""How long the ids of commits are kept: whoever asks for one does so within moments."""
_TRACES_AT_ONCE = 500

_BEGIN = "BEGIN; SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off"
"""A few rows are looked up by their keys, always. A plan that the server keeps from when tables were small would
read the whole of them: 40 ms a commit at two million rows."""
_LOCK = (
    "SELECT trace_id, ended, cancelled, changes, counters FROM shared_traces WHERE trace_id = ANY ($1::text[])"
    " ORDER BY trace_id FOR UPDATE"
)
_ADD_TRACES = (
    "INSERT INTO shared_traces (trace_id) SELECT unnest($1::text[]) AS trace_id ORDER BY trace_id"
    " ON CONFLICT DO NOTHING"
)
_READ = (
    "SELECT 1 AS what, kept.trace_id, kept.scope, kept.version, kept.value FROM shared_rows AS kept"
    " JOIN unnest($1::text[], $2::text[]) AS wanted (trace_id, scope) USING (trace_id, scope) UNION ALL"
    " SELECT 2, kept.trace_id, kept.message, 0, NULL FROM shared_handled AS kept"
    " JOIN unnest($3::text[], $4::text[]) AS wanted (trace_id, message) USING (trace_id, message)"
)
_WRITE = """
WITH heads AS (
    UPDATE shared_traces AS kept
    SET changes = new.changes, counters = new.counters, ended = new.ended,
        ended_at = CASE WHEN new.ended IS NULL THEN NULL ELSE unix_now() END
    FROM unnest($1::text[], $2::bigint[], $3::bytea[], $4::text[]) AS new (trace_id, changes, counters, ended)
    WHERE kept.trace_id = new.trace_id
), rows AS (
    INSERT INTO shared_rows (trace_id, scope, version, value)
    SELECT * FROM unnest($5::text[], $6::text[], $7::bigint[], $8::bytea[])
    ON CONFLICT (trace_id, scope) DO UPDATE SET version = excluded.version, value = excluded.value
), gone AS (
    DELETE FROM shared_rows AS kept USING unnest($9::text[], $10::text[]) AS old (trace_id, scope)
    WHERE kept.trace_id = old.trace_id AND kept.scope = old.scope
), messages AS (
    INSERT INTO shared_handled (trace_id, message) SELECT * FROM unnest($11::text[], $12::text[])
)
INSERT INTO shared_commits (id, made) VALUES ($13, unix_now()) ON CONFLICT DO NOTHING
"""
_CLAIM = "INSERT INTO shared_commits (id, made) VALUES ($1, unix_now()) ON CONFLICT DO NOTHING RETURNING 1"
_FORGET = """
WITH old AS (
    UPDATE shared_traces SET ended_at = NULL, counters = '{}' WHERE trace_id IN (
        SELECT trace_id FROM shared_traces WHERE ended_at <= unix_now() - $1::double precision
        LIMIT $2 FOR UPDATE SKIP LOCKED
    ) RETURNING trace_id
), rows AS (
    DELETE FROM shared_rows USING old WHERE shared_rows.trace_id = old.trace_id
), messages AS (
    DELETE FROM shared_handled USING old WHERE shared_handled.trace_id = old.trace_id
)
SELECT count(*) FROM old
"""
_FORGET_WORKERS = """
DELETE FROM workers WHERE worker_id IN (
    SELECT worker_id FROM workers WHERE seen_at < unix_now() - $1::double precision FOR UPDATE SKIP LOCKED
)
"""
_FORGET_COMMITS = """
DELETE FROM shared_commits WHERE id IN (
    SELECT id FROM shared_commits WHERE made < unix_now() - $1::double precision FOR UPDATE SKIP LOCKED
)
"""


class _NotThere(Exception):
    """Some traces have no row yet."""


class _Attempt:
    """One commit, which may take several tries."""

    def __init__(self, changes: Sequence[SharedChange]) -> None:
        self.changes = changes
        self.needs = needs_of(changes)
        self.id: UUID = uuid4()
        self.outcomes: list[SharedOutcome] = []
        self.in_doubt = False
        """Whether a try may have been committed."""

    async def add_traces(self, connection: Connection[Any]) -> None:
        """Make rows of traces, on their own: whoever locks others meanwhile waits for nobody."""
        await connection.execute(_ADD_TRACES, _escaped(self.needs))

    async def make(self, connection: Connection[Any]) -> list[SharedOutcome]:
        """One try. Raises `_NotThere` and what the driver raises."""
        await connection.execute(_BEGIN)
        try:
            # Waits for a try that is still on its way through the server.
            if self.in_doubt and not await connection.fetchval(_CLAIM, self.id):
                await connection.execute("ROLLBACK")
                return self.outcomes
            self.in_doubt = False
            known = await self._load(connection)
            self.outcomes = [make(change, known[change.trace_id]) for change in self.changes]
            changed = {trace_id: kept for trace_id, kept in known.items() if kept.changed}
            if changed:
                await connection.execute(_WRITE, *_written(changed), self.id)
                self.in_doubt = True
            await connection.execute("COMMIT")
        except _NotThere:
            await connection.execute("ROLLBACK")
            raise
        return self.outcomes

    async def _load(self, connection: Connection[Any]) -> dict[str, Kept]:
        found = await connection.fetch(_LOCK, _escaped(self.needs))
        if len(found) < len(self.needs):
            raise _NotThere
        known: dict[str, Kept] = {}
        for trace_id, ended, cancelled, changes, counters in found:
            known[trace_id] = Kept(ended=ended, cancelled=cancelled, changes=changes, counters=json.loads(counters))
        scopes = [(trace_id, scope) for trace_id, need in self.needs.items() for scope in need.scopes]
        handled = [(trace_id, message) for trace_id, need in self.needs.items() for message in need.handled]
        if scopes or handled:
            for what, trace_id, name, version, value in await connection.fetch(
                _READ, *_columns(scopes, 2), *_columns(handled, 2)
            ):
                if what == 1:
                    known[trace_id].rows[name] = SharedRow(version, value)
                else:
                    known[trace_id].handled.add(name)
        return known


class Commits:
    """Commits of one store; `patience_s` is how long the server may be away before that is an error."""

    def __init__(self, statements: Statements, place: str, patience_s: float) -> None:
        self._statements = statements
        self._place = place
        self._patience_s = patience_s

    async def commit(self, changes: Sequence[SharedChange]) -> list[SharedOutcome]:
        """Make all changes in one transaction. Raises `StoreError`: none was made, as far as can be known."""
        attempt = _Attempt(changes)

        async def work(connection: Connection[Any]) -> list[SharedOutcome]:
            try:
                return await attempt.make(connection)
            except _NotThere:
                await attempt.add_traces(connection)
                return await attempt.make(connection)

        return await self.patiently(work)

    async def forget(self, older_than_s: float, workers_s: float) -> int:
        """Forget what is remembered of traces that ended so long ago, and workers that are gone."""
        forgotten = 0
        while True:
            some = int((await self.run(_FORGET, (older_than_s, _TRACES_AT_ONCE)))[0][0])
            forgotten += some
            if some < _TRACES_AT_ONCE:
                break
        await self.run(_FORGET_WORKERS, (workers_s,))
        await self.run(_FORGET_COMMITS, (_COMMITS_S,))
        return forgotten

    async def run(self, sql: str, parameters: Sequence[Any]) -> list[Any]:
        """What one statement gives, which may be run again."""

        async def work(connection: Connection[Any]) -> list[Any]:
            found: list[Any] = await connection.fetch(sql, *parameters)
            return found

        return await self.patiently(work)

    async def patiently(self, work: Callable[[Connection[Any]], Awaitable[T]]) -> T:
        """What the work gives; done again when others wrote the same, and when the server was away for a moment."""
        begun = time.monotonic()
        conflicts, pause = 0, _FIRST_RETRY_S
        while True:
            try:
                return await self._statements.use(work)
            except DRIVER_ERRORS as error:
                if is_conflict(error) and conflicts < _MAX_CONFLICTS:
                    conflicts += 1
                    continue
                if not is_lost(error) or time.monotonic() + pause > begun + self._patience_s:
                    raise explain(error, self._place) from error
                await self._statements.forget_idle()
            except _NotThere as error:  # somebody removes the trace at the same time, again and again
                raise StoreError(f"{self._place}: a trace is being removed", path=self._place) from error
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LAST_RETRY_S)


def _escaped(names: Mapping[str, Needs]) -> list[str]:
    return [escape(name) for name in names]


def _columns(rows: Sequence[tuple[Any, ...]], count: int) -> list[list[Any]]:
    """Columns of rows, for `unnest`; text as it is stored."""
    columns: list[list[Any]] = [[] for _ in range(count)]
    for row in rows:
        for column, value in zip(columns, row, strict=True):
            column.append(escape(value) if isinstance(value, str) else value)
    return columns


def _written(changed: Mapping[str, Kept]) -> list[list[Any]]:
    """What `_WRITE` takes."""
    heads, puts, gone, messages = [], [], [], []
    for trace_id, kept in changed.items():
        heads.append((trace_id, kept.changes, json.dumps(kept.counters).encode(), kept.ended))
        for scope in kept.touched:
            row = kept.rows.get(scope)
            if row is None:
                gone.append((trace_id, scope))
            else:
                puts.append((trace_id, scope, row.version, row.value))
        messages += [(trace_id, message) for message in kept.added]
    return [*_columns(heads, 4), *_columns(puts, 4), *_columns(gone, 2), *_columns(messages, 2)]
