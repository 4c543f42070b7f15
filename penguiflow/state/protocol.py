"""What a flow, a planner and a session ask of a state store, and how to find out what a store can do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from penguiflow.artifacts import ArtifactStore
    from penguiflow.state.models import RemoteBinding, StateUpdate, SteeringEvent, StoredEvent, TaskState

__all__ = [
    "StateStore",
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
    "missing_capabilities",
    "require_capabilities",
]


@runtime_checkable
class StateStore(Protocol):
    """Keeps the events of traces and the bindings to remote agents."""

    async def save_event(self, event: StoredEvent) -> None:
        """Keep one event; the same event again changes nothing."""
        ...

    async def load_history(self, trace_id: str) -> Sequence[StoredEvent]:
        """The events of a trace in ascending order of time; empty for an unknown one."""
        ...

    async def save_remote_binding(self, binding: RemoteBinding) -> None:
        """Keep one binding; the same trace, context and task again replaces it."""
        ...


@runtime_checkable
class SupportsPlannerState(Protocol):
    """Keeps planners that are paused."""

    async def save_planner_state(self, token: str, payload: dict[str, Any]) -> None:
        """Keep a state under a token."""
        ...

    async def load_planner_state(self, token: str) -> dict[str, Any] | None:
        """Give a state out, once; None for an unknown, used or expired token."""
        ...


@runtime_checkable
class SupportsConversationBindings(Protocol):
    """Finds the remote tasks of a conversation again."""

    async def find_binding(
        self,
        *,
        router_session_id: str,
        agent_url: str,
        remote_skill: str,
        tenant_id: str | None = None,
        user_id: str | None = None,
    ) -> RemoteBinding | None:
        """The latest binding of the session to this skill that is not terminal; None without one."""
        ...

    async def list_bindings(self, *, router_session_id: str) -> Sequence[RemoteBinding]:
        """All bindings of a session, oldest first."""
        ...

    async def mark_binding_terminal(self, *, trace_id: str, context_id: str | None, task_id: str) -> None:
        """The remote task has ended; an unknown one is no error."""
        ...


@runtime_checkable
class SupportsMemoryState(Protocol):
    """Keeps the memory of conversations."""

    async def save_memory_state(self, key: str, state: dict[str, Any]) -> None:
        """Keep a memory, in place of the one before."""
        ...

    async def load_memory_state(self, key: str) -> dict[str, Any] | None:
        """The memory of this key; None without one."""
        ...


@runtime_checkable
class SupportsMemoryRevisions(Protocol):
    """Lists memories, and replaces one only as whoever replaces it knows it: its state counts its changes."""

    async def list_memory_states(self, prefix: str = "") -> list[str]:
        """The keys that begin with `prefix`, sorted."""
        ...

    async def swap_memory_state(self, key: str, state: dict[str, Any], *, revision: int) -> bool:
        """Keep a memory if the one before has this `revision` (0: it has none, or there is none); whether it did."""
        ...


@runtime_checkable
class SupportsMemoryRemoval(Protocol):
    """Removes memories."""

    async def remove_memory_state(self, key: str, *, revision: int) -> bool:
        """Remove a memory if it has this `revision`; whether it did."""
        ...


@runtime_checkable
class SupportsTasks(Protocol):
    """Keeps the tasks of sessions and what they tell."""

    async def save_task(self, state: TaskState) -> None:
        """Keep a task as it is now."""
        ...

    async def list_tasks(self, session_id: str) -> Sequence[TaskState]:
        """The tasks of a session, in the order in which they came."""
        ...

    async def save_update(self, update: StateUpdate) -> None:
        """Keep an update; the same `update_id` again replaces it."""
        ...

    async def list_updates(
        self, session_id: str, *, task_id: str | None = None, since_id: str | None = None, limit: int = 500
    ) -> Sequence[StateUpdate]:
        """The last `limit` updates after `since_id` (all, when that is not known), in order."""
        ...


@runtime_checkable
class SupportsSteering(Protocol):
    """Keeps what was wished of running tasks."""

    async def save_steering(self, event: SteeringEvent) -> None:
        """Keep an event; the same `event_id` again replaces it."""
        ...

    async def list_steering(
        self, session_id: str, *, task_id: str | None = None, since_id: str | None = None, limit: int = 500
    ) -> Sequence[SteeringEvent]:
        """The last `limit` events after `since_id` (all, when that is not known), in order."""
        ...


@runtime_checkable
class SupportsTrajectories(Protocol):
    """Keeps what planners did, step by step."""

    async def save_trajectory(self, trace_id: str, session_id: str, trajectory: Any) -> None:
        """Keep the trajectory of a trace."""
        ...

    async def get_trajectory(self, trace_id: str, session_id: str) -> Any | None:
        """The trajectory of a trace; None when the session has no such trace."""
        ...

    async def list_traces(self, session_id: str, limit: int = 50) -> list[str]:
        """Trace ids of a session, newest first."""
        ...


@runtime_checkable
class SupportsPlannerEvents(Protocol):
    """Keeps the events of planners."""

    async def save_planner_event(self, trace_id: str, event: Any) -> None:
        """Keep one event."""
        ...

    async def list_planner_events(self, trace_id: str) -> list[Any]:
        """The events of a trace, in order; empty for an unknown one."""
        ...


@runtime_checkable
class SupportsArtifacts(Protocol):
    """Has a place for artifacts."""

    @property
    def artifact_store(self) -> ArtifactStore:
        """Where artifacts are kept."""
        ...


def missing_capabilities(store: object, methods: Sequence[str]) -> list[str]:
    """The methods that the store does not have."""
    return [method for method in methods if not callable(getattr(store, method, None))]


def require_capabilities(store: object, *, feature: str, methods: Sequence[str]) -> None:
    """Raise `TypeError` when the store lacks a method that the feature needs."""
    missing = missing_capabilities(store, methods)
    if missing:
        raise TypeError(f"StateStore missing {missing} required for feature={feature}")
