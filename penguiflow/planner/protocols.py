"""What the loop asks of memory, and of who keeps paused runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from penguiflow.planner.outcomes import PlannerPauseReason

if TYPE_CHECKING:
    from penguiflow.planner.memory.editing import RunMemoryEditor
    from penguiflow.planner.run import PlannerRun
    from penguiflow.planner.trajectory import Trajectory

__all__ = ["MemorySession", "PauseRecord", "Pauses", "PendingCall"]


class MemorySession(Protocol):
    """The memory of one conversation, as one run sees it."""

    @property
    def key(self) -> str:
        """`tenant:user:session`."""
        ...

    def context(self) -> Mapping[str, Any]:
        """`{"conversation_memory": …}` as it was when the run began, with what was edited since; or nothing."""
        ...

    def take(self, context: Mapping[str, Any]) -> None:
        """Give this as `context` from here on."""
        ...

    def editor(self, run: PlannerRun) -> RunMemoryEditor:
        """Changes the memory while the run is under way."""
        ...

    async def add_turn(self, run: PlannerRun, answer: str) -> None:
        """The run is finished: remember it, and keep it in the store. Fails only in the log."""
        ...


@dataclass(slots=True)
class PendingCall:
    """A tool call that waits for an answer to `ctx.ask`."""

    action: dict[str, Any]
    """The decision that it is part of, as `PlannerAction.model_dump()` gives it."""
    tool: str
    args: dict[str, Any]
    """As they were validated, edits included."""
    call_id: str
    branch: int | None = None
    """Of a parallel plan; -1 is its join."""
    done: list[dict[str, Any]] = field(default_factory=list)
    """The branches that are finished: `{node, args, observation | error | failure}`."""
    journal: dict[str, Any] = field(default_factory=dict)
    """What `ctx.record`, `ctx.now`, `ctx.random` and `ctx.ask` gave the tool until now."""


@dataclass(slots=True)
class PauseRecord:
    """A run that waits: everything it takes to go on in another process."""

    reason: PlannerPauseReason
    payload: dict[str, Any]
    trajectory: dict[str, Any]
    """`Trajectory.serialise()`, with `input_parts` whole."""
    constraints: dict[str, Any]
    """`Budgets.snapshot()`."""
    tool_context: dict[str, Any] | None
    """What of it is JSON."""
    memory_key: str | None = None
    action_seq: int = 0
    """How many actions there were: ids of tool calls go on from there."""
    pending: PendingCall | None = None
    """Set for `ctx.ask`: the tool goes on. Without it the model decides again."""
    trace_id: str | None = None
    """Where it began."""
    created: float = 0.0
    """Unix seconds."""
    counters: dict[str, int] = field(default_factory=dict)
    """What `finish.metadata` counts: repairs, arguments that did not fit."""

    def restored(self) -> Trajectory:
        """The trajectory as an object."""
        from penguiflow.planner.trajectory import Trajectory

        return Trajectory.from_serialised(self.trajectory)


class Pauses(Protocol):
    """Keeps paused runs, in memory and in the store; each token is good once, and for an hour."""

    @property
    def lasting(self) -> bool:
        """Whether what it keeps is there when this process is gone."""
        ...

    async def save(self, run: PlannerRun, record: PauseRecord) -> str:
        """Keep it; gives its token."""
        ...

    async def take(self, token: str) -> PauseRecord:
        """Give it out, once. Raises `KeyError` for a token that is unknown, used or expired."""
        ...
