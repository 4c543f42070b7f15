"""What a model decides: a tool, several at once, or the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NotRequired, TypedDict

from pydantic import BaseModel, Field
from pydantic.json_schema import SkipJsonSchema

__all__ = [
    "FINAL_RESPONSE",
    "PARALLEL",
    "RESERVED_NEXT_NODES",
    "SPECIAL_NODE_TYPES",
    "ActionFormat",
    "ActionWithReasoning",
    "FinalResponseArgs",
    "JoinInjection",
    "ParallelCall",
    "ParallelJoin",
    "PlanArgs",
    "PlanJoin",
    "PlanStep",
    "PlannerAction",
    "TaskArgs",
]

FINAL_RESPONSE = "final_response"
PARALLEL = "parallel"
_BACKGROUND = ("task.subagent", "task.tool")

SPECIAL_NODE_TYPES = frozenset({FINAL_RESPONSE, PARALLEL, *_BACKGROUND})
"""Values of `next_node` that are no tools."""
RESERVED_NEXT_NODES = SPECIAL_NODE_TYPES

_Merge = Literal["HUMAN_GATED", "APPEND", "REPLACE"]


class PlanStep(TypedDict):
    """One branch of a parallel plan."""

    node: str
    args: dict[str, Any]


class PlanJoin(TypedDict):
    """What is done with the results of the branches."""

    node: str | None
    args: dict[str, Any]
    inject: dict[str, str]


class PlanArgs(TypedDict):
    """`args` of `parallel`."""

    steps: list[PlanStep]
    join: NotRequired[PlanJoin]


class TaskArgs(TypedDict, total=False):
    """`args` of `task.subagent` and `task.tool`."""

    name: str
    query: str
    tool: str
    tool_args: dict[str, Any]
    merge_strategy: _Merge
    group: str
    group_id: str
    group_sealed: bool
    group_report: Literal["all", "any", "none"]
    group_merge_strategy: _Merge
    retain_turn: bool


class FinalResponseArgs(TypedDict, total=False):
    """`args` of `final_response`."""

    answer: str
    artifacts: dict[str, Any]
    sources: list[dict[str, Any]]
    suggested_actions: list[dict[str, Any]]
    confidence: float
    language: str


class ActionFormat:
    """In which form actions are written: always `unified`; the earlier one is still read."""

    UNIFIED = "unified"
    LEGACY = "legacy"
    AUTO = "auto"


class ParallelCall(BaseModel):
    """One branch of a parallel plan, as it was written in earlier versions."""

    node: str
    args: dict[str, Any] = Field(default_factory=dict)


class JoinInjection(BaseModel):
    """Which argument of the join gets what of the branches: `{"docs": "$results"}`."""

    mapping: dict[str, str] = Field(default_factory=dict)


class ParallelJoin(BaseModel):
    """The join of a parallel plan, as it was written in earlier versions."""

    node: str
    args: dict[str, Any] = Field(default_factory=dict)
    inject: JoinInjection | None = None


class PlannerAction(BaseModel):
    """One decision: `{"next_node": …, "args": {…}}`."""

    next_node: str = Field(description="A tool, 'parallel', or 'final_response'.")
    args: dict[str, Any] = Field(default_factory=dict, description="Arguments of next_node.")
    thought: SkipJsonSchema[str] = ""
    raw_llm_response: SkipJsonSchema[str | None] = Field(default=None, exclude=True)
    """What the model wrote."""
    alternate_actions: SkipJsonSchema[list[dict[str, Any]] | None] = Field(default=None, exclude=True)
    """Other actions that stood in the same reply."""

    def is_terminal(self) -> bool:
        """Whether it is the answer."""
        return self.next_node == FINAL_RESPONSE

    def is_parallel(self) -> bool:
        """Whether it is a plan of several calls."""
        return self.next_node == PARALLEL

    def is_background_task(self) -> bool:
        """Whether it starts a task beside the run."""
        return self.next_node in _BACKGROUND

    def is_tool_call(self) -> bool:
        """Whether it calls one tool."""
        return self.next_node not in SPECIAL_NODE_TYPES

    def get_answer(self) -> str | None:
        """The text of an answer; None for other actions, and for an answer without one."""
        if not self.is_terminal():
            return None
        for key in ("raw_answer", "answer"):
            value = self.args.get(key)
            if isinstance(value, str):
                return value
        return None

    def answer_text(self) -> str | None:
        """The same as `get_answer`."""
        return self.get_answer()

    def get_plan_steps(self) -> list[PlanStep] | None:
        """The branches of a parallel plan; None for other actions."""
        steps = self.args.get("steps") if self.is_parallel() else None
        return steps if isinstance(steps, list) else None

    def get_plan_join(self) -> PlanJoin | None:
        """The join of a parallel plan; None for other actions, and for a plan without one."""
        join = self.args.get("join") if self.is_parallel() else None
        return join if isinstance(join, dict) else None  # type: ignore[return-value]  # as the model wrote it


@dataclass
class ActionWithReasoning:
    """An action, and what the model thought before it."""

    action: PlannerAction
    reasoning: str | None = None
    reasoning_tokens: int | None = None

    @classmethod
    def from_llm_response(cls, response: Any, action: PlannerAction) -> ActionWithReasoning:
        """Find the reasoning in a response: `reasoning_content`, and `usage.reasoning_tokens`."""
        reasoning = getattr(response, "reasoning_content", None)
        tokens = getattr(getattr(response, "usage", None), "reasoning_tokens", None)
        return cls(
            action,
            reasoning if isinstance(reasoning, str) and reasoning else None,
            tokens if isinstance(tokens, int) and tokens else None,
        )
