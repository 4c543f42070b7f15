"""Pictures of what time travel shows, at the sizes that it is composed for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion

from playground.dashboard.travel.diff_screen import DiffScreen
from playground.dashboard.travel.document_screen import DocumentScreen

OpenDesk = Callable[..., Any]
SIZES = pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)], ids=lambda size: f"{size[0]}x{size[1]}")


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


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


@SIZES
async def test_the_comparison(
    open_desk: OpenDesk, source: Any, research: Callable[..., Any], size: tuple[int, int], snapshot: SnapshotAssertion
) -> None:
    async with open_desk(size=size) as desk:
        a, b = await two_runs(desk, source, research)
        desk.app.areas["travel"].compare(a, b)
        await desk.until(lambda: isinstance(desk.app.screen, DiffScreen) and "event" in desk.text(), "the comparison")
        await desk.press("n")
        assert "\n" + desk.text() == snapshot


@SIZES
async def test_the_timeline(
    open_desk: OpenDesk, source: Any, research: Callable[..., Any], size: tuple[int, int], snapshot: SnapshotAssertion
) -> None:
    async with open_desk(size=size) as desk:
        await two_runs(desk, source, research)
        await desk.press("comma", "home", "n", "n", "c")
        await desk.frame()
        assert "\n" + desk.text() == snapshot


@pytest.mark.parametrize("theme", ["textual-dark", "textual-light"])
async def test_their_colors(
    open_desk: OpenDesk,
    source: Any,
    research: Callable[..., Any],
    theme: str,
    picture: Callable[..., str],
    snapshot: SnapshotAssertion,
) -> None:
    async with open_desk() as desk:
        desk.app.theme = theme
        a, b = await two_runs(desk, source, research)
        await desk.press("comma", "home", "n", "n", "c")
        await desk.frame()
        timeline = picture(desk.app)
        await desk.press("comma")
        desk.app.areas["travel"].compare(a, b)
        await desk.until(lambda: isinstance(desk.app.screen, DiffScreen) and "event" in desk.text(), "the comparison")
        await desk.frame()
        assert timeline == snapshot(name="timeline")
        assert picture(desk.app) == snapshot(name="diff")


async def test_a_replay_that_diverged(
    open_desk: OpenDesk, source: Any, research: Callable[..., Any], snapshot: SnapshotAssertion
) -> None:
    from playground.again import ReplayReport
    from playground.protocol import Result

    diff = '  {\n-   "url": "corpus://a"\n+   "url": "corpus://b"\n  }'
    where = {"path": "research[0]/attempt[0]/fetch[0]", "seq": 16, "why": "another request than recorded", "diff": diff}
    async with open_desk() as desk:
        a, _ = await two_runs(desk, source, research)
        report = ReplayReport(origin=a, answered=3, diverged=where)
        result = Result(trace_id="ab" * 16, status="cancelled", replay=report)
        desk.app.areas["travel"].replays._show(result, report)
        await desk.until(lambda: isinstance(desk.app.screen, DocumentScreen), "how it went")
        await desk.frame()
        assert "\n" + desk.text() == snapshot
