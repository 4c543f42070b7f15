"""What planners and sessions keep in the database: the optional capabilities of a `StateStore`."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic_core import from_json

from penguiflow.recording.payloads import encode_data, encode_payload
from penguiflow.recording.text import clean_text
from penguiflow.state.connection import Connection, transaction
from penguiflow.state.models import RemoteBinding, TaskState
from penguiflow.state.values import decode_value, encode_value

if TYPE_CHECKING:
    from penguiflow.state.sessions import StateUpdate, SteeringEvent

__all__ = ["PLANNER_STATE_TTL_S", "KeepsState"]

T = TypeVar("T")

PLANNER_STATE_TTL_S = 3600.0
"""How long a paused planner's state can be asked for."""

_BINDING = (
    "trace_id", "context_id", "task_id", "agent_url", "router_session_id", "remote_skill", "tenant_id", "user_id",
    "last_remote_task_id", "is_terminal", "metadata",
)  # fmt: skip
_SELECT_BINDINGS = " ".join(("SELECT", ", ".join(_BINDING), "FROM remote_bindings"))
_SAVE_BINDING = " ".join(
    (
        "INSERT INTO remote_bindings (",
        ", ".join(_BINDING),
        ") VALUES (?",
        ", ?" * (len(_BINDING) - 1),
        ")",
        "ON CONFLICT (trace_id, context_id, task_id) DO UPDATE SET",
        ", ".join(f"{name} = excluded.{name}" for name in _BINDING[3:]),
        ", rowid = {last}",
    )
)
_FIND_BINDING = (
    f"{_SELECT_BINDINGS} WHERE router_session_id = ? AND agent_url = ? AND remote_skill = ?"
    " AND (CAST(? AS TEXT) IS NULL OR tenant_id = ?) AND (CAST(? AS TEXT) IS NULL OR user_id = ?) AND is_terminal = 0"
    " ORDER BY rowid DESC LIMIT 1"
)
_SAVE_ITEM = (
    "INSERT INTO session_log (kind, session_id, key, task_id, saved, item) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (kind, session_id, key) DO UPDATE SET task_id = excluded.task_id, saved = excluded.saved,"
    " item = excluded.item"
)
_LIST_ITEMS = (
    "SELECT item FROM session_log WHERE kind = ? AND session_id = ? AND (CAST(? AS TEXT) IS NULL OR task_id = ?)"
    " AND id > coalesce((SELECT id FROM session_log WHERE kind = ? AND session_id = ? AND key = ?), 0)"
    " ORDER BY id DESC LIMIT ?"
)
_SAVE_TRAJECTORY = (
    "INSERT INTO trajectories (session_id, trace_id, saved, trajectory) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (session_id, trace_id) DO UPDATE SET saved = excluded.saved, trajectory = excluded.trajectory,"
    " id = {last}"
)
_SAVE_MEMORY = (
    "INSERT INTO memory_states (key, updated, state) VALUES (?, ?, ?)"
    " ON CONFLICT (key) DO UPDATE SET updated = excluded.updated, state = excluded.state"
)
_SAVE_TASK = (
    "INSERT INTO tasks (session_id, task_id, saved, state) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (session_id, task_id) DO UPDATE SET saved = excluded.saved, state = excluded.state"
)


class KeepsState:
    """The capabilities, given a way to write and a way to read.

    What has no JSON of its own comes back as its JSON value; models and dataclasses come back as they were. The models
    of sessions are imported when they are used: most who open a store only read traces.
    """

    @abstractmethod
    def _last(self, table: str, column: str) -> str:
        """What makes a row that is saved again the last of its table."""

    @abstractmethod
    async def _execute(self, sql: str, parameters: Sequence[Any]) -> None:
        """Run a statement in the next transaction; return when it is committed."""

    @abstractmethod
    async def _job(self, work: Callable[[Connection], T]) -> T:
        """Run a function, once all that was written before is committed, that begins its transactions itself."""

    async def _transact(self, work: Callable[[Connection], T]) -> T:
        """Run a function within a transaction of its own; return when it is committed."""

        def transact(connection: Connection) -> T:
            with transaction(connection):
                return work(connection)

        return await self._job(transact)

    @abstractmethod
    async def _rows(self, sql: str, parameters: Sequence[Any]) -> list[Any]:
        """What a query finds; nothing while there is no database."""

    # Remote bindings

    async def save_remote_binding(self, binding: RemoteBinding) -> None:
        """Keep one binding, committed on return; the same trace, context and task again replaces it."""
        values: list[Any] = [_clean(getattr(binding, name)) for name in _BINDING[:-2]]
        values[1] = values[1] or ""
        sql = _SAVE_BINDING.format(last=self._last("remote_bindings", "rowid"))
        await self._execute(sql, (*values, int(bool(binding.is_terminal)), encode_data(binding.metadata)))

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
        wanted = (router_session_id, agent_url, remote_skill, tenant_id, tenant_id, user_id, user_id)
        found = await self._rows(_FIND_BINDING, [_clean(text) for text in wanted])
        return _binding(found[0]) if found else None

    async def list_bindings(self, *, router_session_id: str) -> Sequence[RemoteBinding]:
        """All bindings of a session, the one saved longest ago first."""
        sql = f"{_SELECT_BINDINGS} WHERE router_session_id = ? ORDER BY rowid"
        return [_binding(row) for row in await self._rows(sql, (clean_text(router_session_id),))]

    async def mark_binding_terminal(self, *, trace_id: str, context_id: str | None, task_id: str) -> None:
        """The remote task has ended; an unknown one is no error."""
        await self._execute(
            "UPDATE remote_bindings SET is_terminal = 1 WHERE trace_id = ? AND context_id = ? AND task_id = ?",
            (clean_text(trace_id), clean_text(context_id or ""), clean_text(task_id)),
        )

    # Planners

    async def save_planner_state(self, token: str, payload: dict[str, Any]) -> None:
        """Keep a state under a token, for an hour."""
        await self._execute(
            "INSERT INTO planner_states (token, expires, payload) VALUES (?, ?, ?)"
            " ON CONFLICT (token) DO UPDATE SET expires = excluded.expires, payload = excluded.payload",
            (clean_text(token), time.time() + PLANNER_STATE_TTL_S, encode_data(payload)),
        )

    async def load_planner_state(self, token: str) -> dict[str, Any] | None:
        """Give a state out, once, whoever asks first; None for an unknown, used or expired token.

        The trace that it is of is `paused` no longer.
        """

        def take(connection: Connection) -> Any:
            key = (clean_text(token),)
            found = connection.execute("SELECT expires, payload FROM planner_states WHERE token = ?", key).fetchone()
            connection.execute("DELETE FROM planner_states WHERE token = ?", key)
            if found is None or found[0] < time.time():
                return None
            payload = from_json(found[1])
            if isinstance(trace_id := payload.get("trace_id"), str):
                answered = "UPDATE traces SET status = 'ok' WHERE trace_id = ? AND status = 'paused'"
                connection.execute(answered, (clean_text(trace_id),))
            return payload

        payload: dict[str, Any] | None = await self._transact(take)
        return payload

    async def peek_planner_state(self, token: str) -> dict[str, Any] | None:
        """Show a state and leave it where it is; None for an unknown, used or expired token."""
        sql = "SELECT payload FROM planner_states WHERE token = ? AND expires >= ?"
        found = await self._rows(sql, (clean_text(token), time.time()))
        return from_json(found[0][0]) if found else None

    async def save_memory_state(self, key: str, state: dict[str, Any]) -> None:
        """Keep a memory, in place of the one before."""
        await self._execute(_SAVE_MEMORY, (clean_text(key), time.time(), encode_data(state)))

    async def load_memory_state(self, key: str) -> dict[str, Any] | None:
        """The memory of this key; None without one."""
        found = await self._rows("SELECT state FROM memory_states WHERE key = ?", (clean_text(key),))
        return from_json(found[0][0]) if found else None

    async def list_memory_states(self, prefix: str = "") -> list[str]:
        """The keys that begin with `prefix`, sorted."""
        wanted = clean_text(prefix)
        if wanted and wanted.isascii():  # with another last character, who knows which comes after it
            after = wanted[:-1] + chr(ord(wanted[-1]) + 1)
            sql = "SELECT key FROM memory_states WHERE key >= ? AND key < ? ORDER BY key"
            return [key for (key,) in await self._rows(sql, (wanted, after))]
        rows = await self._rows("SELECT key FROM memory_states WHERE key >= ? ORDER BY key", (wanted,))
        return [key for (key,) in rows if key.startswith(wanted)]

    async def swap_memory_state(self, key: str, state: dict[str, Any], *, revision: int) -> bool:
        """Keep a memory if the one before has this `revision` (0: it has none, or there is none); whether it did."""
        kept, saved = clean_text(key), encode_data(state)

        def swap(connection: Connection) -> bool:
            found = connection.execute("SELECT state FROM memory_states WHERE key = ?", (kept,)).fetchone()
            if revision != (0 if found is None else from_json(found[0]).get("revision", 0)):
                return False
            connection.execute(_SAVE_MEMORY, (kept, time.time(), saved))
            return True

        return await self._transact(swap)

    async def remove_memory_state(self, key: str, *, revision: int) -> bool:
        """Remove a memory if it has this `revision`; whether it did."""
        kept = (clean_text(key),)

        def remove(connection: Connection) -> bool:
            found = connection.execute("SELECT state FROM memory_states WHERE key = ?", kept).fetchone()
            if found is None or revision != from_json(found[0]).get("revision", 0):
                return False
            connection.execute("DELETE FROM memory_states WHERE key = ?", kept)
            return True

        return await self._transact(remove)

    async def save_trajectory(self, trace_id: str, session_id: str, trajectory: Any) -> None:
        """Keep the trajectory of a trace."""
        values = (clean_text(session_id), clean_text(trace_id), time.time(), encode_value(trajectory))
        await self._execute(_SAVE_TRAJECTORY.format(last=self._last("trajectories", "id")), values)

    async def get_trajectory(self, trace_id: str, session_id: str) -> Any | None:
        """The trajectory of a trace; None when the session has no such trace."""
        sql = "SELECT trajectory FROM trajectories WHERE session_id = ? AND trace_id = ?"
        found = await self._rows(sql, (clean_text(session_id), clean_text(trace_id)))
        return decode_value(found[0][0]) if found else None

    async def list_traces(self, session_id: str, limit: int = 50) -> list[str]:
        """Trace ids of a session, newest first."""
        sql = "SELECT trace_id FROM trajectories WHERE session_id = ? ORDER BY id DESC LIMIT ?"
        return [trace_id for (trace_id,) in await self._rows(sql, (clean_text(session_id), max(0, limit)))]

    async def save_planner_event(self, trace_id: str, event: Any) -> None:
        """Keep one event."""
        await self._execute(
            "INSERT INTO planner_events (trace_id, saved, event) VALUES (?, ?, ?)",
            (clean_text(trace_id), time.time(), encode_value(event)),
        )

    async def list_planner_events(self, trace_id: str) -> list[Any]:
        """The events of a trace, in order; empty for an unknown one."""
        sql = "SELECT event FROM planner_events WHERE trace_id = ? ORDER BY id"
        return [decode_value(event) for (event,) in await self._rows(sql, (clean_text(trace_id),))]

    async def get_events(self, trace_id: str) -> list[Any]:
        """The same as `list_planner_events`."""
        return await self.list_planner_events(trace_id)

    # Sessions

    async def save_task(self, state: TaskState) -> None:
        """Keep a task as it is now: what is changed in it later is not seen here."""
        await self._execute(
            _SAVE_TASK, (clean_text(state.session_id), clean_text(state.task_id), time.time(), encode_payload(state))
        )

    async def list_tasks(self, session_id: str) -> Sequence[TaskState]:
        """The tasks of a session, in the order in which they came."""
        sql = "SELECT state FROM tasks WHERE session_id = ? ORDER BY id"
        return [_task(state) for (state,) in await self._rows(sql, (clean_text(session_id),))]

    async def save_update(self, update: StateUpdate) -> None:
        """Keep an update; the same `update_id` again replaces it."""
        await self._save_item("update", update.session_id, update.update_id, update.task_id, update)

    async def list_updates(
        self, session_id: str, *, task_id: str | None = None, since_id: str | None = None, limit: int = 500
    ) -> Sequence[StateUpdate]:
        """The last `limit` updates after `since_id` (all, when that is not known), in order."""
        from penguiflow.state.sessions import StateUpdate

        found = await self._items("update", session_id, task_id, since_id, limit)
        return [StateUpdate.model_validate(value) for value in found]

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
        from penguiflow.steering.payloads import sanitize_steering_event

        kept = sanitize_steering_event(event)
        await self._save_item("steering", kept.session_id, kept.event_id, kept.task_id, kept)

    async def list_steering(
        self, session_id: str, *, task_id: str | None = None, since_id: str | None = None, limit: int = 500
    ) -> Sequence[SteeringEvent]:
        """The last `limit` events after `since_id` (all, when that is not known), in order."""
        from penguiflow.state.sessions import SteeringEvent

        found = await self._items("steering", session_id, task_id, since_id, limit)
        return [SteeringEvent.model_validate(value) for value in found]

    async def _save_item(self, kind: str, session_id: str, key: str, task_id: str, item: Any) -> None:
        texts = (clean_text(text) for text in (session_id, key, task_id))
        await self._execute(_SAVE_ITEM, (kind, *texts, time.time(), encode_payload(item)))

    async def _items(
        self, kind: str, session_id: str, task_id: str | None, since_id: str | None, limit: int
    ) -> list[Any]:
        session, task = clean_text(session_id), _clean(task_id)
        wanted = (kind, session, task, task, kind, session, _clean(since_id), max(0, limit))
        rows = await self._rows(_LIST_ITEMS, wanted)
        return [from_json(item)["value"] for (item,) in reversed(rows)]


def _clean(text: str | None) -> str | None:
    return None if text is None else clean_text(text)


def _binding(row: Sequence[Any]) -> RemoteBinding:
    about = dict(zip(_BINDING, row, strict=True))
    about["context_id"] = about["context_id"] or None
    about["is_terminal"] = bool(about["is_terminal"])
    about["metadata"] = from_json(about["metadata"])
    return RemoteBinding(**about)


def _task(state: bytes) -> TaskState:
    from penguiflow.state.sessions import TaskStateModel

    model = TaskStateModel.model_validate(from_json(state)["value"])
    return TaskState(**{field.name: getattr(model, field.name) for field in fields(TaskState)})
