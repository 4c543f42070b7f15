"""A failure reaches the caller as a typed error that says what happened, where, in which trace, and why."""

from __future__ import annotations

import asyncio

from pydantic import BaseModel

from penguiflow import (
    Context,
    FlowError,
    FlowErrorCode,
    Headers,
    Message,
    ModelRegistry,
    Node,
    NodePolicy,
    configure_logging,
    create,
)


class Payment(BaseModel):
    """What is to be paid, in cents."""

    amount: int


class Receipt(BaseModel):
    """What was paid."""

    text: str


async def check(payment: Payment, ctx: Context) -> Payment:
    """Refuse what cannot be paid."""
    if payment.amount <= 0:
        raise ValueError(f"{payment.amount} cannot be paid")
    return payment


async def pay(payment: Payment, ctx: Context) -> Receipt:
    """Pay it; a large sum takes longer than anybody waits."""
    if payment.amount > 1000:
        await asyncio.sleep(60)
    return Receipt(text=f"paid {payment.amount}")


check_node = Node(check, policy=NodePolicy(max_retries=1, backoff_base=0.01))
pay_node = Node(pay, policy=NodePolicy(timeout_s=0.05))

flow = create(check_node.to(pay_node))

registry = ModelRegistry()
registry.register("check", Payment, Payment)
registry.register("pay", Payment, Receipt)

__flow__ = {"title": "Traceable errors", "samples": [{"amount": 250}, {"amount": -1}, {"amount": 5000}]}


async def main() -> None:
    """Pay three sums, two of which cannot be paid."""
    configure_logging("CRITICAL")  # the errors are printed here; the log would show their tracebacks as well
    flow.run(registry=registry)
    for amount in (250, -1, 5000):
        message = Message(payload=Payment(amount=amount), headers=Headers(tenant="acme"))
        try:
            print((await flow.call(message)).payload.text)
        except FlowError as error:
            own = error.trace_id == message.trace_id
            print(f"{error.code} in {error.node_name} (of this trace: {own}): {error.message}")
            if error.code == FlowErrorCode.NODE_EXCEPTION:
                print(f"  because of {error.unwrap()!r}, after {error.metadata['attempt'] + 1} attempts")
    await flow.stop()


if __name__ == "__main__":
    asyncio.run(main())
