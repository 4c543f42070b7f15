"""One of several traces is cancelled: its work stops where it is, the others go on."""

from __future__ import annotations

import asyncio

from pydantic import BaseModel

from penguiflow import Context, FlowError, Headers, Message, ModelRegistry, Node, NodePolicy, create


class Job(BaseModel):
    """Something that takes a while."""

    name: str
    steps: int = 3
    step_s: float = 0.01


class Done(BaseModel):
    """How far it came."""

    name: str
    steps: int


async def work(job: Job, ctx: Context) -> Done:
    """Do one step after the other, and clean up however that ends."""
    done = 0
    try:
        for _ in range(job.steps):
            await asyncio.sleep(job.step_s)
            done += 1
    except asyncio.CancelledError:
        print(f"{job.name}: cleaning up")
        raise
    return Done(name=job.name, steps=done)


work_node = Node(work, policy=NodePolicy(max_concurrency=8))

flow = create(work_node.to())

registry = ModelRegistry()
registry.register("work", Job, Done)

__flow__ = {"title": "Cancel a trace", "samples": [{"name": "quick"}, {"name": "long", "steps": 600, "step_s": 0.1}]}


async def main() -> None:
    """Begin two jobs, cancel one."""
    flow.run(registry=registry)
    quick = Message(payload=Job(name="quick"), headers=Headers(tenant="acme"))
    long = Message(payload=Job(name="long", steps=600, step_s=0.1), headers=Headers(tenant="acme"))
    quick_call = asyncio.create_task(flow.call(quick))
    long_call = asyncio.create_task(flow.call(long))
    await asyncio.sleep(0.02)
    print(f"cancelled: {await flow.cancel(long.trace_id)}")
    finished = await quick_call
    print(f"{finished.payload.name}: {finished.payload.steps} steps")
    try:
        await long_call
    except FlowError as error:
        print(f"long: {error.code}")
    print(f"cancelled again: {await flow.cancel(long.trace_id)}")
    await flow.stop()


if __name__ == "__main__":
    asyncio.run(main())
