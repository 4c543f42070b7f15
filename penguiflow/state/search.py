"""Finding events by their text and kind, in one trace or in all of a store.

There is no index of the text, so that recording has nothing to keep up: pieces of events lie in the file as they were
written, and are looked through as bytes, a million events in a tenth of a second. Only those that may hold what is
looked for are taken apart. A regular expression has to see each event, which takes longer: it tells how far it is.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import NamedTuple

from pydantic import BaseModel, Field
from pydantic_core import to_json

from penguiflow.recording.events import EventRecord
from penguiflow.recording.text import clean_text
from penguiflow.state.chunks import unpack
from penguiflow.state.connection import Asks, Connection
from penguiflow.state.reader import kind_filter
from penguiflow.state.sieve import may_hold
from penguiflow.state.spill import restore

__all__ = ["Found", "Looked", "SearchQuery", "search", "searching"]

Excerpt = tuple[str, str, str]
"""What stands before what was found, that, and what stands behind it."""
TELL_EVERY_S = 0.05
CONTEXT_CHARS = 60
"""Of an excerpt, before and after what was found."""
MAX_MATCH_CHARS = 200
_PIECES_AT_ONCE = 64
_IN_HOPS = frozenset({"message.dequeued", "node.start", "attempt.start", "attempt.end", "message.enqueued", "node.end"})
"""Kinds that one stored event may stand for."""
_WOVEN = frozenset({"stream.chunk", "message.enqueued", "message.dequeued"})
"""Kinds that are taken out of a piece's columns where streams made them."""
_BUILT = (
    " ".join(sorted(_IN_HOPS | _WOVEN)) + " status ok latency_ms message_id node_id attempt stream_id chunk_seq text"
    " done false meta source target payload type value headers penguiflow.types:StreamChunk"
)
"""Text of events that is not stored but made when they are read."""
_TRACES = "SELECT id, trace_id, flow, events FROM traces"
_PIECES = (
    "SELECT first_seq, last_seq, data FROM event_chunks WHERE trace = ? AND last_seq > ? ORDER BY last_seq LIMIT ?"
)


class SearchQuery(BaseModel):
    """What to look for, and where."""

    text: str = ""
    """Whatever the case of its letters, in the names and the data of events; empty for any event."""
    regex: bool = False
    """The text is a regular expression, over the JSON text of the data."""
    kinds: list[str] = []
    """Exact, or beginnings followed by `*`; all by default."""
    trace_id: str | None = None
    flow: str | None = None
    session: str | None = None
    since: float | None = None
    """Only runs that started at or after, unix seconds."""
    limit: int = Field(default=100, ge=1)


class Found(NamedTuple):
    """An event that was looked for."""

    trace_id: str
    flow: str | None
    seq: int
    kind: str
    name: str
    span_id: str
    ts: float
    before: str
    """Text around what was found: of the name, or of the data as JSON."""
    match: str
    after: str


class Looked(NamedTuple):
    """How far the search is; told a few times a second, and at its end."""

    events: int
    total: int


class _Sieve(NamedTuple):
    """What tells that a stored piece cannot hold what is looked for."""

    needle: bytes | None
    """In small letters; None where the stored bytes do not tell."""
    kinds: tuple[bytes, ...] | None
    payloads: tuple[bytes, ...]
    """Names of large payloads, kept beside the events, that hold the text."""

    def lets_through(self, data: bytes) -> bool:
        if self.kinds is not None and not any(kind in data for kind in self.kinds):
            return False
        if self.needle is None or any(name in data for name in self.payloads):
            return True
        return may_hold(data, self.needle, elsewhere=False)


def searching(connection: Connection, query: SearchQuery) -> Iterator[Found | Looked]:
    """The events that match, those of the newest run first, in order within each. Raises `re.error`."""
    matches = _matcher(query)
    wanted = kind_filter(query.kinds) if query.kinds else None
    sieve = _sieve(connection, query)
    traces = _traces(connection, query)
    total, looked, found = sum(events for *_, events in traces), 0, 0
    told = time.monotonic()
    for row_id, trace_id, flow, events in traces:
        for first_seq, last_seq, data in _pieces(connection, row_id):
            if sieve.lets_through(data):
                chunk = unpack(data)
                for index, kind in enumerate(chunk.kinds):
                    if wanted is not None and not wanted(kind):
                        continue
                    record = restore(connection, chunk.record(index, first_seq, trace_id))
                    excerpt = matches(record)
                    if excerpt is None:
                        continue
                    yield Found(trace_id, flow, record.seq, kind, record.name, record.span_id, record.ts, *excerpt)
                    found += 1
                    if found >= query.limit:
                        return
            if time.monotonic() - told > TELL_EVERY_S:
                told = time.monotonic()
                yield Looked(min(total, looked + last_seq + 1), total)
        looked += events
    yield Looked(total, total)


async def search(reader: Asks, query: SearchQuery) -> AsyncGenerator[Found | Looked, None]:
    """As `searching`, in a thread; whoever stops to iterate ends it within a moment."""
    loop = asyncio.get_running_loop()
    items: asyncio.Queue[Found | Looked | None] = asyncio.Queue()
    enough = threading.Event()

    def work(connection: Connection) -> None:
        for item in searching(connection, query):
            if enough.is_set():
                return
            loop.call_soon_threadsafe(items.put_nowait, item)

    working = asyncio.create_task(reader.ask(work, None))
    working.add_done_callback(lambda _: items.put_nowait(None))
    try:
        while (item := await items.get()) is not None:
            yield item
    finally:
        enough.set()
        await working


def _traces(connection: Connection, query: SearchQuery) -> list[tuple[int, str, str | None, int]]:
    wanted = {
        "trace_id = ?": query.trace_id,
        "flow = ?": query.flow,
        "session = ?": query.session,
        "started >= ?": query.since,
    }
    given = {name: clean_text(value) if isinstance(value, str) else value for name, value in wanted.items()}
    given = {name: value for name, value in given.items() if value is not None}
    where = f"WHERE {' AND '.join(given)}" if given else ""
    sql = " ".join((_TRACES, where, "ORDER BY started DESC, id DESC"))
    return connection.execute(sql, list(given.values())).fetchall()


def _pieces(connection: Connection, trace: int) -> Iterator[tuple[int, int, bytes]]:
    """The pieces of a trace, some at a time: nobody is kept from tidying up the file by a search that takes long."""
    after = -1
    while rows := connection.execute(_PIECES, (trace, after, _PIECES_AT_ONCE)).fetchall():
        yield from rows
        after = rows[-1][1]


def _matcher(query: SearchQuery) -> Callable[[EventRecord], Excerpt | None]:
    if not query.text:
        return lambda record: (_text(record.data[: 4 * MAX_MATCH_CHARS])[:MAX_MATCH_CHARS], "", "")
    if query.regex:
        pattern = re.compile(query.text, re.IGNORECASE)
    else:
        # Texts stand in the data as JSON has them; what was copied from there may be JSON itself.
        spelled = dict.fromkeys((_as_json(query.text), clean_text(query.text)))
        pattern = re.compile("|".join(map(re.escape, spelled)), re.IGNORECASE)
    quick = _as_json(query.text).lower().encode() if _is_plain(query) else None

    def matches(record: EventRecord) -> Excerpt | None:
        if quick is not None and quick not in record.data.lower() and quick not in record.name.lower().encode():
            return None
        for text in (_text(record.data), record.name):
            match = pattern.search(text)
            if match is not None:
                return _around(text, match.start(), match.end())
        return None

    return matches


def _around(text: str, start: int, end: int) -> Excerpt:
    before, after = text[max(0, start - CONTEXT_CHARS) : start], text[end : end + CONTEXT_CHARS]
    found = text[start:end]
    if len(found) > MAX_MATCH_CHARS:
        found, after = found[:MAX_MATCH_CHARS] + "…", ""
    return (
        ("…" if start > CONTEXT_CHARS else "") + before,
        found,
        after + ("…" if end + CONTEXT_CHARS < len(text) else ""),
    )


def _sieve(connection: Connection, query: SearchQuery) -> _Sieve:
    kinds = None
    if query.kinds and not any(_is_built(kind) for kind in query.kinds):
        kinds = tuple(b'"%b' % kind.rstrip("*").encode() for kind in query.kinds)
    needle = None
    if _is_plain(query) and query.text.lower() not in _BUILT.lower():
        needle = _as_json(query.text).lower().encode()
    return _Sieve(needle, kinds, () if needle is None else _payloads_with(connection, needle))


def _is_plain(query: SearchQuery) -> bool:
    """Whether the bytes of the text are looked for as they are."""
    return bool(query.text) and not query.regex and query.text.isascii() and '"' not in query.text


def _is_built(kind: str) -> bool:
    wanted = kind_filter([kind])
    return any(wanted(each) for each in (*_IN_HOPS, *_WOVEN))


def _payloads_with(connection: Connection, needle: bytes) -> tuple[bytes, ...]:
    try:
        rows = connection.execute("SELECT hash, data FROM payloads")
        return tuple(digest.hex().encode() for digest, data in rows if needle in data.lower())
    except sqlite3.OperationalError:  # a file of an earlier version
        return ()


def _as_json(text: str) -> str:
    """The text as it stands within a JSON string."""
    return to_json(clean_text(text)).decode()[1:-1]


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
