"""A walk along a recorded run: where it is, how fast it goes, and what is worth a jump. No screen."""

from __future__ import annotations

import time
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Literal

from playground.dashboard.heads import BadEvent, Head, read_head
from playground.dashboard.moments import Moment
from playground.dashboard.text import NS
from playground.dashboard.trace import TraceModel

AS_RECORDED = "as recorded"
SPEEDS: tuple[float | str, ...] = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, AS_RECORDED)
NORMAL = 2
LEAST_S = 0.05
"""Between two events at speed 1: what took microseconds can be followed."""
MOST_S = 1.0
"""Between two events at speed 1: nobody waits for what was a long wait."""
WHOLE_S = 60.0
"""A long trace takes about so long at speed 1."""
FORWARD = 4096
"""So many events are taken in one by one; farther ahead is a jump."""
FRAME_S = 0.012
Landmark = Literal["error", "stop", "node"]


class Timeline:
    """The trace at a moment, and the walk from moment to moment."""

    def __init__(self, whole: TraceModel, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.whole = whole
        self.moment = Moment(whole, whole.taken)
        self.playing = False
        self.speed = NORMAL
        """Index into `SPEEDS`."""
        self.revision = 0
        self._clock = clock
        self._last = 0.0
        self._credit_s = 0.0
        """Time that has passed and was not spent on events."""
        self._knots: tuple[array[int], array[int]] = (array("q"), array("q"))
        self._knots_of = -1

    @property
    def position(self) -> int:
        """Events that have happened."""
        return self.moment.taken

    @property
    def total(self) -> int:
        """Events that are known."""
        return self.whole.taken

    @property
    def head(self) -> Head | None:
        """The event that happened last."""
        if not self.position:
            return None
        try:
            return read_head(self.whole.events[self.position - 1])
        except BadEvent:
            return None

    # -- moving ---------------------------------------------------------------------------------------------------

    def go(self, position: int) -> bool:
        """Go to the moment after so many events; True when that is another object than before."""
        position = max(0, min(position, self.total))
        ahead = position - self.position
        self.revision += 1
        self._credit_s = 0.0
        if 0 <= ahead <= FORWARD:
            self.moment.advance(ahead)
            return False
        self.moment = Moment(self.whole, position)
        return True

    def find(self, kind: Landmark, direction: int) -> int | None:
        """The position just after the next event of a kind (or the one before); None when there is none."""
        marks = self.whole.landmarks
        places = {"error": marks.errors, "stop": marks.stops, "node": marks.nodes}[kind]
        last = self.position - 1
        index = bisect_right(places, last) if direction > 0 else bisect_left(places, max(last, 0)) - 1
        return places[index] + 1 if 0 <= index < len(places) else None

    def find_seq(self, seq: int) -> int:
        """The position just after an event."""
        return min(self.whole.position(seq) + 1, self.total)

    # -- playing --------------------------------------------------------------------------------------------------

    def play(self, playing: bool) -> None:
        """Play, or pause; from the end it begins anew."""
        self.playing = playing
        self._last = self._clock()
        self._credit_s = 0.0
        self.revision += 1

    def faster(self, direction: int) -> None:
        """Another speed."""
        self.speed = max(0, min(self.speed + direction, len(SPEEDS) - 1))
        self._credit_s = 0.0
        self.revision += 1

    @property
    def speed_text(self) -> str:
        """`4x`, `0.25x`, `as recorded`."""
        speed = SPEEDS[self.speed]
        return speed if isinstance(speed, str) else f"{speed:g}x"

    def tick(self) -> bool:
        """Let time pass; True when events happened."""
        now = self._clock()
        passed, self._last = now - self._last, now
        if not self.playing:
            return False
        speed = SPEEDS[self.speed]
        self._credit_s += passed * (speed if isinstance(speed, float) else 1.0)
        begun, moved, log = now, 0, self.whole.events
        while self.position < self.total:
            wait = self._wait(log[self.position])
            if wait > self._credit_s:
                break
            self._credit_s -= wait
            self.moment.advance(1)
            moved += 1
            if moved % 16 == 0 and self._clock() - begun > FRAME_S:
                # As fast as it can be: what is missed is not made good for.
                self._credit_s = 0.0
                break
        if self.position >= self.total and self.whole.over:
            self.playing = False
            self.revision += 1
        self.revision += bool(moved)
        return moved > 0

    def _wait(self, raw: bytes) -> float:
        """Seconds before the next event, at speed 1."""
        try:
            gap = max(read_head(raw).offset_ns - self.moment.now_ns(), 0) / NS
        except BadEvent:
            return 0.0
        if SPEEDS[self.speed] == AS_RECORDED:
            return gap
        return min(max(gap, self._least), MOST_S)

    @property
    def _least(self) -> float:
        return min(LEAST_S, WHOLE_S / max(self.total, 1))

    # -- the axis -------------------------------------------------------------------------------------------------

    def _times(self) -> tuple[array[int], array[int]]:
        """Times at which it is played, and how many events there are by then; coarse where the trace is long."""
        if self._knots_of == self.total:
            return self._knots
        self._knots_of = self.total
        times, counts = array("q", [0]), array("q", [0])
        last_ns, least = 0, int(self._least * NS)

        def add(offset_ns: int, count: int) -> None:
            nonlocal last_ns
            events = count - counts[-1]
            gap = max(offset_ns - last_ns, 0)
            times.append(times[-1] + min(max(gap, events * least), events * int(MOST_S * NS)))
            counts.append(count)
            last_ns = max(offset_ns, last_ns)

        for mark in self.whole.marks:
            add(mark.offset_ns, mark.events)
        log = self.whole.events
        for index in range(counts[-1], self.total):
            with suppress(BadEvent):
                add(read_head(log[index]).offset_ns, index + 1)
        self._knots = times, counts
        return self._knots

    def counts_at(self, cells: int) -> list[int]:
        """How many events there are by the end of each of so many equal parts of the time that it plays at speed 1."""
        offsets, counts = self._times()
        whole = max(offsets[-1], 1)
        found: list[int] = []
        for cell in range(1, cells + 1):
            at = whole * cell // cells
            index = bisect_right(offsets, at) - 1
            count = counts[index]
            if index + 1 < len(offsets) and counts[index + 1] - count > 1:
                gap = offsets[index + 1] - offsets[index]
                count += (counts[index + 1] - count) * (at - offsets[index]) // max(gap, 1)
            found.append(count)
        if found:
            found[-1] = self.total
        return found

    def marks_in(self, first: int, last: int) -> str:
        """What is worth seeing among events `first` to `last` (excluded): an error, a stop, a node, nothing."""
        marks = self.whole.landmarks
        for glyph, places in (("✖", marks.errors), ("◆", marks.stops), ("·", marks.nodes)):
            if _any_in(places, first, last):
                return glyph
        return " "


def _any_in(places: Sequence[int], first: int, last: int) -> bool:
    index = bisect_left(places, first)
    return index < len(places) and places[index] < last
