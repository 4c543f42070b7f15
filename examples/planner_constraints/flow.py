"""What a planner may do: which tools it has, in which order, how often, and how much it may use."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from penguiflow import ModelRegistry, Node, NodeSpec, tool
from penguiflow.llm import ScriptedModel
from penguiflow.planner import PlannerFinish, ReactPlanner, ToolContext, ToolPolicy, UsageLimits


class Account(BaseModel):
    """Whose it is."""

    owner: str


class State(BaseModel):
    """What became of it."""

    text: str


@tool(desc="Look an account up.", side_effects="read", tags=["support"])
async def look_up(account: Account, ctx: ToolContext) -> State:
    """For everybody."""
    return State(text=f"{account.owner} is known")


@tool(desc="Give the money back.", side_effects="write", tags=["support", "money"])
async def refund(account: Account, ctx: ToolContext) -> State:
    """For managers."""
    return State(text=f"refunded {account.owner}")


@tool(desc="Delete an account.", side_effects="write", tags=["support"])
async def delete(account: Account, ctx: ToolContext) -> State:
    """For nobody: the policy has it denied."""
    raise AssertionError("never called")


@tool(desc="Read the books.", side_effects="read", tags=["finance"])
async def audit(account: Account, ctx: ToolContext) -> State:
    """Not a tool of the support."""
    raise AssertionError("never called")


registry = ModelRegistry()
for each in (look_up, refund, delete, audit):
    registry.register(each.__name__, Account, State)


class ByRole:
    """Decides for each run which of the planner's tools it sees."""

    def visible_tools(self, specs: Sequence[NodeSpec], tool_context: Mapping[str, Any]) -> Sequence[NodeSpec]:
        """Money is for managers."""
        return [spec for spec in specs if "money" not in spec.tags or tool_context.get("role") == "manager"]


def call(node: str, **args: Any) -> dict[str, Any]:
    """What a model says to call a tool."""
    return {"next_node": node, "args": args}


# It wants the refund first, which the order refuses once; it looks the account up, and then does it.
turns = [call("refund", owner="Pip"), call("look_up", owner="Pip"), call("refund", owner="Pip")]
answer = call("final_response", answer="I did what I could.")
planner = ReactPlanner(
    ScriptedModel(rules=[("", [*turns, answer])]),
    nodes=[Node(look_up), Node(refund), Node(delete), Node(audit)],
    registry=registry,
    tool_policy=ToolPolicy(denied_tools={"delete"}, require_tags={"support"}),
    planning_hints={"ordering_hints": ["look_up", "refund"], "sequential_only": ["refund"], "max_parallel": 2},
    hop_budget=2,
    deadline_s=60.0,
    usage_limits=UsageLimits(requests=10, total_tokens=50_000, cost=0.10),
)

__flow__ = {
    "title": "Planner: constraints",
    "samples": [{"query": "Give Pip the money back", "tool_context": {"role": "manager"}}],
}


async def run(role: str) -> None:
    """Ask as somebody, and tell what came of each step."""
    finish = await planner.run("Give Pip the money back", tool_context={"role": role}, tool_visibility=ByRole())
    assert isinstance(finish, PlannerFinish)
    for step in finish.metadata["steps"]:
        came = step["error"] or step["observation"]["text"]
        print(f"{role}: {step['action']['next_node']} -> {came}")
    print(f"{role}: {finish.reason}, {finish.metadata['constraints']['hops_used']} of 2 hops")


async def main() -> None:
    """The same query, by a manager and by a guest."""
    print("tools:", ", ".join(planner.specs))
    await run("manager")
    await run("guest")


if __name__ == "__main__":
    asyncio.run(main())
