"""The clock that running things grow older by."""

from __future__ import annotations

from collections.abc import Callable


class PausingClock:
    """A monotonic clock that can stand still; when it goes on it shows the right time again. Seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._stands_at: float | None = None

    def __call__(self) -> float:
        """The time of this clock."""
        return self._clock() if self._stands_at is None else self._stands_at

    def pause(self, paused: bool) -> None:
        """Stand still, or go on."""
        if not paused:
            self._stands_at = None
        elif self._stands_at is None:
            self._stands_at = self._clock()
