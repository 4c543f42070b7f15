"""Facts about a request travel beside the payload: each node adds to the meta, and the result carries all of it."""

from __future__ import annotations

import asyncio

from penguiflow import Context, Headers, Message, Node, NodePolicy, create

NOT_VALIDATED = NodePolicy(validate="none")


async def retrieve(message: Message, ctx: Context) -> Message:
    """Find documents, and note what that cost."""
    documents = [f"{message.payload}, volume {number}" for number in (1, 2)]
    meta = {**message.meta, "retrieval_cost": 0.02, "documents": len(documents)}
    return message.model_copy(update={"payload": documents, "meta": meta})


async def summarize(message: Message, ctx: Context) -> Message:
    """Say it in one line, and note who did."""
    meta = {**message.meta, "summarizer": "scripted"}
    return message.model_copy(update={"payload": " and ".join(message.payload), "meta": meta})


retrieve_node = Node(retrieve, policy=NOT_VALIDATED)
summarize_node = Node(summarize, policy=NOT_VALIDATED)

flow = create(retrieve_node.to(summarize_node))

__flow__ = {"title": "Metadata", "samples": ["Birds of the south"]}


async def main() -> None:
    """Send one request and show what the result knows of its way."""
    flow.run()
    message = Message(payload="Birds of the south", headers=Headers(tenant="acme"), meta={"request_id": "r-17"})
    result = await flow.call(message)
    print(result.payload)
    for key, value in sorted(result.meta.items()):
        print(f"{key}: {value}")
    print(f"tenant: {result.headers.tenant}, same trace: {result.trace_id == message.trace_id}")
    await flow.stop()


if __name__ == "__main__":
    asyncio.run(main())
