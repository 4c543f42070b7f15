"""A planner with one tool: a model says which tool to call, sees what it gave, and answers."""

from __future__ import annotations

import asyncio

from pydantic import BaseModel

from penguiflow import ModelRegistry, Node
from penguiflow.llm import ScriptedModel
from penguiflow.planner import PlannerFinish, ReactPlanner, ToolContext


class City(BaseModel):
    """Where somebody is."""

    name: str


class Weather(BaseModel):
    """What it is like there."""

    celsius: int
    sky: str


KNOWN = {"Ushuaia": Weather(celsius=4, sky="snow"), "Madrid": Weather(celsius=31, sky="sun")}


async def weather(city: City, ctx: ToolContext) -> Weather:
    """The weather in a city, now."""
    return KNOWN[city.name]


registry = ModelRegistry()
registry.register("weather", City, Weather)

# What the model says first, and what it says when it has seen the weather. No key is needed for it.
model = ScriptedModel(
    rules=[
        ("Madrid", {"next_node": "weather", "args": {"name": "Madrid"}}),
        ("Ushuaia", {"next_node": "weather", "args": {"name": "Ushuaia"}}),
        ("snow", {"next_node": "final_response", "args": {"answer": "Yes, it snows: take a coat."}}),
        ("sun", {"next_node": "final_response", "args": {"answer": "No, it is warm."}}),
    ]
)

planner = ReactPlanner(model, nodes=[Node(weather)], registry=registry)

__flow__ = {
    "title": "Planner: minimal",
    "samples": [{"query": "Do I need a coat in Ushuaia?"}, {"query": "Do I need a coat in Madrid?"}],
}


async def main() -> None:
    """Ask one question, and look at the way to its answer."""
    finish = await planner.run("Do I need a coat in Ushuaia?")
    assert isinstance(finish, PlannerFinish)
    for step in finish.metadata["steps"]:
        print(step["action"]["next_node"], step["action"]["args"], "->", step["observation"])
    print(finish.payload["raw_answer"])


if __name__ == "__main__":
    asyncio.run(main())
