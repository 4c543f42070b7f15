"""Who is not heard of is silent, counted in ticks of the watcher's own."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from playground.supervisor.pulse import Pulse


async def test_silence_is_counted_in_ticks_and_ends_with_a_sign_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[Any, float]] = []
    one: Any = "one"
    two: Any = "two"
    ticks = 0

    async def tick(seconds: float) -> None:
        nonlocal ticks
        ticks += 1
        if ticks % 2:
            watch.heard(two)
        if ticks == 13:
            watch.heard(one)
        if ticks == 20:
            raise asyncio.CancelledError

    monkeypatch.setattr(asyncio, "sleep", tick)
    watch = Pulse(lambda: [one, two], lambda worker, seconds: told.append((worker, seconds)))
    with contextlib.suppress(asyncio.CancelledError):
        await watch.watch()
    monkeypatch.undo()
    assert told == [("one", 2.0), ("one", 3.0), ("one", 0.0)]
    assert watch.silent == set()
    watch.forget(one)
