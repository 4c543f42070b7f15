"""Reading the database: own connections that can do nothing else, used in threads."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic_core import from_json

from penguiflow.recording.events import TraceEvent
from penguiflow.recording.lines import event_line, trace_field
from penguiflow.recording.spans import Span
from penguiflow.recording.text import clean_text
from penguiflow.state.chunks import Chunk, damaged, unpack
from penguiflow.state.connection import Connection, any_of
from penguiflow.state.errors import AmbiguousTrace, TraceNotFound
from penguiflow.state.files import BUSY_TIMEOUT_S, ReadConnection, explain, open_to_read
from penguiflow.state.idle import Idle
from penguiflow.state.liveness import dead_writers
from penguiflow.state.models import StoredEvent
from penguiflow.state.overview import span_tree
from penguiflow.state.spill import restore
from penguiflow.state.traces import TraceQuery, TraceSummary

__all__ = ["NOT_BACKGROUND", "Reader"]

T = TypeVar("T")

_MAX_IDLE = 4
MAX_CANDIDATES = 10
_LAST_CHARACTER = "\U0010ffff"

_SUMMARY = (
    "trace_id", "flow", "target", "status", "started", "ended", "duration_s", "version", "session", "epoch", "events",
    "error", "input", "output", "llm_calls", "tokens", "cost", "origin", "updated", "writer",
)  # fmt: skip
_SELECT = " ".join(("SELECT", ", ".join(_SUMMARY), "FROM traces"))
NOT_BACKGROUND = """(origin IS NULL OR origin NOT LIKE '%"mode": "background"%')"""
"""Runs, without what was done in the background on account of one. (A quote within a value would be escaped.)"""
_LAST = " ".join(("SELECT trace_id FROM traces WHERE", NOT_BACKGROUND, "ORDER BY started DESC, id DESC LIMIT 1"))
_SEARCHED = ("trace_id", "flow", "input", "output", "error")
_TEXTS = "".join(("fold(", " || ' ' || ".join(f"coalesce({column}, '')" for column in _SEARCHED), ")"))


class Reader:
    """Answers questions about what is committed; a file that does not exist has no traces."""

    def __init__(self, path: Path, *, patience_s: float = BUSY_TIMEOUT_S) -> None:
        """`patience_s` is how long another program may keep the file locked."""
        self._path = path
        self._patience_s = patience_s
        self._idle: Idle[ReadConnection] = Idle(str(path), _MAX_IDLE)

    async def ask(self, question: Callable[[Connection], T], otherwise: T) -> T:
        """The answer of a function that gets a connection; `otherwise` when there is no database yet.

        Runs in a thread. Raises `StoreUnreadable`, `StoreTooNew`, and what the function raises.
        """
        return await asyncio.to_thread(self.ask_here, question, otherwise)

    def close(self) -> None:
        """Let go of the file. Can be repeated."""
        for opened in self._idle.take_all(last=True):
            opened.close()

    def ask_here(self, question: Callable[[Connection], T], otherwise: T) -> T:
        """As `ask`, in this thread: for what takes a moment."""
        with self.connected() as connection:
            return otherwise if connection is None else question(connection)

    @contextmanager
    def connected(self) -> Iterator[Connection | None]:
        """A connection; None when there is no database yet. Raises `StoreError`, also for what goes wrong within."""
        try:
            with self._connection() as connection:
                yield connection
        except sqlite3.Error as error:
            raise explain(error, self._path, writing=False, waited_s=self._patience_s) from error
        except ValueError as error:  # JSON that is none any more
            raise explain(damaged(f"events cannot be read: {error}"), self._path, writing=False) from error

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection | None]:
        opened = self._idle.take()
        if opened is not None and not opened.is_current:
            opened.close()
            opened = None
        if opened is None:
            opened = open_to_read(self._path, timeout_s=self._patience_s)
        if opened is None:
            yield None
            return
        with self._idle.used(opened):
            yield opened.connection


def find_traces(connection: Connection, query: TraceQuery) -> list[TraceSummary]:
    """Traces that match, newest first."""
    dead = dead_writers(connection)
    conditions: list[str] = []
    values: list[Any] = []
    for condition, value in (
        ("flow = ?", query.flow),
        ("session = ?", query.session),
        ("started >= ?", query.since),
        ("started < ?", query.before),
    ):
        if value is not None:
            conditions.append(condition)
            values.append(clean_text(value) if isinstance(value, str) else value)
    if not query.background and query.flow is None:
        conditions.append(NOT_BACKGROUND)
    if query.text:
        conditions.append(f"instr({_TEXTS}, ?) > 0")
        values.append(clean_text(query.text.casefold()))
    if query.status is not None:
        among_dead = f"writer IN ({any_of(dead)})"
        if query.status == "interrupted":
            conditions.append(f"(status = ? OR status = 'running' AND {among_dead})")
        elif query.status == "running":
            conditions.append(f"status = ? AND NOT {among_dead}")
        else:
            conditions.append("status = ?")
        values.append(query.status)
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    sql = " ".join((_SELECT, where, "ORDER BY started DESC, id DESC LIMIT ?"))
    rows = connection.execute(sql, [*values, max(0, query.limit)])
    return [_summary(row, dead) for row in rows]


def get_trace(connection: Connection, trace_id: str) -> TraceSummary | None:
    """One trace by its full id."""
    row = connection.execute(f"{_SELECT} WHERE trace_id = ?", (clean_text(trace_id),)).fetchone()
    if row is None:
        return None
    return _summary(row, dead_writers(connection) if row[3] == "running" else [])


def resolve_trace(connection: Connection, prefix: str, path: str) -> str:
    """The full id behind a full id, a unique prefix, or `last`."""
    wanted = clean_text(prefix)
    exact = connection.execute("SELECT trace_id FROM traces WHERE trace_id = ?", (wanted,)).fetchone()
    if exact is None and prefix == "last":
        exact = connection.execute(_LAST).fetchone()
        if exact is None:
            raise no_such_trace(prefix, path)
    if exact is not None:
        return str(exact[0])
    found = (
        []
        if not wanted
        else connection.execute(
            "SELECT trace_id FROM traces WHERE trace_id >= ? AND trace_id < ? ORDER BY trace_id LIMIT ?",
            (wanted, wanted + _LAST_CHARACTER, MAX_CANDIDATES + 1),
        ).fetchall()
    )
    return the_only([trace_id for (trace_id,) in found], prefix, path)


def the_only(found: Sequence[str], prefix: str, path: str) -> str:
    """The trace id that begins with the prefix. Raises `TraceNotFound` and `AmbiguousTrace`."""
    if not found:
        raise no_such_trace(prefix, path)
    if len(found) == 1:
        return found[0]
    candidates = found[:MAX_CANDIDATES]
    more = ", …" if len(found) > MAX_CANDIDATES else ""
    raise AmbiguousTrace(
        f"several traces begin with {prefix}: {', '.join(candidates)}{more}; give more of the id",
        prefix=prefix,
        candidates=candidates,
        path=path,
    )


def no_such_trace(trace_id: str, path: str) -> TraceNotFound:
    """The error for an id that no trace has."""
    if trace_id == "last":
        return TraceNotFound(f"no trace is recorded in {path} yet", trace_id=trace_id, path=path)
    return TraceNotFound(
        f"no trace begins with {trace_id!r} in {path}; `pf traces` lists them", trace_id=trace_id, path=path
    )


def stored_chunks(connection: Connection, trace_id: str, after: int = -1) -> Generator[tuple[int, Chunk], None, None]:
    """Pieces that hold events with `seq > after`, in order, each with the `seq` of its first event."""
    rows = connection.execute(
        "SELECT first_seq, data FROM event_chunks"
        " WHERE trace = (SELECT id FROM traces WHERE trace_id = ?) AND last_seq > ? ORDER BY last_seq",
        (clean_text(trace_id), after),
    )
    # A cursor that is dropped half-way holds on to its snapshot.
    with closing(rows):
        for first_seq, data in rows:
            yield first_seq, unpack(data)


def _positions(
    connection: Connection, trace_id: str, after: int, limit: int | None
) -> Generator[tuple[Chunk, int, int], None, None]:
    """Where each event with `seq > after` is: piece, index in it, `seq` of its first; reads no more than it needs."""
    rest = -1 if limit is None else max(0, limit)
    with closing(stored_chunks(connection, trace_id, after)) as chunks:
        if rest == 0:
            return
        for first_seq, chunk in chunks:
            for index in range(max(0, after + 1 - first_seq), len(chunk.kinds)):
                yield chunk, index, first_seq
                rest -= 1
                if rest == 0:
                    return


def load_events(
    connection: Connection, trace_id: str, after: int, limit: int | None, kinds: Sequence[str] | None
) -> list[TraceEvent]:
    """Decoded events; `kinds` are exact, or beginnings followed by `*`."""
    if kinds is None:
        with closing(_positions(connection, trace_id, after, limit)) as places:
            records = (chunk.record(index, first_seq, trace_id) for chunk, index, first_seq in places)
            return [restore(connection, record).decode() for record in records]
    events: list[TraceEvent] = []
    wanted = kind_filter(kinds)
    with closing(_positions(connection, trace_id, after, None)) as found:
        for chunk, index, first_seq in found:
            if limit is not None and len(events) >= limit:
                break
            if wanted(chunk.kinds[index]):
                events.append(restore(connection, chunk.record(index, first_seq, trace_id)).decode())
    return events


def kind_filter(kinds: Sequence[str]) -> Callable[[str], bool]:
    """Whether a kind is among these, which are exact, or beginnings followed by `*`."""
    exact = {kind for kind in kinds if not kind.endswith("*")}
    beginnings = tuple(kind[:-1] for kind in kinds if kind.endswith("*"))
    return lambda kind: kind in exact or kind.startswith(beginnings)


def load_event_bytes(connection: Connection, trace_id: str, after: int, limit: int | None) -> list[bytes]:
    """Events in their JSON shape."""
    trace = trace_field(trace_id)
    with closing(_positions(connection, trace_id, after, limit)) as places:
        records = (chunk.record(index, first_seq, trace_id) for chunk, index, first_seq in places)
        return [event_line(restore(connection, record), trace) for record in records]


def load_spans(connection: Connection, trace_id: str, fold: bool) -> list[Span]:
    """The tree of a trace; with `fold`, of many siblings alike only some."""
    with closing(stored_chunks(connection, trace_id)) as chunks:
        return span_tree(chunks, trace_id, fold=fold)


def load_flow_events(connection: Connection, trace_id: str) -> list[StoredEvent]:
    """What `save_event` kept, in the order of time."""
    rows = connection.execute(
        "SELECT trace_id, ts, kind, node_name, node_id, payload FROM flow_events WHERE trace_id = ? ORDER BY ts, id",
        (clean_text(trace_id),),
    )
    return [
        StoredEvent(trace, ts, kind, node_name, node_id, from_json(payload))
        for trace, ts, kind, node_name, node_id, payload in rows
    ]


def _summary(row: Sequence[Any], dead: Sequence[int]) -> TraceSummary:
    fields = dict(zip(_SUMMARY, row, strict=True))
    updated, writer = fields.pop("updated"), fields.pop("writer")
    if fields["status"] == "running" and writer in dead:
        # Its writer died; until somebody closes it in the store, this is what there is to say.
        fields.update(status="interrupted", ended=updated, duration_s=max(0.0, updated - fields["started"]))
    if fields["origin"] is not None:
        fields["origin"] = from_json(fields["origin"])
    return TraceSummary.model_validate(fields)
