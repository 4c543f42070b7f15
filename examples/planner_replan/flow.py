"""A tool fails, and the model takes another way: it is told what went wrong and what could be done instead."""

from __future__ import annotations

import asyncio

from pydantic import BaseModel

from penguiflow import ModelRegistry, Node
from penguiflow.llm import ScriptedModel
from penguiflow.planner import PlannerEvent, PlannerFinish, ReactPlanner, ToolContext


class Place(BaseModel):
    """Which station."""

    station: str


class Reading(BaseModel):
    """What was measured there."""

    station: str
    celsius: float
    hours_old: int


class StationDown(Exception):
    """A failure that says to the model what else there is."""

    suggestion = "call archive for the last reading that is known"


async def live(place: Place, ctx: ToolContext) -> Reading:
    """Ask the station itself."""
    raise StationDown(f"{place.station} does not answer")


async def archive(place: Place, ctx: ToolContext) -> Reading:
    """The last reading that is known of a station."""
    return Reading(station=place.station, celsius=-18.5, hours_old=3)


registry = ModelRegistry()
registry.register("live", Place, Reading)
registry.register("archive", Place, Reading)

station = {"station": "Halley"}
model = ScriptedModel(
    rules=[
        ("How cold", {"next_node": "live", "args": station}),
        ("call archive", {"next_node": "archive", "args": station}),
        ("hours_old", {"next_node": "final_response", "args": {"answer": "-18.5 degrees, three hours ago."}}),
    ]
)


def tell(event: PlannerEvent) -> None:
    """What happens, while it happens."""
    if event.event_type in ("tool_call_start", "tool_call_result"):
        print(f"{event.event_type}: {event.extra['tool_name']}")


planner = ReactPlanner(model, nodes=[Node(live), Node(archive)], registry=registry, event_callback=tell)

__flow__ = {"title": "Planner: another way", "samples": [{"query": "How cold is it at Halley?"}]}


async def main() -> None:
    """Ask; the first tool fails."""
    finish = await planner.run("How cold is it at Halley?")
    assert isinstance(finish, PlannerFinish)
    failure = finish.metadata["steps"][0]["failure"]
    print(f"{failure['error_code']}: {failure['suggestion']}")
    print(finish.payload["raw_answer"])


if __name__ == "__main__":
    asyncio.run(main())
