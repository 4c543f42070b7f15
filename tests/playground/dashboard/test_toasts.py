"""Notices live by a clock that does not jump."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import pytest

from playground.dashboard.toasts import Toast


def test_there_is_always_time_left_and_it_ends_all_the_same() -> None:
    late = Toast("x", timeout=-1.0)
    assert late.time_left > 0
    assert late.has_expired
    fresh = Toast("x", timeout=60.0)
    assert 0 < fresh.time_left <= 60.0
    assert not fresh.has_expired


async def test_a_wall_clock_that_jumps_does_not_stop_the_dashboard(
    open_desk: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, jumps = time.time, itertools.cycle((0.0, 9e7, -9e7))
    async with open_desk() as desk:
        monkeypatch.setattr("textual.notifications.time", lambda: real() + next(jumps))
        for number in range(9):
            desk.app.say(f"notice {number}")
        await desk.until(lambda: "notice 8" in desk.text(), "the last notice")
        await desk.press("question_mark")
        await desk.until(lambda: "Everywhere" in desk.text(), "the help")
