from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

from playground.dashboard.trace import TraceModel
from playground.dashboard.views.tree import TreeView


def text_of(view: TreeView, width: int = 100) -> list[str]:
    return ["".join(piece for piece, _ in view.row(index, width)).rstrip() for index in range(len(view))]


def names(view: TreeView) -> list[str]:
    return [
        "  " * depth + (f"{span.kind} {span.attempt}" if span.kind == "attempt" else span.name)
        for span, depth in view.rows
    ]


def shown(script: Any, *, live: bool = True) -> TreeView:
    trace, view = TraceModel(script.trace_id), TreeView(clock=lambda: 0.0)
    view.show(trace)
    view.resize(100, 20)
    for raw in script.events:
        trace.add(raw)
        if live:
            view.sync()
    view.sync()
    return view


EXPECTED = ["triage", "  route", "  technical", "    attempt 0", "    attempt 1", "  reply"]


def test_attempts_show_only_where_one_failed(triage: Callable[..., Any]) -> None:
    assert names(shown(triage())) == EXPECTED


def test_the_same_tree_whether_built_live_or_at_once(triage: Callable[..., Any]) -> None:
    assert names(shown(triage(), live=False)) == EXPECTED


def test_a_failed_attempt_shows_while_the_next_one_is_awaited(triage: Callable[..., Any]) -> None:
    view = shown(triage(until="retry"))
    assert names(view) == EXPECTED[:4]
    assert "ConnectionError: knowledge base did not answer" in text_of(view, 180)[3]
    assert "↻ after 0.10 s" in text_of(view, 180)[3]


def test_rows_have_status_time_and_bar(triage: Callable[..., Any]) -> None:
    rows = text_of(shown(triage()))
    assert rows[1].split()[:4] == ["✔", "route", "13", "ms"]
    assert rows[5].endswith(" ━━━")
    assert "↻ 2 attempts" in rows[2]
    assert rows[3].lstrip().startswith("✖ attempt 1")


def test_narrow_rows_do_without_the_bar(triage: Callable[..., Any]) -> None:
    rows = text_of(shown(triage()), 36)
    assert all(len(row) <= 36 for row in rows)
    assert not any("━" in row for row in rows)


def test_folding_hides_what_is_inside_and_survives_new_events(triage: Callable[..., Any]) -> None:
    script = triage()
    trace, view = TraceModel(script.trace_id), TreeView(clock=lambda: 0.0)
    view.show(trace)
    for raw in script.events[:11]:
        trace.add(raw)
    view.sync()
    view.go(2)
    view.toggle()
    assert names(view) == EXPECTED[:3]
    for raw in script.events[11:]:
        trace.add(raw)
        view.sync()
    assert names(view) == [*EXPECTED[:3], EXPECTED[5]]
    view.side(1)
    assert names(view) == EXPECTED


def test_left_folds_and_then_leads_to_the_parent(triage: Callable[..., Any]) -> None:
    view = shown(triage())
    view.go(3)
    view.side(-1)
    assert view.cursor == 2
    view.side(-1)
    assert names(view) == [*EXPECTED[:3], EXPECTED[5]]
    view.side(-1)
    assert view.cursor == 0


def test_the_cursor_stays_on_its_span_as_rows_come_in_before_it(script: Any) -> None:
    made = script("a" * 32)
    first = made.node("first", "m1")
    tried = made.attempt(first)
    second = made.node("second", "m2")
    trace, view = TraceModel(made.trace_id), TreeView(clock=lambda: 0.0)
    view.show(trace)
    for raw in made.events:
        trace.add(raw)
    view.sync()
    view.go(2)
    assert view.span is not None
    made.end(tried, "error", error={"type": "E", "message": "no"})
    trace.add(made.events[-1])
    view.sync()
    assert names(view) == ["triage", "  first", "    attempt 0", "  second"]
    assert view.span.span_id == second


def test_picking_a_hidden_span_opens_what_hides_it(triage: Callable[..., Any]) -> None:
    view = shown(triage())
    attempt = view.rows[3][0]
    view.go(0)
    view.toggle()
    assert len(view) == 1
    view.pick(attempt.span_id)
    assert view.span is attempt


def test_spliced_trees_equal_rebuilt_ones(script: Any) -> None:
    rng = random.Random(7)
    for _ in range(20):
        made = script("b" * 32)
        open_nodes: list[tuple[str, str, int]] = []
        trace, view = TraceModel(made.trace_id), TreeView(clock=lambda: 0.0)
        view.show(trace)
        for raw in made.events:
            trace.add(raw)
        for step in range(60):
            if not open_nodes or rng.random() < 0.4:
                node = made.node(f"n{step}", f"m{step}")
                open_nodes.append((node, made.attempt(node), 0))
            else:
                node, attempt, number = open_nodes.pop(rng.randrange(len(open_nodes)))
                if rng.random() < 0.5:
                    made.end(attempt, "error", error={"type": "E", "message": "no"})
                    open_nodes.append((node, made.attempt(node, number + 1), number + 1))
                else:
                    made.end(attempt)
                    made.end(node)
            for raw in made.events[trace.last_seq + 1 :]:
                trace.add(raw)
            if rng.random() < 0.5:
                view.sync()
            if rng.random() < 0.2:
                view.go(rng.randrange(max(len(view), 1)))
                view.toggle()
        view.sync()
        spliced = list(view.rows)
        view._rebuild()
        assert spliced == view.rows


def test_following_stays_at_the_end_until_the_cursor_moves(script: Any) -> None:
    made = script("c" * 32)
    trace, view = TraceModel(made.trace_id), TreeView(clock=lambda: 0.0)
    view.show(trace)
    view.resize(80, 5)
    view.follow = True
    for number in range(30):
        made.node(f"n{number}", f"m{number}")
    for raw in made.events:
        trace.add(raw)
    view.sync()
    view.settle()
    assert (view.cursor, view.top) == (30, 26)
    view.move(-1)
    made.node("late", "m")
    trace.add(made.events[-1])
    view.sync()
    view.settle()
    assert view.cursor == 29


def test_a_hundred_thousand_events_are_taken_up_quickly(script: Any) -> None:
    made = script("d" * 32)
    for number in range(17_000):
        node = made.node("work", f"m{number}")
        attempt = made.attempt(node)
        made.send(node, "work", "join", {"n": number})
        made.end(attempt)
        made.end(node)
        made.event("message.dequeued", "work->join", made.root, None, {"message_id": f"m{number}"})
    trace, view = TraceModel(made.trace_id), TreeView(clock=lambda: 0.0)
    view.show(trace)
    view.resize(100, 20)
    times: list[float] = []
    for start in range(0, len(made.events), 1000):
        for raw in made.events[start : start + 1000]:
            trace.add(raw)
        began = time.thread_time()
        view.sync()
        view.settle()
        times.append(time.thread_time() - began)
    assert len(view) == 17_001
    # Taking up a thousand events costs the same however many rows there are.
    half = len(times) // 2
    early, late = (sorted(part)[len(part) // 2] for part in (times[:half], times[half:]))
    assert late < max(0.05, 5 * early)


def test_the_end_of_a_trace_that_is_read_is_gone_to_when_it_is_there(triage: Callable[..., Any]) -> None:
    script = triage()
    trace, view = TraceModel(script.trace_id), TreeView(clock=lambda: 0.0)
    trace.loading = True
    view.show(trace)
    view.resize(100, 3)
    for raw in script.events[:10]:
        trace.add(raw)
    view.sync()
    assert view.unfinished.endswith(" %")
    view.go_last()
    before = view.cursor
    for raw in script.events[10:]:
        trace.add(raw)
    view.sync()
    view.settle()
    assert view.cursor == len(view) - 1 > before
    trace.loading, trace.revision = False, trace.revision + 1
    view.sync()
    assert (view.cursor, view.follow, view.unfinished) == (len(EXPECTED) - 1, False, "")
    view.move(-1)
    view.sync()
    assert view.cursor == len(EXPECTED) - 2


def test_a_search_finds_what_rows_hold(triage: Callable[..., Any]) -> None:
    for script in (triage(), triage(until="retry")):
        view = shown(script)
        rows = range(len(view))
        for needle in ("e", "attempt", "attempt 2", "↻", "2 attempts", "connection", "ok", "error", "node r", "zz"):
            for order in (rows, rows[::-1]):
                assert view.finder(needle)(order) == [row for row in order if view.holds(row, needle)], needle
        assert view.finder("e")(range(len(view) + 5)) == view.finder("e")(rows)
