"""Tells of runs that ended while nobody looked at them: what, how long, and how."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

from playground.dashboard.runs import RunLine
from playground.dashboard.text import GLYPHS, clip, duration, one_line

ONE_BY_ONE = 3
"""When more end at once, they are told together."""
_BAD = frozenset({"error", "timeout", "interrupted"})


class Ended(NamedTuple):
    """A line for people."""

    text: str
    severity: str


class Watcher:
    """Remembers what is under way; looked at a few times a second."""

    def __init__(self) -> None:
        self._running: set[str] = set()

    def look(
        self, running: Iterable[RunLine], get: Callable[[str], RunLine | None], in_sight: str | None
    ) -> list[Ended]:
        """What to tell now; `in_sight` is the run that is shown."""
        now = {line.trace_id for line in running}
        gone = [line for trace_id in sorted(self._running - now) if (line := get(trace_id)) is not None]
        self._running = now
        told = [line for line in gone if line.trace_id != in_sight]
        if len(told) <= ONE_BY_ONE:
            return [_one(line) for line in told]
        statuses = Counter(line.status for line in told)
        counts = ", ".join(
            f"{GLYPHS.get(status, '?')} {number:,} {status}" for status, number in statuses.most_common()
        )
        return [Ended(f"{len(told):,} runs ended: {counts}", "warning" if _BAD & statuses.keys() else "information")]


def _one(line: RunLine) -> Ended:
    took = f" after {duration(line.duration_s)}" if line.duration_s is not None else ""
    text = f"{GLYPHS.get(line.status, '?')} {one_line(line.flow or '?')} {line.trace_id[:8]} {line.status}{took}"
    if line.error:
        text += f": {clip(one_line(line.error), 120)}"
    return Ended(text, "error" if line.status in _BAD else "information")
