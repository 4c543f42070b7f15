"""How a filter goes through a stored trace: what it need not read, and what threads do for it."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from penguiflow.state import SQLiteStateStore
from penguiflow.state.pieces import AHEAD, Pieces
from playground.dashboard.event_filter import EventFilter
from playground.dashboard.event_log import MAX_NAMES, EventLog
from playground.dashboard.event_search import EventSearch
from playground.dashboard.trace import TraceModel
from playground.dashboard.views.events import EventsView

PIECES = 2 * AHEAD + 3
TRACE = "7" * 32


@pytest.fixture
async def pieces(tmp_path: Path) -> AsyncIterator[Pieces]:
    """A run in many small pieces: nodes, and in the last piece a retry, `needle`, and nodes of many names."""
    store = SQLiteStateStore(tmp_path / "state.db")
    log = store.recorder(name="loop").open(TRACE)
    for number in range(PIECES - 1):
        node = log.start("node", "first" if number % 2 else "second", log.root, {"number": number})
        log.end("node", "node", node, log.root, "ok")
        await store.flush()
    log.event("node.retry", "first", log.root, {"attempt": 1, "error": {"message": "a Needle"}})
    for number in range(MAX_NAMES + 1):
        log.event("note", f"name{number}", log.root, {})
    log.close("ok")
    await store.flush()
    yield await store.open_pieces(TRACE)
    await store.close()


def read(pieces: Pieces) -> TraceModel:
    trace = TraceModel(TRACE)
    trace.events = EventLog(pieces)
    for number in range(len(pieces)):
        trace.take_stored(number)
    return trace


class Counted:
    """How many pieces were read as bytes, and how many were taken apart."""

    def __init__(self, pieces: Pieces, monkeypatch: pytest.MonkeyPatch) -> None:
        self.read = self.opened = 0
        told, text, chunk = pieces.told, pieces.text, pieces.chunk

        def count_told(numbers: range, look: Any) -> list[Any]:
            self.read += len(numbers)
            return told(numbers, look)

        def count_text(number: int) -> bytes:
            self.opened += 1
            return text(number)

        def count_chunk(number: int) -> Any:
            self.opened += 1
            return chunk(number)

        monkeypatch.setattr(pieces, "told", count_told)
        monkeypatch.setattr(pieces, "text", count_text)
        monkeypatch.setattr(pieces, "chunk", count_chunk)


def found(search: EventSearch) -> list[int]:
    # In one go: what is broken off by the clock is opened again.
    while search.go_on(1e9):
        pass
    return list(search.found)


def test_a_kind_is_found_by_the_index_without_reading_pieces(pieces: Pieces, monkeypatch: pytest.MonkeyPatch) -> None:
    trace, counted = read(pieces), Counted(pieces, monkeypatch)
    retry = trace.position(2 * PIECES - 1)
    assert found(EventSearch(trace.events, EventFilter("kind:node.retry"))) == [retry]
    assert (counted.read, counted.opened) == (0, 1)
    assert found(EventSearch(trace.events, EventFilter("kind:nowhere"))) == []
    assert found(EventSearch(trace.events, EventFilter("kind:node.* name:nowhere"))) == []
    # The names of the last piece are too many to be kept.
    assert (counted.read, counted.opened) == (0, 2)
    assert len(found(EventSearch(trace.events, EventFilter("node:name7")))) == 1


def test_words_are_sought_in_the_bytes_and_only_what_holds_them_is_taken_apart(
    pieces: Pieces, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace, counted = read(pieces), Counted(pieces, monkeypatch)
    retry = trace.position(2 * PIECES - 1)
    for text in ("needle", "/a needl[a-f]/"):
        before = counted.read, counted.opened
        assert found(EventSearch(trace.events, EventFilter(text))) == [retry]
        assert (counted.read - before[0], counted.opened - before[1]) == (len(pieces), 1)
    assert found(EventSearch(trace.events, EventFilter("kind:node.retry NEEDLE"))) == [retry]


def test_before_its_kinds_are_known_a_trace_is_searched_by_its_bytes(pieces: Pieces) -> None:
    log, whole = EventLog(pieces), read(pieces).events
    for text in ("kind:node.retry", "node:second", "!kind:node", "kind:node.start node:first", "kind:note !node:name1"):
        assert found(EventSearch(log, EventFilter(text))) == found(EventSearch(whole, EventFilter(text))) != [], text


def test_threads_sift_beside_whoever_goes_on(pieces: Pieces) -> None:
    trace = read(pieces)
    search = EventSearch(trace.events, EventFilter("needle"))
    # Left to threads, nothing is looked at that was not sifted.
    assert not search.go_on(1e9, sift=False)
    assert (search.scanned, search.sifting) == (0, True)
    threads = [threading.Thread(target=search.sift, args=(1e9,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not search.sifting
    assert search.go_on(1e9, sift=False)
    assert (list(search.found), search.busy) == ([trace.position(2 * PIECES - 1)], False)


def test_a_view_leaves_stored_pieces_to_those_who_sift(pieces: Pieces, monkeypatch: pytest.MonkeyPatch) -> None:
    view, counted = EventsView(), Counted(pieces, monkeypatch)
    view.show(read(pieces))
    # Each key that is typed makes another filter; none of them reads anything by itself.
    for text in ("n", "ne", "nee", "need"):
        view.set_filter(text)
        view.sync()
    assert (counted.read, counted.opened, len(view), view.busy) == (0, 0, 0, True)
    while view.busy:
        if view.sift is not None:
            view.sift(1e9)
        view.search_on(1e9, sift=False)
    assert len(view) == 1


async def test_pieces_that_are_gone_are_passed_over(tmp_path: Path) -> None:
    store = SQLiteStateStore(tmp_path / "state.db")
    log = store.recorder().open(TRACE)
    log.close("ok")
    await store.flush()
    trace = read(await store.open_pieces(TRACE))
    with sqlite3.connect(store.path) as connection:
        connection.execute("DELETE FROM event_chunks")
    connection.close()
    for text in ("trace", "kind:trace", "/tr[a]ce/"):
        assert found(EventSearch(trace.events, EventFilter(text))) == []
    await store.close()
