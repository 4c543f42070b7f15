"""Stores of earlier versions under today's names."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from penguiflow.artifacts import ArtifactStore, discover_artifact_store
from penguiflow.state.models import RemoteBinding, StateUpdate, SteeringEvent, TaskState
from penguiflow.state.protocol import StateStore

__all__ = [
    "get_artifact_store",
    "list_planner_events_compat",
    "list_steering_compat",
    "list_tasks_compat",
    "list_updates_compat",
    "maybe_save_remote_binding",
    "save_planner_event_compat",
    "save_steering_compat",
    "save_task_compat",
    "save_update_compat",
]


def _method(store: object, *names: str) -> Callable[..., Awaitable[Any]]:
    """The first of these methods that the store has. Raises `TypeError` without any."""
    for name in names:
        method: Callable[..., Awaitable[Any]] | None = getattr(store, name, None)
        if callable(method):
            return method
    raise TypeError(f"StateStore missing {'/'.join(names)}")


def get_artifact_store(store: object) -> ArtifactStore | None:
    """Where the store keeps artifacts; None when it does not."""
    return discover_artifact_store(store)


async def save_update_compat(store: object, update: StateUpdate) -> None:
    """Save an update with `save_update`, or `save_task_update` as it was called before."""
    await _method(store, "save_update", "save_task_update")(update)


async def list_updates_compat(
    store: object, session_id: str, *, task_id: str | None = None, since_id: str | None = None, limit: int = 500
) -> list[StateUpdate]:
    """List updates with `list_updates`, or `list_task_updates` as it was called before."""
    method = _method(store, "list_updates", "list_task_updates")
    return list(await method(session_id, task_id=task_id, since_id=since_id, limit=limit))


async def save_task_compat(store: object, state: TaskState) -> None:
    """Save a task."""
    await _method(store, "save_task")(state)


async def list_tasks_compat(store: object, session_id: str) -> list[TaskState]:
    """List the tasks of a session."""
    return list(await _method(store, "list_tasks")(session_id))


async def save_steering_compat(store: object, event: SteeringEvent) -> None:
    """Save a steering event."""
    await _method(store, "save_steering")(event)


async def list_steering_compat(
    store: object, session_id: str, *, task_id: str | None = None, since_id: str | None = None, limit: int = 500
) -> list[SteeringEvent]:
    """List the steering events of a session."""
    method = _method(store, "list_steering")
    return list(await method(session_id, task_id=task_id, since_id=since_id, limit=limit))


async def save_planner_event_compat(store: object, trace_id: str, event: Any) -> None:
    """Save an event of a planner."""
    await _method(store, "save_planner_event")(trace_id, event)


async def list_planner_events_compat(store: object, trace_id: str) -> list[Any]:
    """List a planner's events with `list_planner_events`, or `get_events` as it was called before."""
    return list(await _method(store, "list_planner_events", "get_events")(trace_id))


async def maybe_save_remote_binding(store: StateStore | None, binding: Any) -> None:
    """Save a binding (a `RemoteBinding`, or a mapping of its fields) if there is a store that can."""
    save = getattr(store, "save_remote_binding", None)
    if callable(save):
        await save(RemoteBinding(**binding) if isinstance(binding, Mapping) else binding)
