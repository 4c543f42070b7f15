"""A question that takes several look-ups: a node calls itself until it knows the answer or has spent its budget."""

from __future__ import annotations

import asyncio
import time

from pydantic import BaseModel

from penguiflow import WM, Context, FinalAnswer, Headers, Message, ModelRegistry, Node, NodePolicy, create

TOKENS_A_HOP = 40

NEXT_FACT = {
    "": "fathers keep the egg",
    "fathers keep the egg": "it lies on their feet",
    "it lies on their feet": "skin covers it",
}
"""What a look-up finds, by the last thing that is known. Stands in for a search."""


class Question(BaseModel):
    """What is asked, and how far the controller may go."""

    text: str
    budget_hops: int | None = 8
    budget_tokens: int | None = None


async def begin(question: Question, ctx: Context) -> WM:
    """Make a working memory of the question."""
    return WM(query=question.text, budget_hops=question.budget_hops, budget_tokens=question.budget_tokens)


async def think(message: Message, ctx: Context) -> Message:
    """Look one more thing up, or answer when there is nothing more to find."""
    memory: WM = message.payload
    fact = NEXT_FACT.get(memory.facts[-1] if memory.facts else "")
    if fact is None:
        answer = FinalAnswer(text=f"{memory.query} Because {', '.join(memory.facts)}.", citations=memory.facts)
        return message.model_copy(update={"payload": answer})
    known = {"facts": [*memory.facts, fact], "tokens_used": memory.tokens_used + TOKENS_A_HOP}
    return message.model_copy(update={"payload": memory.model_copy(update=known)})


begin_node = Node(begin)
think_node = Node(think, policy=NodePolicy(validate="none"), allow_cycle=True)

flow = create(begin_node.to(think_node), think_node.to(think_node))

registry = ModelRegistry()
registry.register("begin", Question, WM)

__flow__ = {
    "title": "A controller over several hops",
    "samples": [
        {"text": "Why does the egg not freeze?"},
        {"text": "Why does the egg not freeze?", "budget_hops": 2},
        {"text": "Why does the egg not freeze?", "budget_tokens": 100},
    ],
}


async def main() -> None:
    """Ask with enough of everything, then with too few hops, too few tokens and too little time."""
    flow.run(registry=registry)
    text = "Why does the egg not freeze?"
    an_hour_ago = time.time() - 3600
    questions: list[tuple[str, Question, float | None]] = [
        ("enough", Question(text=text), None),
        ("two hops", Question(text=text, budget_hops=2), None),
        ("100 tokens", Question(text=text, budget_tokens=100), None),
        ("no time", Question(text=text), an_hour_ago),
    ]
    for name, question, deadline_s in questions:
        result = await flow.call(Message(payload=question, headers=Headers(tenant="acme"), deadline_s=deadline_s))
        print(f"{name}: {result.payload.text}")
    await flow.stop()


if __name__ == "__main__":
    asyncio.run(main())
