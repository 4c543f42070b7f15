"""What one delivery costs in a worker: the bus, the node, the commit, the events. All of it, process by process.

`python -m benchmarks.capacity.delivering BUS STORE` is the worker.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from benchmarks.capacity.costs import DeliveryCosts
from benchmarks.capacity.measuring import new_server
from benchmarks.capacity.meter import cpu_of, family
from benchmarks.capacity.storing import postgres_server, postmaster
from penguiflow import Context, Headers, Message, ModelRegistry, Node, PenguiFlow, create
from penguiflow.bus import Limits, NatsBus, RedisBus
from penguiflow.distributed import Worker
from penguiflow.state import PostgresStateStore

__all__ = ["measure_delivery"]

ROOT = Path(__file__).parents[2]
NODES = 5
CONCURRENCY = 8
LIMITS = Limits(capacity=1000, start_s=60.0)


class Text(BaseModel):
    """What goes through."""

    text: str


async def carry(text: Text, ctx: Context) -> Text:
    """What a node does that does nothing."""
    return text


registry = ModelRegistry()
for number in range(NODES):
    registry.register(f"n{number}", Text, Text)


def build() -> PenguiFlow:
    """A chain."""
    nodes = [Node(carry, name=f"n{number}") for number in range(NODES)]
    return create(*(node.to(*nodes[place + 1 : place + 2]) for place, node in enumerate(nodes)), name="deliveries")


def _bus(url: str) -> Any:
    return (NatsBus if url.startswith("nats") else RedisBus)(url, limits=LIMITS)


async def _work(bus_url: str, store_url: str) -> None:
    store = PostgresStateStore(store_url)
    await Worker(build(), bus=_bus(bus_url), store=store, registry=registry, concurrency=CONCURRENCY).run()


async def _call(bus_url: str, store_url: str, calls: int, at_once: int, body_bytes: int) -> None:
    """Call so often, so many at once; the first call waits for the worker."""
    store = PostgresStateStore(store_url)
    flow = build()
    flow.run(registry=registry, message_bus=_bus(bus_url), state_store=store)
    slots = asyncio.Semaphore(at_once)

    async def one() -> None:
        async with slots:
            await flow.call(Message(payload=Text(text="x" * body_bytes), headers=Headers(tenant="capacity")))

    await asyncio.gather(*(one() for _ in range(calls)))
    await flow.stop()
    await store.close()


@contextmanager
def _worker(bus_url: str, store_url: str) -> Iterator[int]:
    command = [sys.executable, "-m", "benchmarks.capacity.delivering", bus_url, store_url]
    worker = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL)
    try:
        yield worker.pid
    finally:
        worker.kill()
        worker.wait()


def measure_delivery(engine: str, *, calls: int, at_once: int, body_bytes: int) -> DeliveryCosts:
    """Each for one delivery: what the worker, the bus server, PostgreSQL and the caller use; and what is kept of it."""
    server = new_server(engine)
    with postgres_server() as postgres:
        try:
            server.start()
            assert server.process is not None
            bus, store_url, store = server.process.pid, postgres.url("capacity"), postmaster(postgres)
            with _worker(server.url, store_url) as worker:
                asyncio.run(_call(server.url, store_url, at_once, at_once, body_bytes))

                def read() -> tuple[float, ...]:
                    # Connections that were closed are counted with the one who waited for them.
                    return cpu_of(worker), cpu_of(*family(bus)), cpu_of(*family(store)), time.process_time()

                before = read()
                asyncio.run(_call(server.url, store_url, calls, at_once, body_bytes))
                used = [(after - was) / (calls * NODES) for after, was in zip(read(), before, strict=True)]
        finally:
            server.remove()
    return DeliveryCosts(worker_s=used[0], bus_s=used[1], store_s=used[2], caller_s=used[3])


if __name__ == "__main__":
    asyncio.run(_work(sys.argv[1], sys.argv[2]))
