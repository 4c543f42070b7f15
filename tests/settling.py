"""How tests wait for a screen."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import pytest
from textual.app import App
from textual.screen import Screen

ROUNDS = 3
"""Turns of the loop in a row with nothing to do; what is sent to a widget takes one."""
MOST_S = 1.0
"""A loop that is never done, such as one that searches on between its frames, is left to it."""
MOST_DRAWN = 30
"""Times in a row that a screen is drawn; a layout that brings a scrollbar brings another layout."""

Drawn: TypeAlias = Callable[[App[Any]], Awaitable[None]]
"""Waits until a screen shows what its widgets have come to."""


async def settled(*_: float) -> None:
    """Until the loop has nothing to do but wait: for a clock, a thread, or somebody else."""
    loop: Any = asyncio.get_running_loop()
    end, quiet = loop.time() + MOST_S, 0
    while quiet < ROUNDS and loop.time() < end:
        await asyncio.sleep(0)
        quiet = 0 if loop._ready else quiet + 1


async def drawn(app: App[Any]) -> None:
    """Draw without waiting for the screen's own timer, as often as it takes."""
    for _ in range(MOST_DRAWN):
        await settled()
        screen = app.screen
        if not _to_draw(screen):
            return
        screen._on_timer_update()


def _to_draw(screen: Screen[Any]) -> bool:
    required = screen._layout_required or screen._scroll_required or screen._repaint_required
    return bool(required or screen._recompose_required or screen._dirty_widgets or screen._callbacks)


@pytest.fixture
def settling(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    """Between keys: Textual waits until the process is idle, and one that draws many frames a second never is."""
    monkeypatch.setattr("textual.app.wait_for_idle", settled)
    monkeypatch.setattr("textual.pilot.wait_for_idle", settled)
    return drawn
