"""A planner that answers for a shop: native tool calls, several at once, and an answer that is data.

- what the message names is looked up at once: a customer by the address, an order by its number, else the help pages;
- an order that is lost, or was sent back, is refunded. Up to 50 that is done at once. Above it `refund` pauses the run
  until somebody approves, with `approved_by` in the `tool_context` that the run is resumed with;
- what was refunded is kept with the session (`ctx.kv`, `pf kv`): an order is refunded once, however often asked for;
- the answer is a `Resolution`, in `payload.structured`.

A scripted model decides, so that no key is needed. `PENGUIFLOW_FLOWS_MODEL=openai/gpt-5-mini` takes a real one,
`PENGUIFLOW_FLOWS_MODEL_URL` a server that speaks OpenAI's protocol.

Try it: `pf run flows/support_agent.py --input '{"query": "Order A-103 never came, I am linus@example.org"}'`
"""

from __future__ import annotations

from typing import Any, Literal, Unpack

from pydantic import BaseModel, Field

from flows._agents import ProjectMemory, model_of_environment
from flows._support_desk import nodes, registry
from flows._support_model import support_model
from penguiflow.planner import ReactPlanner
from penguiflow.planner.react import PlannerOptions

GUIDANCE = """\
You answer customers of a shop for outdoor clothing. Look up what the message names before you answer. Refund what is
lost or was sent back, and nothing else. If a refund was not approved, say so kindly."""


class Resolution(BaseModel):
    """What became of a message."""

    category: Literal["question", "order", "refund"]
    resolved: bool = Field(description="False where somebody has to look at it.")
    reply: str = Field(min_length=1, description="What the customer reads.")
    order_id: str | None = None
    refund: float | None = Field(None, ge=0)


def make_planner(model: Any, store: Any, **options: Unpack[PlannerOptions]) -> ReactPlanner:
    """The planner with a model of your choice; `store` keeps its paused runs."""
    given: PlannerOptions = {
        "name": "support_agent",
        "tool_call_mode": "native",
        "final_response_model": Resolution,
        "state_store": store,
        "system_prompt_extra": GUIDANCE,
        **options,
    }
    return ReactPlanner(model, nodes=nodes, registry=registry, **given)


planner = make_planner(model_of_environment(support_model()), ProjectMemory())

__flow__: dict[str, Any] = {
    "title": "Support agent",
    "defaults": {"tool_context": {"tenant_id": "shop", "user_id": "support", "session_id": "desk"}},
    "samples": [
        {"query": "Order A-103 never came, I am linus@example.org"},
        {"query": "My tent A-101 is lost. Give me my money back! ada@example.org"},
        {"query": "Where is my order A-102?"},
        {"query": "I forgot my password"},
        {"query": "I want a refund for A-999"},
    ],
}
