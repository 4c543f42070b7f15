"""A small flow and, in `main`, how its tests look: run one message, check the order, make a node fail."""

from __future__ import annotations

import asyncio

from pydantic import BaseModel

from penguiflow import (
    Context,
    FlowErrorCode,
    Headers,
    Message,
    ModelRegistry,
    Node,
    NodePolicy,
    configure_logging,
    create,
)
from penguiflow.testkit import (
    assert_node_sequence,
    assert_preserves_message_envelope,
    get_recorded_events,
    run_one,
    simulate_error,
)


class Order(BaseModel):
    """What a customer orders."""

    item: str
    quantity: int = 1


class Priced(BaseModel):
    """What it costs, in cents."""

    item: str
    total: int


async def price(order: Order, ctx: Context) -> Priced:
    """Look the price up."""
    return Priced(item=order.item, total=order.quantity * 250)


async def confirm(message: Message, ctx: Context) -> Message:
    """Say what was ordered."""
    priced: Priced = message.payload
    return message.model_copy(update={"payload": f"{priced.item} for {priced.total / 100:.2f}"})


price_node = Node(price)
confirm_node = Node(confirm, policy=NodePolicy(validate="none"))

flow = create(price_node.to(confirm_node))

registry = ModelRegistry()
registry.register("price", Order, Priced)

__flow__ = {"title": "A flow with tests", "samples": [{"item": "herring", "quantity": 3}]}


def order(item: str = "herring", quantity: int = 3) -> Message:
    """An order as tests need it."""
    return Message(payload=Order(item=item, quantity=quantity), headers=Headers(tenant="acme"))


async def test_an_order_is_confirmed() -> None:
    """One message through the whole flow."""
    message = order()
    result = await run_one(flow, message, registry=registry)
    assert result.payload == "herring for 7.50"
    assert_node_sequence(message.trace_id, ["price", "confirm"])


async def test_a_price_that_is_not_there_at_first_is_asked_for_again() -> None:
    """The same flow around a node that fails twice."""
    flaky = simulate_error("price", FlowErrorCode.NODE_TIMEOUT, fail_times=2, result_factory=lambda sent: sent)
    node = Node(flaky, name="price", policy=NodePolicy(validate="none", max_retries=2, backoff_base=0.0))
    message = order()
    await run_one(create(node.to()), message)
    retries = [event for event in get_recorded_events(message.trace_id) if event.event_type == "node_retry"]
    assert len(retries) == 2


async def test_the_envelope_is_kept() -> None:
    """One node by itself."""
    await assert_preserves_message_envelope(
        confirm_node, message=order().model_copy(update={"payload": Priced(item="herring", total=250)})
    )


async def main() -> None:
    """Run the tests without a test runner."""
    configure_logging("CRITICAL")  # the simulated errors are meant
    for test in (
        test_an_order_is_confirmed,
        test_a_price_that_is_not_there_at_first_is_asked_for_again,
        test_the_envelope_is_kept,
    ):
        await test()
        print(f"{test.__name__}: passed")


if __name__ == "__main__":
    asyncio.run(main())
