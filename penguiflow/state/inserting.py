"""Rows of a batch on their way into SQLite, many in one statement."""

from __future__ import annotations

import functools
import itertools
import sqlite3
from collections.abc import Sequence
from itertools import chain, compress
from typing import Any

from penguiflow.state.batch import INSERT_CHUNK, Batch
from penguiflow.state.rows import INSERT_TRACE, NEXT_ID, UPDATE_TRACE
from penguiflow.state.spill import keep

__all__ = ["insert"]

_ROWS_AT_ONCE = 64
_MAX_PARAMETERS = 999
"""Of one statement: what every SQLite takes."""


def insert(connection: sqlite3.Connection, batch: Batch) -> None:
    """Write all of a batch, within the transaction that it was made in."""
    # The transaction keeps others out, so that the next ids can be given here: rows go in together.
    (next_id,) = connection.execute(NEXT_ID).fetchone()
    rows = batch.rows(itertools.count(int(next_id)))
    for trace, payloads in rows.payloads:
        keep(connection, trace, payloads)
    _insert(connection, INSERT_TRACE, rows.inserts)
    if rows.updates:
        connection.executemany(UPDATE_TRACE, rows.updates)
    _insert(
        connection, INSERT_CHUNK, [(trace, first, last, bytearray(data)) for trace, first, last, data in rows.chunks]
    )


def _insert(connection: sqlite3.Connection, sql: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows, many in one statement: between two, the interpreter's lock changes hands, which costs more.

    What is the same in all of them is bound once. (sqlite3 asks for an adapter of each None and of each `bytes`, which
    costs as much as ten numbers.)
    """
    if not rows:
        return
    columns = list(zip(*rows, strict=True))
    differ = tuple([column.count(column[0]) < len(rows) for column in columns])
    same = [column[0] for column, differs in zip(columns, differ, strict=True) if not differs]
    if len(same) == len(columns):
        differ, same = (True, *differ[1:]), same[1:]
    given = list(zip(*compress(columns, differ), strict=True))
    at_once = max(1, min(_ROWS_AT_ONCE, (_MAX_PARAMETERS - len(same)) // len(given[0])))
    for first in range(0, len(rows), at_once):
        some = given[first : first + at_once]
        connection.execute(_statement(sql, len(some), differ), (*same, *chain.from_iterable(some)))


@functools.lru_cache(maxsize=256)
def _statement(sql: str, rows: int, differ: tuple[bool, ...]) -> str:
    """Parameters are first what is the same in all rows, then the others of each row."""
    shared = iter(range(1, len(differ)))
    wanted = [None if differs else f"?{next(shared)}" for differs in differ]
    number = itertools.count(differ.count(False) + 1)
    lines = [", ".join([known or f"?{next(number)}" for known in wanted]) for _ in range(rows)]
    return f"{sql} {', '.join([f'({line})' for line in lines])}"
