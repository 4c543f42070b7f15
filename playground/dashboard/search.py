"""The search of `/`, `n` and `N` through the rows of a view: a little per frame, so that the screen stays alive."""

from __future__ import annotations

import time
from array import array
from bisect import bisect_left, insort
from collections.abc import Callable

from playground.dashboard.views.base import View

BUDGET_S = 0.02
"""Time that a search takes of one frame."""
CHECK_CLOCK_EVERY = 64
MAX_MATCHES = 10_000
"""More are not counted."""


class Search:
    """Looks for the next match from the cursor on, around the end, and then counts the others."""

    def __init__(
        self,
        view: View,
        needle: str,
        direction: int,
        *,
        here: bool = False,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """`here`: the row under the cursor may be the match. `needle` is in lower case."""
        self.view = view
        self.needle = needle
        self.found: int | None = None
        """Row of the match that was gone to."""
        self.matches = array("Q")
        """Rows that match, in order, of those that were looked at."""
        self.looked = 0
        """Rows that were looked at."""
        self._clock = clock
        self._count = len(view)
        position = view.position
        self._first = position if here else position + direction
        self._step = direction

    @property
    def over(self) -> bool:
        """True when every row was looked at, or there are more matches than one counts."""
        return self.looked >= self._count or len(self.matches) >= MAX_MATCHES

    @property
    def percent(self) -> int:
        """How far it is."""
        return 100 * self.looked // self._count if self._count else 100

    def go_on(self, budget_s: float | None = None) -> bool:
        """Look at more rows, for about 20 ms unless told; True when a first match was found now, and gone to."""
        deadline = self._clock() + (BUDGET_S if budget_s is None else budget_s)
        before, holds, needle = self.found, self.view.holds, self.needle
        while not self.over:
            row = (self._first + self.looked * self._step) % self._count
            self.looked += 1
            if row < len(self.view) and holds(row, needle):
                insort(self.matches, row)
                if self.found is None:
                    self.found = row
                    self.view.go(row)
            if self.looked % CHECK_CLOCK_EVERY == 0 and self._clock() > deadline:
                break
        return before is None and self.found is not None

    def told(self) -> str:
        """What there is to say at its end."""
        if self.found is None:
            return f"{self.needle} is not here"
        number = bisect_left(self.matches, self.found) + 1
        if len(self.matches) >= MAX_MATCHES:
            return f"match of {self.needle}, one of more than {MAX_MATCHES:,}"
        return f"match {number:,} of {len(self.matches):,}"
