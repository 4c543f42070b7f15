"""Three typed nodes in a row: a question is triaged, looked up and packed into a prompt."""

from __future__ import annotations

import asyncio

from pydantic import BaseModel

from penguiflow import Context, Headers, Message, ModelRegistry, Node, create


class Question(BaseModel):
    """What somebody asks."""

    text: str


class Triaged(BaseModel):
    """The question, with what it is about."""

    text: str
    topic: str


class Researched(BaseModel):
    """The question, with what is known of its topic."""

    text: str
    topic: str
    facts: list[str]


class Prompt(BaseModel):
    """What a model would be asked."""

    prompt: str


FACTS = {
    "metrics": ["The dashboard counts every attempt.", "Latency is in milliseconds."],
    "general": ["The runbook is the place to look first."],
}


async def triage(question: Question, ctx: Context) -> Triaged:
    """Say what the question is about."""
    topic = "metrics" if "metric" in question.text.lower() else "general"
    return Triaged(text=question.text, topic=topic)


async def retrieve(triaged: Triaged, ctx: Context) -> Researched:
    """Look up what is known."""
    return Researched(text=triaged.text, topic=triaged.topic, facts=FACTS[triaged.topic])


async def pack(researched: Researched, ctx: Context) -> Prompt:
    """Put question and facts together."""
    facts = "\n".join(f"- {fact}" for fact in researched.facts)
    return Prompt(prompt=f"[{researched.topic}] {researched.text}\n{facts}")


triage_node = Node(triage)
retrieve_node = Node(retrieve)
pack_node = Node(pack)

flow = create(triage_node.to(retrieve_node), retrieve_node.to(pack_node))

registry = ModelRegistry()
registry.register("triage", Question, Triaged)
registry.register("retrieve", Triaged, Researched)
registry.register("pack", Researched, Prompt)

__flow__ = {"title": "Quickstart", "samples": [{"text": "Which metrics do we keep?"}, {"text": "Who is on call?"}]}


async def main() -> None:
    """Ask one question."""
    flow.run(registry=registry)
    question = Message(payload=Question(text="Which metrics do we keep?"), headers=Headers(tenant="acme"))
    result = await flow.call(question)
    print(result.payload.prompt)
    await flow.stop()


if __name__ == "__main__":
    asyncio.run(main())
