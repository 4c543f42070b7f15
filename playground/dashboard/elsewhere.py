"""Runs that another process has under way: what their events in the store say of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from playground.dashboard.debugging.model import WORDS
from playground.dashboard.heads import BadEvent, peek_data, read_head

if TYPE_CHECKING:
    from penguiflow.state.traces import TraceSummary
    from playground.dashboard.runs import RunList
    from playground.sources import Source

MAX_LOOKED_AT = 20
"""Runs, the newest first: a dashboard that looks on leaves the store to those who write."""
TAIL = 16
"""Events at the end of a run that are looked at: what has stopped has written nothing since, and others little."""


def stopped_at(events: Iterable[bytes]) -> str:
    """Where a run has stopped, by its last events; empty when none of them says so.

    A checkpoint that stops a run is written before anybody is asked, and what was decided after that.
    """
    waiting: dict[str, str] = {}
    for raw in events:
        try:
            head = read_head(raw)
            if head.kind == "checkpoint.hit":
                kind = str(peek_data(raw).get("checkpoint", ""))
                waiting[head.span_id] = f"{WORDS.get(kind, kind)} {head.name}".strip()
            elif head.kind == "checkpoint.resolved":
                waiting.pop(head.span_id, None)
            elif head.kind in {"trace.start", "trace.end"}:  # taken up again, or over
                waiting.clear()
        except BadEvent:
            continue
    return next(reversed(waiting.values()), "")


class Elsewhere:
    """Looks after the runs of other processes."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}
        """How many events a run had when it was looked at."""

    async def look(self, source: Source, found: Sequence[TraceSummary], runs: RunList) -> None:
        """Say of the runs among `found` that others have under way where they have stopped. Raises `StoreError`."""
        under_way = [each for each in found if each.status == "running"][:MAX_LOOKED_AT]
        seen, self._seen = self._seen, {}
        for summary in under_way:
            line = runs.get(summary.trace_id)
            if line is None or not line.elsewhere:
                continue
            if seen.get(summary.trace_id) != summary.events:
                after = max(summary.events - TAIL, 0) - 1
                tail = await source.load_event_bytes(summary.trace_id, after=after, limit=2 * TAIL)
                runs.stopped_there(line, stopped_at(tail))
            self._seen[summary.trace_id] = summary.events
