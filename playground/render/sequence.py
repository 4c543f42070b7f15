"""The messages of a trace as a Mermaid sequence diagram, with what planners ask models and tools."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from penguiflow.recording.events import TraceEvent
from playground.dashboard.text import clip, one_line
from playground.render.diagrams import ENDPOINTS, OPEN_SEA, ROOKERY, mermaid_text, stable_ids
from playground.render.failure import describe_error

__all__ = ["MAX_ARROWS", "SequenceDiagram"]

MAX_ARROWS = 400
"""More than any browser draws legibly."""
_NOTE = 80
_KINDS = (
    *("message.enqueued", "node.retry", "attempt.end", "cancel.requested", "deadline.exceeded", "trace.end"),
    *("planner.start", "step.start", "branch.start", "join.start", "llm.start", "llm.end", "tool.start", "tool.end"),
)


class SequenceDiagram:
    """Takes a trace's events in order; `lines` is the diagram of what it saw."""

    kinds = _KINDS
    """The kinds of events that appear in a diagram."""

    def __init__(self, *, limit: int | None = MAX_ARROWS) -> None:
        self._limit = limit
        self._steps: list[tuple[str, str, str, str]] = []
        self._participants: dict[str, None] = {}
        self._types: dict[str, str] = {}
        self._streams: set[tuple[str, str]] = set()
        self._left_out = 0
        self._planners: dict[str, str] = {}
        """Which planner a span is of."""

    def add(self, event: TraceEvent) -> None:
        """Take one event."""
        if event.kind == "message.enqueued":
            self._add_message(event.data)
        elif event.kind.endswith((".start", ".end")) and event.kind.partition(".")[0] not in ("attempt", "trace"):
            self._add_call(event)
        elif event.kind == "attempt.end" and event.data.get("error"):
            self._note(event.name, f"{event.data.get('status')}: {describe_error(event.data['error'])}")
        elif event.kind == "deadline.exceeded":
            self._note(event.name, "deadline exceeded")
        elif event.kind == "cancel.requested":
            self._note(OPEN_SEA, "cancel requested")
        elif event.kind == "trace.end" and event.data.get("status") not in (None, "ok"):
            self._note(OPEN_SEA, f"trace {event.data['status']}")

    def lines(self) -> Iterator[str]:
        """The diagram, line by line."""
        names = [name for name in (OPEN_SEA, *self._participants, ROOKERY) if self._has(name)]
        ids = stable_ids(dict.fromkeys(names))
        yield "sequenceDiagram"
        for name in dict.fromkeys(names):
            yield f"    participant {ids[name]} as {mermaid_text(one_line(name))}"
        for source, target, text, arrow in self._steps:
            label = mermaid_text(clip(text, _NOTE))
            if not target:
                yield f"    Note over {ids[source]}: {label}"
            else:
                yield f"    {ids[source]}{arrow}{ids[target]}: {label}"
        if self._left_out:
            yield f"    Note over {ids[names[0]]}: {self._left_out} more steps left out"

    def _has(self, name: str) -> bool:
        return name not in ENDPOINTS or any(name in step[:2] for step in self._steps)

    def _add_message(self, data: dict[str, Any]) -> None:
        source, target = str(data.get("source")), str(data.get("target"))
        if data.get("stream_id") is not None:
            if (source, target) not in self._streams:
                self._streams.add((source, target))
                self._step(source, target, "stream of text", "-)")
            return
        payload = data.get("payload")
        if isinstance(payload, dict):
            kind = str(payload.get("type") or "message").rpartition(":")[2]
        else:
            kind = self._types.get(str(data.get("same_as")), "message")
        self._types[str(data.get("message_id"))] = kind
        self._step(source, target, one_line(kind))

    def _add_call(self, event: TraceEvent) -> None:
        """A planner asks a model or calls a tool, and hears of it."""
        family, _, moment = event.kind.rpartition(".")
        if family == "planner":
            self._planners[event.span_id] = event.name
            return
        planner = self._planners.get(event.parent_id or "")
        if planner is None:
            return
        self._planners[event.span_id] = planner
        if family not in ("llm", "tool"):
            return
        callee = event.name if family == "tool" else f"llm {event.name}"
        if callee == planner:
            callee = f"{family} {event.name}"
        request = event.data.get("request")
        asked = request.get("value") if isinstance(request, dict) else None
        if moment == "start":
            told = asked if isinstance(asked, dict) else {}
            text = (
                json.dumps(told.get("args"), ensure_ascii=False)
                if family == "tool"
                else str(told.get("purpose") or "asks")
            )
            self._step(planner, callee, one_line(text))
        else:
            error, paused = event.data.get("error"), event.data.get("paused")
            text = str(event.data.get("status")) if paused is None else f"paused: {paused}"
            self._step(callee, planner, one_line(describe_error(error) if error else text), "-->>")

    def _note(self, name: str, text: str) -> None:
        self._step(name, "", one_line(text))

    def _step(self, source: str, target: str, text: str, arrow: str = "->>") -> None:
        if self._limit is not None and len(self._steps) >= self._limit:
            self._left_out += 1
            return
        for name in (source, target):
            if name and name not in ENDPOINTS:
                self._participants[name] = None
        self._steps.append((source, target, text, arrow))
