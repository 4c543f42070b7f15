"""Pictures of the screen at the sizes that it is composed for, as text, and one with its colors."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion

OpenDesk = Callable[..., Any]


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def finished(open_desk: OpenDesk, source: Any, triage: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> OpenDesk:
    """A desk with past runs and a finished one, on its failed attempt."""
    from contextlib import asynccontextmanager

    # No rate of events, and every run on another day: nothing on the picture depends on now.
    monkeypatch.setattr("playground.dashboard.model.Workspace.events_per_second", lambda self: 0.0)
    statuses = ["error", "timeout", "interrupted", "cancelled", "ok"]
    for number, status in enumerate(statuses, 1):
        script = triage(f"{number * 7919:08x}" * 4, ts=1_780_000_000.0 - 30_000 * number)
        source.add_past(script, status)
    source.answer = lambda run: triage("9e9a20c1" * 4).events

    @asynccontextmanager
    async def opened(size: tuple[int, int]) -> Any:
        async with open_desk(size=size) as desk:
            await desk.until(lambda: len(desk.app.run_rows) == len(statuses), "the runs")
            await desk.press("j", "r")
            await desk.until(lambda: desk.app.workspace.current and desk.app.workspace.current.over, "the run")
            await desk.press("3", "g", "j", "j", "j")
            yield desk

    return opened


@pytest.mark.parametrize("size", [(40, 10), (80, 24), (120, 40), (200, 60)], ids="{0[0]}x{0[1]}".format)
async def test_sizes(finished: OpenDesk, size: tuple[int, int], snapshot: SnapshotAssertion) -> None:
    async with finished(size) as desk:
        assert "\n" + desk.text() == snapshot


async def test_colors(finished: OpenDesk, picture: Callable[..., str], snapshot: SnapshotAssertion) -> None:
    async with finished((80, 24)) as desk:
        assert picture(desk.app) == snapshot


async def test_form(open_desk: OpenDesk, snapshot: SnapshotAssertion) -> None:
    async with open_desk(size=(80, 24)) as desk:
        await desk.press("j", "enter")
        await desk.until(lambda: "number of the ticket" in desk.text(), "the form")
        assert "\n" + desk.text() == snapshot


async def test_broken_module(open_desk: OpenDesk, snapshot: SnapshotAssertion) -> None:
    async with open_desk(size=(80, 24)) as desk:
        await desk.press("j", "j", "enter")
        assert "\n" + desk.text() == snapshot


@pytest.mark.parametrize("theme", ["textual-dark", "textual-light", "ansi-dark"])
async def test_every_status_has_a_mark_without_colors(
    finished: OpenDesk, theme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "NO_COLOR", "1")
    async with finished((120, 40)) as desk:
        desk.app.theme = theme
        await desk.frame()
        text = desk.text()
        for mark in "✖◷↯⊘✔":
            assert f"{mark} " in text
        # The focused pane has heavy lines, the cursor's row a mark.
        assert "┏━ TRACE" in text
        assert "┃▎" in text
