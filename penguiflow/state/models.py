"""What the contract's state stores keep."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from penguiflow.ids import new_id
from penguiflow.metrics import StoredEvent

__all__ = [
    "GLOBAL_TRACE",
    "RemoteBinding",
    "StateUpdate",
    "SteeringEvent",
    "SteeringEventType",
    "StoredEvent",
    "TaskContextSnapshot",
    "TaskState",
    "TaskStateModel",
    "TaskStatus",
    "TaskType",
    "UpdateType",
]

GLOBAL_TRACE = "__global__"
"""Trace id under which events without one are kept."""


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True)
class RemoteBinding:
    """Which task of which remote agent works for a trace."""

    trace_id: str
    context_id: str | None
    task_id: str
    agent_url: str
    router_session_id: str | None = None
    remote_skill: str | None = None
    tenant_id: str | None = None
    user_id: str | None = None
    last_remote_task_id: str | None = None
    is_terminal: bool = False
    metadata: Mapping[str, Any] = field(default_factory=dict)


class UpdateType(StrEnum):
    """What an update of a session tells."""

    THINKING = "THINKING"
    PROGRESS = "PROGRESS"
    TOOL_CALL = "TOOL_CALL"
    RESULT = "RESULT"
    ERROR = "ERROR"
    CHECKPOINT = "CHECKPOINT"
    STATUS_CHANGE = "STATUS_CHANGE"
    NOTIFICATION = "NOTIFICATION"


class TaskStatus(StrEnum):
    """Where a task of a session stands."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    COMPLETE = "COMPLETE"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class TaskType(StrEnum):
    """Whether the user waits for a task."""

    FOREGROUND = "FOREGROUND"
    BACKGROUND = "BACKGROUND"


class SteeringEventType(StrEnum):
    """What somebody outside wants of a running task."""

    INJECT_CONTEXT = "INJECT_CONTEXT"
    REDIRECT = "REDIRECT"
    CANCEL = "CANCEL"
    PRIORITIZE = "PRIORITIZE"
    PAUSE = "PAUSE"
    RESUME = "RESUME"
    APPROVE = "APPROVE"
    REJECT = "REJECT"
    USER_MESSAGE = "USER_MESSAGE"


class _Model(BaseModel):
    # Built when first used: most processes that import this module only read traces.
    model_config = ConfigDict(defer_build=True)


class TaskContextSnapshot(_Model):
    """What a task knew when it was spawned."""

    session_id: str
    task_id: str
    trace_id: str | None = None
    spawned_from_task_id: str = "foreground"
    spawned_from_event_id: str | None = None
    spawned_at: datetime = Field(default_factory=_now)
    spawn_reason: str | None = None
    query: str | None = None
    propagate_on_cancel: str = "cascade"
    notify_on_complete: bool = True
    context_version: int | None = None
    context_hash: str | None = None
    llm_context: dict[str, Any] = Field(default_factory=dict)
    tool_context: dict[str, Any] = Field(default_factory=dict)
    memory: dict[str, Any] = Field(default_factory=dict)
    artifacts: list[dict[str, Any]] = Field(default_factory=list)


class StateUpdate(_Model):
    """One thing that a session tells those who watch it."""

    session_id: str
    task_id: str
    trace_id: str | None = None
    update_id: str = Field(default_factory=new_id)
    update_type: UpdateType
    content: Any
    step_index: int | None = None
    total_steps: int | None = None
    created_at: datetime = Field(default_factory=_now)


@dataclass(slots=True)
class TaskState:
    """A task of a session, as it is now."""

    task_id: str
    session_id: str
    status: TaskStatus
    task_type: TaskType
    priority: int
    context_snapshot: TaskContextSnapshot
    trace_id: str | None = None
    result: Any | None = None
    error: str | None = None
    description: str | None = None
    progress: dict[str, Any] | None = None
    created_at: datetime = field(default_factory=_now)
    updated_at: datetime = field(default_factory=_now)

    def update_status(self, status: TaskStatus) -> None:
        """Set the status, and when it was set."""
        self.status = status
        self.updated_at = _now()


class TaskStateModel(_Model):
    """A `TaskState` that can be validated and written as JSON."""

    task_id: str
    session_id: str
    status: TaskStatus
    task_type: TaskType
    priority: int
    context_snapshot: TaskContextSnapshot
    trace_id: str | None = None
    result: Any | None = None
    error: str | None = None
    description: str | None = None
    progress: dict[str, Any] | None = None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def from_state(cls, state: TaskState) -> TaskStateModel:
        """The same task as a model."""
        return cls(**{name: getattr(state, name) for name in cls.model_fields})


class SteeringEvent(_Model):
    """One wish of somebody outside to a running task."""

    session_id: str
    task_id: str
    event_id: str = Field(default_factory=new_id)
    event_type: SteeringEventType
    payload: dict[str, Any] = Field(default_factory=dict)
    trace_id: str | None = None
    source: str = "user"
    created_at: datetime = Field(default_factory=_now)

    def to_injection(self) -> str:
        """The JSON text that a model is shown."""
        about = {
            "event_id": self.event_id,
            "task_id": self.task_id,
            "event_type": self.event_type.value,
            "payload": self.payload,
            "created_at": self.created_at.isoformat(),
        }
        return json.dumps({"steering": about}, ensure_ascii=False, default=str)
