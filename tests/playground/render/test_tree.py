from __future__ import annotations

import re
from typing import Any

from penguiflow.recording.events import TraceEvent
from penguiflow.recording.spans import Span, SpanTree
from penguiflow.state.traces import TraceSummary
from playground.dashboard.text import cells
from playground.render.paint import painter
from playground.render.tree import heading_lines, tree_lines


class Story:
    """Makes a trace's events from calls that read like what happened; times are in milliseconds."""

    def __init__(self) -> None:
        self.tree = SpanTree()
        self.seq = 0
        self.open: dict[str, tuple[str, str, str | None]] = {}

    def start(self, kind: str, name: str, at: float, parent: str | None = None, **data: Any) -> str:
        span = str(self.seq)
        self.open[span] = (kind, name, parent)
        self._add(span, parent, at, f"{kind}.start", name, data)
        return span

    def end(self, span: str, at: float, status: str = "ok", error: dict[str, Any] | None = None) -> None:
        kind, name, parent = self.open.pop(span)
        data = {"status": status} | ({"error": error} if error else {})
        self._add(span, parent, at, f"{kind}.end", name, data)

    def _add(self, span: str, parent: str | None, at: float, kind: str, name: str, data: dict[str, Any]) -> None:
        event = TraceEvent(self.seq, 0, "t", span, parent, 0.0, int(at * 1e6), kind, name, data)
        self.tree.add(event)
        self.seq += 1

    @property
    def roots(self) -> list[Span]:
        return self.tree.roots


def retried() -> Story:
    story = Story()
    error = {"type": "KeyError", "message": "'x'\x1b[0m", "file": "/elsewhere/triage.py", "line": 44}
    flow_error = {"code": "NODE_EXCEPTION", "message": "'x'"}
    trace = story.start("trace", "triage", 0)
    route = story.start("node", "route", 0, trace)
    attempt = story.start("attempt", "route", 0, route, attempt=0)
    story.end(attempt, 1)
    story.end(route, 1)
    node = story.start("node", "technical", 1, trace)
    for number in range(2):
        attempt = story.start("attempt", "technical", 1 + number * 100, node, attempt=number)
        story.end(attempt, 50 + number * 100, "error", error)
    story.end(node, 160, "error", flow_error)
    story.end(trace, 200, "error", flow_error)
    return story


def test_attempts_that_failed_are_shown_with_their_place_and_errors_are_told_once() -> None:
    assert list(tree_lines(retried().roots)) == [
        "✖ triage             0.20 s  error",
        "├─ ✔ route           1.0 ms",
        "└─ ✖ technical       0.16 s  error",
        "   ├─ ✖ attempt 1     49 ms  error",
        "   │    KeyError: 'x'␛[0m  at /elsewhere/triage.py:44",
        "   └─ ✖ attempt 2     49 ms  error",
        "        KeyError: 'x'␛[0m  at /elsewhere/triage.py:44",
    ]


def test_the_steps_of_a_planner_are_counted() -> None:
    story = Story()
    planner = story.start("planner", "planner", 0)
    for number in range(2):
        step = story.start("step", "step", number * 100, planner, step=number)
        story.end(story.start("tool", "look", number * 100, step), number * 100 + 50)
        story.end(step, number * 100 + 100)
    story.end(planner, 200)

    assert list(tree_lines(story.roots)) == [
        "✔ planner            0.20 s",
        "├─ ✔ step 0          0.10 s",
        "│  └─ ✔ tool look     50 ms",
        "└─ ✔ step 1          0.10 s",
        "   └─ ✔ tool look     50 ms",
    ]


def test_bars_on_a_terminal_fit_its_width() -> None:
    lines = list(tree_lines(retried().roots, width=80))

    assert all(cells(line) <= 80 for line in lines)
    bars = [re.split(r"\d m?s  ", line, maxsplit=1)[-1] for line in lines]
    first, second = bars[3], bars[5]
    assert len(bars[0]) > 40
    assert len(bars[1]) < 3
    assert len(second) - len(second.lstrip()) > len(first.rstrip())


def test_narrow_terminals_get_no_bars_and_no_wrapping() -> None:
    lines = list(tree_lines(retried().roots, width=40))

    assert all(cells(line) <= 40 for line in lines)
    assert all(line.endswith(("ms", "error", "…")) for line in lines)


def test_color_changes_nothing_else() -> None:
    colored = list(tree_lines(retried().roots, paint=painter(True)))

    assert "\x1b[31m" in "".join(colored)
    assert [re.sub(r"\x1b\[\d*m", "", line).rstrip() for line in colored] == list(tree_lines(retried().roots))


def crowd(failed: int) -> Story:
    story = Story()
    trace = story.start("trace", "digest", 0)
    for number in range(1000):
        node = story.start("node", "summarize", number, trace)
        story.end(node, number + 1 + number % 3, "error" if number < failed else "ok")
    report = story.start("node", "report", 1001, trace)
    story.end(report, 1002)
    story.end(trace, 1003)
    return story


def test_a_crowd_is_summed_up_and_its_failures_are_not() -> None:
    lines = list(tree_lines(crowd(failed=2).roots))

    assert sum("✖ summarize" in line for line in lines) == 2
    assert sum("✔ summarize" in line for line in lines) == 3
    assert "├─ … 995 more summarize: 995 ok; 1.0 ms to 3.0 ms, median 2.0 ms" in lines
    assert lines[-1].startswith("└─ ✔ report")
    assert len(list(tree_lines(crowd(failed=2).roots, full=True))) == 1002


def test_a_deep_trace_and_a_running_one() -> None:
    story = Story()
    parent = None
    for depth in range(3000):
        parent = story.start("step", f"s{depth}", depth, parent)

    lines = list(tree_lines(story.roots, width=100))

    assert len(lines) == 3000
    assert lines[0].startswith("● step s0")
    assert "…" in lines[0]


def test_nothing_recorded() -> None:
    assert list(tree_lines([])) == []


def test_heading() -> None:
    trace = TraceSummary(
        trace_id="9e9a20c1", flow="triage", target="flows/triage.py", status="error", started=0.0, duration_s=0.82,
        version="3f9c1a2b3f9c1a2b", events=41, input='{"id": 1}', session="s\x1b",
    )  # fmt: skip

    lines = heading_lines(trace)

    assert lines[0] == "✖ error  triage  0.82 s  9e9a20c1"
    assert lines[1].startswith("flows/triage.py · version 3f9c1a2b3f9c · ")
    assert lines[1].endswith("41 events · session s␛")
    assert lines[2] == 'input   {"id": 1}'


def test_a_call_that_failed_does_not_hide_what_failed_afterwards() -> None:
    story = Story()
    node = story.start("node", "ask", 0)
    attempts = [story.start("attempt", "ask", number, node, attempt=number) for number in range(2)]
    for attempt, message in zip(attempts, ("no answer", "no answer to anything"), strict=True):
        call = story.start("record", "model", 1, attempt)
        story.end(call, 2, "error", {"type": "OSError", "message": "no answer"})
        story.end(attempt, 3, "error", {"type": "OSError", "message": message})
    lines = [line.strip(" │└├─") for line in tree_lines(story.roots)]

    assert [line for line in lines if "OSError" in line] == [
        "OSError: no answer",
        "OSError: no answer to anything",
        "OSError: no answer",
    ]
    assert sum("record model" in line for line in lines) == 2


def test_of_a_worker_it_is_told_what_it_had_and_that_others_had_it_before() -> None:
    story = Story()
    root = story.start("trace", "asking", 0, worker_id="caller", worker_seq=0)
    dead = {"worker_id": "w1", "worker_seq": 0, "queue_wait_s": 0.002, "delivery": 1}
    first = story.start("node", "ask", 1, root, **dead)
    story.end(first, 2, "interrupted")
    heir = {"worker_id": "w2\n", "worker_seq": 0, "queue_wait_s": 30.5, "delivery": 2}
    story.end(story.start("node", "ask", 3, root, **heir), 4)
    story.end(root, 5)
    shown = list(tree_lines(story.roots))

    assert "asking " in shown[0]
    assert "·" not in shown[0]
    assert "ask · w1 · waited 2.0 ms " in shown[1]
    assert "delivery" not in shown[1]
    assert re.search(r"ask · w2\S* · waited 30\.?5? s · delivery 2 ", shown[2])


def test_what_several_workers_tell_is_in_the_order_in_which_it_began() -> None:
    story = Story()
    root = story.start("trace", "orders", 0, worker_id="caller", worker_seq=0)
    for name, at, worker in (("charge", 20, "w1"), ("price", 10, "w2"), ("pack", 30, "w1")):
        story.end(story.start("node", name, at, root, worker_id=worker, worker_seq=0), at + 5)
    story.end(root, 40)
    lines = "\n".join(tree_lines(story.roots, width=80))
    assert lines.index("price") < lines.index("charge") < lines.index("pack")
