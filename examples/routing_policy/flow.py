"""A policy has the last word over a router: customers are moved between models without touching the code."""

from __future__ import annotations

import asyncio

from pydantic import BaseModel

from penguiflow import (
    Context,
    DictRoutingPolicy,
    Headers,
    Message,
    ModelRegistry,
    Node,
    RoutingRequest,
    create,
    predicate_router,
)


class Request(BaseModel):
    """What a customer wants done."""

    customer: str
    text: str


class Answer(BaseModel):
    """What came of it, and by which model."""

    model: str
    text: str


def customer_of(request: RoutingRequest) -> str:
    """The key of the table: the customer, not the trace."""
    name: str = request.message.payload.customer
    return name


policy = DictRoutingPolicy.from_json('{"initech": "large", "spam-co": null}', default="small", key_getter=customer_of)
"""A table as it would come from a file or the environment (`from_json_file`, `from_env`)."""


async def receive(request: Request, ctx: Context) -> Request:
    """Check the request on its way in."""
    return request


async def small(request: Request, ctx: Context) -> Answer:
    """The cheap model."""
    return Answer(model="small", text=request.text.lower())


async def large(request: Request, ctx: Context) -> Answer:
    """The good model."""
    return Answer(model="large", text=request.text.upper())


receive_node = Node(receive)
router = predicate_router("router", lambda message: "small", policy=policy)
small_node = Node(small)
large_node = Node(large)

flow = create(receive_node.to(router), router.to(small_node, large_node))

registry = ModelRegistry()
registry.register("receive", Request, Request)
registry.register("small", Request, Answer)
registry.register("large", Request, Answer)

__flow__ = {
    "title": "Routing by policy",
    "samples": [{"customer": name, "text": "Hello"} for name in ("acme", "initech", "spam-co")],
}


async def ask(customer: str) -> str:
    """Which model answers a customer."""
    message = Message(payload=Request(customer=customer, text="Hello"), headers=Headers(tenant=customer))
    result = await flow.call(message)
    return "nobody" if result is None else str(result.payload.model)


async def main() -> None:
    """Ask for three customers, then change the table and ask again."""
    flow.run(registry=registry)
    for customer in ("acme", "initech", "spam-co"):
        print(f"{customer}: {await ask(customer)}")
    policy.update_mapping({"acme": "large"})
    print(f"acme after the change: {await ask('acme')}")
    await flow.stop()


if __name__ == "__main__":
    asyncio.run(main())
