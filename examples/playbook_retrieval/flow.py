"""A node hands the search to a playbook, a flow of its own, and goes on with what that found."""

from __future__ import annotations

import asyncio

from pydantic import BaseModel

from penguiflow import Context, FlowError, Headers, Message, ModelRegistry, Node, PenguiFlow, configure_logging, create

LIBRARY = {
    "krill": "Krill is what most penguins eat.",
    "squid": "Some penguins dive deep for squid.",
    "moss": "Moss grows where penguins do not.",
}


class Question(BaseModel):
    """What somebody wants to know."""

    text: str
    patience_s: float = 5.0


class Candidates(BaseModel):
    """Documents that may help, the most promising first."""

    question: Question
    names: list[str]


class Passages(BaseModel):
    """What is worth reading."""

    texts: list[str]


class Answer(BaseModel):
    """What somebody gets to know."""

    text: str


async def retrieve(question: Question, ctx: Context) -> Candidates:
    """Find the documents that share a word with the question."""
    words = set(question.text.lower().split())
    names = [name for name, text in LIBRARY.items() if words & set(text.lower().rstrip(".").split())]
    return Candidates(question=question, names=names)


async def rank(candidates: Candidates, ctx: Context) -> Candidates:
    """Put the shortest first, and leave out what is about something else; a large library takes a while."""
    if "slowly" in candidates.question.text:
        await asyncio.sleep(60)
    names = sorted(candidates.names, key=lambda name: len(LIBRARY[name]))
    return candidates.model_copy(update={"names": [name for name in names if name != "moss"]})


async def compress(candidates: Candidates, ctx: Context) -> Passages:
    """Keep the text alone."""
    return Passages(texts=[LIBRARY[name] for name in candidates.names])


def _retrieval() -> tuple[PenguiFlow, ModelRegistry]:
    """The playbook: retrieve, rank, compress. (Without the underscore `pf` would offer it as a flow of its own.)"""
    nodes = [Node(retrieve), Node(rank), Node(compress)]
    registry = ModelRegistry()
    registry.register("retrieve", Question, Candidates)
    registry.register("rank", Candidates, Candidates)
    registry.register("compress", Candidates, Passages)
    return create(nodes[0].to(nodes[1]), nodes[1].to(nodes[2])), registry


async def research(question: Question, ctx: Context) -> Passages:
    """Call the playbook with the message as it came, for as long as the question is worth it."""
    passages: Passages = await ctx.call_playbook(_retrieval, ctx.message, timeout=question.patience_s)
    return passages


async def answer(passages: Passages, ctx: Context) -> Answer:
    """Say what was found."""
    return Answer(text=" ".join(passages.texts) or "Nobody knows.")


research_node = Node(research)
answer_node = Node(answer)

flow = create(research_node.to(answer_node))

registry = ModelRegistry()
registry.register("research", Question, Passages)
registry.register("answer", Passages, Answer)

__flow__ = {
    "title": "A playbook for retrieval",
    "samples": [{"text": "what do penguins eat"}, {"text": "penguins slowly", "patience_s": 0.5}],
}


async def main() -> None:
    """Ask two questions, and one that takes too long."""
    configure_logging("CRITICAL")  # the error is printed here; the log would show its traceback as well
    flow.run(registry=registry)
    for text in ("what do penguins eat", "who won"):
        result = await flow.call(Message(payload=Question(text=text), headers=Headers(tenant="acme")))
        print(f"{text}? {result.payload.text}")
    slow = Message(payload=Question(text="penguins slowly", patience_s=0.05), headers=Headers(tenant="acme"))
    try:
        await flow.call(slow)
    except FlowError as error:
        print(f"{slow.payload.text}? {error.code} in {error.node_name}: {error.exception_type}")
    await flow.stop()


if __name__ == "__main__":
    asyncio.run(main())
