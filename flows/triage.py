"""A support ticket finds its way: routed by a predicate, retried when the knowledge base fails, answered as a stream.

What a ticket says decides what there is to see:

- a word like *invoice* leads to `billing`, one like *error* to `technical`, anything else to `general`;
- `technical` asks a knowledge base that is down now and then: its ticket's id tells how often, see `outages`;
- *slow* makes the first look-up hang, so that it times out and the next attempt succeeds;
- *impossible* makes every look-up fail, and so the run.

Try it: `pf run flows/triage.py --input '{"id": "T-4", "text": "The export ends in an error"}'`
"""

from __future__ import annotations

import asyncio
from typing import Literal
from zlib import crc32

from pydantic import BaseModel, Field

from penguiflow import Context, Message, ModelRegistry, Node, NodePolicy, create, predicate_router

Branch = Literal["billing", "technical", "general"]

WORDS: dict[Branch, tuple[str, ...]] = {
    "technical": ("crash", "error", "impossible", "login", "slow", "timeout"),
    "billing": ("bill", "charge", "invoice", "payment", "refund"),
}
"""Which words lead where; the first branch with a word of the ticket takes it."""

HANG_S = 30.0
"""How long a slow look-up takes: longer than anybody waits for it."""
TYPING_S = 0.02
"""Seconds between two words of the answer."""


class Ticket(BaseModel):
    """What a customer wrote."""

    id: str = Field(min_length=1, description="Decides how often the knowledge base is down: see `outages`.")
    text: str = Field(min_length=1)
    customer: str = "somebody"
    priority: Literal["low", "normal", "high"] = "normal"


class Finding(BaseModel):
    """What a branch has to say."""

    ticket: Ticket
    branch: Branch
    advice: str
    attempts: int = 1


class Answer(BaseModel):
    """What the customer gets."""

    ticket_id: str
    branch: Branch
    text: str
    attempts: int


class KnowledgeBaseError(Exception):
    """The knowledge base gave no answer."""


def outages(ticket_id: str) -> int:
    """How many look-ups for a ticket find the knowledge base down: 0, 1 or 2, always the same for the same id."""
    return crc32(ticket_id.encode()) % 3


async def look_up(ticket: Ticket, attempt: int) -> str:
    """Ask the knowledge base for the `attempt`-th time (from 1) about a ticket. Raises `KnowledgeBaseError`."""
    text = ticket.text.lower()
    if "impossible" in text:
        raise KnowledgeBaseError(f"nothing is known about {ticket.text!r}")
    if "slow" in text:
        if attempt == 1:
            await asyncio.sleep(HANG_S)
        attempt -= 1
    if attempt <= outages(ticket.id):
        raise KnowledgeBaseError(f"503: the knowledge base is down (look-up {attempt})")
    return "Clear the cache, sign in again, and send us the log if it comes back."


async def intake(ticket: Ticket, ctx: Context) -> Ticket:
    """Tidy up what came in."""
    return ticket.model_copy(update={"text": " ".join(ticket.text.split())})


def branch_of(message: Message) -> Branch:
    """The branch that a ticket belongs to."""
    text = message.payload.text.lower()
    return next((branch for branch, words in WORDS.items() if any(word in text for word in words)), "general")


async def billing(ticket: Ticket, ctx: Context) -> Finding:
    """Answer what is about money."""
    speed = "today" if ticket.priority == "high" else "within three days"
    return Finding(ticket=ticket, branch="billing", advice=f"We check the invoice and settle it {speed}.")


async def technical(ticket: Ticket, ctx: Context) -> Finding:
    """Answer what is about machines; counts its attempts in the state of the trace, which outlives each of them."""
    attempt = ctx.trace_state["attempt"] = ctx.trace_state.get("attempt", 0) + 1
    advice = await look_up(ticket, attempt)
    return Finding(ticket=ticket, branch="technical", advice=advice, attempts=attempt)


async def general(ticket: Ticket, ctx: Context) -> Finding:
    """Answer all the rest."""
    return Finding(ticket=ticket, branch="general", advice="Thank you, we have passed this on to the right people.")


async def reply(finding: Finding, ctx: Context) -> Answer:
    """Write the answer, word by word for those who watch."""
    text = f"Dear {finding.ticket.customer}, about {finding.ticket.id}: {finding.advice}"
    words = text.split(" ")
    for number, word in enumerate(words, start=1):
        last = number == len(words)
        await ctx.emit_chunk(parent=ctx.message, text=word if last else word + " ", done=last)
        await asyncio.sleep(TYPING_S)
    return Answer(ticket_id=finding.ticket.id, branch=finding.branch, text=text, attempts=finding.attempts)


intake_node = Node(intake, name="intake")
route_node = predicate_router("route", branch_of)
billing_node = Node(billing, name="billing")
technical_node = Node(
    technical, name="technical", policy=NodePolicy(timeout_s=0.5, max_retries=3, backoff_base=0.2, backoff_mult=2.0)
)
general_node = Node(general, name="general")
reply_node = Node(reply, name="reply")

flow = create(
    intake_node.to(route_node),
    route_node.to(billing_node, technical_node, general_node),
    billing_node.to(reply_node),
    technical_node.to(reply_node),
    general_node.to(reply_node),
)

registry = ModelRegistry()
registry.register("intake", Ticket, Ticket)
registry.register("billing", Ticket, Finding)
registry.register("technical", Ticket, Finding)
registry.register("general", Ticket, Finding)
registry.register("reply", Finding, Answer)

__flow__ = {
    "title": "Ticket triage",
    "samples": [
        {"id": "T-1", "text": "My invoice is wrong", "customer": "Ada", "priority": "high"},
        {"id": "T-3", "text": "The export ends in an error", "customer": "Grace"},
        {"id": "T-6", "text": "Everything is slow today", "customer": "Linus"},
        {"id": "T-7", "text": "This is impossible", "customer": "Edsger"},
        {"id": "T-8", "text": "Do you like fish?", "customer": "Pip", "priority": "low"},
    ],
}
