"""Waiting for news within a process."""

from __future__ import annotations

import asyncio


class Bell:
    """Wakes all who wait when it rings."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self.heard = 0
        """How often it rang: given to `wait`, a ring since then counts too."""

    def ring(self) -> None:
        """Wake all."""
        self.heard += 1
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self, timeout_s: float, heard: int | None = None) -> None:
        """Until it rings, `timeout_s` at most."""
        if heard is not None and heard != self.heard:
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        except TimeoutError:
            return
