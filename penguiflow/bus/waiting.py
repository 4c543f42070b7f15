"""How long to wait before one looks again."""

from __future__ import annotations

import random

__all__ = ["Backoff"]


class Backoff:
    """Waits that grow from `first_s` to `longest_s`, each a little different, so that many do not come at once."""

    __slots__ = ("_longest_s", "_next_s")

    def __init__(self, first_s: float, longest_s: float) -> None:
        self._next_s = first_s
        self._longest_s = longest_s

    def __call__(self) -> float:
        """Seconds until the next look."""
        wait_s = self._next_s * random.uniform(0.7, 1.3)
        self._next_s = min(self._longest_s, self._next_s * 1.7)
        return wait_s
