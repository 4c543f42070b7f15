"""Calls of remote agents and their tasks, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from penguiflow.types import Message

__all__ = [
    "REMOTE_TERMINAL_TASK_STATES",
    "RemoteCallRequest",
    "RemoteCallResult",
    "RemotePushNotificationBinding",
    "RemoteStreamEvent",
    "RemoteTaskAuthRequired",
    "RemoteTaskEvent",
    "RemoteTaskInputRequired",
    "RemoteTaskPage",
    "RemoteTaskSnapshot",
    "RemoteTaskState",
    "RemoteTaskStatus",
]


@dataclass(slots=True)
class RemoteCallRequest:
    """What an agent is asked."""

    message: Message
    skill: str
    agent_url: str
    agent_card: Mapping[str, Any] | None = None
    metadata: Mapping[str, Any] | None = None
    timeout_s: float | None = None
    context_id: str | None = None
    """The conversation to go on with."""
    task_id: str | None = None
    """The task to go on with."""


@dataclass(slots=True)
class RemoteCallResult:
    """What an agent answered."""

    result: Any
    context_id: str | None = None
    task_id: str | None = None
    agent_url: str | None = None
    meta: Mapping[str, Any] | None = None


@dataclass(slots=True)
class RemoteStreamEvent:
    """A piece of an agent's answer."""

    text: str | None = None
    done: bool = False
    meta: Mapping[str, Any] | None = None
    context_id: str | None = None
    task_id: str | None = None
    agent_url: str | None = None
    result: Any | None = None


class RemoteTaskState(StrEnum):
    """Where a remote task stands."""

    UNSPECIFIED = "unspecified"
    SUBMITTED = "submitted"
    WORKING = "working"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INPUT_REQUIRED = "input-required"
    AUTH_REQUIRED = "auth-required"
    REJECTED = "rejected"


REMOTE_TERMINAL_TASK_STATES = frozenset(
    {RemoteTaskState.COMPLETED, RemoteTaskState.FAILED, RemoteTaskState.CANCELLED, RemoteTaskState.REJECTED}
)


@dataclass(slots=True)
class RemoteTaskStatus:
    """A remote task's state, and what the agent says about it."""

    state: RemoteTaskState
    message: str | None = None
    timestamp: str | None = None
    raw: Mapping[str, Any] | None = None


@dataclass(slots=True)
class RemoteTaskSnapshot:
    """A remote task as it was when it was looked at."""

    task_id: str
    context_id: str
    status: RemoteTaskStatus
    result: Any | None = None
    artifacts: list[Any] | None = None
    history: list[Any] | None = None
    agent_url: str | None = None
    meta: Mapping[str, Any] | None = None

    @property
    def is_terminal(self) -> bool:
        """Whether the task has ended."""
        return self.status.state in REMOTE_TERMINAL_TASK_STATES


@dataclass(slots=True)
class RemoteTaskEvent:
    """Something that happened to a remote task."""

    kind: str
    task: RemoteTaskSnapshot | None = None
    status: RemoteTaskStatus | None = None
    text: str | None = None
    result: Any | None = None
    artifact: Any | None = None
    done: bool = False
    context_id: str | None = None
    task_id: str | None = None
    agent_url: str | None = None
    meta: Mapping[str, Any] | None = None
    raw: Mapping[str, Any] | None = None


@dataclass(slots=True)
class RemoteTaskPage:
    """Some of the tasks of an agent."""

    tasks: list[RemoteTaskSnapshot]
    next_page_token: str = ""
    """Empty on the last page."""
    page_size: int = 0
    total_size: int = 0


@dataclass(slots=True)
class RemotePushNotificationBinding:
    """Where an agent tells of a task."""

    name: str | None
    config: Mapping[str, Any]


class RemoteTaskInputRequired(RuntimeError):
    """The remote agent waits for an answer; `snapshot` is the task to go on with."""

    def __init__(self, snapshot: RemoteTaskSnapshot) -> None:
        super().__init__(snapshot.status.message or "Remote agent requires more input.")
        self.snapshot = snapshot


class RemoteTaskAuthRequired(RuntimeError):
    """The remote agent waits for an authorization; `snapshot` is the task to go on with."""

    def __init__(self, snapshot: RemoteTaskSnapshot) -> None:
        super().__init__(snapshot.status.message or "Remote agent requires authorization.")
        self.snapshot = snapshot
