"""A conversation that outlives its process, and that can be looked into and corrected."""

from __future__ import annotations

import asyncio
import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from penguiflow import ModelRegistry, Node
from penguiflow.llm import ScriptedModel
from penguiflow.llm.types import LLMRequest
from penguiflow.planner import PlannerFinish, ReactPlanner, ToolContext
from penguiflow.planner.memory import MemoryConflict, MemoryEditor, ShortTermMemoryConfig
from penguiflow.state import InMemoryStateStore, SQLiteStateStore


class Thing(BaseModel):
    """What is meant."""

    text: str


class Place(BaseModel):
    """Where it is."""

    text: str


async def find(thing: Thing, ctx: ToolContext) -> Place:
    """Where a thing is."""
    return Place(text=f"{thing.text} is in the shed")


def reply(request: LLMRequest) -> dict[str, Any]:
    """Stands for a model: says what the user had said before, as it stands in its prompt."""
    prompt = "\n".join(message.text for message in request.messages)
    before = re.findall(r'"user":"([^"]+)"', prompt)
    return {"next_node": "final_response", "args": {"answer": f"You said: {' / '.join(before) or 'nothing'}"}}


registry = ModelRegistry()
registry.register("find", Thing, Place)


def planner_over(store: Any) -> ReactPlanner:
    """The same planner, over any store."""
    return ReactPlanner(
        ScriptedModel(rules=[("", reply)]),
        nodes=[Node(find)],
        registry=registry,
        state_store=store,
        short_term_memory=ShortTermMemoryConfig(strategy="truncation"),
    )


planner = planner_over(InMemoryStateStore())

__flow__ = {
    "title": "Planner: a memory in a store",
    "samples": [{"query": "I have a red sled", "memory_key": "acme:pip:monday"}],
}

OWNER = {"tenant_id": "acme", "user_id": "pip", "session_id": "monday"}


async def ask(planner: ReactPlanner, query: str) -> None:
    """One turn of the conversation."""
    finish = await planner.run(query, tool_context=OWNER)
    assert isinstance(finish, PlannerFinish)
    print(f"{query} -> {finish.payload['raw_answer']}")


async def main() -> None:
    """Two processes, in which nothing but the database is the same; between them somebody corrects a turn."""
    with tempfile.TemporaryDirectory() as folder:
        store = SQLiteStateStore(Path(folder, "state.db"))
        await ask(planner_over(store), "I have a red sled")
        await store.close()

        store = SQLiteStateStore(Path(folder, "state.db"))
        editor = MemoryEditor(store)
        (key,) = await editor.keys("acme:")
        view = await editor.get(key)
        print(f"{key}: {len(view.turns)} turn, version {view.version}")
        turn = replace(view.turns[0], user_message="I have a blue sled")
        await editor.replace_turn(key, turn.turn_id, turn, version=view.version)
        try:
            await editor.clear(key, version=view.version)
        except MemoryConflict:
            print("not cleared: it is another version by now")

        await ask(planner_over(store), "What do I have?")
        await store.close()


if __name__ == "__main__":
    asyncio.run(main())
