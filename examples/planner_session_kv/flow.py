"""Tools that keep values for their session: a basket that several calls at once put things into, and a token."""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic import BaseModel

from penguiflow import ModelRegistry, Node
from penguiflow.llm import ScriptedModel
from penguiflow.llm.types import LLMRequest
from penguiflow.planner import PlannerEvent, PlannerFinish, ReactPlanner, ToolContext
from penguiflow.state import InMemoryStateStore


class Thing(BaseModel):
    """What is bought."""

    name: str
    count: int = 1


class Basket(BaseModel):
    """What is in the basket."""

    things: dict[str, int]


async def put(thing: Thing, ctx: ToolContext) -> Basket:
    """Put a thing into the basket."""
    things = await ctx.kv.patch("basket", {thing.name: thing.count}, namespace="shop")
    # Made once for each session. It is kept whole, and masked in events, in the log and on screens.
    await ctx.kv.get_or_init("api_token", "t-5d41402abc4b2a76")
    return Basket(things=things)


def reply(request: LLMRequest) -> dict[str, Any]:
    """Stands for a model: puts several things into the basket at once, then says so."""
    if any(message.role == "assistant" for message in request.messages):
        return {"next_node": "final_response", "args": {"answer": "They are in your basket."}}
    steps = [{"node": "put", "args": {"name": name}} for name in ("krill", "squid", "ice")]
    return {"next_node": "parallel", "args": {"steps": steps}}


registry = ModelRegistry()
registry.register("put", Thing, Basket)
OWNER = {"tenant_id": "acme", "user_id": "pip", "session_id": "monday"}

planner = ReactPlanner(ScriptedModel(rules=[("", reply)]), nodes=[Node(put)], registry=registry)

__flow__ = {
    "title": "Planner: values of a session",
    "samples": [{"query": "Krill, squid and ice, please", "tool_context": OWNER}],
}


async def main() -> None:
    """Three calls at once, and a second run; what is told of, and what another session sees."""
    told: list[PlannerEvent] = []
    shop = ReactPlanner(
        ScriptedModel(rules=[("", reply)]),
        nodes=[Node(put)],
        registry=registry,
        state_store=InMemoryStateStore(),
        event_callback=told.append,
    )
    for owner in (OWNER, OWNER, {**OWNER, "session_id": "tuesday"}):
        told.clear()
        finish = await shop.run("Krill, squid and ice, please", tool_context=owner)
        assert isinstance(finish, PlannerFinish)
        patches = [event.extra for event in told if event.event_type == "kv_patch"]
        made = [event.extra for event in told if event.event_type == "kv_init"]
        print(f"{owner['session_id']}: {len(patches)} patches, {', '.join(sorted(patches[-1]['next']))}")
        for extra in made:
            print(f"{owner['session_id']}: {extra['key']} was made, and is told of as {list(extra['next'])}")


if __name__ == "__main__":
    asyncio.run(main())
