"""One transaction of the writer: events and what was saved by name, in as few messages to the server as possible."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from penguiflow.recording.events import EventRecord
from penguiflow.recording.text import clean_text
from penguiflow.state import liveness
from penguiflow.state.batch import Batch, Rows
from penguiflow.state.intake import Item, Write
from penguiflow.state.postgres.changes import announce
from penguiflow.state.postgres.driver import escape, numbered
from penguiflow.state.postgres.problems import is_conflict, is_lost
from penguiflow.state.rows import SELECT_TRACES, TRACE_COLUMNS, UPDATE_TRACE, TraceRow, read_rows
from penguiflow.state.spill import ADD_PAYLOAD, ADD_REFERENCE, digest_of

if TYPE_CHECKING:
    from asyncpg import Connection

__all__ = ["CannotSave", "commit", "register"]

PAYLOAD_LOCK = 0x50464C59
"""Shared by those who refer to large payloads; whoever removes some is alone."""
_ROWS = f"{SELECT_TRACES} = ANY ($1::text[]) ORDER BY id FOR UPDATE"
_NUMBER = "UPDATE writers SET batch = $1, seen = $2, closed = NULL WHERE id = $3 AND batch = $1 - 1"
_ENTER_AGAIN = (
    "INSERT INTO writers (pid, started, host, opened, seen, id, batch) VALUES ($1, $2, $3, $4, $5, $6, $7)"
    " ON CONFLICT DO NOTHING"
)
_IDS = "SELECT nextval('trace_ids') FROM generate_series(1, $1)"
_CHUNK_COLUMNS = ("trace", "first_seq", "last_seq", "data")
_UPDATE = numbered(UPDATE_TRACE)
_PAYLOAD, _REFERENCE = numbered(ADD_PAYLOAD), numbered(ADD_REFERENCE)


class CannotSave(Exception):
    """A statement that was to be saved by name makes no sense to the server."""

    def __init__(self, item: Write) -> None:
        super().__init__()
        self.item = item


class Attempt(NamedTuple):
    """Who writes, the number of this commit, and what it is made of."""

    writer: int
    number: int
    batch: Batch


async def register(connection: Connection[Any]) -> int:
    """Enter this process as a writer; returns the writer's id."""
    await connection.execute(numbered(liveness.FORGET_WRITERS), liveness.long_gone())
    entered: int = await connection.fetchval(f"{numbered(liveness.ADD_WRITER)} RETURNING id", *liveness.entry())
    return entered


async def commit(connection: Connection[Any], attempt: Attempt, items: Sequence[Item]) -> bool:
    """Write all of it; False when an earlier attempt at this number, whose answer never came, had done so.

    The transaction begins with the number: an attempt whose connection was lost is over, one way or the other, before
    another one gets past this.
    """
    batch = attempt.batch
    async with connection.transaction():
        if not await _is_new(connection, attempt):
            return False
        for item in items:
            if isinstance(item, Write):
                await _save(connection, item)
        unsure = batch.gather([item for item in items if not isinstance(item, Write)])
        for _ in batch.take(await _look_up(connection, unsure, attempt.writer) if unsure else {}):
            await asyncio.sleep(0)
        count = batch.new_traces
        ids = [number for (number,) in await connection.fetch(_IDS, count)] if count else []
        rows = batch.rows(ids)
        await _insert(connection, rows)
        if unsure:
            await announce(connection, [clean_text(record.trace_id) for record in unsure])
    return True


async def _is_new(connection: Connection[Any], attempt: Attempt) -> bool:
    now = time.time()
    if (await connection.execute(_NUMBER, attempt.number, now, attempt.writer)).endswith(" 1"):
        return True
    done = await connection.fetchval("SELECT batch FROM writers WHERE id = $1", attempt.writer)
    if done is None:  # it was silent for so long that it was taken for gone
        await connection.execute(_ENTER_AGAIN, *liveness.entry(), attempt.writer, attempt.number)
        return True
    return bool(done < attempt.number)


async def _save(connection: Connection[Any], item: Write) -> None:
    import asyncpg

    try:
        await connection.execute(numbered(item.sql), *item.parameters)
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        if is_lost(error) or is_conflict(error):
            raise
        raise CannotSave(item) from error


async def _look_up(connection: Connection[Any], unsure: Sequence[EventRecord], writer: int) -> dict[str, TraceRow]:
    wanted = {clean_text(record.trace_id): record for record in unsure}
    found = await connection.fetch(_ROWS, [escape(trace_id) for trace_id in wanted])
    return read_rows(found, wanted, writer)


async def _insert(connection: Connection[Any], rows: Rows) -> None:
    if rows.payloads:
        await connection.execute("SELECT pg_advisory_xact_lock_shared($1)", PAYLOAD_LOCK)
    for trace, payloads in rows.payloads:
        digests = [(digest_of(name), data) for name, data in payloads.items()]
        await connection.executemany(_PAYLOAD, digests)
        await connection.executemany(_REFERENCE, [(trace, digest) for digest, _ in digests])
    if rows.inserts:
        await connection.copy_records_to_table("traces", records=rows.inserts, columns=TRACE_COLUMNS)
    if rows.updates:
        await connection.executemany(_UPDATE, rows.updates)
    if rows.chunks:
        await connection.copy_records_to_table("event_chunks", records=rows.chunks, columns=_CHUNK_COLUMNS)
