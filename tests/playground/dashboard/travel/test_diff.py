"""Comparing two runs on a screen of its own."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import pytest

from playground.dashboard.travel.comparing import Comparison, plain, summed_up
from playground.dashboard.travel.diff_screen import DiffScreen
from playground.dashboard.travel.diff_views import DifferencesView

OpenDesk = Callable[..., Any]


@pytest.fixture
def two_runs(source: Any, research: Callable[..., Any]) -> tuple[str, str]:
    """A run that fetched, and a later one that skimmed; the newer one is listed first."""
    first, second = research(), research("402b3bc6" * 4, tool="skim", ts=1_790_000_100.0)
    for run in (first, second):
        source.add_past(run, events=len(run.events))
    return first.trace_id, second.trace_id


def title(view: DifferencesView) -> str:
    """What the frame says of the list."""
    return "".join(text for text, _ in view.title())


async def compared(desk: Any) -> Any:
    """Both runs are marked, and their comparison is there."""
    await desk.until(lambda: len(desk.app.run_rows) == 2, "the runs")
    await desk.press("2", "j", "d")
    await desk.until(lambda: "◧" in desk.text(), "the mark")
    await desk.press("k", "d")
    await desk.until(lambda: isinstance(desk.app.screen, DiffScreen), "the screen")
    screen = desk.app.screen
    await desk.until(lambda: screen.comparison.diff is not None, "the comparison")
    await desk.until(lambda: "A event" in desk.text() or "No differences" in desk.text(), "what was found")
    return screen


async def test_the_first_divergence_comes_first_and_keys_walk(open_desk: OpenDesk, two_runs: tuple[str, str]) -> None:
    async with open_desk() as desk:
        screen = await compared(desk)
        assert (screen.comparison.a, screen.comparison.b) == two_runs
        assert desk.app.run_rows.marked is None
        assert "skim_it" not in desk.text()
        rows = screen.differences.rows
        assert rows[0] == screen.comparison.diff.first
        assert "◆" in desk.text().splitlines()[2]
        await desk.press("n")
        assert screen.differences.cursor == 1
        await desk.press("N", "right_square_bracket")
        assert "[Numbers]" in desk.text()
        await desk.press("a")
        assert {row.aspect for row in screen.differences.rows} != {row.aspect for row in rows}
        await desk.press("question_mark")
        await desk.until(lambda: "DIFFERENCES · keys" in desk.text(), "the help")
        await desk.press("escape", "escape")
        await desk.until(lambda: len(desk.app.screen_stack) == 1, "the desk")


async def test_enter_goes_to_the_event(open_desk: OpenDesk, two_runs: tuple[str, str]) -> None:
    async with open_desk() as desk:
        screen = await compared(desk)
        side = screen.differences.difference.a
        await desk.press("enter")
        await desk.until(lambda: len(desk.app.screen_stack) == 1, "the desk")
        await desk.until(lambda: desk.app.inspector.event_shown, "the event")
        assert desk.app.workspace.current.trace_id == two_runs[0]
        assert re.search(rf"event +{side.seq}\b", desk.text())


async def test_it_can_be_left_while_it_reads(
    open_desk: OpenDesk, source: Any, two_runs: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read, cancelled = asyncio.Event(), asyncio.Event()

    async def never(*args: Any, **kwargs: Any) -> list[Any]:
        read.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return []

    async with open_desk() as desk:
        await desk.until(lambda: len(desk.app.run_rows) == 2, "the runs")
        monkeypatch.setattr(source, "load_events", never)
        desk.app.areas["travel"].compare(*two_runs)
        await desk.until(lambda: "comparing" in desk.text() and read.is_set(), "the progress")
        await desk.press("escape")
        await desk.until(cancelled.is_set, "the end of it")
        assert len(desk.app.screen_stack) == 1


async def test_a_run_that_is_gone_is_told(open_desk: OpenDesk, two_runs: tuple[str, str]) -> None:
    async with open_desk(size=(80, 24)) as desk:
        await desk.until(lambda: len(desk.app.run_rows) == 2, "the runs")
        desk.app.areas["travel"].compare(two_runs[0], "f" * 32)
        await desk.until(lambda: "cannot compare: ffffffff is not in the store" in desk.text(), "why")


async def test_the_same_run_twice_has_no_differences(source: Any, two_runs: tuple[str, str]) -> None:
    comparison = Comparison(two_runs[0], two_runs[0])
    await comparison.run(source)
    assert comparison.in_order() == []
    assert comparison.first is None
    assert comparison.share == 1.0


async def test_an_edit_stands_for_its_checkpoint(source: Any, research: Callable[..., Any]) -> None:
    first = research()
    second = research("402b3bc6" * 4, ts=1_790_000_100.0)
    place = next(i for i, raw in enumerate(second.events) if b'"planner.decision"' in raw) + 1
    step = second.events[place - 1]
    stored = {"type": "builtins:dict", "value": {"next_node": "search"}}
    changed = {"type": "builtins:dict", "value": {"next_node": "skim"}}
    for number, (kind, data) in enumerate(
        (
            ("checkpoint.hit", {"checkpoint": "after_decision", "payload": stored}),
            ("edit", {"checkpoint": "after_decision", "before": stored, "after": changed, "by": "fork"}),
        )
    ):
        head = step.replace(b'"planner.decision"', f'"{kind}"'.encode())
        second.events.insert(place + number, head[: head.index(b'"data":')] + b'"data":' + _json(data) + b"}")
    second.events[:] = [_renumbered(raw, seq) for seq, raw in enumerate(second.events)]
    for run in (first, second):
        source.add_past(run, events=len(run.events))
    comparison = Comparison(first.trace_id, second.trace_id)
    await comparison.run(source)
    shown = comparison.in_order()
    assert [(each.b.kind if each.b else "") for each in shown] == ["edit"]
    assert summed_up(shown[0]) == ("next_node search", "skim")
    diff = comparison.diff
    assert diff is not None
    assert diff.first is not None
    assert diff.first.b is not None
    asked = diff.first.b.model_copy(update={"kind": "checkpoint.resolved"})
    diff.differences.append(diff.first.model_copy(update={"b": asked}))
    diff.total += 1
    view = DifferencesView(comparison)
    view.fill()
    assert title(view) == "1"
    assert view.note() == "1 of 1"


async def test_the_title_counts_what_is_listed(source: Any, two_runs: tuple[str, str]) -> None:
    comparison = Comparison(*two_runs)
    await comparison.run(source)
    view = DifferencesView(comparison)
    view.fill()
    every = len(view.rows)
    assert title(view) == f"{every}"
    view.next_aspect()
    assert view.aspect is not None
    assert 0 < len(view.rows) < every
    assert title(view).startswith(f"{len(view.rows)} ")
    diff = comparison.diff
    assert diff is not None
    diff.total += 1000
    assert title(view).endswith(f" · of the first {every}")
    view.aspect = None
    view.fill()
    assert title(view) == f"{every + 1000:,} · the first {every} are shown"


def _json(data: Any) -> bytes:
    import json

    return json.dumps(data, separators=(",", ":")).encode()


def _renumbered(raw: bytes, seq: int) -> bytes:
    return b'{"seq":%d' % seq + raw[raw.index(b",") :]


def test_types_of_payloads_are_left_out() -> None:
    stored = {"type": "builtins:dict", "value": {"a": {"type": "m:K", "value": [1], "types": {}}}}
    assert plain({"request": stored}) == {"request": {"a": [1]}}
    assert plain({"type": "ticket", "value": 3, "more": 1}) == {"type": "ticket", "value": 3, "more": 1}
