"""A host that is offline: what it did last is shown as that, and nothing grows older by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from playground.dashboard.clocks import PausingClock
from playground.sources import HostState

OpenDesk = Callable[..., Any]
TRACE = "ab" * 16
SINCE = 1_790_000_043.0


def lines(desk: Any, part: str) -> list[str]:
    """Lines of the screen that have `part`."""
    return [line for line in desk.text().splitlines() if part in line]


def test_a_clock_that_stood_still_shows_the_right_time_again() -> None:
    now = 10.0
    clock = PausingClock(lambda: now)
    assert clock() == 10.0
    clock.pause(True)
    now = 20.0
    clock.pause(True)
    assert clock() == 10.0
    clock.pause(False)
    assert clock() == 20.0


@pytest.mark.parametrize("width", [80, 140])
async def test_it_says_since_when_and_what_ran_is_what_was_known(
    open_desk: OpenDesk, source: Any, triage: Callable[..., Any], width: int
) -> None:
    whole = triage(TRACE)
    source.answer = lambda run: whole.events[:9]
    async with open_desk(size=(width, 40)) as desk:
        await desk.press("j", "r")
        await desk.until(lambda: desk.app.spans.cursor > 0, "the run")
        source.stops_at(TRACE, "1:stop-1", "before_node", "technical")
        await desk.until(lambda: lines(desk, "⏸ 1 stopped"), "the stop")
        source.inbox.host = HostState("offline", "next try in 5 s: no answer", since=SINCE)
        await desk.until(lambda: lines(desk, "offline since"), "that it is offline")
        (first, *_) = desk.text().splitlines()
        assert "○ offline since Sep 21 14:14: next try in 5 s" in first
        # What is no longer known to be so is not said as if it were.
        assert ("1 stopped" in first) == ("last known: ⏸ 1 stopped" in first) == (width == 140)
        assert width == 80 or lines(desk, "as of Sep 21 14:14")
        assert lines(desk, "triage ◌ last known")
        trace = desk.app.workspace.current
        took = trace.seconds()
        for _ in range(5):
            await desk.frame()
        assert trace.seconds() == took
        source.inbox.host = HostState("ready")
        await desk.until(lambda: not lines(desk, "offline") and not lines(desk, "last known"), "that it is back")
        await desk.until(lambda: trace.seconds() > took, "a later time")
        assert "⏸ 1 stopped" in desk.text().splitlines()[0]


async def test_a_run_in_the_list_stands_still_too(open_desk: OpenDesk, source: Any, triage: Callable[..., Any]) -> None:
    source.answer = lambda run: triage(TRACE, ts=SINCE - 33.0).events[:9]
    async with open_desk() as desk:
        await desk.press("j", "r")
        await desk.until(lambda: lines(desk, "● ababab"), "the run")
        source.inbox.host = HostState("offline", "no answer", since=SINCE)
        await desk.until(lambda: lines(desk, "◌ ababab"), "the run as it was known")
        assert "33.0" in lines(desk, "◌ ababab")[0]
