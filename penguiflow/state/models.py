"""What the contract's state stores keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from penguiflow.metrics import StoredEvent

if TYPE_CHECKING:
    from penguiflow.state.sessions import StateUpdate, SteeringEvent, TaskContextSnapshot, TaskStateModel

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


def __getattr__(name: str) -> Any:
    """Import a model when it is first asked for: most processes that import this module only read traces."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from penguiflow.state import sessions

    return getattr(sessions, name)
