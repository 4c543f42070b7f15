"""What comes from outside between two steps: steering events, and edits of the context. A replay has them again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic_core import to_jsonable_python

from penguiflow.observer import Payload
from penguiflow.steering import SteeringCancelled, SteeringEventType

if TYPE_CHECKING:
    from penguiflow.planner.protocols import MemorySession
    from penguiflow.planner.run import PlannerRun

__all__ = ["MEMORY_KEY", "take_edits", "take_steering"]

MEMORY_KEY = "conversation_memory"
"""Of what a memory shows to the model; the name is reserved in `llm_context`."""

TOOL_CONTEXT_KEY = "$tool_context"
"""Of a change of `tool_context` among those of `llm_context`."""

_HISTORY = 50
"""Steering events that the trajectory keeps."""


async def take_steering(run: PlannerRun) -> None:
    """Wait while the run is paused, then take in what waits. Raises `SteeringCancelled`."""
    inbox = run.steering
    waits = False
    if inbox is not None:
        await inbox.wait_if_paused()
        waits = inbox.has_event() or inbox.cancelled

    def drain() -> list[dict[str, Any]]:
        assert inbox is not None
        events = [_plain(event) for event in inbox.drain()]
        if inbox.cancelled and not any(event["event_type"] == SteeringEventType.CANCEL for event in events):
            events.append({"event_type": SteeringEventType.CANCEL.value, "payload": {"reason": inbox.cancel_reason}})
        return events

    if not waits and not run.site.recorded:
        return
    for event in await run.site.consult("steering", [], drain if waits else None, about=_about) or ():
        _steered(run, event)


def _about(_: Any) -> Mapping[str, Any]:
    return {"checkpoint": "steering", "decision": "edit"}


def _plain(event: Any) -> dict[str, Any]:
    return {
        "event_id": event.event_id,
        "event_type": event.event_type.value,
        "payload": to_jsonable_python(event.payload, fallback=str),
        "source": str(event.source),
        "text": event.to_injection(),
    }


def _steered(run: PlannerRun, event: Mapping[str, Any]) -> None:
    kind, payload = SteeringEventType(event["event_type"]), event.get("payload") or {}
    run.events.emit(
        "steering_received", event_id=event.get("event_id"), source=event.get("source"), event_type=kind.value
    )
    history = run.trajectory.metadata.setdefault("steering_history", [])
    history.append(dict(event))
    del history[:-_HISTORY]
    if kind is SteeringEventType.CANCEL:
        raise SteeringCancelled(payload.get("reason"))
    text = str(event.get("text", ""))
    if kind is SteeringEventType.REDIRECT:
        goals = (payload.get(key) for key in ("instruction", "goal", "query"))
        run.trajectory.query = next((str(goal) for goal in goals if goal), run.trajectory.query)
    if kind in (SteeringEventType.INJECT_CONTEXT, SteeringEventType.REDIRECT, SteeringEventType.USER_MESSAGE):
        run.queued.clear()  # the model shall decide anew
        run.trajectory.steering_inputs.append(text)


async def take_edits(run: PlannerRun, number: int) -> None:
    """Take in what was changed of `llm_context` and of the memory since the last step."""
    if not run.changes and not run.site.recorded:
        return

    def take() -> list[dict[str, Any]]:
        return list(run.changes)

    changes = await run.site.consult("edits", number, take if run.changes else None, about=_edited)
    run.changes.clear()
    if not changes:
        return
    before = dict(run.trajectory.llm_context or {})
    after = dict(before)
    memory = run.memory
    for change in changes:
        for key, value in change.items():
            if key == TOOL_CONTEXT_KEY:
                _edit_tools(run, value)
            elif memory is not None and key == MEMORY_KEY:
                _edit_memory(run, memory, value)
            elif value is None:
                after.pop(key, None)
            else:
                after[key] = value
    if after == before:
        return
    run.trajectory.llm_context = after
    about = {"of": "llm_context", "before": Payload(before), "after": Payload(after), "by": "caller"}
    run.site.event("context.changed", "llm_context", about)


def _edit_tools(run: PlannerRun, changes: Mapping[str, Any]) -> None:
    """Done already, unless the run goes on after a crash."""
    for key, value in changes.items():
        if value is None:
            run.tool_context.pop(key, None)
        else:
            run.tool_context[key] = value


def _edit_memory(run: PlannerRun, memory: MemorySession, value: Any) -> None:
    """What the run sees of its memory from here on; the memory itself is changed already."""
    before = dict(memory.context())
    after = {} if value is None else {MEMORY_KEY: value}
    memory.take(after)
    about = {"of": memory.key, "change": "edited", "before": Payload(before), "after": Payload(after), "by": "caller"}
    run.site.event("memory.changed", memory.key, about)


def _edited(_: Any) -> Mapping[str, Any]:
    return {"checkpoint": "edits", "decision": "edit"}
