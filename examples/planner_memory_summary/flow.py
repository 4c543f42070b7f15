"""A long conversation: the last turn is kept as it was, and what came before as a summary that another model writes."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

from pydantic import BaseModel

from penguiflow import ModelRegistry, Node
from penguiflow.llm import ScriptedModel
from penguiflow.llm.types import LLMRequest
from penguiflow.planner import PlannerFinish, ReactPlanner, ToolContext
from penguiflow.planner.memory import MemoryBudget, MemoryEditor, MemoryKey, ShortTermMemoryConfig


class Name(BaseModel):
    """Whom to greet."""

    text: str


class Greeting(BaseModel):
    """What to say."""

    text: str


async def greet(name: Name, ctx: ToolContext) -> Greeting:
    """Say hello to somebody."""
    return Greeting(text=f"Hello, {name.text}")


def answer(request: LLMRequest) -> dict[str, Any]:
    """Stands for the model that answers: says which summary stands in its prompt."""
    prompt = "\n".join(message.text for message in request.messages)
    found = re.search(r'"summary":"([^"]*)"', prompt)
    return {"next_node": "final_response", "args": {"answer": f"I remember: {found[1] if found else 'nothing'}"}}


def summarize(request: LLMRequest) -> str:
    """Stands for the model that summarizes: it is told the summary so far, and the turns that come after it."""
    told = json.loads(request.messages[-1].text)
    said = [told["summary"], *(turn["user"] for turn in told["turns"])]
    return "; ".join(each for each in said if each)


async def changed(before: str, after: str) -> None:
    """Told of every new summary."""
    print(f"summary: {after}")


registry = ModelRegistry()
registry.register("greet", Name, Greeting)

planner = ReactPlanner(
    ScriptedModel(rules=[("", answer)]),
    nodes=[Node(greet)],
    registry=registry,
    summarizer_llm=ScriptedModel(rules=[("", summarize)]),
    short_term_memory=ShortTermMemoryConfig(
        strategy="rolling_summary",
        budget=MemoryBudget(full_zone_turns=1, summary_max_tokens=100, total_max_tokens=1000),
        on_summary_updated=changed,
    ),
)

__flow__ = {
    "title": "Planner: a summary",
    "samples": [{"query": "My name is Pip", "memory_key": "acme:pip:monday"}],
}

KEY = MemoryKey("acme", "pip", "monday")


async def ask(query: str) -> None:
    """One turn. The summary is written in the background; this program waits for it, to tell of it in order."""
    finish = await planner.run(query, memory_key=KEY)
    assert isinstance(finish, PlannerFinish)
    print(f"{query} -> {finish.payload['raw_answer']}")
    memories = planner.memories()
    memory = None if memories is None else memories.of(KEY.composite())
    assert memory is not None
    await memory.flush()


async def main() -> None:
    """Four turns; then somebody corrects the summary, and the next turn has it."""
    for query in ("My name is Pip", "I like krill", "I live in Halley", "What do you know?"):
        await ask(query)
    editor = MemoryEditor(planner.memories())
    view = await editor.get(KEY.composite())
    await editor.edit_summary(KEY.composite(), "Pip likes squid now", version=view.version)
    await ask("And now?")


if __name__ == "__main__":
    asyncio.run(main())
