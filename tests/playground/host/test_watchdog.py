from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from playground.host.watchdog import Stall, Watchdog


def blocking(seconds: float) -> None:
    time.sleep(seconds)


async def test_a_loop_that_does_not_answer_is_reported_until_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("playground.host.watchdog.REPEAT_S", 0.2)
    stalls: list[Stall] = []
    watched = asyncio.get_running_loop()
    watchdog = Watchdog(watched, Path(__file__).parent, stalls.append)
    other = _Loop(watchdog)
    try:
        blocking(0.9)
        await _until(lambda: stalls and stalls[-1].over)
    finally:
        other.close()
    assert [stall.over for stall in stalls] == [False] * (len(stalls) - 1) + [True]
    assert len(stalls) >= 3
    assert [stall.ms for stall in stalls] == sorted(stall.ms for stall in stalls)
    assert 250 <= stalls[0].ms < 900
    frame = stalls[0].frame
    assert frame is not None
    assert (frame.file, frame.function, frame.text) == ("test_watchdog.py", "blocking", "time.sleep(seconds)")


async def test_a_loop_that_answers_is_not() -> None:
    stalls: list[Stall] = []
    watchdog = Watchdog(asyncio.get_running_loop(), Path("/"), stalls.append)
    other = _Loop(watchdog)
    try:
        await _until(lambda: watchdog.lag_ms > 0)
    finally:
        other.close()
    assert stalls == []


class _Loop:
    """A thread that watches this one."""

    def __init__(self, watchdog: Watchdog) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, args=(watchdog,))
        self._thread.start()

    def _run(self, watchdog: Watchdog) -> None:
        self._task = self._loop.create_task(watchdog.watch())
        try:
            self._loop.run_until_complete(asyncio.gather(self._task, return_exceptions=True))
        finally:
            self._loop.close()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(lambda: self._task.cancel())
        self._thread.join(5)


async def _until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 (any condition)
            await asyncio.sleep(0.005)
