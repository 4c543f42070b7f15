"""An order is paid and shipped; the process dies in between. The run is resumed, and nobody pays twice."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from pydantic import BaseModel

from penguiflow import Context, Headers, Message, ModelRegistry, Node, create
from penguiflow.recording import read_frontier
from penguiflow.state import SQLiteStateStore


class Order(BaseModel):
    """What is to be delivered."""

    item: str
    cents: int


class Paid(Order):
    """With the receipt."""

    receipt: str = ""


class Shipped(BaseModel):
    """Where it is."""

    item: str
    parcel: str


payments: list[str] = []


async def charge(cents: int) -> str:
    """Stands for a payment far away: what it does cannot be taken back."""
    payments.append(f"{cents} cents")
    return f"receipt-{len(payments)}"


async def pay(order: Order, ctx: Context) -> Paid:
    """Pay by way of the context, so that the answer is in the trace."""
    receipt = await ctx.record("charge", charge, order.cents)
    return Paid(item=order.item, cents=order.cents, receipt=receipt)


async def ship(paid: Paid, ctx: Context) -> Shipped:
    """Send it off."""
    return Shipped(item=paid.item, parcel=f"{paid.item} for {paid.receipt}")


pay_node, ship_node = Node(pay), Node(ship)
flow = create(pay_node.to(ship_node), ship_node.to())

registry = ModelRegistry()
registry.register("pay", Order, Paid)
registry.register("ship", Paid, Shipped)

__flow__ = {"title": "Fork and resume", "samples": [{"item": "ice", "cents": 250}]}


async def main() -> None:
    """Run, cut the log off as a crash would, resume; then fork what was paid into another item."""
    with tempfile.TemporaryDirectory() as folder:
        store = SQLiteStateStore(Path(folder, "state.db"))
        flow.run(registry=registry, recorder=store.recorder(name="fork_resume"))
        order = Message(payload=Order(item="ice", cents=250), headers=Headers(tenant="acme"))
        await flow.call(order)
        await store.flush()
        events = await store.load_events(order.trace_id)
        paid = next(event.seq for event in events if event.kind == "record")

        # A process that died here had paid, and had not said so to anybody.
        async for result in flow.restore(await read_frontier(store, order.trace_id, paid), trace_id="after-the-crash"):
            print(f"went on after event {paid}: {result.payload.parcel}")

        shipping = next(event.seq for event in events if event.name == "pay->ship")
        frontier = await read_frontier(store, order.trace_id, shipping)
        async for result in flow.restore(frontier, trace_id="another-item", edits={"/payload/item": "fish"}):
            print(f"forked after event {shipping}: {result.payload.parcel}")
        print(f"paid: {', '.join(payments)}")
        await flow.stop()
        await store.close()


if __name__ == "__main__":
    asyncio.run(main())
