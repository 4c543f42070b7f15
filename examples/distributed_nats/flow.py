"""A fan-out and its join over workers on NATS. All workers are replaced while calls go on, as in an upgrade."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from asyncio.subprocess import Process, create_subprocess_exec
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGTERM

from pydantic import BaseModel

from penguiflow import Context, Headers, Message, ModelRegistry, Node, NodePolicy, create, join_k
from penguiflow.bus import NatsBus
from penguiflow.distributed import Worker
from penguiflow.state import SQLiteStateStore

ROOT = Path(__file__).parents[2]
QUERIES = 30
START_S = 60.0


class Query(BaseModel):
    """What is looked for."""

    text: str


class Hits(BaseModel):
    """How often it is found in a place."""

    place: str
    count: int


class Found(BaseModel):
    """All together."""

    text: str


async def ask(query: Query, ctx: Context) -> Query:
    """Send it to every place."""
    return query


async def search_docs(query: Query, ctx: Context) -> Hits:
    """Look into one place."""
    await asyncio.sleep(0.05)
    return Hits(place="docs", count=len(query.text))


async def search_wiki(query: Query, ctx: Context) -> Hits:
    """Look into another one."""
    await asyncio.sleep(0.02)
    return Hits(place="wiki", count=1)


async def merge(message: Message, ctx: Context) -> Message:
    """The parts may come from different workers, in any order."""
    hits: list[Hits] = sorted(message.payload, key=lambda each: each.place)
    return message.model_copy(update={"payload": Found(text=", ".join(f"{each.place} {each.count}" for each in hits))})


ask_node, docs_node, wiki_node = Node(ask), Node(search_docs), Node(search_wiki)
join = join_k("join", 2)
merge_node = Node(merge, policy=NodePolicy(validate="none"))
flow = create(
    ask_node.to(docs_node, wiki_node), docs_node.to(join), wiki_node.to(join), join.to(merge_node), name="searches"
)

registry = ModelRegistry()
registry.register("ask", Query, Query)
registry.register("search_docs", Query, Hits)
registry.register("search_wiki", Query, Hits)
registry.register("merge", Found, Found)

__flow__ = {"title": "Over NATS", "samples": [{"text": "ice"}]}


async def work(bus_url: str, file: str) -> None:
    """A worker that drains when it is asked to end; `pf worker` does the same."""
    store = SQLiteStateStore(Path(file))
    worker = Worker(flow, bus=NatsBus(bus_url), store=store, registry=registry, concurrency=4)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(SIGTERM, lambda: loop.create_task(worker.drain(timeout=30)))
    await worker.run()
    await store.close()


async def start_workers(store: SQLiteStateStore, *arguments: str) -> list[Process]:
    """This program twice more; returns when they take messages."""
    known = {row.worker_id for row in await store.list_workers("searches")}
    workers = [await create_subprocess_exec(sys.executable, __file__, "worker", *arguments) for _ in range(2)]
    async with asyncio.timeout(START_S):
        while True:
            if len({row.worker_id for row in await store.list_workers("searches")} - known) == len(workers):
                return workers
            await asyncio.sleep(0.1)


async def main() -> None:
    """Call while the workers are replaced, then stop everything."""
    with tempfile.TemporaryDirectory() as folder, server() as bus_url:
        file = Path(folder, "state.db")
        store = SQLiteStateStore(file)  # all processes are on this machine
        first = await start_workers(store, bus_url, str(file))
        flow.run(registry=registry, message_bus=NatsBus(bus_url), state_store=store)

        messages = [Message(payload=Query(text="x" * each), headers=Headers(tenant="acme")) for each in range(QUERIES)]
        calls = [asyncio.create_task(flow.call(message)) for message in messages]
        second = await start_workers(store, bus_url, str(file))
        print("left:", await end(first))
        found = [(await call).payload.text for call in calls]
        print(f"answers: {len(found)}, the last: {found[-1]}")
        await flow.stop()
        print("left:", await end(second))
        await store.close()


async def end(workers: list[Process]) -> list[int]:
    """Ask them to end, and wait until they have."""
    for worker in workers:
        worker.send_signal(SIGTERM)
    return [await worker.wait() for worker in workers]


@contextmanager
def server() -> Iterator[str]:
    """NATS from a wheel, as the tests start it; its address."""
    sys.path.append(str(ROOT))
    from tests.bus_servers import NatsServer

    nats = NatsServer()
    try:
        nats.start()
        yield nats.url
    finally:
        nats.remove()
        sys.path.remove(str(ROOT))


if __name__ == "__main__":
    asyncio.run(work(*sys.argv[2:]) if sys.argv[1:2] == ["worker"] else main())
