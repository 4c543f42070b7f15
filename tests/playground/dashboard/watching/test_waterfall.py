from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from playground.dashboard.trace import TraceModel
from playground.dashboard.views.tree import TreeView
from playground.dashboard.watching.axis import Window, draw, ruler, ticks
from playground.dashboard.watching.timing import Piece, Queueing, pieces, totals
from playground.dashboard.watching.waterfall import WaterfallView

MS = 1_000_000
Triage = Callable[..., Any]


def shown(script: Any, width: int = 100) -> WaterfallView:
    trace, tree = TraceModel(script.trace_id), TreeView(clock=lambda: 0.0)
    view = WaterfallView(tree)
    tree.show(trace)
    for raw in script.events:
        trace.add(raw)
    tree.sync()
    view.show(trace)
    view.resize(width, 20)
    return view


def text_of(view: WaterfallView, width: int = 100) -> list[str]:
    return ["".join(piece for piece, _ in view.safe_row(index, width)) for index in range(len(view))]


def axis_of(found: list[Piece], window: Window, width: int) -> str:
    return "".join(text for text, _ in draw(found, window, width)).replace("┊", " ")


def span(trace: TraceModel, name: str, kind: str = "node") -> Any:
    return next(span for span in trace.spans.values() if span.name == name and span.kind == kind)


def test_queue_failure_wait_and_work_of_a_node_are_told_apart(triage: Triage) -> None:
    trace = shown(triage()).trace
    assert trace is not None
    technical = span(trace, "technical")
    found = pieces(trace, technical, Queueing().since(trace, technical))
    assert [(piece.state, piece.start_ns // MS, piece.end_ns // MS) for piece in found] == [
        ("queued", 14, 17),
        ("failed", 17, 221),
        ("waiting", 221, 322),
        ("running", 322, 760),
    ]
    assert totals(found)["failed"] == 204 * MS


def test_a_tool_that_tried_again_shows_its_waits(script: Any) -> None:
    run = script("ab" * 16)
    tool = run.start("tool", "fetch", run.root, {"ordinal": 0})
    run.ms = 10
    run.event("node.retry", "fetch", tool, run.root, {"attempt": 1, "sleep_s": 0.03})
    run.ms = 60
    run.end(tool)
    run.finish()
    trace = shown(run).trace
    assert trace is not None
    states = [(piece.state, piece.end_ns // MS) for piece in pieces(trace, span(trace, "fetch", "tool"))]
    assert states == [("failed", 10), ("waiting", 40), ("running", 60)]


def test_a_join_waits_and_a_running_span_grows(script: Any) -> None:
    run = script("ab" * 16)
    run.start("join", "total", run.root, {"hold": "2 of 3"})
    node = run.node("late", "m")
    run.attempt(node)
    run.ms = 30
    run.event("log", "x", node, run.root, {})
    trace = shown(run).trace
    assert trace is not None
    assert [piece.state for piece in pieces(trace, span(trace, "total", "join"))] == ["waiting"]
    live = pieces(trace, span(trace, "late"))
    assert live[-1].state == "live"
    assert live[-1].end_ns >= 30 * MS


def test_shapes_tell_the_states_without_color() -> None:
    window = Window()
    window.fit(100)
    window.start_ns, window.end_ns = 0, 100
    found = [Piece(0, 20, "queued"), Piece(20, 40, "failed"), Piece(40, 60, "waiting"), Piece(60, 80, "running")]
    # A window is never narrower than a microsecond.
    wide = [Piece(piece.start_ns * 100, piece.end_ns * 100, piece.state) for piece in found]
    window.end_ns = 10_000
    assert axis_of(wide, window, 20) == "░░░░━━━✖┄┄┄┄━━━━    "
    assert axis_of([Piece(0, 10_000, "live")], window, 4) == "━━━▶"


def test_what_is_out_of_sight_says_on_which_side() -> None:
    window = Window()
    window.show(50_000, 60_000)
    assert axis_of([Piece(0, 10, "running")], window, 10) == "◂         "
    assert axis_of([Piece(90_000, 90_010, "running")], window, 10) == "         ▸"


@pytest.mark.parametrize("total", [1, 1_500, 3_000_000, 815 * MS, 90 * 10**9, 5 * 3600 * 10**9])
@pytest.mark.parametrize("width", [1, 4, 30, 120])
def test_a_ruler_fits_and_is_never_crowded(total: int, width: int) -> None:
    window = Window()
    window.fit(total)
    row = ruler(window, width)
    assert sum(len(text) for text, _ in row) == width
    assert len(ticks(window, width)) <= width // 7 + 2
    assert len(axis_of([Piece(0, total, "running")], window, width)) == width


def test_zooming_keeps_the_span_in_sight_and_ends_with_everything(triage: Triage) -> None:
    view = shown(triage())
    view.go(1)
    for _ in range(6):
        view.zoom(1)
        assert view.window.start_ns <= 14 * MS
        assert view.window.end_ns >= 1 * MS
    assert view.window.width_ns < 5 * MS
    for _ in range(8):
        view.zoom(-1)
    assert not view.window.zoomed
    assert view.window.width_ns == 815 * MS


def test_the_window_follows_the_cursor_and_pans(triage: Triage) -> None:
    view = shown(triage())
    view.go(1)
    view.zoom_span()
    assert view.window.end_ns < 20 * MS
    view.go(5)
    assert view.window.start_ns <= 760 * MS <= view.window.end_ns
    before = view.window.start_ns
    view.side(-1)
    assert view.window.start_ns < before
    view.zoom_span()
    assert view.window.zoomed
    view.zoom_span()
    assert not view.window.zoomed


def test_rows_are_those_of_the_tree_and_so_is_the_cursor(triage: Triage) -> None:
    view = shown(triage())
    rows = text_of(view)
    assert len(rows) == len(view.tree)
    assert all(len(row) == 100 for row in rows)
    view.go(3)
    assert view.tree.cursor == 3
    view.tree.go(2)
    assert view.cursor == 2
    assert "failed 0.20 s" in view.note()
    assert "queued 3.0 ms" in view.note()
    view.side(-1)
    assert len(view) == len(view.tree) == 4


def test_one_broken_span_costs_one_row(triage: Triage) -> None:
    view = shown(triage())
    view.tree.rows[2][0].end_ns = "soon"  # type: ignore[assignment]
    rows = text_of(view)
    assert "cannot be shown" in rows[2]
    assert sum("cannot be shown" in row for row in rows) == 1


def test_a_frame_costs_the_same_however_long_the_trace(script: Any) -> None:
    run = script("ab" * 16)
    for number in range(20_000):
        run.ms += 0.01
        message = run.send(run.root, "OpenSea", "work", {"n": number}, f"m{number}")
        node = run.node("work", message)
        run.end(node)
    view = shown(run.finish() and run)
    assert len(view) == 20_001
    view.go_last()
    started = time.process_time()
    for index in range(view.top, view.top + 20):
        view.row(index, 120)
    assert time.process_time() - started < 0.1


async def test_keys_in_the_dashboard(open_desk: Any, source: Any, triage: Triage) -> None:
    source.answer = lambda run: triage("9e9a20c1" * 4).events
    async with open_desk(size=(120, 40)) as desk:
        await desk.press("j", "r")
        await desk.until(lambda: desk.app.workspace.current and desk.app.workspace.current.over, "the run")
        await desk.press("3", "g", "j", "j", "right_square_bracket")
        assert "[Waterfall]" in desk.text()
        assert "░ queued ┄ waiting ━ working ✖ failed" in desk.text()
        await desk.press("equals_sign")
        assert desk.app.areas["watching"].waterfall.window.zoomed
        await desk.press("U", "U")
        assert not desk.app.areas["watching"].waterfall.window.zoomed
        await desk.press("space")
        assert len(desk.app.spans) == 4
        # Enter and the inspector work as in the tree.
        await desk.press("enter")
        assert "technical" in desk.app.panes["inspect"].view.title()[0][0]


def test_the_same_trace_at_another_moment_stays_zoomed(triage: Triage) -> None:
    view = shown(triage())
    view.go(1)
    view.zoom_span()
    again = TraceModel("9e9a20c1" * 4)
    view.tree.show(again)
    view.show(again)
    assert view.window.zoomed
    view.show(TraceModel("ab" * 16))
    assert not view.window.zoomed
