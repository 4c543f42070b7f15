"""What requests and answers look like."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from peeragent.models.agents import Agent, ModelUsed
from peeragent.models.plain import PlainData
from peeragent.models.tasks import TaskRecord, TaskStatus
from peeragent.models.turns import MAX_TASK

SESSION_ID = r"^[A-Za-z0-9._:@-]{1,128}$"
SessionId = Annotated[str, StringConstraints(pattern=SESSION_ID)]
MAX_CONTEXT = 100
"""Entries of a context."""
MAX_ANSWERS = 50


class TaskExecuteRequest(BaseModel):
    """A task."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"task": "Write a SQL query to find top 10 customers by revenue"},
                {"task": "Our sales dropped 20% this quarter", "session_id": "biz-123"},
            ]
        }
    )

    task: str = Field(min_length=1, max_length=MAX_TASK, json_schema_extra={"pattern": r"\S"})
    session_id: SessionId | None = Field(default=None, description="Of a conversation that goes on; a new one is made.")
    context: PlainData | None = Field(
        default=None, max_length=MAX_CONTEXT, description="Data for the agent: `data`, `tone`, `language` and the like."
    )
    priority: int | None = Field(default=None, ge=1, le=3, description="3 goes first; the agent's own if left out.")


class StreamRequest(TaskExecuteRequest):
    """A task whose answer is streamed."""

    agent_type: str | None = Field(
        default=None,
        description="Who does it; the router decides where it is left out.",
        json_schema_extra={"enum": [*(agent.value for agent in Agent), None]},
    )


class AsyncRequest(TaskExecuteRequest):
    """A task for a worker."""

    webhook: str | None = Field(
        default=None,
        max_length=2000,
        pattern=r"^https?://",
        description="Gets the task, signed, when it is over: a POST with `X-PeerAgent-Signature`.",
    )


class BusinessQuestionInput(BaseModel):
    """Answers to the open questions of a session. The server knows which round it is: the last four are not needed."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"session_id": "biz-123", "answers": {"When did it start?": "3 months ago", "Impact?": "$2M loss"}}
            ]
        }
    )

    session_id: SessionId
    answers: dict[
        Annotated[str, StringConstraints(max_length=2000)], Annotated[str, StringConstraints(max_length=10_000)]
    ] = Field(max_length=MAX_ANSWERS, json_schema_extra={"minProperties": 1})
    diagnose_now: bool = Field(default=False, description="No further questions: a diagnosis from what was answered.")
    answer_round: int = 1
    original_task: str | None = Field(default=None, max_length=MAX_TASK)
    latest_answer: str | None = Field(default=None, max_length=10_000)
    previous_questions: list[str] | None = Field(default=None, max_length=MAX_ANSWERS)


class TaskAnswer(BaseModel):
    """A task that is over. `type` and `data` are those of `result`, for programs that read them there."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "task_id": "task-0f8fad5bd9cb469fa16570867728950e",
                    "status": "completed",
                    "agent_type": "code_agent",
                    "priority": 2,
                    "session_id": "session-7c9e6679f3a34b2e9a1c5b8d2e4f6a70",
                    "type": "code",
                    "data": {"code": "SELECT 1;", "language": "sql", "explanation": "One row."},
                    "result": {
                        "agent_type": "code_agent",
                        "type": "code",
                        "data": {"code": "SELECT 1;", "language": "sql", "explanation": "One row."},
                    },
                    "error": None,
                    "code": None,
                    "model": {"provider": "scripted", "model": "scripted-peeragent", "scripted": True},
                    "trace_id": "4b0f88f",
                }
            ]
        }
    )

    task_id: str
    status: TaskStatus
    agent_type: str | None
    priority: int
    session_id: str
    type: str | None = None
    data: dict[str, Any] | None = None
    result: dict[str, Any] | None = None
    error: str | None = None
    code: str | None = None
    model: ModelUsed | None = Field(default=None, description="Who answered; `scripted` where no key is set.")
    trace_id: str | None = Field(default=None, description="For logs, and `pf inspect` where the run was recorded.")


class TaskAccepted(BaseModel):
    """A task that waits for a worker."""

    task_id: str
    status: TaskStatus
    message: str
    session_id: str


class TaskState(BaseModel):
    """A task, as it is now."""

    task_id: str
    status: TaskStatus
    result: dict[str, Any] | None
    error: str | None
    code: str | None
    agent_type: str | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    session_id: str
    priority: int
    attempts: int
    trace_id: str | None

    @classmethod
    def of(cls, task: TaskRecord) -> TaskState:
        """That of a record."""
        error, code = (task.error.error, task.error.code) if task.error else (None, None)
        return cls.model_validate({**task.model_dump(include=set(cls.model_fields)), "error": error, "code": code})


class Deleted(BaseModel):
    """A task that is gone."""

    deleted: str


class Classification(BaseModel):
    """Who would do a task."""

    task: str
    classification: str
    agent: str
    routing_method: Literal["keyword", "llm", "session", "default", "direct"]
    keyword_match: bool
    score: float
    reason: str


class DemoRound(BaseModel):
    """A round of a demo."""

    phase: str
    phase_emoji: str
    questions: list[str]
    answer: str


def answer_of(task: TaskRecord) -> dict[str, Any]:
    """The body that tells how a task ended."""
    result = task.result or {}
    error = task.error
    return {
        "task_id": task.task_id,
        "status": task.status.value,
        "agent_type": task.agent_type,
        "priority": task.priority,
        "session_id": task.session_id,
        "type": result.get("type"),
        "data": result.get("data"),
        "result": {name: result[name] for name in ("agent_type", "type", "data") if name in result} or None,
        "error": error.error if error else None,
        "code": error.code if error else None,
        "model": result.get("model"),
        "trace_id": task.trace_id,
    }
