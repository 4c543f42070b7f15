from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from penguiflow.state.statistics import FlowStatistics, PartStatistics, RunPoint, StatisticsQuery, Times
from playground.dashboard.watching.numbers import SORTS, NumbersView
from playground.sources import RunRefused

START = 1_790_000_000.0
Make = Callable[..., FlowStatistics]


def make_statistics(flow: str = "triage", runs: int = 20, failed: int = 2) -> FlowStatistics:
    times = Times(p50=310.0, p90=520.0, p99=2100.0, mean=400.0, max=2300.0)
    points = [
        RunPoint(
            trace_id=f"{number:032x}",
            started=START + 60 * number,
            duration_s=0.1 * (number % 7 + 1),
            status="error" if number < failed else "ok",
            tokens=100 * number,
            cost=0.001 * number,
        )
        for number in range(runs)
    ]
    busy = Times(p50=10, p90=20, p99=30, mean=15, max=40)
    slow = Times(p50=300, p90=500, p99=900, mean=350, max=950)
    rest: dict[str, Any] = {"failed": 0, "error_rate": 0.0, "retries": 3, "tokens": 0, "cost": 0.0}
    asked: dict[str, Any] = {"failed": 3, "error_rate": 0.25, "retries": 0, "tokens": 9000, "cost": 0.4}
    parts = [
        PartStatistics(kind="node", name="technical", count=4000, times_ms=busy, **rest),
        PartStatistics(kind="llm", name="openai/gpt-x", count=12, times_ms=slow, **asked),
    ]
    return FlowStatistics(
        flow=flow,
        runs=runs,
        by_status={"ok": runs - failed, "error": failed},
        failed=failed,
        error_rate=failed / runs,
        first=START,
        last=START + 60 * runs,
        times_ms=times,
        llm_calls=12,
        tokens=9000,
        cost=0.4,
        parts=parts,
        points=points,
    )


def text_of(view: NumbersView, width: int) -> list[str]:
    view.resize(width, 40)
    return ["".join(text for text, _ in view.safe_row(index, width)) for index in range(len(view))]


@pytest.mark.parametrize("width", [36, 76, 116, 196])
def test_numbers_plots_and_parts_fit_any_width(width: int) -> None:
    view = NumbersView()
    view.show([make_statistics()], "triage")
    rows = text_of(view, width)
    assert all(len(row) <= width for row in rows[4:])
    said = "\n".join(rows)
    for part in (
        "20 runs",
        "✖ 2 error",
        "10.0 % failed",
        "p99 2.10 s",
        "9.0k tokens",
        "$0.4000",
        "errors",
        "node tech",
    ):
        assert part in said, part
    assert said.count("✖") == 3


def test_more_runs_than_columns_are_dots() -> None:
    view = NumbersView()
    view.show([make_statistics(runs=400, failed=0)], None)
    assert any(0x2800 < ord(char) < 0x2900 for row in text_of(view, 80) for char in row)


def test_parts_are_sorted_by_what_matters() -> None:
    view = NumbersView()
    view.show([make_statistics()], None)
    firsts = []
    for _ in SORTS:
        rows = text_of(view, 116)
        firsts.append(rows[next(n for n, row in enumerate(rows) if row.startswith("part ")) + 1].split()[1])
        view.next_sort()
    assert firsts == ["technical", "openai/gpt-x", "openai/gpt-x", "openai/gpt-x", "openai/gpt-x"]
    view.sort = SORTS.index("name")
    view._lay_out()
    assert "by name" in view.note()


def test_flows_are_walked_and_names_are_made_safe() -> None:
    view = NumbersView()
    view.show([make_statistics("a\x1b[2J"), make_statistics("b")], "b")
    assert view.flow is not None
    assert view.flow.flow == "b"
    view.side(1)
    assert "\x1b" not in "".join(text for text, _ in view.title())
    assert '"flow": "a' in view.copy_text()


def test_a_flow_without_finished_runs_has_no_percentiles() -> None:
    numbers = make_statistics(runs=1, failed=0).model_copy(update={"times_ms": None, "parts": [], "points": []})
    view = NumbersView()
    view.show([numbers], None)
    assert "1 runs" in text_of(view, 80)[0]


async def test_keys_in_the_dashboard(open_desk: Any, source: Any) -> None:
    queries: list[StatisticsQuery] = []

    def numbers(query: StatisticsQuery) -> list[FlowStatistics]:
        queries.append(query)
        return [make_statistics("hello"), make_statistics("triage")] if query.since is None else []

    source.numbers = numbers
    async with open_desk(size=(100, 30)) as desk:
        await desk.press("j", "percent_sign")
        await desk.until(lambda: "STATISTICS triage 2/2" in desk.text(), "the numbers")
        assert "10.0 % failed" in desk.text()
        await desk.press("right")
        assert "STATISTICS hello 1/2" in desk.text()
        await desk.press("s")
        assert "parts by p99" in desk.text()
        await desk.press("t")
        await desk.until(lambda: "No runs in this period" in desk.text(), "another period")
        assert queries[-1].since is not None
        await desk.press("question_mark")
        assert "STATISTICS · keys" in desk.text()
        await desk.press("escape", "escape")
        assert "FLOWS" in desk.text()


async def test_what_goes_wrong_is_told(open_desk: Any, source: Any) -> None:
    source.refusal = RunRefused("the host is away")
    async with open_desk(size=(80, 24)) as desk:
        await desk.press("percent_sign")
        await desk.until(lambda: "there are no numbers: the host is away" in desk.text(), "the reason")
        await desk.press("escape")
        assert "FLOWS" in desk.text()
