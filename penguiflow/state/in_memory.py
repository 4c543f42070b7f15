"""A state store that keeps everything in memory, within limits: for tests and for the playground."""

from __future__ import annotations

import copy
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from penguiflow.artifacts import ArtifactRetentionConfig, ArtifactStore
from penguiflow.artifacts.sessions import PlaygroundArtifactStore
from penguiflow.state.bounded import EventLog, KeyedLog, Recent
from penguiflow.state.history import stored_events
from penguiflow.state.memory_log import MAX_LOG_BYTES, MemoryLog
from penguiflow.state.models import (
    GLOBAL_TRACE,
    RemoteBinding,
    StateUpdate,
    SteeringEvent,
    StoredEvent,
    TaskState,
)
from penguiflow.state.retention import Retention
from penguiflow.state.shared_memory import SharesInMemory
from penguiflow.steering.payloads import sanitize_steering_event

__all__ = ["InMemoryStateStore", "PlaygroundArtifactStore"]

MAX_TRACES = 10_000
MAX_SESSIONS = 1_000
MAX_TASKS = 10_000
"""In a session."""
PLANNER_STATE_TTL_S = 3600.0


class InMemoryStateStore(MemoryLog, SharesInMemory):
    """Everything that the contract's protocols ask of a store, a `TraceStore`, and what workers of one process share.

    Beyond `max_traces` traces and `max_sessions` sessions those that nothing was saved of for the longest time are
    forgotten; inside one, the oldest events, updates and tasks are. Of recorded traces, at most `max_log_bytes` are
    kept.

    As `state_store` of a flow it gets the flow events. For the whole log, give the flow a recorder:
    `flow.run(recorder=Recorder(store=store))`.
    """

    def __init__(
        self,
        *,
        max_events_per_trace: int = 50_000,
        max_updates_per_session: int = 10_000,
        max_steering_events_per_session: int = 10_000,
        max_planner_events_per_trace: int = 50_000,
        artifact_retention: ArtifactRetentionConfig | None = None,
        max_traces: int = MAX_TRACES,
        max_sessions: int = MAX_SESSIONS,
        max_log_bytes: int = MAX_LOG_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        MemoryLog.__init__(self, Retention(max_traces=max_traces, max_bytes=max_log_bytes))
        SharesInMemory.__init__(self, max_traces)
        self._max_events = max_events_per_trace
        self._max_updates = max_updates_per_session
        self._max_steering = max_steering_events_per_session
        self._max_planner_events = max_planner_events_per_trace
        self._max_traces = max_traces
        self._clock = clock
        self._events: Recent[str, EventLog] = Recent(max_traces)
        self._planner_events: Recent[str, deque[Any]] = Recent(max_traces)
        self._bindings: Recent[tuple[str, str | None, str], RemoteBinding] = Recent(max_traces)
        self._planner_states: Recent[str, tuple[float, dict[str, Any]]] = Recent(max_traces)
        self._memories: Recent[str, dict[str, Any]] = Recent(max_traces)
        self._tasks: Recent[str, Recent[str, TaskState]] = Recent(max_sessions)
        self._updates: Recent[str, KeyedLog[StateUpdate]] = Recent(max_sessions)
        self._steering: Recent[str, KeyedLog[SteeringEvent]] = Recent(max_sessions)
        self._trajectories: Recent[str, Recent[str, Any]] = Recent(max_sessions)
        self._artifacts = PlaygroundArtifactStore(artifact_retention)

    # Events

    async def save_event(self, event: StoredEvent) -> None:
        """Keep one event; the same event again changes nothing."""
        trace_id = GLOBAL_TRACE if event.trace_id is None else event.trace_id
        self._events.ensure(trace_id, lambda: EventLog(self._max_events)).add(event)

    async def load_history(self, trace_id: str) -> Sequence[StoredEvent]:
        """What was saved of a trace and what was recorded, in ascending order of time; empty for an unknown one."""
        log = self._events.get(trace_id)
        saved = [] if log is None else log.items()
        recorded = stored_events(await self.load_events(trace_id))
        return sorted([*saved, *recorded], key=lambda event: event.ts) if recorded else saved

    # Remote bindings

    async def save_remote_binding(self, binding: RemoteBinding) -> None:
        """Keep one binding; the same trace, context and task again replaces it."""
        self._bindings.keep((binding.trace_id, binding.context_id, binding.task_id), replace(binding))

    async def find_binding(
        self,
        *,
        router_session_id: str,
        agent_url: str,
        remote_skill: str,
        tenant_id: str | None = None,
        user_id: str | None = None,
    ) -> RemoteBinding | None:
        """The latest binding of the session to this skill that is not terminal; None without one.

        A tenant and a user that are given must be those of the binding.
        """
        for binding in reversed(self._bindings.values()):
            if (
                binding.router_session_id == router_session_id
                and binding.agent_url == agent_url
                and binding.remote_skill == remote_skill
                and tenant_id in (None, binding.tenant_id)
                and user_id in (None, binding.user_id)
                and not binding.is_terminal
            ):
                return replace(binding)
        return None

    async def list_bindings(self, *, router_session_id: str) -> Sequence[RemoteBinding]:
        """All bindings of a session, the one saved longest ago first."""
        return [replace(each) for each in self._bindings.values() if each.router_session_id == router_session_id]

    async def mark_binding_terminal(self, *, trace_id: str, context_id: str | None, task_id: str) -> None:
        """The remote task has ended; an unknown one is no error."""
        binding = self._bindings.get((trace_id, context_id, task_id))
        if binding is not None:
            binding.is_terminal = True

    # Planners

    async def save_planner_state(self, token: str, payload: dict[str, Any]) -> None:
        """Keep a state under a token, for an hour."""
        self._planner_states.keep(token, (self._clock() + PLANNER_STATE_TTL_S, copy.deepcopy(payload)))

    async def load_planner_state(self, token: str) -> dict[str, Any] | None:
        """Give a state out, once; None for an unknown, used or expired token. Its trace is `paused` no longer."""
        expires, payload = self._planner_states.pop(token, (0.0, None))
        if payload is None or self._clock() > expires:
            return None
        logged = self._logs.get(str(payload.get("trace_id")))
        if logged is not None and logged.row.status == "paused":
            logged.row.status = "ok"
        return payload

    async def peek_planner_state(self, token: str) -> dict[str, Any] | None:
        """Show a state and leave it where it is; None for an unknown, used or expired token."""
        expires, payload = self._planner_states.get(token, (0.0, None))
        return copy.deepcopy(payload) if payload is not None and self._clock() <= expires else None

    async def save_memory_state(self, key: str, state: dict[str, Any]) -> None:
        """Keep a memory, in place of the one before."""
        self._memories.keep(key, copy.deepcopy(state))

    async def load_memory_state(self, key: str) -> dict[str, Any] | None:
        """The memory of this key; None without one."""
        return copy.deepcopy(self._memories.get(key))

    async def list_memory_states(self, prefix: str = "") -> list[str]:
        """The keys that begin with `prefix`, sorted."""
        return sorted(key for key in self._memories if key.startswith(prefix))

    async def swap_memory_state(self, key: str, state: dict[str, Any], *, revision: int) -> bool:
        """Keep a memory if the one before has this `revision` (0: it has none, or there is none); whether it did."""
        before = self._memories.get(key)
        if revision != (0 if before is None else before.get("revision", 0)):
            return False
        await self.save_memory_state(key, state)
        return True

    async def remove_memory_state(self, key: str, *, revision: int) -> bool:
        """Remove a memory if it has this `revision`; whether it did."""
        before = self._memories.get(key)
        if before is None or revision != before.get("revision", 0):
            return False
        del self._memories[key]
        return True

    async def save_trajectory(self, trace_id: str, session_id: str, trajectory: Any) -> None:
        """Keep the trajectory of a trace."""
        self._trajectories.ensure(session_id, lambda: Recent(self._max_traces)).keep(trace_id, trajectory)

    async def get_trajectory(self, trace_id: str, session_id: str) -> Any | None:
        """The trajectory of a trace; None when the session has no such trace."""
        traces = self._trajectories.get(session_id)
        return None if traces is None else traces.get(trace_id)

    async def list_traces(self, session_id: str, limit: int = 50) -> list[str]:
        """Trace ids of a session, newest first."""
        traces = self._trajectories.get(session_id)
        return [] if traces is None else list(reversed(traces))[: max(0, limit)]

    async def save_planner_event(self, trace_id: str, event: Any) -> None:
        """Keep one event."""
        self._planner_events.ensure(trace_id, lambda: deque(maxlen=self._max_planner_events)).append(event)

    async def list_planner_events(self, trace_id: str) -> list[Any]:
        """The events of a trace, in order; empty for an unknown one."""
        return list(self._planner_events.get(trace_id, ()))

    async def get_events(self, trace_id: str) -> list[Any]:
        """The same as `list_planner_events`."""
        return await self.list_planner_events(trace_id)

    # Sessions

    async def save_task(self, state: TaskState) -> None:
        """Keep a task as it is now: what is changed in it later is not seen here."""
        tasks = self._tasks.ensure(state.session_id, lambda: Recent(MAX_TASKS))
        if state.task_id in tasks:
            tasks[state.task_id] = replace(state)
        else:
            tasks.keep(state.task_id, replace(state))

    async def list_tasks(self, session_id: str) -> Sequence[TaskState]:
        """The tasks of a session, in the order in which they came."""
        tasks = self._tasks.get(session_id)
        return [] if tasks is None else [replace(state) for state in tasks.values()]

    async def save_update(self, update: StateUpdate) -> None:
        """Keep an update; the same `update_id` again replaces it."""
        log = self._updates.ensure(update.session_id, lambda: KeyedLog(self._max_updates))
        log.add(update.update_id, update)

    async def list_updates(
        self, session_id: str, *, task_id: str | None = None, since_id: str | None = None, limit: int = 500
    ) -> Sequence[StateUpdate]:
        """The last `limit` updates after `since_id` (all, when that is not known), in order."""
        log = self._updates.get(session_id)
        return [] if log is None else log.last(limit, since_id, lambda item: task_id in (None, item.task_id))

    async def save_task_update(self, update: StateUpdate) -> None:
        """The same as `save_update`."""
        await self.save_update(update)

    async def list_task_updates(
        self, session_id: str, *, task_id: str | None = None, since_id: str | None = None, limit: int = 500
    ) -> Sequence[StateUpdate]:
        """The same as `list_updates`."""
        return await self.list_updates(session_id, task_id=task_id, since_id=since_id, limit=limit)

    async def save_steering(self, event: SteeringEvent) -> None:
        """Keep an event, its payload cut to the limits; the same `event_id` again replaces it."""
        log = self._steering.ensure(event.session_id, lambda: KeyedLog(self._max_steering))
        log.add(event.event_id, sanitize_steering_event(event))

    async def list_steering(
        self, session_id: str, *, task_id: str | None = None, since_id: str | None = None, limit: int = 500
    ) -> Sequence[SteeringEvent]:
        """The last `limit` events after `since_id` (all, when that is not known), in order."""
        log = self._steering.get(session_id)
        return [] if log is None else log.last(limit, since_id, lambda item: task_id in (None, item.task_id))

    # Artifacts, and the end

    @property
    def artifact_store(self) -> ArtifactStore:
        """Where artifacts are kept, by session."""
        return self._artifacts

    def clear(self) -> None:
        """Forget everything."""
        for kept in (self._events, self._planner_events, self._bindings, self._planner_states, self._memories):
            kept.clear()
        for session in (self._tasks, self._updates, self._steering, self._trajectories):
            session.clear()
        self._artifacts.clear()
        self._forget_logs()
        self._forget_shared_all()

    def clear_session(self, session_id: str) -> None:
        """Forget a session: tasks, updates, steering, trajectories with their events, bindings, artifacts, traces."""
        for trace_id in self._trajectories.pop(session_id, ()):
            self._planner_events.pop(trace_id, None)
        for kept in (self._tasks, self._updates, self._steering):
            kept.pop(session_id, None)
        for key, binding in list(self._bindings.items()):
            if binding.router_session_id == session_id:
                del self._bindings[key]
        self._artifacts.clear_session(session_id)
        self._forget_logs(session_id)
