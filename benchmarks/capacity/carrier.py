"""A process of the real run: a worker that carries messages on, or the sender of all of them.

    python -m benchmarks.capacity.carrier URL PLAN.json COUNTS NUMBER

NUMBER is the worker's; the last one is the sender. Each has eight bytes of COUNTS for how many messages it has
acknowledged, or sent.
"""

from __future__ import annotations

import asyncio
import json
import mmap
import random
import struct
import sys
from pathlib import Path
from typing import Any

from benchmarks.capacity.deployment import Deployment
from penguiflow.bus import BusMessage, Limits, NatsBus, RedisBus
from penguiflow.ids import new_id

LIMITS = Limits(capacity=10_000, start_s=60.0)
_COUNT = struct.Struct("q")


async def carry(bus: Any, plan: Deployment, edge: int, tell: Any) -> None:
    """Take messages from an edge and put them on the next one."""
    here, following = plan.name(edge), plan.following(edge)
    while True:
        got = await bus.get(here, limit=plan.limit)
        if following is not None:
            for each in got:
                await bus.put(plan.name(following), BusMessage(each.id, each.body))
        tell(sum(await bus.ack(*got)))


async def turn(bus: Any, plan: Deployment, edge: int, tell: Any) -> None:
    """Put a message on an edge and take it, again and again, without a pause."""
    name, body = plan.name(edge), b"x" * plan.body_bytes
    while True:
        await bus.put(name, BusMessage(new_id(), body))
        tell(sum(await bus.ack(*await bus.get(name))))


async def send(bus: Any, plan: Deployment, chain: int, tell: Any) -> None:
    """Put messages on the first edge of a chain at random moments."""
    clock = asyncio.get_running_loop()
    order = random.Random(chain)
    body = b"x" * plan.body_bytes
    at = clock.time()
    while True:
        at += order.expovariate(plan.rate / plan.edges)
        await asyncio.sleep(max(0.0, at - clock.time()))
        await bus.put(plan.name(chain * plan.chain), BusMessage(new_id(), body))
        tell(1)


async def main(url: str, plan: Deployment, counts: Path, number: int) -> None:
    """Until it is killed."""
    bus: Any = (NatsBus if url.startswith("nats") else RedisBus)(url, limits=LIMITS)
    await bus.open(plan.flow, [plan.name(edge) for edge in range(plan.edges)])
    with counts.open("r+b") as file, mmap.mmap(file.fileno(), 0) as shared:
        done = 0

        def tell(more: int) -> None:
            nonlocal done
            done += more
            _COUNT.pack_into(shared, number * _COUNT.size, done)

        if plan.closed and number == plan.workers:
            tell(1)
            await asyncio.Event().wait()
        elif plan.closed:
            await turn(bus, plan, number, tell)
        elif number == plan.workers:
            await asyncio.gather(*(send(bus, plan, chain, tell) for chain in range(plan.chains)))
        else:
            await asyncio.gather(*(carry(bus, plan, edge, tell) for edge in plan.edges_of(number)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Deployment(**json.loads(sys.argv[2])), Path(sys.argv[3]), int(sys.argv[4])))
