"""The models of planners under the names that programs import."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from penguiflow.planner.actions import (
    RESERVED_NEXT_NODES,
    SPECIAL_NODE_TYPES,
    ActionFormat,
    ActionWithReasoning,
    FinalResponseArgs,
    JoinInjection,
    ParallelCall,
    ParallelJoin,
    PlanArgs,
    PlanJoin,
    PlannerAction,
    PlanStep,
    TaskArgs,
)
from penguiflow.planner.config import (
    ClarificationResponse,
    ObservationGuardrailConfig,
    ReflectionConfig,
    ReflectionCriteria,
    ReflectionCritique,
    ToolExamplesConfig,
    ToolPolicy,
    ToolVisibilityPolicy,
    UsageLimits,
)
from penguiflow.planner.events import PlannerEvent, PlannerEventCallback
from penguiflow.planner.outcomes import (
    FinalPayload,
    PlannerFinish,
    PlannerPause,
    PlannerPauseReason,
    Source,
    SuggestedAction,
)

__all__ = [
    "RESERVED_NEXT_NODES",
    "SPECIAL_NODE_TYPES",
    "ActionFormat",
    "ActionWithReasoning",
    "ClarificationResponse",
    "FinalPayload",
    "FinalResponseArgs",
    "JSONLLMClient",
    "JoinInjection",
    "ObservationGuardrailConfig",
    "ParallelCall",
    "ParallelJoin",
    "PlanArgs",
    "PlanJoin",
    "PlanStep",
    "PlannerAction",
    "PlannerEvent",
    "PlannerEventCallback",
    "PlannerFinish",
    "PlannerPause",
    "PlannerPauseReason",
    "ReflectionConfig",
    "ReflectionCriteria",
    "ReflectionCritique",
    "Source",
    "SuggestedAction",
    "TaskArgs",
    "ToolExamplesConfig",
    "ToolPolicy",
    "ToolVisibilityPolicy",
    "UsageLimits",
]


class JSONLLMClient(Protocol):
    """A model client of a program's own: gets messages as `{role, content}` and gives a text."""

    async def complete(
        self,
        *,
        messages: Sequence[Mapping[str, Any]],
        response_format: Mapping[str, Any] | None = None,
        stream: bool = False,
        on_stream_chunk: Callable[[str, bool], None] | None = None,
    ) -> str | tuple[str, float]:
        """The text; or the text and what it cost, in US dollars."""
        ...
