"""The list of runs: filters by field and time, sessions, and older runs from the store."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from penguiflow.state.traces import TraceQuery, TraceSummary
from playground.dashboard.control import LISTED
from playground.dashboard.origins import Origin
from playground.dashboard.run_filter import RunFilter, read_time
from playground.dashboard.runs import RunLine, RunList

OpenDesk = Callable[..., Any]
NOW = 1_790_000_000.0


def line(**known: Any) -> RunLine:
    made = RunLine("ab" * 16, known.pop("started", NOW - 3600))
    for name, value in known.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", True),
        ("triage", True),
        ("flow:tri status:ok", True),
        ("status:error", False),
        ("!status:error", True),
        ("!triage", False),
        ("session:anna", True),
        ("session:bob", False),
        ("since:2h", True),
        ("since:30m", False),
        ("before:30m", True),
        ("since:2h before:90m", False),
        ("since:", True),
        ("since:nonsense", True),
        ("is:fork", True),
        ("is:replay", False),
        ("abab", True),
        ("anna", True),
    ],
)
def test_a_filter_looks_at_fields_times_and_words(text: str, found: bool) -> None:
    run = line(flow="triage", status="ok", session="anna", origin=Origin("cd", 3, replay=False))
    assert RunFilter(text, clock=lambda: NOW).matches(run) is found


def test_what_was_left_to_the_background_is_listed_when_it_is_asked_for() -> None:
    runs = RunList()
    origins: list[dict[str, str | int] | None] = [None, {"trace_id": "cd", "mode": "background"}]
    for number, origin in enumerate(origins):
        runs.merge([TraceSummary(trace_id=f"{number}" * 32, started=NOW, status="ok", events=1, origin=origin)])
    assert [each.trace_id[0] for each in runs.matching("")] == ["0"]
    assert [each.trace_id[0] for each in runs.matching("is:background")] == ["1"]
    assert RunFilter("is:background").query(5) == {"background": True, "limit": 5}
    assert TraceQuery(**RunFilter("is:background").query(5)).background


def test_the_store_is_asked_for_at_least_what_matches() -> None:
    asked = RunFilter("status:error flow:tri !x since:1h", clock=lambda: NOW).query(300)
    assert asked == {"status": "error", "text": "tri", "since": NOW - 3600, "limit": 300}
    assert RunFilter("status:err", clock=lambda: NOW).query(5) == {"limit": 5}
    assert RunFilter("before:1h", clock=lambda: NOW).query(5, before=NOW)["before"] == NOW - 3600
    assert RunFilter("word", clock=lambda: NOW).query(5, before=NOW) == {"text": "word", "limit": 5, "before": NOW}
    for text in ("status:paused", "a b", "!c"):
        TraceQuery(**RunFilter(text).query(3))


def test_times_are_read_as_commands_read_them() -> None:
    assert read_time("90s", NOW) == NOW - 90
    assert read_time("1.5h", NOW) == NOW - 5400
    today, yesterday = read_time("today", NOW), read_time("yesterday", NOW)
    assert today is not None
    assert yesterday is not None
    assert NOW - 86_400 < today <= NOW
    assert yesterday < today
    assert read_time("2026-01-31t12:00+00:00", NOW) == 1_769_860_800.0
    assert read_time("soon", NOW) is None


def summary(number: int, **more: Any) -> TraceSummary:
    return TraceSummary(trace_id=f"{number:032x}", flow="triage", status="ok", started=NOW + number, **more)


def test_sessions_stand_together_where_their_newest_run_is() -> None:
    runs = RunList()
    sessions = {1: "anna", 2: None, 3: "bob", 4: "anna", 5: None}
    runs.merge(summary(number, session=session) for number, session in sessions.items())
    assert [int(each.trace_id, 16) for each in runs.matching("", by_session=True)] == [5, 4, 1, 3, 2]
    assert [int(each.trace_id, 16) for each in runs.matching("")] == [5, 4, 3, 2, 1]
    assert runs.oldest("session:bob") == NOW + 3
    assert runs.oldest("nobody") is None


async def test_sessions_are_tied_together_on_the_screen(open_desk: OpenDesk, source: Any) -> None:
    source.summaries = [summary(number, session=session) for number, session in ((3, "anna"), (2, None), (1, "anna"))]
    async with open_desk(size=(200, 60)) as desk:
        await desk.until(lambda: len(desk.app.run_rows) == 3, "the runs")
        await desk.press("2")
        text = desk.text()
        assert "╭ triage" in text
        assert "╰ triage" in text
        assert "RUNS anna" in text
        desk.app.areas["travel"].group_runs()
        await desk.frame()
        assert "╰ triage" not in desk.text()


async def test_older_runs_come_when_the_end_is_in_sight(
    open_desk: OpenDesk, source: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = [summary(number) for number in range(2 * LISTED + 50)][::-1]

    async def find_traces(query: TraceQuery) -> list[TraceSummary]:
        source.queries.append(query)
        before = query.before if query.before is not None else time.time() + 1e9
        return [each for each in everything if each.started < before][: query.limit]

    monkeypatch.setattr(source, "find_traces", find_traces)
    async with open_desk() as desk:
        await desk.until(lambda: len(desk.app.run_rows) == LISTED, "the first page")
        await desk.press("2", "G")
        await desk.until(lambda: len(desk.app.run_rows) > LISTED, "the second page")
        desk.app.run_rows.go_last()
        await desk.until(lambda: len(desk.app.run_rows) == len(everything), "all of them")
        asked = len([query for query in source.queries if query.before is not None])
        desk.app.run_rows.go_last()
        await desk.frame()
        # Nobody asks again for what is not there.
        assert len([query for query in source.queries if query.before is not None]) <= asked + 1


async def test_a_filter_is_asked_of_the_store(open_desk: OpenDesk, source: Any) -> None:
    source.summaries = [summary(1)]
    async with open_desk() as desk:
        await desk.until(lambda: len(desk.app.run_rows) == 1, "the run")
        await desk.press("2", "slash", *"status:error", "enter")
        await desk.until(lambda: any(query.status == "error" for query in source.queries), "the question")
        assert "0 of 1" in desk.text() or "No runs" in desk.text()
