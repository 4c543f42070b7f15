"""Nodes in two workers, edges on Redis, memory in PostgreSQL. One worker is killed, and no order is lost."""

from __future__ import annotations

import asyncio
import shutil
import sys
from asyncio.subprocess import Process, create_subprocess_exec
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from pydantic import BaseModel

from penguiflow import Context, Headers, Message, ModelRegistry, Node, create
from penguiflow.bus import Limits, RedisBus
from penguiflow.distributed import Worker
from penguiflow.state import PostgresStateStore

ROOT = Path(__file__).parents[2]
ORDERS = 40
START_S = 60.0
LIMITS = Limits(lease_s=2.0)
"""Two seconds after a worker was killed others take over what it had; 30 in earnest."""


class Order(BaseModel):
    """What somebody wants."""

    number: int


class Parcel(BaseModel):
    """What he gets."""

    number: int
    grams: int
    label: str = ""


async def pack(order: Order, ctx: Context) -> Parcel:
    """Take what was ordered from the shelf."""
    await asyncio.sleep(0.05)
    return Parcel(number=order.number, grams=100 + order.number)


async def stick(parcel: Parcel, ctx: Context) -> Parcel:
    """Say where it goes."""
    await asyncio.sleep(0.05)
    return parcel.model_copy(update={"label": f"parcel {parcel.number}, {parcel.grams} g"})


pack_node, stick_node = Node(pack), Node(stick)
flow = create(pack_node.to(stick_node), stick_node.to(), name="parcels")

registry = ModelRegistry()
registry.register("pack", Order, Parcel)
registry.register("stick", Parcel, Parcel)

__flow__ = {"title": "Over Redis and PostgreSQL", "samples": [{"number": 1}]}


async def work(bus_url: str, store_url: str) -> None:
    """What a worker does: `pf worker` does it with more comfort."""
    bus, store = RedisBus(bus_url, limits=LIMITS), PostgresStateStore(store_url)
    await Worker(flow, bus=bus, store=store, registry=registry, concurrency=4).run()


async def order_all(bus_url: str, store: PostgresStateStore, workers: list[Process]) -> None:
    """Order from both workers, and kill one of them meanwhile."""
    flow.run(registry=registry, message_bus=RedisBus(bus_url, limits=LIMITS), state_store=store)
    await until_there(store, len(workers))
    print("two workers are there")

    messages = [Message(payload=Order(number=number), headers=Headers(tenant="acme")) for number in range(ORDERS)]
    calls = [asyncio.create_task(flow.call(message)) for message in messages]
    await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    workers[0].kill()
    print("one of them was killed")
    labels = {(await call).payload.label for call in calls}
    print(f"labels: {len(labels)} of {ORDERS}, the last: {max(labels, key=lambda label: int(label.split()[-2]))}")
    await flow.stop()


async def until_there(store: PostgresStateStore, workers: int) -> None:
    """Return when so many workers take messages."""
    async with asyncio.timeout(START_S):
        while True:
            if len(await store.list_workers("parcels")) == workers:
                return
            await asyncio.sleep(0.1)


async def main() -> None:
    """Start servers and workers, order, stop everything."""
    with servers() as (bus_url, store_url):
        store = PostgresStateStore(store_url)
        await store.open()
        async with two_workers(bus_url, store_url) as workers:
            await order_all(bus_url, store, workers)
        await store.close()


@asynccontextmanager
async def two_workers(*arguments: str) -> AsyncIterator[list[Process]]:
    """This program twice more, as workers."""
    workers = [await create_subprocess_exec(sys.executable, __file__, "worker", *arguments) for _ in range(2)]
    try:
        yield workers
    finally:
        for worker in workers:
            if worker.returncode is None:
                worker.kill()
            await worker.wait()


@contextmanager
def servers() -> Iterator[tuple[str, str]]:
    """Valkey and PostgreSQL from wheels, as the tests start them; their addresses."""
    sys.path.append(str(ROOT))
    from tests.bus_servers import ValkeyServer
    from tests.servers import PostgresPrograms, PostgresServer

    programs = PostgresPrograms()
    valkey, postgres = ValkeyServer(), PostgresServer(programs)
    try:
        valkey.start()
        postgres.start()
        yield valkey.url, postgres.url("parcels")
    finally:
        valkey.remove()
        postgres.remove()
        shutil.rmtree(programs.home, ignore_errors=True)
        sys.path.remove(str(ROOT))


if __name__ == "__main__":
    asyncio.run(work(*sys.argv[2:]) if sys.argv[1:2] == ["worker"] else main())
