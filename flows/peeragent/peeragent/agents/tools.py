"""What agents work with, and how they hand in what they made."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel

from peeragent.llm import Model
from peeragent.models.agents import AgentResult, ModelUsed
from peeragent.models.turns import Routed, SocraticState, TurnResult
from peeragent.search import SearchTool


@dataclass(frozen=True, slots=True)
class Tools:
    """Of all agents of a flow."""

    model: Model
    search: SearchTool


def made(
    turn: Routed, kind: str, output: BaseModel, used: ModelUsed, *, socratic: SocraticState | None = None
) -> TurnResult:
    """The result of a turn."""
    agent_type = turn.route.agent.agent_type
    result = AgentResult(agent_type=agent_type, type=kind, data=output.model_dump(mode="json"), model=used)
    return TurnResult(route=turn.route, result=result, socratic=socratic)
