"""A conversation: the last turns are in the prompt, those of other users never are."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from pydantic import BaseModel

from penguiflow import ModelRegistry, Node
from penguiflow.llm import ScriptedModel
from penguiflow.llm.types import LLMRequest
from penguiflow.planner import PlannerFinish, ReactPlanner, ToolContext
from penguiflow.planner.memory import MemoryBudget, ShortTermMemoryConfig


class Word(BaseModel):
    """Something to look up."""

    text: str


class Meaning(BaseModel):
    """What it is."""

    text: str


async def define(word: Word, ctx: ToolContext) -> Meaning:
    """What a word means."""
    return Meaning(text=f"the meaning of {word.text}")


def reply(request: LLMRequest) -> dict[str, Any]:
    """Stands for a model: says which turns stand in its prompt."""
    prompt = "\n".join(message.text for message in request.messages)
    before = re.findall(r'"user":"(\w+)"', prompt)
    return {"next_node": "final_response", "args": {"answer": f"Before that: {', '.join(before) or 'nothing'}."}}


registry = ModelRegistry()
registry.register("define", Word, Meaning)

planner = ReactPlanner(
    ScriptedModel(rules=[("", reply)]),
    nodes=[Node(define)],
    registry=registry,
    short_term_memory=ShortTermMemoryConfig(strategy="truncation", budget=MemoryBudget(full_zone_turns=2)),
)

__flow__ = {
    "title": "Planner: the last turns",
    "samples": [{"query": "one", "memory_key": "acme:pip:monday"}, {"query": "two", "memory_key": "acme:pip:monday"}],
}


async def ask(query: str, user: str) -> str:
    """One turn of a user's conversation."""
    finish = await planner.run(query, tool_context={"tenant_id": "acme", "user_id": user, "session_id": "monday"})
    assert isinstance(finish, PlannerFinish)
    return str(finish.payload["raw_answer"])


async def main() -> None:
    """Four turns of one user, of which two are kept; and one of another user."""
    for query in ("one", "two", "three", "four"):
        print(f"pip: {query}. {await ask(query, 'pip')}")
    print(f"mumble: five. {await ask('five', 'mumble')}")


if __name__ == "__main__":
    asyncio.run(main())
