"""Nodes that fail, or are late, the first time they see a message."""

from __future__ import annotations

import asyncio

from benchmarks.runtime.measure import Payload, Run

__all__ = ["TIMEOUT_S", "Flaky", "Late"]

TIMEOUT_S = 0.001
"""Bound on an attempt, in seconds: short, because it is CPU time that is compared."""


class Flaky:
    """Raises `ValueError` the first time."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._seen: set[int] = set()

    def __call__(self, value: Payload) -> None:
        self._run.calls += 1
        if value.number not in self._seen:
            self._seen.add(value.number)
            raise ValueError("the first time it always fails")

    def clear(self) -> None:
        """Forget what it has seen."""
        self._seen.clear()


class Late:
    """Takes an hour the first time."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._seen: set[int] = set()

    async def __call__(self, value: Payload) -> None:
        self._run.calls += 1
        if value.number not in self._seen:
            self._seen.add(value.number)
            await asyncio.sleep(3600)

    def clear(self) -> None:
        """Forget what it has seen."""
        self._seen.clear()
