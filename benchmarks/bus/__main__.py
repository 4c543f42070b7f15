"""What an edge takes, beside what the bare client takes with the same bytes: put, get, acknowledge.

    .venv/bin/python -m benchmarks.bus [--rounds 9] [--messages 400] [--bytes 1000] [--check]

Each engine is a server of its own on this machine, with its files on disk. One process puts a message, gets it and
acknowledges it, one by one or a hundred at a time. The bus and the bare client take turns; what is compared are the
rounds that follow each other, and the median of that is told. `--check` exits with 1 below 0.6.

The bare clients do what their manuals show. That of NATS acknowledges in both of its ways: `confirmed` waits for the
server's word, `unconfirmed` never hears whether it arrived. The bus does not wait, and says it again if it did not.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import nats
import redis.asyncio as redis

from penguiflow.bus import BusMessage, Limits, NatsBus, RedisBus
from tests.bus_servers import BusServer, NatsServer, ValkeyServer

BATCH = 100
ENOUGH = 0.6
EDGE = "a->b"
LIMITS = Limits(capacity=10_000)
_numbers = itertools.count()

Work = Callable[[int, bytes], Awaitable[None]]
"""Takes so many messages of these bytes through."""


@dataclass
class Contest:
    """The bus against a bare client."""

    engine: str
    what: str
    batch: int
    ours: Work
    theirs: Work


def ids(count: int) -> list[str]:
    return [f"m{next(_numbers)}" for _ in range(count)]


def through(bus: Any) -> Work:
    async def work(count: int, body: bytes) -> None:
        await bus.put(EDGE, *(BusMessage(each, body) for each in ids(count)))
        done = 0
        while done < count:
            got = await bus.get(EDGE, limit=count - done)
            assert all(await bus.ack(*got))
            done += len(got)

    return work


async def bare_redis(db: Any) -> Work:
    await db.xgroup_create("bare", "g", id="0", mkstream=True)

    async def work(count: int, body: bytes) -> None:
        if count == 1:
            await db.xadd("bare", {"i": ids(1)[0], "b": body})
        else:
            pipe = db.pipeline(transaction=False)
            for each in ids(count):
                pipe.xadd("bare", {"i": each, "b": body})
            await pipe.execute()
        ((_, entries),) = await db.xreadgroup("g", "c", {"bare": ">"}, count=count)
        assert await db.xack("bare", "g", *(key for key, _ in entries)) == count

    return work


async def bare_nats(client: Any, *, confirmed: bool) -> Work:
    js = client.jetstream()
    name = f"bare{next(_numbers)}"
    await js.add_stream(name=name, subjects=[name], retention="workqueue")
    subscription = await js.pull_subscribe(name, "c")

    async def work(count: int, body: bytes) -> None:
        if count == 1:
            await js.publish(name, body, headers={"Nats-Msg-Id": ids(1)[0]})
        else:
            stored = [await js.publish_async(name, body, headers={"Nats-Msg-Id": each}) for each in ids(count)]
            await asyncio.gather(*stored)
        done = 0
        while done < count:
            got = await subscription.fetch(count - done)
            if confirmed:
                await asyncio.gather(*(each.ack_sync(timeout=60) for each in got))
            else:
                for each in got:
                    await each.ack()
            done += len(got)

    return work


@asynccontextmanager
async def contests(servers: tuple[BusServer, BusServer]) -> AsyncIterator[list[Contest]]:
    valkey, jetstream = servers
    on_redis, on_nats = RedisBus(valkey.url, limits=LIMITS), NatsBus(jetstream.url, limits=LIMITS)
    db: Any = redis.Redis.from_url(valkey.url, protocol=2)
    client = await nats.connect(jetstream.url)
    for bus in (on_redis, on_nats):
        await bus.open("bench", [EDGE])
    streams, confirmed = await bare_redis(db), await bare_nats(client, confirmed=True)
    unconfirmed = await bare_nats(client, confirmed=False)
    try:
        yield [
            contest
            for batch in (1, BATCH)
            for contest in (
                Contest("redis", "", batch, through(on_redis), streams),
                Contest("nats", "confirmed", batch, through(on_nats), confirmed),
                Contest("nats", "unconfirmed", batch, through(on_nats), unconfirmed),
            )
        ]
    finally:
        for bus in (on_redis, on_nats):
            await bus.close()
        await db.aclose()
        await client.close()


async def rate(work: Work, messages: int, batch: int, body: bytes) -> float:
    """Messages a second."""
    started = time.perf_counter()
    for _ in range(messages // batch):
        await work(batch, body)
    return messages // batch * batch / (time.perf_counter() - started)


async def measure(servers: tuple[BusServer, BusServer], rounds: int, messages: int, body: bytes) -> list[float]:
    """Print a line for each contest; the ratios of those that are compared."""
    compared = []
    print(f"{'':<28}{'bus':>10}{'bare':>10}{'ratio':>8}   of {rounds} rounds, messages a second")
    async with contests(servers) as all_of_them:
        for contest in all_of_them:
            count = messages * (1 if contest.batch == 1 else 10)
            pairs: list[tuple[float, float]] = []
            for number in range(rounds + 1):
                first, second = (contest.ours, contest.theirs) if number % 2 else (contest.theirs, contest.ours)
                rates = {each: await rate(each, count, contest.batch, body) for each in (first, second)}
                pairs.append((rates[contest.ours], rates[contest.theirs]))
            pairs = pairs[1:]  # the first is to warm up
            ratios = [ours / theirs for ours, theirs in pairs]
            ratio = statistics.median(ratios)
            ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
            name = f"{contest.engine} {contest.batch} at a time {contest.what}"
            print(f"{name:<28}{ours:>10.0f}{theirs:>10.0f}{ratio:>8.2f}   {min(ratios):.2f} to {max(ratios):.2f}")
            compared.append(ratio)
    return compared


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--messages", type=int, default=400, help="of a round; ten times as many in batches")
    parser.add_argument("--bytes", type=int, default=1000, help="of each message")
    parser.add_argument("--check", action="store_true", help=f"exit with 1 below {ENOUGH}")
    given = parser.parse_args()
    servers = (ValkeyServer(), NatsServer())
    try:
        for server in servers:
            server.start()
        compared = asyncio.run(measure(servers, given.rounds, given.messages, b"x" * given.bytes))
    finally:
        for server in servers:
            server.remove()
    return int(given.check and min(compared) < ENOUGH)


if __name__ == "__main__":
    sys.exit(main())
