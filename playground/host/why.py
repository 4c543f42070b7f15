"""What led to what is about to happen in a planner: read from the log of its run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from penguiflow.checkpoints import Checkpoint
from penguiflow.recording.events import TraceEvent
from penguiflow.state.database import DatabaseStore
from penguiflow.state.errors import StoreError
from playground.protocol import Why

MAX_TEXT = 16_000
"""Characters of one text."""
MAX_ALL = 64_000
"""Characters of all texts of one part."""
FIRST_EVENTS = 500
"""How far it is looked back at first; then four times as far, and so on."""
MAX_EVENTS = 32_000
_KINDS = ("llm.start", "llm.end", "planner.decision", "step.start", "branch.start", "join.start", "tool.start")
_TELLING = ("after_decision", "before_tool", "after_tool", "before_join", "before_finish", "on_error")


def tells_why(checkpoint: Checkpoint) -> bool:
    """Whether something led to this checkpoint that can be told."""
    return checkpoint.kind in _TELLING and any(part.startswith("step:") for part in checkpoint.path)


async def why_of(store: DatabaseStore, checkpoint: Checkpoint, last: int) -> Why | None:
    """Prompt, reply and decision of the step that a checkpoint is in; `last` is the newest event of its trace."""
    reach = FIRST_EVENTS
    while True:
        after = max(-1, last - reach)
        try:
            events = await store.load_events(checkpoint.trace_id or "", after=after, kinds=_KINDS)
        except StoreError:  # what the run does is shown all the same
            return None
        why = _found(events, checkpoint.span_id)
        if why is not None or after < 0 or reach >= MAX_EVENTS:
            return why
        reach *= 4


def _found(events: Sequence[TraceEvent], span: str) -> Why | None:
    parents = {event.span_id: event.parent_id or "" for event in events if event.kind.endswith(".start")}
    around: set[str] = set()
    while span and span not in around:
        around.add(span)
        span = parents.get(span, "")
    decision = next((e for e in reversed(events) if e.kind == "planner.decision" and e.span_id in around), None)
    if decision is None:
        return None
    why = Why(seqs={decision.kind: decision.seq})
    told = {key: _plain(value) for key, value in decision.data.items()}
    why.decision = _cut(told, why, "decision")
    for event in reversed(events):
        if event.seq > decision.seq or (event.parent_id or "") != decision.span_id or event.kind in why.seqs:
            continue
        if event.kind == "llm.start":
            request = _plain(event.data.get("request"))
            messages = request.get("messages") if isinstance(request, dict) else None
            why.messages = _cut(messages if isinstance(messages, list) else [], why, "messages")
        elif event.kind == "llm.end":
            why.reply = _cut(_plain(event.data.get("response")), why, "reply")
        else:
            continue
        why.seqs[event.kind] = event.seq
    return why


def _plain(value: Any) -> Any:
    """What was recorded as a payload."""
    return value["value"] if isinstance(value, dict) and set(value) == {"type", "value"} else value


class _Cutter:
    def __init__(self) -> None:
        self.left = MAX_ALL
        self.cut = False

    def shortened(self, value: Any) -> Any:
        if isinstance(value, str):
            kept = max(0, min(MAX_TEXT, self.left))
            self.left -= len(value)
            if len(value) <= kept:
                return value
            self.cut = True
            return f"{value[:kept]}…"
        if isinstance(value, dict):
            return {key: self.shortened(item) for key, item in value.items()}
        if isinstance(value, list):
            # The end is what was asked last: it is cut the least.
            return [self.shortened(item) for item in reversed(value)][::-1]
        return value


def _cut(value: Any, why: Why, part: str) -> Any:
    cutter = _Cutter()
    made = cutter.shortened(value)
    if cutter.cut:
        why.cut.append(part)
    return made
