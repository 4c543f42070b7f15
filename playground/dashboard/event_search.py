"""The search for the events that pass a filter, through a long trace."""

from __future__ import annotations

import time
from array import array
from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import count

from playground.dashboard.event_filter import EventFilter
from playground.dashboard.event_log import EventLog

BUDGET_S = 0.02
"""Time that a search takes at once."""
UNSEEN, NOTHING, MAYBE = range(3)


class EventSearch:
    """The events of a trace that pass a filter, found a little at a time.

    Stored pieces are sifted first: most hold none of what is looked for, which their kinds or their bytes tell. That
    may be done in threads beside the one that goes on with the search.
    """

    def __init__(
        self, events: EventLog, chosen: EventFilter, *, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.found = array("Q")
        """Indexes of the events that passed so far, in order."""
        self.scanned = 0
        """Events that were looked at."""
        self.events = events
        self._filter = chosen
        self._clock = clock
        self._pieces = bytearray(events.kept)
        """Of each stored piece, what sifting told."""
        self._unsifted = count()

    @property
    def busy(self) -> bool:
        """True while there are events that were not looked at."""
        return self.scanned < len(self.events)

    @property
    def sifting(self) -> bool:
        """True while there are pieces that were not sifted."""
        return UNSEEN in self._pieces

    def sift(self, budget_s: float | None = None) -> None:
        """Sift more pieces, for about `budget_s` (20 ms unless told). May be called in several threads at once."""
        from penguiflow.state.pieces import AHEAD

        deadline = self._clock() + (BUDGET_S if budget_s is None else budget_s)
        # To take the next number is one step, which no other thread comes into.
        for number in self._unsifted:
            if number * AHEAD >= len(self._pieces):
                return
            self._sift(range(number * AHEAD, min((number + 1) * AHEAD, len(self._pieces))))
            if self._clock() > deadline:
                return

    def _sift(self, numbers: range) -> None:
        # Whatever happens, nobody waits for these any more.
        passed = set(numbers)
        try:
            passed = self._likely(numbers)
        finally:
            for number in numbers:
                self._pieces[number] = MAYBE if number in passed else NOTHING

    def _likely(self, numbers: range) -> set[int]:
        """Those of some pieces that may hold what is looked for."""
        chosen, events = self._filter, self.events
        heads = {number: events.heads(number) for number in numbers}
        likely = [number for number in numbers if chosen.may_match_heads(heads[number])]
        if not likely or (chosen.only_heads and None not in heads.values()):
            return set(likely)
        refers = events.stored.refers if events.stored is not None else b""
        told = events.told(numbers, lambda number, data: chosen.may_match_piece(data, refers=bool(refers[number])))
        return {number for number in likely if not told or told[number - numbers[0]]}

    def go_on(self, budget_s: float | None = None, *, sift: bool = True) -> bool:
        """Look at more events, for about `budget_s`; True when there were any.

        Not `sift`: what was not sifted is left to those who do.
        """
        before, deadline = self.scanned, self._clock() + (BUDGET_S if budget_s is None else budget_s)
        for number, first, last in self.events.stretches(self.scanned, len(self.events)):
            if number < len(self._pieces):
                while self._pieces[number] == UNSEEN and sift:
                    self.sift(0.0)
                if self._pieces[number] == UNSEEN:
                    break
            self._look(number, first, last, deadline)
            if self._clock() > deadline:
                break
        return self.scanned > before

    def _look(self, number: int, first: int, last: int, deadline: float) -> None:
        """Look at events of a page, at one at least."""
        lines, base = self._lines(number), self.events.first(number)
        matches = self._filter.matches
        for index in range(first, last) if lines else ():
            if matches(lines[index - base]):
                self.found.append(index)
            if self._clock() > deadline:
                self.scanned = index + 1
                return
        self.scanned = last

    def _lines(self, number: int) -> Sequence[bytes]:
        """What there is to look at in a page, by event; nothing where none of them passes."""
        if number < len(self._pieces):
            if self._pieces[number] == NOTHING:
                return ()
            if self._filter.only_heads:
                return self.events.head_lines(number)
        text = self.events.text(number)
        stored = number < len(self._pieces) and not self._filter.has_expressions
        if not text or not (stored or self._filter.may_match(text)):
            return ()
        return text.split(b"\n")

    def row_of(self, index: int) -> int:
        """Place among those found of an event, or of the first one after it."""
        return bisect_left(self.found, index)
