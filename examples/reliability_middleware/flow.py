"""A node that fails at first and one that is slow at first: both are retried, and a middleware tells of it."""

from __future__ import annotations

import asyncio

from pydantic import BaseModel

from penguiflow import (
    Context,
    FlowEvent,
    Headers,
    Message,
    ModelRegistry,
    Node,
    NodePolicy,
    configure_logging,
    create,
)


class Job(BaseModel):
    """What is to be done, and how badly it begins."""

    name: str
    failures: int = 2
    slow_attempts: int = 1


_attempts: dict[tuple[str, str | None], int] = {}


def _next_attempt(node: str, ctx: Context) -> int:
    """How often a node was tried for this trace, from 1."""
    key = (node, ctx.trace_id)
    _attempts[key] = _attempts.get(key, 0) + 1
    return _attempts[key]


async def flaky(job: Job, ctx: Context) -> Job:
    """Fail as often as the job says."""
    attempt = _next_attempt("flaky", ctx)
    if attempt <= job.failures:
        raise ConnectionError(f"no answer ({attempt})")
    _attempts.pop(("flaky", ctx.trace_id))
    return job


async def slow(job: Job, ctx: Context) -> Job:
    """Take too long as often as the job says."""
    if _next_attempt("slow", ctx) <= job.slow_attempts:
        await asyncio.sleep(60)
    _attempts.pop(("slow", ctx.trace_id))
    return job


async def report(event: FlowEvent) -> None:
    """A middleware: hears of everything that happens, and tells of what went wrong."""
    if event.event_type in ("node_error", "node_timeout"):
        print(f"{event.node_name}: attempt {event.attempt + 1} failed ({event.event_type})")
    elif event.event_type == "node_retry":
        print(f"{event.node_name}: again in {event.extra['sleep_s']:g} s")


flaky_node = Node(flaky, policy=NodePolicy(max_retries=3, backoff_base=0.01, backoff_mult=2.0, max_backoff=0.05))
slow_node = Node(slow, policy=NodePolicy(timeout_s=0.05, max_retries=1, backoff_base=0.01))

flow = create(flaky_node.to(slow_node), middlewares=[report])

registry = ModelRegistry()
registry.register("flaky", Job, Job)
registry.register("slow", Job, Job)

__flow__ = {"title": "Reliability", "samples": [{"name": "rough"}, {"name": "smooth", "failures": 0}]}


async def main() -> None:
    """Run a job that begins badly."""
    configure_logging("CRITICAL")  # the middleware tells what the log would tell again, with tracebacks
    flow.run(registry=registry)
    result = await flow.call(Message(payload=Job(name="rough"), headers=Headers(tenant="acme")))
    print(f"done: {result.payload.name}")
    await flow.stop()


if __name__ == "__main__":
    asyncio.run(main())
