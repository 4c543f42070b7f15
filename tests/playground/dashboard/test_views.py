from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from playground.dashboard.details import error_card, event_details, flow_details, span_details, users_frames
from playground.dashboard.event_filter import EventFilter
from playground.dashboard.event_log import EventLog
from playground.dashboard.runs import RunList
from playground.dashboard.trace import TraceModel
from playground.dashboard.views.base import View
from playground.dashboard.views.detail import DetailView, payload
from playground.dashboard.views.events import EventsView
from playground.dashboard.views.lists import FlowsView, RunsView
from playground.dashboard.views.output import LogsView, StreamView
from playground.protocol import LogLine


def rows(view: View, width: int = 100) -> list[str]:
    return ["".join(piece for piece, _ in view.row(index, width)).rstrip() for index in range(len(view))]


def load(script: Any) -> TraceModel:
    trace = TraceModel(script.trace_id)
    for raw in script.events:
        trace.add(raw)
    return trace


def detail(document: Any, width: int = 70) -> DetailView:
    view = DetailView()
    view.resize(width, 40)
    view.show("subject", *document)
    return view


# -- events --------------------------------------------------------------------------------------------------------


def test_events_are_listed_with_time_kind_name_and_a_summary(triage: Callable[..., Any]) -> None:
    view = EventsView()
    view.show(load(triage()))
    lines = rows(view)
    assert len(lines) == 27
    assert lines[9].split()[:4] == ["9", "0.221", "attempt.end", "technical"]
    assert "knowledge base did not answer" in lines[9]
    assert "sync** is slow" in lines[13]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("kind:node.retry", 1),
        ("kind:stream", 6),
        ("node:reply kind:node", 2),
        ("ConnectionError", 2),
        ("!kind:stream", 21),
    ],
)
def test_events_are_filtered_by_kind_node_and_text(triage: Callable[..., Any], text: str, count: int) -> None:
    view = EventsView()
    view.show(load(triage()))
    view.set_filter(text)
    # A busy machine may not get through in the time that a frame gives.
    while view.busy:
        view.search_on(1.0)
    assert len(view) == count
    view.set_filter("")
    assert len(view) == 27


def test_a_bad_event_is_one_bad_row(triage: Callable[..., Any]) -> None:
    trace = load(triage())
    events, trace.events = list(trace.events), EventLog()
    for event in (*events[:3], b"\xff garbage", *events[4:]):
        trace.events.append(event)
    view = EventsView()
    view.show(trace)
    lines = rows(view)
    assert lines[3].startswith("⚠")
    assert "node.start" in lines[2]


def test_filters_of_nothing_pass_everything() -> None:
    assert not EventFilter("  ")
    assert EventFilter("!x").matches(b'{"kind":"a"}')


# -- details -------------------------------------------------------------------------------------------------------


def test_a_failed_attempt_shows_traceback_queue_and_input(triage: Callable[..., Any]) -> None:
    trace = load(triage())
    attempt = next(span for span in trace.spans.values() if span.kind == "attempt" and span.status == "error")
    lines = rows(detail(span_details(trace, attempt)))
    text = "\n".join(lines)
    assert "ConnectionError: knowledge base did not answer" in text
    assert "flows/triage.py:34" in text
    assert 'File "flows/triage.py", line 34, in find' in text
    assert "3.0 ms in the queue" in text
    assert 'customer: "ACME"' in text


def test_tracebacks_leave_out_the_frames_of_penguiflow() -> None:
    import penguiflow

    library = penguiflow.__file__.replace("__init__", "worker")
    text = users_frames(
        "Traceback (most recent call last):\n"
        f'  File "{library}", line 296, in _activate\n    pending = run()\n              ^^^^^\n'
        '  File "flows/a.py", line 3, in ask\n    raise E\nE: no\nmore\n'
    )
    assert text.splitlines() == [
        "Traceback (most recent call last):",
        '  File "flows/a.py", line 3, in ask',
        "    raise E",
        "E: no",
        "more",
        "(1 frame of penguiflow left out)",
    ]


def test_a_node_shows_what_went_in_and_what_came_out(triage: Callable[..., Any]) -> None:
    trace = load(triage())
    node = next(span for span in trace.spans.values() if span.name == "technical" and span.kind == "node")
    text = "\n".join(rows(detail(span_details(trace, node))))
    assert "input route->technical · Ticket" in text
    assert "output technical->reply · Article" in text
    assert "2 attempts" in text
    assert 'title: "Slow sync"' in text


def test_the_run_shows_its_input_and_output(triage: Callable[..., Any]) -> None:
    trace = load(triage())
    assert trace.root is not None
    text = "\n".join(rows(detail(span_details(trace, trace.root))))
    assert "input · Ticket" in text
    assert "output · Reply" in text
    assert "flows/triage.py" in text


def test_an_event_shows_its_payload_as_a_tree(triage: Callable[..., Any]) -> None:
    view = detail(event_details(load(triage()), 18))
    lines = rows(view)
    assert any(line.startswith("▾ payload · Article") for line in lines)
    index = next(index for index, line in enumerate(lines) if "tags:" in line)
    view.go(index)
    assert view.activate()
    assert any('0: "cache"' in line for line in rows(view))
    assert view.activate()
    assert not any('0: "cache"' in line for line in rows(view))


def test_a_dequeued_message_leads_to_its_payload(script: Any) -> None:
    made = script("f" * 32)
    made.send(made.root, "OpenSea", "a", {"text": "hi"}, "m1")
    made.event("message.dequeued", "OpenSea->a", made.root, None, {"message_id": "m1"})
    view = detail(event_details(load(made), 2))
    view.go(len(view) - 1)
    view.side(1)
    assert any('text: "hi"' in line for line in rows(view))


def test_a_huge_event_is_decoded_only_on_demand(script: Any) -> None:
    made = script("g" * 32)
    made.send(made.root, "OpenSea", "a", {"blob": "x" * 5_000_000}, "m1")
    trace = load(made)
    assert "press D" in "\n".join(rows(detail(event_details(trace, 1))))
    view = detail(event_details(trace, 1, whole=True))
    assert any("blob" in line for line in rows(view))


def test_large_containers_come_in_groups() -> None:
    view = detail(([], [payload("payload", {f"key{n}": n for n in range(10_000)}, is_open=True)]))
    assert len(view) == 1
    view.side(1)
    assert len(view) == 101
    view.go(1)
    view.side(1)
    assert len(view) == 201
    assert rows(view)[2].strip() == "key0: 0"


def test_long_texts_unfold_into_wrapped_lines_and_copy_whole() -> None:
    text = "one two three " * 50
    view = detail(([], [payload("payload", {"text": text})]), width=40)
    view.go(1)
    assert view.activate()
    assert len(view) > 15
    assert all(len(line) <= 40 for line in rows(view, 40)[2:])
    assert view.copy_text() == text


def test_what_was_open_stays_open_when_the_document_is_made_again(triage: Callable[..., Any]) -> None:
    trace = load(triage())
    assert trace.root is not None
    view = detail(span_details(trace, trace.root))
    view.go(next(index for index, line in enumerate(rows(view)) if "envelope" in line))
    view.activate()
    before, cursor = rows(view), view.cursor
    view.show("subject", *span_details(trace, trace.root))
    assert (rows(view), view.cursor) == (before, cursor)


def test_deep_payloads_unfold_without_end() -> None:
    value: Any = "bottom"
    for _ in range(150):
        value = [value]
    view = detail(([], [payload("payload", value)]))
    view.expand_all()
    assert any("bottom" in line for line in rows(view))


def test_hostile_texts_stay_visible_symbols() -> None:
    evil = "\x1b]52;c;AAAA\x07 \u202e \x00 \ud800"
    view = detail(([], [payload("pay\x1bload", {evil: evil, "more": [evil * 30]})]))
    view.expand_all()
    shown = "".join(rows(view))
    shown.encode("utf-8")
    assert shown.isprintable()


def test_a_broken_module_says_where_why_and_what_still_works(modules: Callable[[], Any]) -> None:
    broken = modules()[2]
    text = "\n".join(rows(detail(error_card(broken, broken.error))))
    for part in (
        "SyntaxError: '(' was never closed",
        "flows/broken.py:12",
        "close the bracket",
        "flow = create(",
        "watched",
    ):
        assert part in text
    stale = broken.model_copy(update={"state": "stale", "flows": modules()[1].flows})
    assert "last good version (v3f9c1a)" in "\n".join(rows(detail(error_card(stale, stale.error))))


def test_a_flow_shows_samples_nodes_and_schema(modules: Callable[[], Any]) -> None:
    module = modules()[1]
    text = "\n".join(rows(detail(flow_details(module, module.flows[0]))))
    for part in ("Route a support ticket", "route · technical · billing", "sample 1", "input Ticket", "v3f9c1ab23f9c"):
        assert part in text


# -- lists ---------------------------------------------------------------------------------------------------------


def test_flows_show_their_state_by_a_mark(modules: Callable[[], Any]) -> None:
    view = FlowsView()
    view.show(modules())
    lines = rows(view, 40)
    assert lines[0] == "● hello"
    assert lines[1].startswith("● triage  Route a support")
    assert lines[2].startswith("✖ broken:12 SyntaxError")
    view.running = {"flows/triage.py": 2}
    assert rows(view, 40)[1].endswith("2●")


def test_what_is_no_plain_flow_says_what_it_is(modules: Callable[[], Any]) -> None:
    view, found = FlowsView(), modules()
    found[0].flows[0].kind = "planner"
    view.show(found)
    assert rows(view, 40)[0].split() == ["●", "hello", "planner"]
    assert rows(view, 12)[0].split() == ["●", "hello"]


def test_the_cursor_stays_on_its_flow_when_modules_change(modules: Callable[[], Any]) -> None:
    view = FlowsView()
    view.show(modules())
    view.pick("flows/triage.py")
    view.show(list(reversed(modules())))
    assert view.flow is not None
    assert view.flow.name == "triage"


def test_runs_are_filtered_and_keep_their_cursor(triage: Callable[..., Any]) -> None:
    runs = RunList()
    view = RunsView(runs)
    for number in range(5):
        trace = load(triage(f"{number:x}" * 32, ts=1_790_000_000.0 + number))
        runs.began(trace)
        runs.ended(trace)
    view.sync()
    assert [line.trace_id[0] for line in view.rows] == ["4", "3", "2", "1", "0"]
    view.go(2)
    newer = load(triage("9" * 32, ts=1_790_000_100.0, until="retry"))
    runs.began(newer)
    view.sync()
    assert view.line is not None
    assert view.line.trace_id[0] == "2"
    view.set_filter("status:running")
    assert [line.trace_id[0] for line in view.rows] == ["9"]
    view.set_filter("triage !running")
    assert len(view) == 5


def test_the_newest_run_is_followed_until_the_user_moves(triage: Callable[..., Any]) -> None:
    runs = RunList()
    view = RunsView(runs)
    for number in range(3):
        runs.began(load(triage(f"{number:x}" * 32, ts=1_790_000_000.0 + number)))
        view.sync()
        assert view.line is not None
        assert view.line.trace_id[0] == str(number)
    view.move(1)
    assert not view.follow_newest


# -- output --------------------------------------------------------------------------------------------------------


def test_streams_are_drawn_as_markdown_and_raw(triage: Callable[..., Any]) -> None:
    view = StreamView()
    view.resize(60, 20)
    view.show(load(triage()))
    lines = rows(view, 60)
    assert lines[0] == "▌ Ticket 4711"
    assert "Your sync is slow because the" in lines
    assert "• pf sync --warm" in lines
    assert "find   212" in lines
    view.set_raw(True)
    assert rows(view, 60)[0] == "## Ticket 4711"


def test_a_stream_laid_out_live_looks_as_when_laid_out_at_once(triage: Callable[..., Any]) -> None:
    script = triage()
    live, trace = StreamView(), TraceModel(script.trace_id)
    live.resize(40, 10)
    live.show(trace)
    for raw in script.events:
        trace.add(raw)
        live.sync()
    whole = StreamView()
    whole.resize(40, 10)
    whole.show(load(script))
    assert rows(live, 40) == rows(whole, 40)
    assert live.at_end


def test_streams_of_a_run_are_chosen_by_left_and_right(script: Any) -> None:
    made = script("h" * 32)
    made.chunk(made.root, "answer", 0, "yes")
    made.chunk(made.root, "thinking", 0, "hm")
    view = StreamView()
    view.show(load(made))
    assert view.copy_text() == "yes"
    view.side(1)
    assert view.copy_text() == "hm"
    assert "[thinking 1/1]" in "".join(piece for piece, _ in view.head(0, 80))


def test_logs_are_wrapped_followed_and_filtered() -> None:
    view = LogsView()
    view.resize(40, 5)
    for number in range(20):
        view.add([LogLine(ts=1_790_000_000.0, source="stdout", text=f"line {number} " + "x" * 40)])
    view.add([LogLine(ts=1_790_000_000.0, source="log", text="it broke", level="ERROR")])
    view.sync()
    assert view.at_end
    assert rows(view, 40)[-1].endswith("✖ it broke")
    view.set_filter("broke")
    assert len(view) == 1
    view.set_filter("")
    view.move(-3)
    assert not view.follow
    view.go_last()
    assert view.follow


def test_more_logs_than_are_kept_push_out_the_oldest() -> None:
    view = LogsView()
    view.resize(60, 5)
    for _ in range(12):
        view.add([LogLine(ts=0, source="stdout", text=f"{number}") for number in range(1000)])
    view.sync()
    assert len(view) == 5000


# -- moving --------------------------------------------------------------------------------------------------------


def test_scrolling_takes_the_cursor_along(triage: Callable[..., Any]) -> None:
    view = EventsView()
    view.show(load(triage()))
    view.resize(80, 10)
    view.scroll(5)
    assert (view.top, view.cursor) == (5, 5)
    view.scroll(-100)
    assert (view.top, view.cursor) == (0, 5)
    view.scroll(100)
    assert (view.top, view.cursor) == (17, 17)
    view.go(3)
    assert view.top == 3


def test_copying_an_event_gives_its_json(triage: Callable[..., Any]) -> None:
    view = EventsView()
    view.show(load(triage()))
    view.go(4)
    assert json.loads(view.copy_text())["kind"] == "message.enqueued"
