"""Signs of life: a worker that gives none holds its interpreter in native code, was stopped, or is far too busy."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from playground.supervisor.process import Worker

TICK_S = 0.25
SILENT_S = 2.0
"""A worker that was not heard of for this long is said to be silent, and then every second."""


class Pulse:
    """Counts how long workers were not heard of.

    It counts its own ticks and reads no clock: one that jumps, or a machine that slept, makes nobody silent.
    """

    def __init__(self, watched: Callable[[], Iterable[Worker]], tell: Callable[[Worker, float], None]) -> None:
        """`watched` gives those that are to be heard; `tell` gets how long one is silent, 0 when it is heard again."""
        self._watched = watched
        self._tell = tell
        self._ticks: dict[Worker, int] = {}
        self._silent: set[Worker] = set()

    @property
    def silent(self) -> set[Worker]:
        """Those that are silent now."""
        return set(self._silent)

    def heard(self, worker: Worker) -> None:
        """It lives."""
        self._ticks[worker] = 0
        if worker in self._silent:
            self._silent.discard(worker)
            self._tell(worker, 0.0)

    def forget(self, worker: Worker) -> None:
        """It is dead."""
        self._ticks.pop(worker, None)
        self._silent.discard(worker)

    async def watch(self) -> None:
        """Watch until cancelled."""
        while True:
            await asyncio.sleep(TICK_S)
            for worker in self._watched():
                self._ticks[worker] = ticks = self._ticks.get(worker, 0) + 1
                silent_s = ticks * TICK_S
                if silent_s >= SILENT_S and silent_s % 1.0 == 0.0:
                    self._silent.add(worker)
                    self._tell(worker, silent_s)
