"""A line that shows that time passes, for commands that read much."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from playground.cli.console import Console
from playground.dashboard.text import clip, duration

__all__ = ["waiting"]

SILENT_S = 1.0
"""What takes no longer says nothing."""
_TICK_S = 0.1
_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_CLEAR = "\r\x1b[K"


@asynccontextmanager
async def waiting(console: Console, what: str) -> AsyncIterator[Callable[[str], None]]:
    """Say on the terminal (not on a pipe) what is going on while the body runs, once it takes more than a second.

    The body gets a function that says something else from then on.
    """
    said = [what]

    def say(text: str) -> None:
        said[0] = text

    if not console.err_terminal:
        yield say
        return
    ticking = asyncio.create_task(_tick(console, said))
    try:
        yield say
    finally:
        ticking.cancel()
        await asyncio.gather(ticking, return_exceptions=True)


async def _tick(console: Console, said: list[str]) -> None:
    begun = time.monotonic()
    await asyncio.sleep(SILENT_S)
    ticks = 0
    try:
        while True:
            line = f"{_FRAMES[ticks % len(_FRAMES)]} {said[0]} · {duration(time.monotonic() - begun)}"
            console.tell(_CLEAR + console.err_paint("dim", clip(line, console.err_width - 1)), end="")
            ticks += 1
            await asyncio.sleep(_TICK_S)
    finally:
        console.tell(_CLEAR, end="")
