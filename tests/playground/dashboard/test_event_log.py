"""Events of a trace in little memory, and the search through them."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playground.dashboard.event_filter import EventFilter
from playground.dashboard.event_log import HUGE, PAGE_EVENTS, EventLog
from playground.dashboard.event_search import EventSearch
from playground.dashboard.trace import TraceModel
from playground.dashboard.views.events import EventsView


def event(seq: int, kind: str = "message.enqueued", name: str = "a->b", data: dict[str, Any] | None = None) -> bytes:
    fields = {"seq": seq, "epoch": 0, "trace_id": "t", "span_id": "0", "parent_id": None, "ts": 1.5, "offset_ns": seq}
    whole = {**fields, "kind": kind, "name": name, "data": data or {}}
    return json.dumps(whole, separators=(",", ":")).encode()


def log_of(events: list[bytes]) -> EventLog:
    log = EventLog()
    for each in events:
        log.append(each)
    return log


@given(st.lists(st.integers(0, 4), max_size=40), st.data())
def test_what_is_kept_comes_back_whatever_its_size(sizes: list[int], data: st.DataObject) -> None:
    texts = {0: "x", 1: "é€🐧\n\\" * 30, 2: "y" * 100_000, 3: "z" * (HUGE + 1), 4: ""}
    events: list[bytes] = []
    for size in sizes:
        for _ in range(200 if size in {0, 4} else 1):
            events.append(event(len(events), data={"text": texts[size]}))
    log = log_of(events)
    assert len(log) == len(events)
    assert list(log) == events
    assert log.bytes == sum(map(len, events))
    if events:
        index = data.draw(st.integers(-len(events), len(events) - 1))
        assert log[index] == events[index]
        assert log[index:] == events[index:]
    with pytest.raises(IndexError):
        log[len(events)]


@given(st.integers(0, 1500), st.integers(0, 1600), st.integers(0, 1600), st.booleans())
def test_a_search_finds_what_is_there_in_either_direction(count: int, first: int, last: int, backwards: bool) -> None:
    events = [event(number, data={"n": f"<{number % 7}>"}) for number in range(count)]
    expected = [(index, raw) for index, raw in enumerate(events) if b"<3>" in raw][:]
    expected = [found for found in expected if first <= found[0] < last]
    found = list(log_of(events).holding(b"<3>", first, min(last, count), backwards=backwards))
    assert found == (expected[::-1] if backwards else expected)


def test_an_event_with_line_breaks_between_its_fields_is_kept_on_one_line() -> None:
    spread = json.dumps(json.loads(event(0)), indent=1).encode()
    log = log_of([spread, *(event(number) for number in range(1, 2 * PAGE_EVENTS))])
    assert json.loads(log[0]) == json.loads(spread)
    assert len(list(log)) == 2 * PAGE_EVENTS


def test_pages_that_nobody_looks_at_are_small() -> None:
    log = log_of([event(number, data={"text": "the quick brown fox" * 5}) for number in range(20_000)])
    kept = sum(len(page.heads) + len(page.texts) for page in log._pages)
    assert kept < log.bytes / 8


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fox", {3}),
        ("FOX", {3}),
        ("kind:node.retry", {5}),
        ("!kind:message", {5}),
        ("node:b /f.x/", {3}),
        ("/^.*n.de\\.retry/", {5}),
        ("!/enqueued/", {5}),
        ("/two words/", {7}),
        ("/two wo", {7}),
        ("trace_id", set()),
    ],
)
def test_words_fields_and_expressions_choose_events(text: str, expected: set[int]) -> None:
    events = [event(number) for number in range(9)]
    events[3] = event(3, data={"animal": "Fox"})
    events[5] = event(5, kind="node.retry", name="x")
    events[7] = event(7, data={"text": "Two words"})
    search = EventSearch(log_of(events), EventFilter(text))
    while search.go_on():
        pass
    assert set(search.found) == expected


def test_a_long_trace_is_searched_a_little_per_frame_and_progress_is_told() -> None:
    ticks = itertools.count()
    log = log_of([event(number, data={"text": f"w{number}"}) for number in range(5 * PAGE_EVENTS)])
    search = EventSearch(log, EventFilter("enqueued"), clock=lambda: float(next(ticks)))
    assert search.go_on(100.0)
    assert 0 < len(search.found) < 200
    assert search.busy
    while search.go_on(1e9):
        pass
    assert list(search.found) == list(range(len(log)))


def test_pages_without_the_words_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    log = log_of([event(number) for number in range(20 * PAGE_EVENTS)] + [event(0, data={"text": "needle"})])
    opened: set[int] = set()
    events = log._events

    def note(number: int) -> list[bytes]:
        opened.add(number)
        return events(number)

    monkeypatch.setattr(log, "_events", note)
    search = EventSearch(log, EventFilter("needle"))
    while search.go_on(1e9):
        pass
    assert list(search.found) == [20 * PAGE_EVENTS]
    assert opened <= {20}


def test_a_bad_expression_is_told_and_finds_nothing() -> None:
    trace, view = TraceModel("t"), EventsView()
    trace.add(event(0, kind="trace.start"))
    view.show(trace)
    view.set_filter("/[/")
    assert len(view) == 0
    assert "/[/" in "".join(text for text, _ in view.title())


def test_an_expression_that_never_ends_is_given_up() -> None:
    trace, view = TraceModel("t"), EventsView()
    trace.add(event(0, kind="trace.start", data={"text": "a" * 5000 + "!"}))
    view.show(trace)
    view.set_filter(r"/(a|aa|b?a)+(a|aa)+\d$/")
    view.sync()
    assert "too long" in "".join(text for text, _ in view.title())


def test_progress_stands_at_the_edge_while_a_search_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("playground.dashboard.views.events.FRAME_S", 0.0)
    trace, view = TraceModel("t"), EventsView()
    for number in range(3 * PAGE_EVENTS):
        trace.add(event(number))
    view.show(trace)
    view.set_filter("enqueued")
    assert "looked at" in view.note()
