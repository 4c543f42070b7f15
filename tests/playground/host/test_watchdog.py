from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from playground.host.watchdog import Stall, Watchdog


def blocking(done: threading.Event) -> None:
    done.wait(60)


async def test_a_loop_that_does_not_answer_is_reported_until_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("playground.host.watchdog.REPEAT_S", 0.05)
    stalls: list[Stall] = []
    enough = threading.Event()

    def note(stall: Stall) -> None:
        # On a busy machine the loop may have been late before.
        if stalls or (stall.frame is not None and stall.frame.function == "blocking"):
            stalls.append(stall)
        if len(stalls) == 3:
            enough.set()

    other = _Loop(Watchdog(asyncio.get_running_loop(), Path(__file__).parent, note))
    try:
        blocking(enough)
        await _until(lambda: any(stall.over for stall in stalls))
    finally:
        other.close()
    told = stalls[: [stall.over for stall in stalls].index(True) + 1]
    assert len(told) > 3
    assert [stall.ms for stall in told] == sorted(stall.ms for stall in told)
    assert told[0].ms >= 250
    frame = told[0].frame
    assert frame is not None
    assert (frame.file, frame.function, frame.text) == ("test_watchdog.py", "blocking", "done.wait(60)")


async def test_a_loop_that_answers_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    # On a busy machine the loop may have no turn for a while.
    monkeypatch.setattr("playground.host.watchdog.LATE_S", 60.0)
    monkeypatch.setattr("playground.host.watchdog.PING_EVERY_S", 0.01)
    stalls: list[Stall] = []
    watchdog = Watchdog(asyncio.get_running_loop(), Path("/"), stalls.append)
    other = _Loop(watchdog)
    try:
        for _ in range(5):
            watchdog.lag_ms = 0.0
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
        self._thread.join(60)
        assert not self._thread.is_alive()


async def _until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 (any condition)
            await asyncio.sleep(0.005)
