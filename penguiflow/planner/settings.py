"""Everything that a planner is told when it is made, beside its tools. Nothing of it changes while runs go on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel

from penguiflow.checkpoints import Interceptor
from penguiflow.llm.types import ReasoningDisplay
from penguiflow.planner.config import (
    ErrorRecoveryConfig,
    ObservationGuardrailConfig,
    ReflectionConfig,
    ToolExamplesConfig,
    ToolPolicy,
    UsageLimits,
)
from penguiflow.planner.events import PlannerEventCallback

if TYPE_CHECKING:
    from penguiflow.artifacts import ArtifactStore

__all__ = ["PlannerSettings"]

_LEAST = {
    "max_iters": 1,
    "absolute_max_parallel": 1,
    "multi_action_max_tools": 0,
    "repair_attempts": 0,
    "final_response_retries": 0,
    "llm_max_retries": 0,
    "llm_timeout_s": 0,
    "hop_budget": 0,
    "deadline_s": 0,
}
"""Of numbers; None is none of these."""
_KINDS: dict[str, type] = {
    "error_recovery": ErrorRecoveryConfig,
    "tool_examples": ToolExamplesConfig,
    "reflection_config": ReflectionConfig,
    "observation_guardrail": ObservationGuardrailConfig,
    "usage_limits": UsageLimits,
    "tool_policy": ToolPolicy,
}


@dataclass(frozen=True, kw_only=True)
class PlannerSettings:
    """The keyword arguments of `ReactPlanner`, with their defaults."""

    # The loop
    max_iters: int = 8
    """Steps, failed ones counted."""
    tool_call_mode: Literal["prompted", "native"] = "prompted"
    """How tools are called: by JSON in the text, or by the provider's own function calling."""
    repair_attempts: int = 3
    """Calls of the model for one step, until its reply can be read."""
    max_consecutive_arg_failures: int = 3
    arg_fill_enabled: bool = True
    multi_action_sequential: bool = False
    multi_action_read_only_only: bool = True
    multi_action_max_tools: int = 2
    auto_seq_enabled: bool = False
    auto_seq_execute: bool = False
    auto_seq_read_only_only: bool = True
    absolute_max_parallel: int = 50
    planning_hints: Mapping[str, Any] | None = None
    pause_enabled: bool = True

    # The model
    temperature: float = 0.0
    json_schema_mode: bool = True
    llm_timeout_s: float = 360.0
    llm_max_retries: int = 3
    use_native_reasoning: bool = True
    reasoning_effort: str | None = None
    reasoning_display: ReasoningDisplay = None
    stream_final_response: bool = False
    error_recovery: ErrorRecoveryConfig = field(default_factory=ErrorRecoveryConfig)

    # The prompt
    system_prompt_extra: str | None = None
    token_budget: int | None = None
    """Estimated tokens of the messages from which on steps are summarized."""
    tool_examples: ToolExamplesConfig = field(default_factory=ToolExamplesConfig)
    llm_context_hooks: Sequence[Any] = ()
    short_term_memory: Any | None = None
    """A `ShortTermMemoryConfig`, or a `ShortTermMemory` of the program's own."""

    # The answer
    final_response_model: type[BaseModel] | None = None
    final_response_retries: int = 1
    reflection_config: ReflectionConfig = field(default_factory=ReflectionConfig)
    observation_guardrail: ObservationGuardrailConfig = field(default_factory=ObservationGuardrailConfig)

    # Limits
    deadline_s: float | None = None
    hop_budget: int | None = None
    usage_limits: UsageLimits | None = None
    tool_policy: ToolPolicy | None = None

    # Around it
    name: str = "planner"
    """Of its spans, and of the flow that it is run as."""
    state_store: Any | None = None
    artifact_store: ArtifactStore | None = None
    recorder: Any | None = None
    """A `TraceRecorder` for runs outside of a flow; by default that of the state store, if it offers one."""
    interceptors: Sequence[Interceptor] = ()
    event_callback: PlannerEventCallback | None = None
    time_source: Callable[[], float] = time.monotonic
    """Seconds; for `PlannerEvent.ts` and for budgets."""

    def __post_init__(self) -> None:
        for name, smallest in _LEAST.items():
            value = getattr(self, name)
            if value is not None and not isinstance(value, int | float):
                raise TypeError(f"{name} must be a number; got {value!r}")
            if value is not None and not value >= smallest:
                raise ValueError(f"{name} must be {smallest} or more; got {value!r}")
        for name, kind in _KINDS.items():
            value = getattr(self, name)
            if value is not None and not isinstance(value, kind):
                raise TypeError(f"{name} must be of type {kind.__name__}; got {value!r}")
        if self.event_callback is not None and not callable(self.event_callback):
            raise TypeError(f"event_callback must be callable; got {type(self.event_callback).__name__}")
