"""Where spans stand, in words that are the same in every run of the same messages.

A node's work is `summarize[3]/attempt[0]`: its fourth message, first attempt. What is called within it goes on from
there: `summarize[3]/attempt[0]/fetch[1]`. The *place* is the same for machines: `<message id>/0`, which needs no
counting of what came before.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from penguiflow.calls import segment
from penguiflow.recording.events import TraceEvent

__all__ = ["SpanPaths", "Where", "matches"]


class Where(NamedTuple):
    """Where one span stands."""

    path: str
    """For people; empty for the trace itself."""
    place: str
    """For machines; empty outside of nodes."""
    outer: bool
    """Whether it belongs to the trace's own flow, and not to a playbook that a node called."""


class SpanPaths:
    """Fed with the events of a trace, in order; knows where its spans stand."""

    def __init__(self) -> None:
        self._known: dict[str, Where] = {}
        self._kinds: dict[str, str] = {}
        self._positions: dict[tuple[str, str, str], int] = {}
        """Position of a message among those of its node: by path of what is around, node and message id."""
        self._counts: Counter[tuple[str, str]] = Counter()

    def of(self, span_id: str) -> Where:
        """Where a span stands; that of the trace itself for one that is unknown."""
        return self._known.get(span_id, _NOWHERE)

    def kind(self, span_id: str) -> str:
        """`trace`, `node`, `attempt` …; empty for a span that is unknown."""
        return self._kinds.get(span_id, "")

    def add(self, event: TraceEvent) -> None:
        """Take one event."""
        if not event.kind.endswith(".start"):
            return
        kind = event.kind[: -len(".start")]
        self._kinds[event.span_id] = kind
        self._known[event.span_id] = self._place(kind, event)

    def _place(self, kind: str, event: TraceEvent) -> Where:
        around = self.of(event.parent_id or "")
        name, data = event.name, event.data
        prefix = f"{around.path}/" if around.path else ""
        if kind == "trace":
            return _NOWHERE
        if kind == "node":
            message_id = str(data.get("message_id", ""))
            key = (prefix, name, message_id)
            position = self._positions.get(key)
            if position is None:
                position = self._positions[key] = self._counts[prefix, name]
                self._counts[prefix, name] += 1
            return Where(f"{prefix}{name}[{position}]", message_id, around.outer)
        if kind == "attempt":
            attempt = data.get("attempt", 0)
            return Where(f"{prefix}attempt[{attempt}]", f"{around.place}/{attempt}", around.outer)
        if kind == "join":
            name = f"join.{name}"  # its node has the other name
        ordinal, named = data.get("ordinal"), segment(kind, name)
        if not isinstance(ordinal, int):
            ordinal = self._counts[prefix, named]
            self._counts[prefix, named] += 1
        step = f"{named}[{ordinal}]"
        return Where(prefix + step, f"{around.place}/{step}", around.outer and kind != "playbook")


_NOWHERE = Where("", "", True)


def matches(path: str, wanted: str) -> bool:
    """Whether `wanted` names the span at `path`: its last segments, whose numbers may be left out."""
    have, asked = path.split("/"), wanted.strip("/").split("/")
    if len(asked) > len(have):
        return False
    return all(
        segment == ask or (not ask.endswith("]") and segment.rpartition("[")[0] == ask)
        for segment, ask in zip(have[-len(asked) :], asked, strict=True)
    )
