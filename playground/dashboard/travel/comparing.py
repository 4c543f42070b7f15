"""Comparing two runs: what is read for it, how far it is, and what was found, in the order in which it is shown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from playground.dashboard.text import many_lines, one_line

if TYPE_CHECKING:
    from penguiflow.recording.diff import Change, Difference, TraceDiff
    from penguiflow.recording.events import TraceEvent
    from penguiflow.state.traces import TraceStore, TraceSummary
    from playground.sources import Source

LIMIT = 300
"""Differences that are read; the others are only counted."""
ASPECTS = {
    "input": "inputs",
    "prompt": "prompts",
    "decision": "decisions",
    "output": "outputs",
    "status": "statuses",
    "invocation": "work of one only",
}
_FOUND = 50
_ASKED = ("checkpoint.hit", "checkpoint.resolved")
_NOTED = {"type", "value", "types", "lost"}


class SourceStore:
    """A source as the comparison reads it: traces and events; it counts what was read."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.read = 0
        """Events so far."""

    async def get_trace(self, trace_id: str) -> TraceSummary | None:
        """One trace by its full id."""
        return await find_trace(self._source, trace_id)

    async def load_events(
        self, trace_id: str, *, after: int = -1, limit: int | None = None, kinds: Sequence[str] | None = None
    ) -> list[TraceEvent]:
        """Committed events, in order."""
        events = await self._source.load_events(trace_id, after=after, limit=limit)
        self.read += len(events)
        return events

    async def load_event_bytes(self, trace_id: str, *, after: int = -1, limit: int | None = None) -> list[bytes]:
        """Committed events, as JSON bytes."""
        events = await self._source.load_event_bytes(trace_id, after=after, limit=limit)
        self.read += len(events)
        return events


async def find_trace(source: Source, trace_id: str) -> TraceSummary | None:
    """What the source's list says of a trace."""
    from penguiflow.state.traces import TraceQuery

    found = await source.find_traces(TraceQuery(text=trace_id, limit=_FOUND))
    return next((trace for trace in found if trace.trace_id == trace_id), None)


class Comparison:
    """Two runs, compared in slices while the screen lives."""

    def __init__(self, a: str, b: str) -> None:
        self.a, self.b = a, b
        self.traces: tuple[TraceSummary | None, TraceSummary | None] = (None, None)
        self.diff: TraceDiff | None = None
        self.total = 0
        """Events of both."""
        self._store: SourceStore | None = None

    async def run(self, source: Source) -> None:
        """Compare. Raises what the source raises, and `LookupError` for a run that is not in the store."""
        from penguiflow.recording.diff import diff_traces

        found = await find_trace(source, self.a), await find_trace(source, self.b)
        for trace, trace_id in zip(found, (self.a, self.b), strict=True):
            if trace is None:
                raise LookupError(f"{trace_id[:8]} is not in the store")
            self.total += trace.events
        self.traces = found
        self._store = SourceStore(source)
        store = cast("TraceStore", self._store)
        self.diff = await diff_traces((store, self.a), (store, self.b), limit=LIMIT)

    @property
    def share(self) -> float:
        """How much of it is done, from 0 to 1."""
        if self._store is None or not self.total:
            return 0.0
        return min(self._store.read / self.total, 1.0)

    def in_order(self, aspect: str | None = None) -> list[Difference]:
        """The first divergence, then the others as they come; only those of an aspect, if one is given."""
        diff = self.diff
        if diff is None:
            return []
        found = sorted(diff.differences, key=_place)
        # An edit tells what its checkpoint tells.
        edits = {each.path: each for each in found if edit_of(each) is not None}
        told = [each for each in found if each.path not in edits or _kind(each) not in _ASKED]
        if diff.first is not None:
            first = diff.first if diff.first in told else edits[diff.first.path]
            told.remove(first)
            told.insert(0, first)
        return [each for each in told if aspect is None or each.aspect == aspect]

    @property
    def first(self) -> Difference | None:
        """The first divergence, as it is shown."""
        return next(iter(self.in_order()), None)


def _kind(difference: Difference) -> str:
    side = difference.a or difference.b
    return "" if side is None else side.kind


def edit_of(difference: Difference) -> tuple[Any, Any] | None:
    """What was edited, before and after, where only one run has that."""
    side = (difference.a or difference.b) if difference.a is None or difference.b is None else None
    if side is None or side.kind != "edit" or not isinstance(side.value, dict):
        return None
    return plain(side.value.get("before")), plain(side.value.get("after"))


def _place(difference: Difference) -> int:
    side = difference.a or difference.b
    return 0 if side is None else side.seq


def summed_up(difference: Difference) -> tuple[str, str]:
    """What the two have, in one line each."""
    edit = edit_of(difference)
    if edit is not None:
        return _first_word(*edit)
    if difference.a is None or difference.b is None:
        side = difference.a or difference.b
        told = "" if side is None else short(side.value)
        return (told, "") if difference.b is None else ("", told)
    change = difference.changes[0] if difference.changes else None
    if change is None:
        return short(difference.a.value), short(difference.b.value)
    return told_of(change, "a"), told_of(change, "b")


def told_of(change: Change, side: str) -> str:
    """What one side has at a change, in one line."""
    if change.only is not None and change.only != side:
        return ""
    return short(change.a if side == "a" else change.b)


def _first_word(before: Any, after: Any) -> tuple[str, str]:
    """Of two values, what differs first, with its name."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in {**before, **after}:
            if before.get(key) != after.get(key):
                return f"{one_line(str(key))} {short(before.get(key))}", short(after.get(key))
    return short(before), short(after)


def plain(value: Any) -> Any:
    """A value without the types that are noted of recorded payloads."""
    if isinstance(value, dict):
        if "value" in value and isinstance(value.get("type"), str) and value.keys() <= _NOTED:
            return plain(value["value"])
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def short(value: Any) -> str:
    """A value in one line."""
    value = plain(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return one_line(text[:400])


def text_of(value: Any) -> str:
    """A value as lines: texts as they are, anything else as JSON."""
    value = plain(value)
    if isinstance(value, str):
        return many_lines(value) or '""'
    return many_lines(json.dumps(value, ensure_ascii=False, indent=2))
