"""One run of a planner: all that is its own. A planner keeps nothing of it, so that runs never meet."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pydantic_core import to_jsonable_python

from penguiflow.checkpoints import Interceptor
from penguiflow.llm.types import Cost, LLMMessage, Usage
from penguiflow.planner.actions import PlannerAction
from penguiflow.planner.artifact_registry import ArtifactRegistry
from penguiflow.planner.outcomes import PlannerFinish, PlannerPause
from penguiflow.planner.trajectory import Trajectory, TrajectoryStep

if TYPE_CHECKING:
    from penguiflow.artifacts import ArtifactStore
    from penguiflow.callsite import CallSite
    from penguiflow.catalog import NodeSpec
    from penguiflow.llm.providers.base import Provider
    from penguiflow.planner.budgets import Budgets
    from penguiflow.planner.constraints import Hints
    from penguiflow.planner.events import PlannerEvents
    from penguiflow.planner.planned import PlannedEdits
    from penguiflow.planner.prompts.messages import ToldStep
    from penguiflow.planner.protocols import MemorySession, PauseRecord, Pauses
    from penguiflow.planner.requests import PlannerRequest
    from penguiflow.planner.settings import PlannerSettings
    from penguiflow.planner.streams import RunStreams
    from penguiflow.steering import SteeringInbox

__all__ = ["Models", "PlannerRun", "RunStep", "StepKind"]

StepKind = Literal["tool", "parallel", "error", "finish", "deferred", "pause"]
"""`deferred`: an answer that was not given, because something came in meanwhile, or somebody did not accept it."""


@dataclass(frozen=True, slots=True)
class Models:
    """Who is asked what."""

    main: Provider
    summarizer: Provider
    reflection: Provider


@dataclass(frozen=True, slots=True)
class RunStep:
    """What `async for step in run` gives: one decision, and what came of it."""

    index: int
    """From 0, within the run."""
    kind: StepKind
    action: PlannerAction | None
    """None when the run ended without a decision: a limit, a failure of the model."""
    step: TrajectoryStep | None = None
    """What it added to the trajectory; an answer adds nothing."""
    result: PlannerFinish | PlannerPause | None = None
    """Set for the last one."""
    usage: Usage = field(default_factory=Usage.zero)
    cost: Cost | None = None
    """None when it is not known."""
    latency_ms: float = 0.0
    span_id: str = ""


@dataclass(slots=True, eq=False, weakref_slot=True)
class PlannerRun:
    """The state of one run."""

    settings: PlannerSettings
    request: PlannerRequest
    models: Models
    specs: Mapping[str, NodeSpec]
    """The tools that this run may use, by the name that the model knows."""
    trajectory: Trajectory
    budgets: Budgets
    events: PlannerEvents
    site: CallSite
    """The planner's own span; each step, branch and call opens one inside it."""
    hints: Hints
    """The planner's `planning_hints`, read."""
    interceptors: Sequence[Interceptor] = ()
    tool_context: dict[str, Any] = field(default_factory=dict)
    """As it was given, objects that are no JSON among it."""
    memory: MemorySession | None = None
    steering: SteeringInbox | None = None
    resumed: PauseRecord | None = None
    """What it goes on with, when it was paused."""
    action_seq: int = 0
    """Actions until now: ids of tool calls are made of it."""
    counters: dict[str, int] = field(default_factory=dict)
    """`repair_attempts`, `args_invalid_count` …: they go into `finish.metadata`, and into reminders in the prompt."""
    notes: list[str] = field(default_factory=list)
    """What the next prompt says besides: repairs, injected messages."""
    result: PlannerFinish | PlannerPause | None = None
    on_ask: Callable[[str, Any], Awaitable[Any]] | None = None
    """Answers `ctx.ask(prompt, schema)` while the tool waits; None: the run pauses."""
    changes: list[dict[str, Any]] = field(default_factory=list)
    """Edits of the context from outside that the next step takes in."""
    pauses: Callable[[], Pauses] | None = None
    """Gives who keeps it when it pauses; None: pausing is off."""
    artifact_store: ArtifactStore | None = None
    """None: nothing is kept."""
    artifacts: ArtifactRegistry = field(default_factory=ArtifactRegistry)
    """What it has made that can be referred to."""
    queued: list[PlannerAction] = field(default_factory=list)
    """Further actions of the last reply that are still to be done."""
    planned: PlannedEdits | None = None
    """What a fork changes at its checkpoints."""
    cancelled: str | None = None
    """Why it is to end, as somebody outside said."""
    streams: RunStreams | None = None
    """What it says while it goes on, in its trace."""
    today: str | None = None
    """The date that its prompts tell; asked for with the first of them."""
    told: list[ToldStep] = field(default_factory=list)
    """The messages of past steps, which are made once. Emptied when somebody outside may have changed the steps."""
    told_system: tuple[str, LLMMessage] | None = None
    """The static prompt, and the message that it is in."""
    dumped: dict[int, tuple[LLMMessage, dict[str, Any], int]] = field(default_factory=dict)
    """The messages of the last call, as its event tells them, and the characters of each; by the id of the message."""

    @property
    def session_id(self) -> str | None:
        """Whose run it is, as `tool_context` says."""
        value = self.tool_context.get("session_id")
        return None if value is None else str(value)

    @property
    def trace_id(self) -> str | None:
        """The trace that it is part of; without a log, what `tool_context` says."""
        if self.site.trace_id is not None:
            return self.site.trace_id
        value = self.tool_context.get("trace_id")
        return None if value is None else str(value)

    def count(self, name: str) -> int:
        """One more of these; how many there are now."""
        self.counters[name] = self.counters.get(name, 0) + 1
        return self.counters[name]

    def edit_context(self, **values: Any) -> None:
        """Change `llm_context` from the next step on; None removes a key.

        Raises `TypeError` for what is no JSON. The change is written down and a replay makes it too.
        """
        try:
            self.changes.append(to_jsonable_python(values))
        except ValueError as error:
            raise TypeError(f"llm_context must be JSON: {error}") from None
