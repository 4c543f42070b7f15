"""One query goes to three searches at once; a join waits for all of them and a last node merges what they found."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from pydantic import BaseModel

from penguiflow import Context, Headers, Message, ModelRegistry, Node, NodePolicy, create, join_k


class Query(BaseModel):
    """What is looked for."""

    text: str


class Hits(BaseModel):
    """What one source found."""

    source: str
    hits: list[str]


class Found(BaseModel):
    """What all of them found."""

    hits: list[str]


def search(source: str, delay_s: float) -> Callable[[Query, Context], Awaitable[Hits]]:
    """The function of a node that searches one source."""

    async def run(query: Query, ctx: Context) -> Hits:
        await asyncio.sleep(delay_s)
        return Hits(source=source, hits=[f"{query.text} in {source}"])

    return run


async def split(query: Query, ctx: Context) -> Query:
    """Send the query to every source: a result goes to all successors."""
    return Query(text=query.text.strip())


async def merge(message: Message, ctx: Context) -> Message:
    """Put together what the join has gathered, in an order that does not depend on who was first."""
    gathered: list[Hits] = sorted(message.payload, key=lambda hits: hits.source)
    return message.model_copy(update={"payload": Found(hits=[hit for each in gathered for hit in each.hits])})


SOURCES = {"docs": 0.01, "issues": 0.02, "wiki": 0.005}

split_node = Node(split)
searches = [Node(search(source, delay_s), name=source) for source, delay_s in SOURCES.items()]
join = join_k("join", len(searches))
merge_node = Node(merge, policy=NodePolicy(validate="none"))

flow = create(split_node.to(*searches), *(node.to(join) for node in searches), join.to(merge_node))

registry = ModelRegistry()
registry.register("split", Query, Query)
for name in SOURCES:
    registry.register(name, Query, Hits)

__flow__ = {"title": "Fan out and join", "samples": [{"text": "timeouts"}]}


async def main() -> None:
    """Two queries at once: each join sees only its own trace."""
    flow.run(registry=registry)
    messages = [Message(payload=Query(text=text), headers=Headers(tenant="acme")) for text in ("timeouts", "retries")]
    for result in await asyncio.gather(*(flow.call(message) for message in messages)):
        print("; ".join(result.payload.hits))
    await flow.stop()


if __name__ == "__main__":
    asyncio.run(main())
