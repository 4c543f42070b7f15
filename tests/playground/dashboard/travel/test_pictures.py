"""Pictures of time travel: comparisons, the timeline, forks, replays, files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from playground.dashboard.travel.diff_screen import DiffScreen
from playground.dashboard.travel.document_screen import DocumentScreen

OpenDesk = Callable[..., Any]


async def two_runs(desk: Any, source: Any, research: Callable[..., Any]) -> tuple[str, str]:
    """A run that fetched and a fork of it that skimmed, the first one shown."""
    first = research(ts=1_780_000_000.0)
    origin = {"trace_id": first.trace_id, "seq": 17}
    second = research("402b3bc6" * 4, tool="skim", ts=1_780_000_100.0, origin=origin)
    for run, more in ((first, {}), (second, {"origin": origin})):
        source.add_past(run, events=len(run.events), session="anna", **more)
    await desk.until(lambda: len(desk.app.run_rows) == 2, "the runs")
    await desk.press("2", "j", "enter")
    await desk.until(lambda: desk.app.workspace.current and not desk.app.workspace.current.loading, "its events")
    return first.trace_id, second.trace_id


async def test_the_comparison(open_desk: OpenDesk, source: Any, research: Callable[..., Any], album: Any) -> None:
    async with open_desk(size=(80, 24)) as desk:
        a, b = await two_runs(desk, source, research)
        desk.app.areas["travel"].compare(a, b)
        await desk.until(lambda: isinstance(desk.app.screen, DiffScreen) and "event" in desk.text(), "the comparison")
        await desk.press("n")
        await album.take(desk, "diff")
        await desk.press("right_square_bracket")
        await album.take(desk, "diff-numbers")
        await desk.press("question_mark")
        await desk.until(lambda: "esc closes" in desk.text(), "the help")
        await album.take(desk, "diff-help")


async def test_the_timeline(open_desk: OpenDesk, source: Any, research: Callable[..., Any], album: Any) -> None:
    async with open_desk(size=(80, 24)) as desk:
        await two_runs(desk, source, research)
        await desk.press("comma", "home", "n", "n", "c")
        await album.take(desk, "timeline")
        await desk.press("question_mark")
        await desk.until(lambda: "esc closes" in desk.text(), "the help")
        await album.take(desk, "timeline-help")


async def test_a_fork(open_desk: OpenDesk, source: Any, research: Callable[..., Any], album: Any) -> None:
    async with open_desk(size=(80, 24)) as desk:
        await two_runs(desk, source, research)
        await desk.press("3", "g", "j", "j", "j", "f")
        await desk.until(lambda: "fork" in desk.text() and len(desk.app.screen_stack) == 2, "the question")
        await album.take(desk, "fork")


async def test_a_path_is_asked_for(open_desk: OpenDesk, source: Any, research: Callable[..., Any], album: Any) -> None:
    async with open_desk(size=(80, 24)) as desk:
        await two_runs(desk, source, research)
        await desk.press("E")
        await desk.until(lambda: ".pftrace" in desk.text(), "the line")
        await album.take(desk, "export")


async def test_a_replay_that_diverged(
    open_desk: OpenDesk, source: Any, research: Callable[..., Any], album: Any
) -> None:
    from playground.again import ReplayReport
    from playground.protocol import Result

    diff = '  {\n-   "url": "corpus://a"\n+   "url": "corpus://b"\n  }'
    where = {"path": "research[0]/attempt[0]/fetch[0]", "seq": 16, "why": "another request than recorded", "diff": diff}
    async with open_desk(size=(80, 24)) as desk:
        a, _ = await two_runs(desk, source, research)
        report = ReplayReport(origin=a, answered=3, diverged=where)
        result = Result(trace_id="ab" * 16, status="cancelled", replay=report)
        desk.app.areas["travel"].replays._show(result, report)
        await desk.until(lambda: isinstance(desk.app.screen, DocumentScreen), "how it went")
        await album.take(desk, "replay")
