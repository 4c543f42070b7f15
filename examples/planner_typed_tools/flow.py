"""Tools with types and a typed answer: what a model gets wrong is told to it, and no tool is called with it."""

from __future__ import annotations

import asyncio
from typing import Literal

from pydantic import BaseModel, Field

from penguiflow import ModelRegistry, Node, NodePolicy, tool
from penguiflow.llm import ScriptedModel
from penguiflow.planner import PlannerFinish, ReactPlanner, ToolContext


class Parcel(BaseModel):
    """What is to be sent."""

    country: Literal["AR", "CL", "NZ"]
    grams: int = Field(gt=0, le=30_000)


class Price(BaseModel):
    """What it costs."""

    cents: int
    days: int


class Booking(BaseModel):
    """What is ordered."""

    country: str
    cents: int


class Receipt(BaseModel):
    """Proof of it."""

    number: str


class Shipment(BaseModel):
    """The answer that the program wants."""

    receipt: str
    euros: float
    days: int


calls: list[str] = []


@tool(
    desc="What it costs to send a parcel.",
    side_effects="read",
    tags=["shipping"],
    examples=[{"country": "NZ", "grams": 250}],
)
async def quote(parcel: Parcel, ctx: ToolContext) -> Price:
    """The first call fails; the node's policy has it tried again."""
    calls.append("quote")
    if len(calls) == 1:
        raise ConnectionError("the price list does not answer")
    return Price(cents=400 + parcel.grams, days=9)


@tool(desc="Order a courier.", side_effects="external", safety_notes="Costs money.")
async def book(booking: Booking, ctx: ToolContext) -> Receipt:
    """What tools are told besides is in `ctx.tool_context`; the model never sees it."""
    calls.append("book")
    return Receipt(number=f"{ctx.tool_context.get('customer', 'nobody')}-{booking.cents}")


registry = ModelRegistry()
registry.register("quote", Parcel, Price)
registry.register("book", Booking, Receipt)

order = {"receipt": "acme-650", "euros": 6.5, "days": 9}
model = ScriptedModel(
    rules=[
        ("Send 250 g", {"next_node": "quote", "args": {"country": "NZ", "grams": -250}}),
        ("greater than 0", {"next_node": "quote", "args": {"country": "NZ", "grams": 250}}),
        ('"days"', {"next_node": "book", "args": {"country": "NZ", "cents": 650}}),
        ('"number"', {"next_node": "final_response", "args": {"answer": order}}),
    ]
)
planner = ReactPlanner(
    model,
    nodes=[Node(quote, policy=NodePolicy(timeout_s=5.0, max_retries=2, backoff_base=0.01)), Node(book)],
    registry=registry,
    final_response_model=Shipment,
)

__flow__ = {
    "title": "Planner: typed tools",
    "samples": [{"query": "Send 250 g to New Zealand", "tool_context": {"customer": "acme"}}],
}


async def main() -> None:
    """Ask for a parcel; the first call is refused for its arguments, and the next one is tried twice."""
    finish = await planner.run("Send 250 g to New Zealand", tool_context={"customer": "acme"})
    assert isinstance(finish, PlannerFinish)
    for step in finish.metadata["steps"]:
        came = step["observation"] or step["error"]
        print(step["action"]["next_node"], step["action"]["args"], "->", came)
    print(Shipment.model_validate(finish.payload["structured"]))
    print("called:", ", ".join(calls))


if __name__ == "__main__":
    asyncio.run(main())
