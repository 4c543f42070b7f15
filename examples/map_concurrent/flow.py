"""One node fetches many documents, at most four at a time."""

from __future__ import annotations

import asyncio

from pydantic import BaseModel, Field

from penguiflow import Context, Headers, Message, ModelRegistry, Node, create, map_concurrent

MAX_FETCHES = 4


class Batch(BaseModel):
    """What is to be fetched."""

    names: list[str] = Field(min_length=1)


class Sizes(BaseModel):
    """What was fetched, in the order of the batch."""

    sizes: dict[str, int]
    most_at_once: int


async def fetch_all(batch: Batch, ctx: Context) -> Sizes:
    """Fetch every document; the first that fails cancels the others."""
    running = most_at_once = 0

    async def fetch(name: str) -> int:
        nonlocal running, most_at_once
        running += 1
        most_at_once = max(most_at_once, running)
        await asyncio.sleep(0.001 * len(name))
        running -= 1
        return len(name) * 100

    sizes = await map_concurrent(batch.names, fetch, max_concurrency=MAX_FETCHES)
    return Sizes(sizes=dict(zip(batch.names, sizes, strict=True)), most_at_once=most_at_once)


flow = create(Node(fetch_all).to())

registry = ModelRegistry()
registry.register("fetch_all", Batch, Sizes)

NAMES = ["readme", "license", "changelog", "notes", "faq", "guide", "api"]

__flow__ = {"title": "Many things at once", "samples": [{"names": NAMES}]}


async def main() -> None:
    """Fetch seven documents."""
    flow.run(registry=registry)
    result = await flow.call(Message(payload=Batch(names=NAMES), headers=Headers(tenant="acme")))
    for name, size in result.payload.sizes.items():
        print(f"{name}: {size} bytes")
    print(f"at most {result.payload.most_at_once} at once")
    await flow.stop()


if __name__ == "__main__":
    asyncio.run(main())
