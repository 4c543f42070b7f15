"""The search of `/`, `n` and `N` through the rows of a view: a little per frame, so that the screen stays alive."""

from __future__ import annotations

import time
from array import array
from bisect import bisect_left, insort
from collections.abc import Callable

from playground.dashboard.views.base import View

BUDGET_S = 0.008
"""Time that a search takes at once, between frames."""
BLOCK = 64
"""Rows between two looks at the clock."""
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
        self.partial = bool(view.unfinished)
        """More rows were still to come when it began."""
        self._find = view.finder(needle)
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
        """Look at more rows, for about 8 ms unless told; True when a first match was found now, and gone to."""
        deadline = self._clock() + (BUDGET_S if budget_s is None else budget_s)
        before = self.found
        while not self.over:
            for row in self._find(self._block()):
                insort(self.matches, row)
                if self.found is None:
                    self.found = row
                    self.view.go(row)
            if self._clock() > deadline:
                break
        return before is None and self.found is not None

    def _block(self) -> range:
        """The next rows to be looked at, in their order, up to the end of the list."""
        row = (self._first + self.looked * self._step) % self._count
        ahead = self._count - row if self._step > 0 else row + 1
        size = min(BLOCK, ahead, self._count - self.looked)
        self.looked += size
        return range(row, row + size * self._step, self._step)

    def told(self) -> str:
        """What there is to say at its end."""
        if self.found is None:
            return f"{self.needle} is not here"
        if self.partial:
            return f"found {self.needle}; the run was not read to its end yet"
        number = bisect_left(self.matches, self.found) + 1
        if len(self.matches) >= MAX_MATCHES:
            return f"match of {self.needle}, one of more than {MAX_MATCHES:,}"
        return f"match {number:,} of {len(self.matches):,}"
