from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest

from playground.dashboard.trace import TraceModel
from playground.dashboard.traffic import Traffic
from playground.dashboard.watching.graph import GraphView
from playground.dashboard.watching.painting import cut, paint
from playground.dashboard.watching.topology import MAX_DRAWN, draw
from playground.protocol import FlowInfo, NodeInfo, Stopped

Triage = Callable[..., Any]


def fed(events: Sequence[bytes], trace_id: str = "9e9a20c1" * 4) -> TraceModel:
    trace = TraceModel(trace_id)
    for raw in events:
        trace.add(raw)
    return trace


def flow_of(*edges: tuple[str, str]) -> FlowInfo:
    names = dict.fromkeys(name for edge in edges for name in edge if name not in {"OpenSea", "Rookery"})
    return FlowInfo(target="flows/x.py", name="x", nodes=[NodeInfo(name=name) for name in names], edges=list(edges))


def shown(trace: TraceModel, flow: FlowInfo | None = None, stops: list[Stopped] | None = None) -> GraphView:
    view = GraphView(lambda _: flow, lambda _: stops or [])
    view.show(trace)
    view.resize(100, 30)
    view.sync()
    return view


def text_of(view: GraphView, width: int = 100) -> str:
    return "\n".join("".join(text for text, _ in view.safe_row(i, width)).rstrip() for i in range(len(view)))


def box(view: GraphView, name: str) -> str:
    """What is written in a node's box."""
    item = next(item for item in view._picture.items if item.name == name)
    rows = ["".join(text for text, _ in view.safe_row(row, 1000)) for row in range(item.row, item.row + item.height)]
    start = item.column - min(view.left, 0)
    return " ".join(row[start : start + item.width].strip("│┃ ") for row in rows[1:-1])


def test_traffic_counts_messages_work_and_failures(triage: Triage) -> None:
    traffic = fed(triage().events).traffic
    assert traffic.edges["OpenSea->route"].sent == 1
    assert traffic.nodes["technical"].ok == 1
    assert traffic.nodes["technical"].retries == 1
    assert traffic.nodes["technical"].running == 0


def test_the_same_counts_while_it_runs(triage: Triage) -> None:
    trace = fed(triage(until="retry").events)
    work = trace.traffic.nodes["technical"]
    assert (work.running, work.ok, work.retries) == (1, 0, 1)
    assert work.span_id == next(span.span_id for span in trace.spans.values() if span.name == "technical")
    trace.interrupt()
    assert (work.running, work.failed) == (0, 1)


def test_messages_wait_before_a_node(script: Any) -> None:
    run = script("9e9a20c1" * 4)
    for _ in range(3):
        run.send(run.root, "OpenSea", "slow", {})
    run.event("message.dequeued", "OpenSea->slow", run.root, None, {"message_id": "m1"})
    trace = fed(run.events)
    assert trace.traffic.waiting("slow") == 2
    assert "▼ 2" in text_of(shown(trace))


def test_boxes_say_what_each_node_does(triage: Triage) -> None:
    flow = flow_of(("OpenSea", "route"), ("route", "technical"), ("route", "billing"), ("technical", "reply"),
                   ("billing", "reply"), ("reply", "Rookery"))  # fmt: skip
    view = shown(fed(triage(until="retry").events), flow)
    assert box(view, "route") == "route ✔1"
    assert box(view, "technical") == "technical ●1 ↻1"
    assert box(view, "billing").strip() == "billing"
    # The whole topology is there, run or not.
    assert "( Rookery )" in text_of(view)


def test_a_stopped_node_says_so(triage: Triage) -> None:
    trace = fed(triage(until="retry").events)
    stop = Stopped(stop="stop-1", trace_id=trace.trace_id, span_id="1", path=[], kind="before_node", name="technical",
                   payload=None, since=0.0)  # fmt: skip
    assert "⏸" in box(shown(trace, None, [stop]), "technical")


def planner_script(script: Any) -> Any:
    run = script("9e9a20c1" * 4, flow="agent")
    node = run.node("agent", "m")
    planner = run.start("planner", "react", node, {"tools": ["search", "fetch"], "model": "x"})
    step = run.start("step", "step", planner, {"step": 0})
    tool = run.start("tool", "search", step, {"ordinal": 0})
    run.end(tool, "error", error={"type": "ValueError", "message": "no"})
    run.end(step)
    step = run.start("step", "step", planner, {"step": 1})
    branch = run.start("branch", "fetch", step, {"ordinal": 0})
    run.start("tool", "fetch", branch, {"ordinal": 0})
    return run


def test_a_planner_shows_its_step_and_its_tools(script: Any) -> None:
    view = shown(fed(planner_script(script).events))
    assert "step 1 tool" in box(view, "agent")
    drawn = text_of(view)
    assert "⚙ search" in drawn
    assert "✖1" in next(line for line in drawn.splitlines() if "search" in line)
    assert "●1" in next(line for line in drawn.splitlines() if "fetch" in line)


def test_the_cursor_goes_through_nodes_and_tools(script: Any, triage: Triage) -> None:
    view = shown(fed(planner_script(script).events))
    names = []
    for _ in range(4):
        assert view.item is not None
        names.append(view.item.name)
        view.move(1)
    assert names[:3] == ["agent", "search", "fetch"]
    flow = flow_of(("a", "b"), ("a", "c"), ("b", "d"), ("c", "d"))
    view = shown(fed(triage().events[:1]), flow)
    view.go(0)
    view.move(1)
    assert view.item is not None
    first = view.item.name
    view.side(1)
    view.side(1)
    view.side(-1)
    assert {first, view.item.name} <= {"b", "c"}
    view.go_last()
    assert view.item.name == "d"


def test_a_click_puts_the_cursor_on_a_node(triage: Triage) -> None:
    view = shown(fed(triage().events))
    item = next(item for item in view._picture.items if item.name == "reply")
    assert view.point(item.row + 1, item.column - view.left + 2)
    assert view.item == item


def test_a_big_graph_scrolls_both_ways(triage: Triage) -> None:
    wide = [("start", f"branch number {n}") for n in range(12)]
    view = shown(fed(triage().events[:1]), flow_of(*wide))
    view.resize(40, 6)
    for item in view._picture.items:
        view.number = view._picture.items.index(item)
        view._moved()
        assert item.name in text_of(view, 40)
        assert view.top <= item.row < view.top + 6


def test_a_huge_graph_is_a_list_and_costs_little(triage: Triage) -> None:
    names = [f"n{n}" for n in range(MAX_DRAWN + 1)]
    chain = list(pairwise(names))
    view = shown(fed(triage().events[:1]), flow_of(*chain))
    assert "n0" in text_of(view)
    assert not view._picture.drawn
    assert "▶ n1" in text_of(view).splitlines()[0]


def test_loops_and_odd_names() -> None:
    picture = draw(
        ["a\x1b[2J", "日本"], [("a\x1b[2J", "日本"), ("日本", "a\x1b[2J"), ("日本", "日本")], {"日本": ["道具"]}
    )
    text = "\n".join(picture.lines)
    assert "\x1b" not in text
    assert "↺" in text
    assert "道具" in text


@pytest.mark.parametrize(("start", "width", "expected"), [(0, 4, "ab日"), (1, 3, "b日"), (3, 3, " cd"), (0, 3, "ab ")])
def test_cutting_wide_characters(start: int, width: int, expected: str) -> None:
    assert "".join(text for text, _ in cut([("ab日cd", "")], start, width)) == expected


def test_names_beyond_the_limit_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("playground.dashboard.traffic.MAX_NAMES", 2)
    traffic = Traffic()
    for number in range(5):
        traffic.move(f"a->{number}", 1)
    assert len(traffic.edges) == 2


async def test_in_the_dashboard(open_desk: Any, source: Any, triage: Triage) -> None:
    source.answer = lambda run: triage("9e9a20c1" * 4, until="retry").events
    async with open_desk(size=(120, 40)) as desk:
        await desk.press("j", "r")
        await desk.until(lambda: desk.app.workspace.current and desk.app.workspace.current.retries, "the retry")
        await desk.press("3")
        desk.app.panes["trace"].show_view(desk.app.areas["watching"].graph)
        await desk.frame()
        assert "[Graph]" in desk.text()
        assert "●1 ↻1" in desk.text()
        await desk.press("j", "j")
        picked = desk.app.areas["watching"].graph.item
        await desk.press("enter")
        assert picked.name in "".join(text for text, _ in desk.app.panes["inspect"].view.title())
        assert desk.app.pane.id == "inspect"
        assert "has not worked in this run" in desk.text()
        # The run goes on, and the picture with it.
        source.inbox.events.extend(triage("9e9a20c1" * 4).events[-12:])
        source.inbox.events.extend(triage("9e9a20c1" * 4).events)
        await desk.until(lambda: desk.app.workspace.current.over, "the end")


@pytest.mark.parametrize("line", ["abcdef", "ab日ef"])
def test_texts_are_painted_over_a_line_of_any_width(line: str) -> None:
    written = [(1, "XY", "a"), (2, "Z", "b"), (8, "!", "c")]
    rows = paint(line, "", written, 0, 10)
    assert "".join(text for text, _ in rows).rstrip() in {"aXZdef  !", "aXZ ef  !"}
    assert [role for _, role in rows if role] == ["a", "b", "c"]
    assert "".join(text for text, _ in paint(line, "", [], -2, 4)) == "  ab"


def test_a_graph_is_laid_out_once_while_its_nodes_begin(triage: Triage, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []

    def counted(*given: Any) -> Any:
        drawn.append(given)
        return draw(*given)

    monkeypatch.setattr("playground.dashboard.watching.graph.draw", counted)
    flow = flow_of(("OpenSea", "route"), ("route", "technical"), ("technical", "reply"), ("reply", "Rookery"))
    trace = TraceModel("9e9a20c1" * 4)
    view = GraphView(lambda _: flow, lambda _: [])
    view.show(trace)
    for raw in triage().events:
        trace.add(raw)
        view.sync()
    assert len(drawn) == 1


def test_a_graph_is_laid_out_once_for_all_its_runs() -> None:
    names, edges = ["OpenSea", "one", "two", "Rookery"], [("OpenSea", "one"), ("one", "two"), ("two", "Rookery")]
    first = draw(names, edges, {"two": ["fetch"]})
    assert draw(list(names), list(edges), {"two": ["fetch"]}) is first
    assert draw(names, edges, {"two": ["skim"]}) is not first
