"""Processes that carry messages from edge to edge are killed, and so is the server: nothing is lost."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from collections import Counter
from typing import Any

from penguiflow.bus import BusMessage, Depth, Limits, NatsBus, RedisBus

WAIT_S = 120.0
EDGES = ["OpenSea->a", "a->b", "b->Rookery"]
MESSAGES = 1200
POISON = {f"m{number}" for number in range(5, MESSAGES, 400)}
LIMITS: dict[str, Any] = {"capacity": 60, "lease_s": 1.5, "max_deliveries": 30, "dedupe_s": 600.0}
WORKER = f"""
import asyncio, sys
from penguiflow.bus import BusMessage, Limits, NatsBus, RedisBus

async def carry(bus, source, target):
    while True:
        for each in await bus.get(source, limit=8):
            if each.body == b"poison":
                await bus.nack(each)
            else:
                await bus.put(target, BusMessage(each.id, each.body))
                await bus.ack(each)

async def main():
    url, edges = sys.argv[1], {EDGES}
    bus = (NatsBus if url.startswith("nats") else RedisBus)(url, limits=Limits(**{LIMITS}))
    await bus.open("chaos", edges)
    await asyncio.gather(carry(bus, *edges[:2]), carry(bus, *edges[1:]))

asyncio.run(main())
"""


async def test_nothing_is_lost_between_processes_that_are_killed(own_server: Any, until: Any) -> None:
    make: Any = NatsBus if own_server.url.startswith("nats") else RedisBus
    bus = make(own_server.url, limits=Limits(**LIMITS))
    await bus.open("chaos", EDGES)
    seen: Counter[str] = Counter()
    wanted = MESSAGES - len(POISON)
    workers = [_start(own_server.url) for _ in range(2)]

    async def send() -> None:
        for start in range(0, MESSAGES, 20):
            names = [f"m{number}" for number in range(start, start + 20)]
            await bus.put(EDGES[0], *(BusMessage(name, b"poison" if name in POISON else b"x") for name in names))

    async def receive() -> None:
        while len(seen) < wanted:
            got = await bus.get(EDGES[2], limit=20, wait_s=0.5)
            seen.update(each.id for each in got)
            await bus.ack(*got)

    async def kill() -> None:
        order = random.Random(7)
        for enough in range(150, 1000, 200):
            await until(lambda enough=enough: len(seen) >= enough)
            victim = order.randrange(len(workers))
            workers[victim].kill()
            workers[victim].wait()
            if enough % 400 == 150:
                own_server.kill()
                await asyncio.to_thread(own_server.start)
            workers[victim] = _start(own_server.url)

    try:
        async with asyncio.timeout(WAIT_S):
            await asyncio.gather(send(), receive(), kill())
            while len(dead := await bus.dead_letters(EDGES[0])) < len(POISON):
                await bus.get(EDGES[2], wait_s=0.05)
            nothing = Depth(waiting=0, leased=0, dead=0)
            while await bus.depth(EDGES[1]) != nothing or (await bus.depth(EDGES[0])).leased:
                await bus.get(EDGES[2], wait_s=0.05)
        assert seen.keys() == {f"m{number}" for number in range(MESSAGES)} - POISON
        assert {each.id for each in dead} == POISON
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
        await bus.close()


def _start(url: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WORKER, url], stdin=subprocess.DEVNULL)
