"""A turn of a conversation: what the flow gets and gives."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from peeragent.models.agents import Agent, AgentResult, BusinessDiagnosis, Phase, Route

MAX_TASK = 20_000
"""Characters of a task."""
MAX_HISTORY = 10
"""Turns of a session that an agent sees."""


class Turn(BaseModel):
    """One message of a session."""

    role: Literal["user", "assistant"]
    text: str
    agent: Agent | None = None


class Round(BaseModel):
    """A round of questions that was answered well enough."""

    phase: Phase
    questions: list[str]
    answers: dict[str, str]


class SocraticState(BaseModel):
    """Where the rounds of a session stand. The server's: no client sends it."""

    task: str
    rounds: list[Round] = Field(default_factory=list)
    """Answered, in the order of `PHASES`."""
    asked: list[str] = Field(default_factory=list)
    """The questions that are open; empty before the first."""
    category: str = ""
    """What they are about."""
    repeats: int = 0
    """How often the open questions were asked again: after `MAX_REPEATS` an answer is taken as it is."""

    @property
    def waits(self) -> bool:
        """Whether questions are open."""
        return bool(self.asked)


class TurnRequest(BaseModel):
    """A task, and what the server knows of its session."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"task": "Our sales dropped 20% this quarter"}]})

    task: str = Field(default="", max_length=MAX_TASK, description="Empty where only answers are given.")
    session_id: str = "playground"
    agent: Agent | None = Field(default=None, description="Who shall do it; the router decides where it is left out.")
    context: dict[str, Any] = Field(default_factory=dict, description="Data for the agent, such as `data` or `tone`.")
    history: list[Turn] = Field(default_factory=list)
    last_agent: Agent | None = None
    socratic: SocraticState | None = None
    answers: dict[str, str] = Field(default_factory=dict, description="To the open questions, by question.")
    diagnose_now: bool = Field(default=False, description="No further round of questions: these answers must do.")
    demo: bool = Field(default=False, description="The business agent's questions are answered by the model.")
    stream: bool = Field(default=True, description="Whether route and answer also come in pieces, as stream chunks.")


class Routed(BaseModel):
    """A task with its route."""

    request: TurnRequest
    route: Route
    diagnosis: BusinessDiagnosis | None = None
    """What the business agent found, where the problem agent goes on with it."""
    rounds: list[Round] = Field(default_factory=list)
    """What was asked and answered on the way to the diagnosis."""


class TurnResult(BaseModel):
    """What came of a turn."""

    route: Route
    result: AgentResult
    socratic: SocraticState | None = None
    """What the session keeps of the rounds; None when they are over, or never began."""
