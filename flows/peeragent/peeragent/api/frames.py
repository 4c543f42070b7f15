"""What goes over a socket, as JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StringConstraints

from peeragent.models.plain import PlainData
from peeragent.models.turns import MAX_TASK

Line = Annotated[str, StringConstraints(max_length=MAX_TASK)]


class TaskData(BaseModel):
    """A task."""

    task: Line
    agent_type: str | None = None
    context: PlainData = Field(default_factory=dict, max_length=100)


class AnswerData(BaseModel):
    """Answers to the open questions, by question."""

    answers: dict[Annotated[str, StringConstraints(max_length=2000)], Line] = Field(max_length=50)


class ClientFrame(BaseModel):
    """What a client sends: `task`, `answer` or `ping`."""

    type: str
    data: dict[str, Any] = Field(default_factory=dict)
    session_id: str | None = None
    timestamp: str | None = None


ServerType = Literal["ack", "pong", "questions", "diagnosis", "result", "error"]


def server_frame(kind: ServerType, data: dict[str, Any], session_id: str, task_id: str | None = None) -> dict[str, Any]:
    """What the server sends."""
    now = datetime.now(UTC).isoformat()
    return {"type": kind, "data": data, "session_id": session_id, "task_id": task_id, "timestamp": now}
