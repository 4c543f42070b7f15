"""Tasks, their events, and sessions, as stores keep them."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, Field

from peeragent.models.agents import Agent
from peeragent.models.turns import SocraticState, Turn


class TaskStatus(StrEnum):
    """Where a task stands. The last three are final."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing comes after it."""
        return self in FINAL


FINAL = frozenset({TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED})


class TaskError(BaseModel):
    """Why a task failed: `error` for people, `code` for programs."""

    error: str
    code: str


class TaskRecord(BaseModel):
    """A task."""

    task_id: str
    status: TaskStatus
    task: str
    session_id: str
    owner: str = "anonymous"
    """Whose key it came with: nobody else sees it."""
    kind: Literal["execute", "direct", "continue", "demo", "problem_tree"] = "execute"
    agent: Agent | None = None
    """Who was asked for; None lets the router decide."""
    agent_type: str | None = None
    """Who did it."""
    priority: int = Field(default=2, ge=1, le=3)
    created_at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    started_at: datetime | None = None
    completed_at: datetime | None = None
    result: dict[str, Any] | None = None
    error: TaskError | None = None
    attempts: int = 0
    """How often a worker, or the request itself, began it."""
    context: dict[str, Any] = Field(default_factory=dict)
    answers: dict[str, str] = Field(default_factory=dict)
    webhook: str | None = None
    trace_id: str | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)


class TaskEvent(BaseModel):
    """A line of a task's story, for streams: `id` from 1, without gaps."""

    id: int
    type: Literal["classification", "content", "done", "error"]
    data: dict[str, Any]


LAST_EVENTS = frozenset({"done", "error"})
"""Types of events that nothing comes after."""


class Transition(BaseModel):
    """A line of the append-only log of what became of tasks."""

    seq: int
    task_id: str
    status: TaskStatus
    attempt: int
    worker: str | None
    at: datetime


class SessionRecord(BaseModel):
    """What the server knows of a conversation."""

    session_id: str
    owner: str = "anonymous"
    turns: list[Turn] = Field(default_factory=list)
    last_agent: Agent | None = None
    socratic: SocraticState | None = None
    version: int = 0
    """0 is a session that was never saved; each save adds one."""
    updated_at: datetime = Field(default_factory=lambda: datetime.now(UTC))


_DIGITS = 32
_ALIKE = 3
"""Digits that ids which follow each other have in common: a store's index of them is written in one place."""
_REFILL = 256
_chance: list[str] = []


CANCELLED = TaskError(error="the task was cancelled", code="TASK_CANCELLED")
LOST = TaskError(error="the worker was lost", code="WORKER_LOST")


def error_event(error: TaskError) -> dict[str, Any]:
    """The last event of a task that failed, or was cancelled."""
    return {"error": error.error, "code": error.code, "done": True}


def new_id(prefix: str) -> str:
    """`PREFIX-` and 32 hex digits, 116 bits of chance: nobody guesses it, and it is never the name of another key."""
    while True:
        try:
            return f"{prefix}-{_chance.pop()}"
        except IndexError:
            # A call of the system for each id takes longer than all else about it.
            own = _DIGITS - _ALIKE
            digits = os.urandom((own * _REFILL + _ALIKE + 1) // 2).hex()
            alike = digits[-_ALIKE:]
            _chance.extend(alike + digits[start : start + own] for start in range(0, own * _REFILL, own))


# A child must not give out the ids of its parent.
os.register_at_fork(after_in_child=_chance.clear)
