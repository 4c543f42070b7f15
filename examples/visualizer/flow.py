"""A flow with a branch and a loop, drawn as Mermaid and as DOT."""

from __future__ import annotations

import asyncio

from penguiflow import (
    WM,
    Context,
    FinalAnswer,
    Headers,
    Message,
    Node,
    NodePolicy,
    create,
    flow_to_dot,
    flow_to_mermaid,
)

NOT_VALIDATED = NodePolicy(validate="none")


async def plan(message: Message, ctx: Context) -> Message:
    """Begin a controller loop with an empty memory."""
    return message.model_copy(update={"payload": WM(query=str(message.payload), budget_hops=5)})


async def think(message: Message, ctx: Context) -> Message:
    """Gather one fact at a time, and answer when there are three."""
    memory: WM = message.payload
    if len(memory.facts) == 3:
        return message.model_copy(update={"payload": FinalAnswer(text=f"{memory.query}: {', '.join(memory.facts)}")})
    facts = [*memory.facts, f"fact {len(memory.facts) + 1}"]
    return message.model_copy(update={"payload": memory.model_copy(update={"facts": facts})})


plan_node = Node(plan, name='plan "it"', policy=NOT_VALIDATED)
think_node = Node(think, policy=NOT_VALIDATED, allow_cycle=True)

flow = create(plan_node.to(think_node), think_node.to(think_node))

__flow__ = {"title": "Pictures of a flow", "samples": ["penguins"]}


async def main() -> None:
    """Draw the flow twice, then run it."""
    print(flow_to_mermaid(flow, direction="LR"))
    print(flow_to_dot(flow))
    flow.run()
    result = await flow.call(Message(payload="penguins", headers=Headers(tenant="acme")))
    print(result.payload.text)
    await flow.stop()


if __name__ == "__main__":
    asyncio.run(main())
