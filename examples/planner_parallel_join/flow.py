"""Several tools at once, and a tool that gets what they gave."""

from __future__ import annotations

import asyncio

from pydantic import BaseModel

from penguiflow import ModelRegistry, Node
from penguiflow.llm import ScriptedModel
from penguiflow.planner import PlannerFinish, ReactPlanner, ToolContext


class Topic(BaseModel):
    """What is looked for."""

    text: str


class Note(BaseModel):
    """What one place has on it."""

    source: str
    lines: int


class Notes(BaseModel):
    """What all places have on it."""

    notes: list[Note]
    places: int


class Report(BaseModel):
    """All of it in one."""

    text: str


async def search_docs(topic: Topic, ctx: ToolContext) -> Note:
    """Look into the documentation."""
    return Note(source="docs", lines=12)


async def search_issues(topic: Topic, ctx: ToolContext) -> Note:
    """Look into the tracker."""
    return Note(source="issues", lines=3)


async def merge(notes: Notes, ctx: ToolContext) -> Report:
    """Put notes together; `notes` is filled from the branches, `places` from their number."""
    found = ", ".join(f"{note.lines} lines in {note.source}" for note in notes.notes)
    return Report(text=f"{found} ({notes.places} places)")


registry = ModelRegistry()
registry.register("search_docs", Topic, Note)
registry.register("search_issues", Topic, Note)
registry.register("merge", Notes, Report)

plan = {
    "next_node": "parallel",
    "args": {
        "steps": [
            {"node": "search_docs", "args": {"text": "timeouts"}},
            {"node": "search_issues", "args": {"text": "timeouts"}},
        ],
        "join": {"node": "merge", "args": {}, "inject": {"notes": "$results", "places": "$success_count"}},
    },
}
answer = {"next_node": "final_response", "args": {"answer": "There is more in the documentation."}}

planner = ReactPlanner(
    ScriptedModel(rules=[("timeouts?", plan), ("branches", answer)]),
    nodes=[Node(search_docs), Node(search_issues), Node(merge)],
    registry=registry,
)

__flow__ = {"title": "Planner: parallel calls and a join", "samples": [{"query": "What is known of timeouts?"}]}


async def main() -> None:
    """Ask, and look at the branches and the join."""
    finish = await planner.run("What is known of timeouts?")
    assert isinstance(finish, PlannerFinish)
    observation = finish.metadata["steps"][0]["observation"]
    for branch in observation["branches"]:
        print(branch["node"], "->", branch["observation"])
    print(observation["join"]["node"], "->", observation["join"]["observation"])
    print(finish.payload["raw_answer"])


if __name__ == "__main__":
    asyncio.run(main())
