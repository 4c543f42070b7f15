"""What comes of a run: pieces on the way, and an end."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from peeragent.errors import PeerAgentError
from peeragent.models.agents import Route
from peeragent.models.tasks import SessionRecord, TaskError, TaskRecord, TaskStatus
from peeragent.models.turns import TurnResult
from peeragent.store.base import TaskStore
from penguiflow import FlowError, Message

GATHER_S = 0.03
"""Pieces of an answer that come within that are written together."""
OnPiece = Callable[[str, dict[str, Any]], None]


@dataclass(slots=True)
class Outcome:
    """What came of a run."""

    status: TaskStatus
    changes: dict[str, Any]
    session: SessionRecord | None = None
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)


class Story:
    """Writes the pieces of an answer, those of a moment together."""

    def __init__(self, store: TaskStore, task_id: str) -> None:
        self._store, self._task_id = store, task_id
        self._waiting: deque[tuple[str, dict[str, Any]]] = deque()
        self._writing: asyncio.Task[None] | None = None

    def add(self, kind: str, data: dict[str, Any]) -> None:
        """One more piece."""
        self._waiting.append((kind, data))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write(), name=f"peeragent story {self._task_id}")

    async def flush(self) -> None:
        """Return when all is written."""
        while self._writing is not None:
            await asyncio.wait([self._writing])

    async def _write(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(GATHER_S)
                pieces = list(self._waiting)
                self._waiting.clear()
                await self._store.append_events(self._task_id, pieces)
        finally:
            self._writing = None


def turn_of(result: Any) -> TurnResult:
    payload = result.payload if isinstance(result, Message) else result
    if not isinstance(payload, TurnResult):
        raise TypeError(f"the flow gave {type(payload).__name__} and no TurnResult")
    return payload


def classified(route: Route) -> dict[str, Any]:
    told = route.model_dump(mode="json", exclude={"agent"})
    return {"event": "classification", "agent": route.agent.agent_type, **told}


def task_error(error: FlowError) -> TaskError:
    cause = error.original_exc
    if isinstance(cause, PeerAgentError):
        return TaskError(error=cause.message, code=cause.code)
    # What else went wrong is for the log of the run, not for whoever asked.
    return TaskError(error="the agent failed", code="EXECUTION_ERROR")


def failed(error: TaskError, trace_id: str | None = None) -> Outcome:
    told = {"error": error.error, "code": error.code, "done": True}
    return Outcome(TaskStatus.FAILED, {"error": error, "trace_id": trace_id}, events=[("error", told)])


def cancelled() -> Outcome:
    told = {"error": "the task was cancelled", "code": "TASK_CANCELLED", "done": True}
    error = TaskError(error=str(told["error"]), code=str(told["code"]))
    return Outcome(TaskStatus.CANCELLED, {"error": error}, events=[("error", told)])


def ended(task: TaskRecord, outcome: Outcome) -> TaskRecord:
    return task.model_copy(update={**outcome.changes, "status": outcome.status, "completed_at": datetime.now(UTC)})


def in_words(turn: TurnResult) -> str:
    """What an agent said, for the history: its main text."""
    data = turn.result.data
    for name in ("content", "code", "translated_text", "full_email", "tldr", "identified_business_problem"):
        if isinstance(text := data.get(name), str) and text:
            return text
    questions: Sequence[Any] = data.get("questions") or ()
    return "\n".join(map(str, questions)) or str(data.get("main_problem") or turn.result.type)
