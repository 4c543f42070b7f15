"""Which runs are recorded: all of them, until there are more in a second than anybody will look at."""

from __future__ import annotations

import time
from typing import Any

from penguiflow import ModelRegistry, PenguiFlow


class Flows:
    """The flow of the service, and the same once more, which is not recorded."""

    def __init__(self, flow: PenguiFlow, unrecorded: PenguiFlow | None = None, *, per_second: float = 0.0) -> None:
        """`per_second` runs are those of `flow` at most, on average over a second; what is more goes to the other."""
        self.flow = flow
        self._unrecorded = unrecorded
        self._per_second = per_second
        self._most = self._left = max(1.0, per_second)
        self._at = time.monotonic()
        self.unrecorded = 0
        """Runs that were not recorded."""

    def next(self) -> PenguiFlow:
        """The one for the next run."""
        if self._unrecorded is None:
            return self.flow
        now = time.monotonic()
        self._left = min(self._most, self._left + (now - self._at) * self._per_second)
        self._at = now
        if self._left >= 1.0:
            self._left -= 1.0
            return self.flow
        self.unrecorded += 1
        return self._unrecorded

    def run(self, registry: ModelRegistry, **recording: Any) -> None:
        """Start both; `recording` is for the first."""
        self.flow.run(registry=registry, **recording)
        if self._unrecorded is not None:
            self._unrecorded.run(registry=registry)

    async def stop(self) -> None:
        """End both."""
        await self.flow.stop()
        if self._unrecorded is not None:
            await self._unrecorded.stop()
