"""A router sends each ticket to the team that its text calls for; small talk is dropped."""

from __future__ import annotations

import asyncio

from pydantic import BaseModel

from penguiflow import Context, Headers, Message, ModelRegistry, Node, create, predicate_router


class Ticket(BaseModel):
    """What a customer wrote."""

    text: str


class Reply(BaseModel):
    """What a team answers."""

    team: str
    text: str


def choose(message: Message) -> list[str] | None:
    """The names of the teams that get the ticket; None drops it."""
    words = message.payload.text.lower()
    teams = [team for team, word in (("billing", "invoice"), ("support", "crash")) if word in words]
    if teams:
        return teams
    return None if "hello" in words else ["support"]


async def read(ticket: Ticket, ctx: Context) -> Ticket:
    """Check the ticket on its way in."""
    return Ticket(text=ticket.text.strip())


async def billing(ticket: Ticket, ctx: Context) -> Reply:
    """Answer about money."""
    return Reply(team="billing", text=f"We look at the books: {ticket.text}")


async def support(ticket: Ticket, ctx: Context) -> Reply:
    """Answer about everything else."""
    return Reply(team="support", text=f"We look at the logs: {ticket.text}")


read_node = Node(read)
router = predicate_router("router", choose)
billing_node = Node(billing)
support_node = Node(support)

flow = create(read_node.to(router), router.to(billing_node, support_node))

registry = ModelRegistry()
registry.register("read", Ticket, Ticket)
registry.register("billing", Ticket, Reply)
registry.register("support", Ticket, Reply)

__flow__ = {
    "title": "Routing by predicate",
    "samples": [
        {"text": "My invoice is wrong"},
        {"text": "The invoice page crashes"},
        {"text": "It is slow"},
        {"text": "Hello!"},
    ],
}


async def main() -> None:
    """Send each sample through and show who answers."""
    flow.run(registry=registry)
    for text in ("My invoice is wrong", "The invoice page crashes", "It is slow", "Hello!"):
        message = Message(payload=Ticket(text=text), headers=Headers(tenant="acme"))
        replies = [item.payload async for item in flow.stream(message)]
        print(f"{text} -> {', '.join(reply.team for reply in replies) or 'dropped'}")
    await flow.stop()


if __name__ == "__main__":
    asyncio.run(main())
