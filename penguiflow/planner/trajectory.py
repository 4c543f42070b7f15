"""What a run has done so far: its steps, what they gave, and what the model is shown of them."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from pydantic import BaseModel, Field
from pydantic_core import to_jsonable_python

from penguiflow.llm.types import AudioPart, ContentPart, ImagePart
from penguiflow.planner.actions import PlannerAction
from penguiflow.planner.legacy import action_of, dump_action_legacy

__all__ = [
    "BackgroundTaskResult",
    "Trajectory",
    "TrajectoryStep",
    "TrajectorySummary",
    "coerce_background_results",
    "extract_background_results",
]

_DIGEST_CHARS = 120
_BACKGROUND_KEYS = ("background_results", "background_result")


class TrajectorySummary(BaseModel):
    """Steps of which the model is told this much."""

    goals: list[str] = Field(default_factory=list)
    facts: dict[str, Any] = Field(default_factory=dict)
    pending: list[str] = Field(default_factory=list)
    last_output_digest: str | None = None
    note: str | None = None

    def compact(self) -> dict[str, Any]:
        """What is set of it."""
        return {name: value for name, value in self.model_dump(mode="json").items() if value}


@dataclass(slots=True)
class BackgroundTaskResult:
    """What a task beside the run came to."""

    task_id: str
    group_id: str | None = None
    status: Literal["completed", "failed"] = "completed"
    summary: str | None = None
    payload: Any = None
    facts: dict[str, Any] = field(default_factory=dict)
    artifacts: list[dict[str, Any]] = field(default_factory=list)
    consumed: bool = False
    completed_at: float = field(default_factory=time.time)
    """Unix seconds."""

    @classmethod
    def from_payload(cls, payload: Mapping[str, Any]) -> BackgroundTaskResult | None:
        """Read it; None for what has no task id."""
        task_id = payload.get("task_id")
        if not isinstance(task_id, str) or not task_id:
            return None
        known = {each.name for each in fields(cls)}
        return cls(**{key: value for key, value in payload.items() if key in known})

    def to_payload(self) -> dict[str, Any]:
        """As JSON has it."""
        return {each.name: to_jsonable_python(getattr(self, each.name), fallback=str) for each in fields(self)}


def coerce_background_results(raw: Any) -> dict[str, BackgroundTaskResult]:
    """Results by task id, from one of them, a list of them, or a mapping by task id."""
    if isinstance(raw, BackgroundTaskResult):
        return {raw.task_id: raw}
    if isinstance(raw, Mapping):
        items = [raw] if "task_id" in raw else [
            {"task_id": key, **value} if isinstance(value, Mapping) else value for key, value in raw.items()
        ]  # fmt: skip
    elif isinstance(raw, Sequence) and not isinstance(raw, str | bytes):
        items = list(raw)
    else:
        return {}
    found = [each if isinstance(each, BackgroundTaskResult) else _result(each) for each in items]
    return {each.task_id: each for each in found if each is not None}


def extract_background_results(
    llm_context: Mapping[str, Any] | None,
) -> tuple[dict[str, Any] | None, dict[str, BackgroundTaskResult]]:
    """The context without its background results, and these."""
    if llm_context is None:
        return None, {}
    rest = {key: value for key, value in llm_context.items() if key not in _BACKGROUND_KEYS}
    results: dict[str, BackgroundTaskResult] = {}
    for key in _BACKGROUND_KEYS:
        results.update(coerce_background_results(llm_context.get(key)))
    return rest, results


def _result(value: Any) -> BackgroundTaskResult | None:
    return BackgroundTaskResult.from_payload(value) if isinstance(value, Mapping) else None


@dataclass(slots=True)
class TrajectoryStep:
    """One decision and what came of it."""

    action: PlannerAction
    observation: Any | None = None
    """What the tool gave."""
    llm_observation: Any | None = None
    """What the model is shown of it, where that is less."""
    error: str | None = None
    failure: Mapping[str, Any] | None = None
    """`{node, args, error_code, message, suggestion}` of a tool that failed."""
    streams: Mapping[str, Sequence[Mapping[str, Any]]] | None = None
    span_id: str | None = None
    """Of the step in the trace; None when it is not recorded."""
    started: float | None = None
    """Unix seconds."""
    latency_ms: float | None = None

    def dump(self) -> dict[str, Any]:
        """As JSON has it; the action in its earlier form, which older readers know."""
        data: dict[str, Any] = {"action": dump_action_legacy(self.action)}
        for name in _STEP_FIELDS:
            value = getattr(self, name)
            data[name] = None if value is None else to_jsonable_python(value, fallback=str)
        return data

    def serialise_for_llm(self) -> Any:
        """The observation as the model sees it."""
        return self.observation if self.llm_observation is None else self.llm_observation


_STEP_FIELDS = tuple(each.name for each in fields(TrajectoryStep) if each.name != "action")


@dataclass(slots=True)
class Trajectory:
    """One run."""

    query: str
    llm_context: Mapping[str, Any] | None = None
    tool_context: dict[str, Any] | None = None
    input_parts: tuple[ContentPart, ...] = ()
    artifacts: dict[str, Any] = field(default_factory=dict)
    """By tool and field: what the model is not shown."""
    sources: list[Mapping[str, Any]] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    steps: list[TrajectoryStep] = field(default_factory=list)
    summary: TrajectorySummary | None = None
    hint_state: dict[str, Any] = field(default_factory=dict)
    resume_user_input: str | None = None
    steering_inputs: list[str] = field(default_factory=list)
    background_results: dict[str, BackgroundTaskResult] = field(default_factory=dict)

    def to_history(self) -> list[dict[str, Any]]:
        """The steps as JSON has them."""
        return [step.dump() for step in self.steps]

    def add_background_result(self, result: BackgroundTaskResult) -> None:
        """Take a result in."""
        self.background_results[result.task_id] = result

    def mark_background_consumed(self, task_id: str) -> bool:
        """The model has seen it; whether there was one."""
        result = self.background_results.get(task_id)
        if result is None:
            return False
        result.consumed = True
        return True

    def clear_consumed_background(self) -> int:
        """Forget what the model has seen; how many these were."""
        seen = [key for key, result in self.background_results.items() if result.consumed]
        for key in seen:
            del self.background_results[key]
        return len(seen)

    def get_unconsumed_background(self) -> dict[str, BackgroundTaskResult]:
        """What the model has not seen."""
        return {key: result for key, result in self.background_results.items() if not result.consumed}

    def serialise(self) -> dict[str, Any]:
        """As JSON has it. A `tool_context` that is no JSON is None, of `input_parts` only their kind is kept."""
        return {
            "query": self.query,
            "llm_context": None if self.llm_context is None else to_jsonable_python(self.llm_context, fallback=str),
            "tool_context": _json_or_none(self.tool_context),
            "input_parts": [_part_stub(part) for part in self.input_parts],
            "artifacts": to_jsonable_python(self.artifacts, fallback=str),
            "sources": to_jsonable_python(self.sources, fallback=str),
            "metadata": to_jsonable_python(self.metadata, fallback=str),
            "steps": self.to_history(),
            "summary": None if self.summary is None else self.summary.model_dump(mode="json"),
            "hint_state": to_jsonable_python(self.hint_state, fallback=str),
            "resume_user_input": self.resume_user_input,
            "steering_inputs": list(self.steering_inputs),
            "background_results": {key: result.to_payload() for key, result in self.background_results.items()},
        }

    @classmethod
    def from_serialised(cls, payload: Mapping[str, Any]) -> Trajectory:
        """Read it back."""
        summary = payload.get("summary")
        return cls(
            query=payload["query"],
            llm_context=payload.get("llm_context"),
            tool_context=payload.get("tool_context"),
            artifacts=dict(payload.get("artifacts") or {}),
            sources=list(payload.get("sources") or ()),
            metadata=dict(payload.get("metadata") or {}),
            steps=[
                TrajectoryStep(action_of(step["action"]), **{name: step.get(name) for name in _STEP_FIELDS})
                for step in payload.get("steps") or ()
            ],
            summary=None if summary is None else TrajectorySummary.model_validate(summary),
            hint_state=dict(payload.get("hint_state") or {}),
            resume_user_input=payload.get("resume_user_input"),
            steering_inputs=list(payload.get("steering_inputs") or ()),
            background_results=coerce_background_results(payload.get("background_results")),
        )

    def compress(self, *, leave: int = 0) -> TrajectorySummary:
        """A summary by rule: the query, what each tool gave last, what failed last; without the last `leave` steps."""
        facts: dict[str, Any] = {}
        pending: list[str] = []
        digest: str | None = None
        steps = self.steps[: len(self.steps) - leave]
        for step in steps:
            if step.error is None and step.observation is not None:
                facts[step.action.next_node] = step.serialise_for_llm()
                digest = _digest(facts[step.action.next_node])
        if steps and steps[-1].error is not None:
            pending.append(f"{steps[-1].action.next_node}: {steps[-1].error}")
        self.summary = TrajectorySummary(
            goals=[self.query], facts=facts, pending=pending, last_output_digest=digest, note="rule_based"
        )
        return self.summary


def _digest(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text[:_DIGEST_CHARS]


def _json_or_none(value: Any) -> Any:
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        return None


def _part_stub(part: ContentPart) -> dict[str, Any]:
    if isinstance(part, ImagePart | AudioPart):
        return {"type": type(part).__name__, "media_type": part.media_type, "bytes": len(part.data)}
    return {"type": type(part).__name__}
