"""A tool asks a human. The run waits in the store; another process goes on with it, in the same line of the tool."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from penguiflow import ModelRegistry, Node
from penguiflow.llm import ScriptedModel
from penguiflow.planner import PlannerFinish, PlannerPause, ReactPlanner, ToolContext
from penguiflow.state import InMemoryStateStore, SQLiteStateStore


class Order(BaseModel):
    """What is to be bought."""

    item: str
    cents: int


class Bought(BaseModel):
    """What became of it."""

    receipt: str


offers: list[str] = []


def offer(item: str) -> str:
    """Stands for something that is done once: reserving the item."""
    offers.append(item)
    return f"reservation {len(offers)} of {item}"


async def buy(order: Order, ctx: ToolContext) -> Bought:
    """Buy something, if a human agrees."""
    reserved = await ctx.record("offer", offer, order.item)
    if not await ctx.ask(f"Buy {order.item} for {order.cents} cents?", bool):
        return Bought(receipt="not bought")
    return Bought(receipt=f"{reserved}: paid {order.cents} cents")


registry = ModelRegistry()
registry.register("buy", Order, Bought)


def model() -> ScriptedModel:
    """Buys, and says what came of it."""
    return ScriptedModel(
        rules=[
            ("ice", {"next_node": "buy", "args": {"item": "krill", "cents": 250}}),
            ("not bought", {"next_node": "final_response", "args": {"answer": "Then not."}}),
            ("paid", {"next_node": "final_response", "args": {"answer": "The krill is yours."}}),
        ]
    )


def planner_over(store: Any) -> ReactPlanner:
    """The same planner, over any store."""
    return ReactPlanner(model(), nodes=[Node(buy)], registry=registry, state_store=store)


planner = planner_over(InMemoryStateStore())

__flow__ = {"title": "Planner: pause and resume", "samples": [{"query": "Get me something for the ice"}]}


async def main() -> None:
    """Begin in one process, and go on in another: nothing but the database is shared between the two planners."""
    with tempfile.TemporaryDirectory() as folder:
        first = SQLiteStateStore(Path(folder, "state.db"))
        pause = await planner_over(first).run("Get me something for the ice")
        assert isinstance(pause, PlannerPause)
        print(f"{pause.reason}: {pause.payload['prompt']}")
        await first.close()

        second = SQLiteStateStore(Path(folder, "state.db"))
        finish = await planner_over(second).resume(pause.resume_token, answer=True)
        assert isinstance(finish, PlannerFinish)
        print(finish.metadata["steps"][0]["observation"]["receipt"])
        print(finish.payload["raw_answer"])
        print(f"reserved {len(offers)} time")
        await second.close()


if __name__ == "__main__":
    asyncio.run(main())
