"""Tasks that are over already, written many at a time: a statement for each table in place of one for each row.

Between two statements the interpreter's lock changes hands, which takes longer than the rows.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from peeragent.models.tasks import SessionRecord, TaskRecord
from peeragent.store.base import NotTheOwner, SessionConflict

_SIZES = (64, 32, 16, 8, 4, 2, 1)
"""Rows of a statement: few kinds of statements, so that each is prepared once."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A task that is over, and what its session has become."""

    task: TaskRecord
    session: SessionRecord | None


def write_finished(
    db: sqlite3.Connection, given: Sequence[Finished], task_ttl_s: float, session_ttl_s: float
) -> list[Exception | None]:
    """Write them, and what is wrong with each: then nothing of it is written. Raises `sqlite3.Error`."""
    made: list[Exception | None] = []
    begin = 0
    while begin < len(given):
        size = next(each for each in _SIZES if each <= len(given) - begin)
        part = given[begin : begin + size]
        sessions = [each.session.session_id for each in part if each.session is not None]
        if len(set(sessions)) < len(sessions):
            # One after the other: the second must find what the first has written.
            part = part[:1]
        made += _write(db, part, task_ttl_s, session_ttl_s)
        begin += len(part)
    return made


def _write(
    db: sqlite3.Connection, part: Sequence[Finished], task_ttl_s: float, session_ttl_s: float
) -> list[Exception | None]:
    now = time.time()
    wanted = [each.session.session_id for each in part if each.session is not None]
    known = {}
    if wanted:
        places = ",".join("?" * len(wanted))
        query = f"SELECT session_id, owner, version FROM sessions WHERE session_id IN ({places}) AND expires>?"  # noqa: S608
        known = {row[0]: row[1:] for row in db.execute(query, (*wanted, now))}
    made: list[Exception | None] = []
    sessions: list[Any] = []
    tasks: list[Any] = []
    transitions: list[Any] = []
    expires, until = now + task_ttl_s, now + session_ttl_s
    for each in part:
        try:
            session, task = _rows(each, known, expires, until)
        except Exception as error:  # whatever is wrong with this one, the others are written
            made.append(error)
            continue
        if session is not None:
            sessions.append(session)
        tasks.append(task)
        transitions.append((each.task.task_id, each.task.status.value, each.task.attempts, now))
        made.append(None)
    _insert(db, "INSERT OR REPLACE INTO sessions VALUES ", "(?,?,?,?,?)", sessions)
    _insert(db, "INSERT INTO tasks VALUES ", "(?,?,?,?,?,?,?,?,0,NULL,0,0,?)", tasks)
    _insert(db, "INSERT INTO transitions (task_id, status, attempt, at) VALUES ", "(?,?,?,?)", transitions)
    return made


def _rows(
    given: Finished, known: dict[str, tuple[str, int]], expires: float, until: float
) -> tuple[tuple[Any, ...] | None, tuple[Any, ...]]:
    """Those of its session, where it has one, and of itself."""
    task, session, row = given.task, given.session, None
    if session is not None:
        saved = _next_version(session, known.get(session.session_id))
        row = (saved.session_id, saved.owner, saved.version, until, saved.model_dump_json())
    about = (task.task_id, task.owner, task.status.value, task.session_id, task.priority)
    return row, (*about, task.created_at.timestamp(), expires, task.attempts, task.model_dump_json())


def save(db: sqlite3.Connection, session: SessionRecord, session_ttl_s: float) -> SessionRecord:
    """Write a session's next version, and give it. Raises `NotTheOwner` and `SessionConflict`."""
    now = time.time()
    query = "SELECT owner, version FROM sessions WHERE session_id=? AND expires>?"
    known = db.execute(query, (session.session_id, now)).fetchone()
    saved = _next_version(session, known)
    row = (saved.session_id, saved.owner, saved.version, now + session_ttl_s, saved.model_dump_json())
    db.execute("INSERT OR REPLACE INTO sessions VALUES (?,?,?,?,?)", row)
    return saved


def _next_version(session: SessionRecord, known: tuple[str, int] | None) -> SessionRecord:
    owner, version = known or (session.owner, 0)
    if owner != session.owner:
        raise NotTheOwner(session.session_id)
    if version != session.version:
        raise SessionConflict(session.session_id)
    return session.model_copy(update={"version": version + 1, "updated_at": datetime.now(UTC)})


def _insert(db: sqlite3.Connection, into: str, places: str, rows: Sequence[Sequence[Any]]) -> None:
    if rows:
        values: list[Any] = []
        for row in rows:
            values += row
        db.execute(into + ",".join([places] * len(rows)), values)
