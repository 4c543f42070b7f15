"""The tools of `support_agent`, over a small shop: its customers, orders and help pages."""

from __future__ import annotations

from contextlib import suppress
from typing import Literal
from zlib import crc32

from pydantic import BaseModel, Field

from flows._corpus import words
from penguiflow import ModelRegistry, Node, NodePolicy
from penguiflow.catalog import tool
from penguiflow.planner import ToolContext
from penguiflow.sessions.kv_keys import SessionKVUnavailable

REFUND_LIMIT = 50.0
"""Up to this a refund is made at once; above it somebody has to approve."""

REFUNDS = "refunds"
"""Where a session keeps them, by the number of the order."""

CUSTOMERS = {
    "ada@example.org": ("C-1", "Ada"),
    "grace@example.org": ("C-2", "Grace"),
    "linus@example.org": ("C-3", "Linus"),
}
"""Number and name by address."""


class Order(BaseModel):
    """What somebody bought."""

    id: str
    customer_id: str
    item: str
    price: float
    status: Literal["on its way", "delivered", "lost", "refunded"]


ORDERS = {
    order.id: order
    for order in (
        Order(id="A-100", customer_id="C-1", item="a woolen scarf", price=29.0, status="delivered"),
        Order(id="A-101", customer_id="C-1", item="a tent", price=240.0, status="lost"),
        Order(id="A-102", customer_id="C-2", item="an ice axe", price=89.5, status="on its way"),
        Order(id="A-103", customer_id="C-3", item="a pair of mittens", price=18.0, status="lost"),
    )
}

HELP = {
    "return exchange refund": "Send it back within 30 days; the label is enclosed. The money follows within a week.",
    "delivery parcel late": "Parcels take two to five days. A parcel that is eight days late is taken as lost.",
    "password login": "Choose 'Forgot password' where you sign in; the link is good for an hour.",
    "invoice bill": "Invoices are under 'My orders'; they can be made out to a company until the end of the month.",
}
"""Pages by what they are about."""


class Address(BaseModel):
    """Who is asking."""

    email: str = Field(pattern=r"^\S+@\S+$")


class Customer(BaseModel):
    """A customer with all orders."""

    id: str
    name: str
    orders: list[Order]


class OrderNumber(BaseModel):
    """Which order."""

    order_id: str = Field(min_length=1)


class Question(BaseModel):
    """What the help pages are searched for."""

    question: str = Field(min_length=1)


class Advice(BaseModel):
    """What the help pages say; empty where they say nothing."""

    pages: list[str]


class RefundOrder(BaseModel):
    """Which order is to be refunded, and why."""

    order_id: str = Field(min_length=1)
    reason: str = Field(min_length=1)


class Refund(BaseModel):
    """Money that was given back."""

    order_id: str
    amount: float
    reference: str
    approved_by: str | None = None


class UnknownRecord(LookupError):
    """The shop has no such customer or order."""


@tool(desc="Find a customer and all orders by email address.", side_effects="read")
async def find_customer(args: Address, ctx: ToolContext) -> Customer:
    """Look into the customers."""
    found = CUSTOMERS.get(args.email.casefold())
    if found is None:
        raise UnknownRecord(f"no customer has the address {args.email}")
    number, name = found
    return Customer(id=number, name=name, orders=[each for each in ORDERS.values() if each.customer_id == number])


@tool(desc="Look up one order.", side_effects="read")
async def find_order(args: OrderNumber, ctx: ToolContext) -> Order:
    """Look into the orders."""
    return _order(args.order_id)


@tool(desc="Search the help pages.", side_effects="read")
async def search_help(args: Question, ctx: ToolContext) -> Advice:
    """Give the pages whose subject is asked for."""
    asked = words(args.question)
    return Advice(pages=[text for subject, text in HELP.items() if asked & words(subject)])


@tool(
    desc=f"Refund an order. Above {REFUND_LIMIT:.0f} somebody has to approve: the work pauses until then.",
    side_effects="external",
    safety_notes="Only for orders that are lost, or that the user has sent back.",
)
async def refund(args: RefundOrder, ctx: ToolContext) -> Refund:
    """Give money back, once. Who approves is in `tool_context`, which a model neither sees nor writes.

    What was refunded is kept with the session, where there is one: who asks again gets the same reference, and no more
    money.
    """
    order = _order(args.order_id)
    with suppress(SessionKVUnavailable):
        if (made := await ctx.kv.get(order.id, namespace=REFUNDS)) is not None:
            return Refund.model_validate(made)
    approved_by = ctx.tool_context.get("approved_by")
    if order.price > REFUND_LIMIT and not approved_by:
        about = {"order_id": order.id, "amount": order.price, "reason": args.reason}
        await ctx.pause("approval_required", about)
    reference = f"R-{crc32(order.id.encode()) % 10_000:04d}"
    by = None if approved_by is None else str(approved_by)
    given = Refund(order_id=order.id, amount=order.price, reference=reference, approved_by=by)
    with suppress(SessionKVUnavailable):
        await ctx.kv.set(order.id, given.model_dump(), namespace=REFUNDS)
    return given


def _order(order_id: str) -> Order:
    order = ORDERS.get(order_id.upper())
    if order is None:
        raise UnknownRecord(f"there is no order {order_id}")
    return order


registry = ModelRegistry()
registry.register("find_customer", Address, Customer)
registry.register("find_order", OrderNumber, Order)
registry.register("search_help", Question, Advice)
registry.register("refund", RefundOrder, Refund)

_policy = NodePolicy(timeout_s=30.0)
nodes = [
    Node(find_customer, name="find_customer", policy=_policy),
    Node(find_order, name="find_order", policy=_policy),
    Node(search_help, name="search_help", policy=_policy),
    Node(refund, name="refund", policy=_policy),
]
