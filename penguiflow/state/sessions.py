"""The models of sessions: `penguiflow.state.models` gives them out."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from penguiflow.ids import new_id
from penguiflow.state.models import SteeringEventType, TaskState, TaskStatus, TaskType, UpdateType

__all__ = ["StateUpdate", "SteeringEvent", "TaskContextSnapshot", "TaskStateModel"]


def _now() -> datetime:
    return datetime.now(UTC)


class _Model(BaseModel):
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
