"""Where runs and their state are kept."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penguiflow.state.in_memory import InMemoryStateStore, PlaygroundArtifactStore
    from penguiflow.state.models import (
        RemoteBinding,
        StateUpdate,
        SteeringEvent,
        SteeringEventType,
        StoredEvent,
        TaskContextSnapshot,
        TaskState,
        TaskStateModel,
        TaskStatus,
        TaskType,
        UpdateType,
    )
    from penguiflow.state.postgres import PostgresStateStore
    from penguiflow.state.protocol import (
        StateStore,
        SupportsArtifacts,
        SupportsConversationBindings,
        SupportsMemoryRemoval,
        SupportsMemoryRevisions,
        SupportsMemoryState,
        SupportsPlannerEvents,
        SupportsPlannerState,
        SupportsSteering,
        SupportsTasks,
        SupportsTrajectories,
        missing_capabilities,
        require_capabilities,
    )
    from penguiflow.state.retention import Pruned, Retention
    from penguiflow.state.sqlite import SQLiteStateStore

_HOMES = {
    "InMemoryStateStore": "in_memory",
    "PlaygroundArtifactStore": "in_memory",
    "Pruned": "retention",
    "RemoteBinding": "models",
    "Retention": "retention",
    "PostgresStateStore": "postgres",
    "SQLiteStateStore": "sqlite",
    "StateStore": "protocol",
    "StateUpdate": "models",
    "SteeringEvent": "models",
    "SteeringEventType": "models",
    "StoredEvent": "models",
    "SupportsArtifacts": "protocol",
    "SupportsConversationBindings": "protocol",
    "SupportsMemoryRemoval": "protocol",
    "SupportsMemoryRevisions": "protocol",
    "SupportsMemoryState": "protocol",
    "SupportsPlannerEvents": "protocol",
    "SupportsPlannerState": "protocol",
    "SupportsSteering": "protocol",
    "SupportsTasks": "protocol",
    "SupportsTrajectories": "protocol",
    "TaskContextSnapshot": "models",
    "TaskState": "models",
    "TaskStateModel": "models",
    "TaskStatus": "models",
    "TaskType": "models",
    "UpdateType": "models",
    "missing_capabilities": "protocol",
    "require_capabilities": "protocol",
}

__all__ = [
    "InMemoryStateStore",
    "PlaygroundArtifactStore",
    "PostgresStateStore",
    "Pruned",
    "RemoteBinding",
    "Retention",
    "SQLiteStateStore",
    "StateStore",
    "StateUpdate",
    "SteeringEvent",
    "SteeringEventType",
    "StoredEvent",
    "SupportsArtifacts",
    "SupportsConversationBindings",
    "SupportsMemoryRemoval",
    "SupportsMemoryRevisions",
    "SupportsMemoryState",
    "SupportsPlannerEvents",
    "SupportsPlannerState",
    "SupportsSteering",
    "SupportsTasks",
    "SupportsTrajectories",
    "TaskContextSnapshot",
    "TaskState",
    "TaskStateModel",
    "TaskStatus",
    "TaskType",
    "UpdateType",
    "missing_capabilities",
    "require_capabilities",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
