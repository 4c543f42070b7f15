"""What a planner's run comes to: an answer, the end of its means, or a pause."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

__all__ = [
    "FinalPayload",
    "FinishReason",
    "PlannerFinish",
    "PlannerPause",
    "PlannerPauseReason",
    "Source",
    "SuggestedAction",
]

PlannerPauseReason = Literal["approval_required", "await_input", "external_event", "constraints_conflict"]
FinishReason = Literal["answer_complete", "no_path", "budget_exhausted"]


class Source(BaseModel):
    """Where something in the answer is from."""

    title: str
    url: str | None = None
    snippet: str | None = None
    relevance_score: float | None = None


class SuggestedAction(BaseModel):
    """What could be done next."""

    action_id: str
    label: str
    params: dict[str, Any] = Field(default_factory=dict)


class FinalPayload(BaseModel):
    """An answer; `PlannerFinish.payload` is its JSON."""

    raw_answer: str
    structured: dict[str, Any] | None = None
    """The JSON of `final_response_model`."""
    artifacts: dict[str, Any] = Field(default_factory=dict)
    confidence: float | None = Field(default=None, ge=0.0, le=1.0)
    sources: list[Source] = Field(default_factory=list)
    route: str | None = None
    suggested_actions: list[SuggestedAction] = Field(default_factory=list)
    requires_followup: bool = False
    warnings: list[str] = Field(default_factory=list)
    language: str | None = None
    extra: dict[str, Any] = Field(default_factory=dict)
    """Whatever else the model gave."""


class PlannerFinish(BaseModel):
    """The run is over."""

    reason: FinishReason
    payload: Any = None
    """The JSON of a `FinalPayload`; without an answer the last observation, or what is known of the failure."""
    metadata: dict[str, Any] = Field(default_factory=dict)


class PlannerPause(BaseModel):
    """The run waits for somebody; `planner.resume(resume_token, …)` goes on with it, once."""

    reason: PlannerPauseReason
    payload: dict[str, Any] = Field(default_factory=dict)
    resume_token: str
