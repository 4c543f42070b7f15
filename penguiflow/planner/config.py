"""What can be set of a planner beside its tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import BaseModel, Field

if TYPE_CHECKING:
    from penguiflow.catalog import NodeSpec

__all__ = [
    "ClarificationResponse",
    "ErrorRecoveryConfig",
    "ObservationGuardrailConfig",
    "ReflectionConfig",
    "ReflectionCriteria",
    "ReflectionCritique",
    "ToolExamplesConfig",
    "ToolPolicy",
    "ToolVisibilityPolicy",
    "UsageLimits",
]


class ToolPolicy(BaseModel):
    """Which tools a planner has at all."""

    allowed_tools: set[str] | None = None
    """None: all."""
    denied_tools: set[str] = Field(default_factory=set)
    """Stronger than `allowed_tools`."""
    require_tags: set[str] = Field(default_factory=set)
    """A tool must have all of them."""

    def is_allowed(self, node_name: str, node_tags: Mapping[str, Any] | Sequence[str]) -> bool:
        """Whether the planner has a tool of this name and these tags."""
        if node_name in self.denied_tools:
            return False
        if self.allowed_tools is not None and node_name not in self.allowed_tools:
            return False
        return self.require_tags <= set(node_tags)


class ToolVisibilityPolicy(Protocol):
    """Decides for each run which tools it sees."""

    def visible_tools(self, specs: Sequence[NodeSpec], tool_context: Mapping[str, Any]) -> Sequence[NodeSpec]:
        """Those of `specs` that this run may use."""
        ...


class ToolExamplesConfig(BaseModel):
    """How examples of arguments stand in the prompt."""

    enabled: bool = True
    max_examples_per_tool: int = Field(default=3, ge=1, le=10)
    include_descriptions: bool = True


class ReflectionCriteria(BaseModel):
    """What a good answer is."""

    completeness: str = "Addresses all parts of the query"
    accuracy: str = "Factually correct based on observations"
    clarity: str = "Well-explained and coherent"


class ReflectionCritique(BaseModel):
    """What a model says of an answer."""

    score: float = Field(ge=0.0, le=1.0)
    passed: bool
    feedback: str
    issues: list[str] = Field(default_factory=list)
    suggestions: list[str] = Field(default_factory=list)


class ReflectionConfig(BaseModel):
    """Whether answers are looked over before they are given."""

    enabled: bool = False
    criteria: ReflectionCriteria = Field(default_factory=ReflectionCriteria)
    quality_threshold: float = Field(default=0.8, ge=0.0, le=1.0)
    max_revisions: int = Field(default=2, ge=1, le=10)
    use_separate_llm: bool = False


class ClarificationResponse(BaseModel):
    """What is said in the place of an answer that is not good enough."""

    text: str
    confidence: Literal["satisfied", "unsatisfied"]
    attempted_approaches: list[str] = Field(default_factory=list)
    clarifying_questions: list[str] = Field(default_factory=list)
    suggestions: list[str] = Field(default_factory=list)
    reflection_score: float | None = None
    revision_attempts: int | None = None


class ObservationGuardrailConfig(BaseModel):
    """How much of an observation a model is shown."""

    max_observation_chars: int = Field(default=50_000, ge=1000)
    max_field_chars: int = Field(default=10_000, ge=100)
    truncation_suffix: str = "\n... [truncated, {truncated_chars} chars omitted]"
    preserve_structure: bool = True
    auto_artifact_threshold: int = Field(default=20_000, ge=0)
    """From how many characters on an observation becomes an artifact, where there is a store for it; 0: never."""
    preview_length: int = Field(default=500, ge=0)


@dataclass
class ErrorRecoveryConfig:
    """What is done when a model refuses a request."""

    enabled: bool = True
    max_compress_retries: int = 1
    compression_threshold_chars: int = 2000
    summarize_on_compress: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageLimits:
    """How much one run may use, parallel branches and every kind of call counted; None: no limit.

    What planners use that its tools run with their `ctx` counts too, but for calls of tools.

    A run that has reached a limit ends with `budget_exhausted`, and makes no call beyond it. Tokens and cost are known
    when a call is over: the one that passes the limit is the last.
    """

    requests: int | None = None
    """Calls of models, retries counted."""
    tool_calls: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    cost: float | None = None
    """US dollars. Calls whose cost is unknown do not count; `finish.metadata["cost"]` tells how many there were."""
