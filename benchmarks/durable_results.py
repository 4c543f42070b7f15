"""What it costs that results wait for their events, and what recording costs when it is off.

    .venv/bin/python benchmarks/durable_results.py [--messages 3000] [--rounds 5]

A chain of five nodes, 64 messages in flight. CPU time of the process for each message, in rounds that take turns:

- `off`, `off again`: no recorder (an A/A run: what differs is noise);
- `batched`: everything is recorded, results do not wait;
- `every event`: a result is given out when its events are committed and on the disk;
- `loop`: an `asyncio.Queue` pipeline that commits each of as many events, of the same bytes, by itself;
- `loop, few`: the same with two events a node.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from penguiflow import Headers, Message, ModelRegistry, Node, PenguiFlow, create
from penguiflow.recording import EventRecord, Recorder
from penguiflow.recording.lines import event_line
from penguiflow.state import SQLiteStateStore

NODES = 5
IN_FLIGHT = 64
WARM_UP = 300


class Body(BaseModel):
    """A payload of three fields."""

    text: str
    number: int
    tags: list[str]


class Keep:
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.records: list[EventRecord] = []

    def write(self, record: EventRecord) -> None:
        """Take one event."""
        self.records.append(record)


async def step(body: Body, ctx: Any) -> Body:
    """A node that does nothing."""
    return body


def body_of(number: int) -> Body:
    """A payload."""
    return Body(text="the quick brown fox", number=number, tags=["a", "b"])


def started(recorder: Recorder | None) -> PenguiFlow:
    """The chain, running."""
    nodes = [Node(step, name=f"node{number}") for number in range(NODES)]
    registry = ModelRegistry()
    for node in nodes:
        registry.register(str(node.name), Body, Body)
    edges = pairwise(nodes)
    flow = create(*(node.to(following) for node, following in edges), nodes[-1].to())
    flow.run(registry=registry, recorder=recorder)
    return flow


async def cpu_per_message(call: Callable[[int], Awaitable[Any]], messages: int) -> float:
    """Microseconds."""

    async def drive(count: int) -> None:
        numbers = iter(range(count))

        async def work() -> None:
            for number in numbers:
                await call(number)

        await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))

    await drive(WARM_UP)
    begun = time.process_time()
    await drive(messages)
    return (time.process_time() - begun) / messages * 1e6


async def run_flow(messages: int, store: SQLiteStateStore | None) -> float:
    """The chain; its results wait for what the store promises."""
    recorder = None if store is None else Recorder(store=store)
    flow = started(recorder)

    async def call(number: int) -> None:
        await flow.call(Message(payload=body_of(number), headers=Headers(tenant="acme")))

    spent = await cpu_per_message(call, messages)
    await flow.stop()
    if store is not None:
        await store.close()
    return spent


async def run_loop(messages: int, path: Path, lines: list[bytes]) -> float:
    """The pipeline that commits each event by itself; `lines` are those of one message."""
    queues: list[asyncio.Queue[tuple[int, asyncio.Future[int]]]] = [asyncio.Queue() for _ in range(NODES)]
    share = -(-len(lines) // NODES)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("CREATE TABLE events (id INTEGER PRIMARY KEY, trace INTEGER, ts REAL, data BLOB)")

        async def node(index: int) -> None:
            while True:
                number, done = await queues[index].get()
                for line in lines[index * share : (index + 1) * share]:
                    row = (number, time.time(), line)
                    connection.execute("INSERT INTO events (trace, ts, data) VALUES (?, ?, ?)", row)
                if index + 1 < NODES:
                    queues[index + 1].put_nowait((number, done))
                else:
                    done.set_result(number)

        async def call(number: int) -> None:
            done = asyncio.get_running_loop().create_future()
            queues[0].put_nowait((number, done))
            await done

        nodes = [asyncio.create_task(node(index)) for index in range(NODES)]
        spent = await cpu_per_message(call, messages)
        for task in nodes:
            task.cancel()
        await asyncio.gather(*nodes, return_exceptions=True)
    return spent


async def lines_of_a_message() -> list[bytes]:
    """What is recorded of one message, as JSON."""
    sink = Keep()
    flow = started(Recorder(sink))
    await flow.call(Message(payload=body_of(0), headers=Headers(tenant="acme")))
    await flow.stop()
    return [event_line(record) for record in sink.records]


async def measure(messages: int, rounds: int) -> None:
    """Run the rounds and print medians."""
    lines = await lines_of_a_message()
    spent: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):

            def path(name: str, number: int = number) -> Path:
                return Path(folder, f"{name}{number}.db")

            found = {
                "off": await run_flow(messages, None),
                "batched": await run_flow(messages, SQLiteStateStore(path("batched"))),
                "every event": await run_flow(messages, SQLiteStateStore(path("every"), durability="every_event")),
                "loop": await run_loop(messages, path("loop"), lines),
                "loop, few": await run_loop(messages, path("few"), lines[: 2 * NODES]),
                "off again": await run_flow(messages, None),
            }
            for name, cost in found.items():
                spent.setdefault(name, []).append(cost)
    middle = {name: statistics.median(costs) for name, costs in spent.items()}
    print(f"{messages} messages, {rounds} rounds; {len(lines)} events a message, {len(b''.join(lines))} bytes")
    for name, costs in spent.items():
        print(f"{name:<12}{middle[name]:>9.1f} us CPU a message   ({min(costs):.1f} to {max(costs):.1f})")
    waits = middle["every event"]
    print(f"every event / loop       {waits / middle['loop']:.2f}   (as many events)")
    print(f"every event / loop, few  {waits / middle['loop, few']:.2f}   ({2 * NODES} events against {len(lines)})")
    print(f"off again / off          {middle['off again'] / middle['off']:.2f}   (noise)")


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="What durable results cost.")
    parser.add_argument("--messages", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    asyncio.run(measure(options.messages, options.rounds))


if __name__ == "__main__":
    main()
