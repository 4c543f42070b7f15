"""What a tool gets as its second argument."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from random import Random
from typing import TYPE_CHECKING, Any, Protocol

from penguiflow.context import Context as FlowContext
from penguiflow.planner.outcomes import PlannerPauseReason
from penguiflow.sessions.kv_keys import KVScope

if TYPE_CHECKING:
    from penguiflow.artifacts.scoped import ScopedArtifacts

__all__ = ["AnyContext", "KVScope", "PlannerPauseReason", "SessionKV", "ToolContext"]


class SessionKV(Protocol):
    """Values by key, in namespaces: JSON, shared by all runs of a session. `scope="task"`: for one task, for an hour.

    Changes of one key are made one after the other, by however many tools, runs and processes.
    """

    async def get(self, key: str, *, scope: KVScope = "session", namespace: str | None = None) -> Any | None:
        """The value; None when there is none."""
        ...

    async def set(
        self,
        key: str,
        value: Any,
        *,
        scope: KVScope = "session",
        namespace: str | None = None,
        emit_update: bool = True,
    ) -> Any:
        """Keep a value; gives it as it will come back. Raises `TypeError` or `ValueError` for what is no JSON."""
        ...

    async def patch(
        self,
        key: str,
        patch: Mapping[str, Any],
        *,
        scope: KVScope = "session",
        namespace: str | None = None,
        emit_update: bool = True,
    ) -> Any:
        """Put these keys into an object, made when there is none; gives all of it. Raises `TypeError` for no object."""
        ...

    async def get_or_init(
        self,
        key: str,
        default: Any,
        *,
        scope: KVScope = "session",
        namespace: str | None = None,
        emit_update: bool = True,
    ) -> Any:
        """The value; `default`, which is kept from then on, when there is none."""
        ...

    async def delete(
        self, key: str, *, scope: KVScope = "session", namespace: str | None = None, emit_update: bool = True
    ) -> bool:
        """Forget a value; whether there was one."""
        ...


class ToolContext(Protocol):
    """A tool's view of the run that calls it."""

    @property
    def llm_context(self) -> Mapping[str, Any]:
        """What the model is told besides the query. Read-only."""
        ...

    @property
    def tool_context(self) -> dict[str, Any]:
        """What tools are told and the model is not. This call's own copy."""
        ...

    @property
    def meta(self) -> MutableMapping[str, Any]:
        """Both contexts in one; use these instead."""
        ...

    @property
    def artifacts(self) -> ScopedArtifacts:
        """Where to keep what is too large for the model."""
        ...

    @property
    def kv(self) -> SessionKV:
        """What the tools of a session keep and share. Each method raises `SessionKVUnavailable` where that cannot be.

        It takes `tenant_id`, `user_id` and `session_id` in `tool_context` (for the scope `task` also `task_id`), and a
        state store: the planner's own, or the one that the run is recorded in.
        """
        ...

    def pause(self, reason: PlannerPauseReason, payload: Mapping[str, Any] | None = None) -> Awaitable[Any]:
        """Pause the run. The tool does not go on: when the run is resumed, the model decides again."""
        ...

    def ask(self, prompt: str, schema: Any = str) -> Awaitable[Any]:
        """Ask a human, and go on here with the answer, validated by `schema` (a type or a model).

        Where nobody is there to answer, the run pauses; when it is resumed, the tool is called again, its recorded
        calls and earlier answers are given as they were, and this returns the new answer. Where somebody is there, the
        tool's `timeout_s` and the run's deadline go on while they think.
        """
        ...

    def emit_chunk(
        self, stream_id: str, seq: int, text: str, *, done: bool = False, meta: Mapping[str, Any] | None = None
    ) -> Awaitable[None]:
        """Give a piece of a stream to whoever listens."""
        ...

    def emit_artifact(
        self,
        stream_id: str,
        chunk: Any,
        *,
        done: bool = False,
        artifact_type: str | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> Awaitable[None]:
        """Give a piece of an artifact to whoever listens."""
        ...

    def record(self, name: str, fn: Callable[..., Any], *args: Any) -> Awaitable[Any]:
        """`fn(*args)`, written down: a replay answers it, and a tool that goes on after a pause does not repeat it."""
        ...

    def now(self) -> float:
        """Unix seconds; a replay sees the recorded ones."""
        ...

    def random(self) -> Random:
        """The call's own generator; in a replay it draws the same numbers."""
        ...


AnyContext = ToolContext | FlowContext
