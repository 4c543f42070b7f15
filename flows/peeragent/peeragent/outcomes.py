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
from peeragent.models.tasks import CANCELLED, SessionRecord, TaskError, TaskRecord, TaskStatus, error_event
from peeragent.models.turns import Turn, TurnResult
from peeragent.store.base import TaskStore
from penguiflow import FlowError, Message

GATHER_S = 0.03
"""Pieces of an answer that come within that are written together."""
MAX_TURN_CHARS = 2000
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
    told = {"error": error, "trace_id": trace_id}
    return Outcome(TaskStatus.FAILED, told, events=[("error", error_event(error))])


def cancelled() -> Outcome:
    return Outcome(TaskStatus.CANCELLED, {"error": CANCELLED}, events=[("error", error_event(CANCELLED))])


def ended(task: TaskRecord, outcome: Outcome) -> TaskRecord:
    return task.model_copy(update={**outcome.changes, "status": outcome.status, "completed_at": datetime.now(UTC)})


def done_event(task_id: str, agent_type: str | None, priority: int, result: dict[str, Any] | None) -> dict[str, Any]:
    """The last event of a task that was completed."""
    return {"done": True, "task_id": task_id, "agent_type": agent_type, "priority": priority, "result": result}


def last_event(task: TaskRecord) -> dict[str, Any]:
    """The last event of a task that is over, also where nobody wrote one."""
    if task.error is None:
        return done_event(task.task_id, task.agent_type, task.priority, task.result)
    return error_event(task.error)


def session_after(session: SessionRecord, task: TaskRecord, turn: TurnResult, most: int) -> SessionRecord:
    """What is kept of a conversation after a turn: the last `most` messages."""
    said = task.task or "\n".join(f"{question}: {answer}" for question, answer in task.answers.items())
    agent = turn.route.agent
    turns = [
        *session.turns,
        Turn(role="user", text=said[:MAX_TURN_CHARS], agent=agent),
        Turn(role="assistant", text=in_words(turn)[:MAX_TURN_CHARS], agent=agent),
    ]
    return session.model_copy(update={"turns": turns[-most:], "last_agent": agent, "socratic": turn.socratic})


def in_words(turn: TurnResult) -> str:
    """What an agent said, for the history: its main text."""
    data = turn.result.data
    for name in ("content", "code", "translated_text", "full_email", "tldr", "identified_business_problem"):
        if isinstance(text := data.get(name), str) and text:
            return text
    questions: Sequence[Any] = data.get("questions") or ()
    return "\n".join(map(str, questions)) or str(data.get("main_problem") or turn.result.type)
