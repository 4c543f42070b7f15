"""`pf search`: events by their text and kind."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from penguiflow.recording.tracefile import is_trace_file
from penguiflow.state.files import open_to_read
from penguiflow.state.search import Found, Looked, SearchQuery, searching
from penguiflow.state.sqlite import SQLiteStateStore
from playground.cli.console import Console
from playground.cli.failures import ExitCode, Failure
from playground.cli.inputs import read_moment
from playground.cli.stores import reading, told
from playground.cli.waiting import waiting
from playground.dashboard.text import clip, one_line
from playground.project import find_project
from playground.storing import open_store

__all__ = ["Hit", "SearchOptions", "SearchOutput", "find_events"]

SILENT_S = 0.5
_CLEAR = "\r\x1b[K"
_ID_CHARS = 8


class SearchOptions(NamedTuple):
    """What `pf search` was asked for, as it was typed."""

    text: str = ""
    regex: bool = False
    kinds: tuple[str, ...] = ()
    trace: str | None = None
    flow: str | None = None
    session: str | None = None
    since: str | None = None
    limit: int = 50
    json: bool = False


class Hit(BaseModel):
    """One event that was found."""

    model_config = ConfigDict(extra="forbid")

    trace_id: str
    flow: str | None
    seq: int
    kind: str
    name: str
    span_id: str
    ts: float
    """Unix seconds."""
    before: str
    """What stands before what was found, in the event's data as JSON or in its name."""
    match: str
    after: str


class SearchOutput(BaseModel):
    """`pf search --json`: events, those of the newest run first."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    schema_: Literal[1] = Field(1, alias="schema")
    hits: list[Hit]
    complete: bool
    """False when there may be more: see `--limit`."""


def find_events(options: SearchOptions) -> int:
    """Print events that match as they are found; returns the exit code."""
    query = _query(options)
    console = Console()
    hits: list[Hit] = []
    complete = False
    begun = time.monotonic()
    try:
        for item in _search(query, options.trace):
            if isinstance(item, Looked):
                complete = item.events >= item.total
                _tell(console, item, begun)
                continue
            _clear(console)
            hits.append(Hit(**item._asdict()))
            if not options.json:
                console.line(_line(console, item, with_trace=options.trace is None))
                console.flush()
    finally:
        _clear(console)
    if options.json:
        console.json(SearchOutput(schema=1, hits=hits, complete=complete).model_dump(mode="json", by_alias=True))
    elif not hits:
        console.tell("nothing found")
    elif not complete:
        console.tell(f"… there may be more: --limit {options.limit * 10}")
    return ExitCode.DONE


def _query(options: SearchOptions) -> SearchQuery:
    if options.limit < 1:
        raise Failure("--limit must be at least 1")
    if not options.text and not options.kinds:
        raise Failure("say what to look for", hint="pf search TEXT, pf search --kind planner.decision")
    if options.regex:
        try:
            re.compile(options.text)
        except re.error as error:
            marked = [one_line(options.text), " " * error.pos + "^"] if error.pos is not None else []
            raise Failure(f"this is no regular expression: {error.msg}", details=marked) from None
    in_file = options.trace is not None and is_trace_file(Path(options.trace))
    trace_id = None if options.trace is None or in_file else asyncio.run(_resolve(options.trace))
    return SearchQuery(
        text=options.text,
        regex=options.regex,
        kinds=list(options.kinds),
        trace_id=trace_id,
        flow=options.flow,
        session=options.session,
        since=None if options.since is None else read_moment(options.since),
        limit=options.limit,
    )


async def _resolve(prefix: str) -> str:
    async with reading() as store:
        return await store.resolve_trace(prefix)


def _search(query: SearchQuery, trace: str | None) -> Iterator[Found | Looked]:
    """In this thread: a regular expression that does not come to an end can be interrupted only here."""
    if trace is not None and is_trace_file(Path(trace)):
        with TemporaryDirectory(prefix="penguiflow-", ignore_cleanup_errors=True) as folder:
            path = Path(folder) / "state.db"
            asyncio.run(_unpack(path, Path(trace)))
            yield from _search_in(path, query)
        return
    project = find_project()
    if project.store_address() is None:
        yield from _search_in(project.database, query)
        return
    store = open_store(project, read_only=True)
    try:
        with store.reading() as connection:
            yield from (Looked(0, 0),) if connection is None else searching(connection, query)
    finally:
        asyncio.run(store.close())


async def _unpack(database: Path, file: Path) -> None:
    store = SQLiteStateStore(database)
    try:
        async with waiting(Console(), "reading") as say:
            await store.import_trace(file, progress=told(file, say))
    finally:
        await store.close()


def _search_in(database: Path, query: SearchQuery) -> Iterator[Found | Looked]:
    opened = open_to_read(database)
    if opened is None:
        yield Looked(0, 0)
        return
    with closing(opened):
        yield from searching(opened.connection, query)


def _tell(console: Console, looked: Looked, begun: float) -> None:
    if console.err_terminal and time.monotonic() - begun > SILENT_S and looked.events < looked.total:
        told = f"looked at {looked.events:,} of {looked.total:,} events"
        console.tell(_CLEAR + console.err_paint("dim", clip(told, console.err_width - 1)), end="")


def _clear(console: Console) -> None:
    if console.err_terminal:
        console.tell(_CLEAR, end="")


def _line(console: Console, found: Found, *, with_trace: bool) -> str:
    """Where it is, what it is, and the text around what was found; as one line."""
    paint = console.out_paint
    place = f"{one_line(found.trace_id[:_ID_CHARS])}:{found.seq}" if with_trace else f"{found.seq}"
    head = f"{place}  {found.kind}  {one_line(found.name)}  "
    before, match, after = one_line(found.before), one_line(found.match), one_line(found.after)
    if console.width is not None:
        room = max(20, console.width - len(head) - len(match))
        before = before if len(before) <= room // 2 else "…" + before[-(room // 2 - 1) :]
        after = clip(after, max(0, room - len(before)))
    return paint("dim", head) + before + paint("warn", match) + after
