"""A distributed flow whose workers, bus and store are killed again and again: what is left of its promises.

    .venv/bin/python -m benchmarks.distributed.chaos [--minutes 30] [--seed 1] [--bus redis|nats] [--workers 3]

100,000 messages in half an hour (in proportion, in less) go through a flow of five nodes with a fan-out, a join, a
stream and a loop. A worker is killed with -9 every 3 to 7 s, the bus server and PostgreSQL about every 40 s; a few
messages are poison, which kills whoever handles it. Then it is counted what became of the promises that
`chaos_promises` lists.

Exits with 1 where one of them was broken.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.capacity.measuring import new_server
from benchmarks.capacity.storing import postgres_server
from benchmarks.distributed import chaos_flow
from benchmarks.distributed.chaos_kills import Kills
from benchmarks.distributed.chaos_promises import Promises
from penguiflow import FlowError, Headers, Message
from penguiflow.bus import Limits, NatsBus, RedisBus
from penguiflow.state import PostgresStateStore
from tests.bus_servers import BusServer
from tests.servers import PostgresServer

__all__ = ["Chaos", "main", "unleash"]

MESSAGES_A_MINUTE = 100_000 / 30
CALL_S = 240.0
"""How long a caller waits before he gives up: much longer than anything here is away."""
AT_ONCE = 24
LIMITS: dict[str, Any] = {"capacity": 200, "dedupe_s": 600.0, "start_s": 60.0}


class Chaos:
    """One run."""

    def __init__(
        self,
        bus_server: BusServer,
        store_server: PostgresServer,
        folder: Path,
        *,
        seed: int,
        workers: int,
        lease_s: float,
        deliveries: int,
    ) -> None:
        self._limits = {**LIMITS, "lease_s": lease_s, "max_deliveries": deliveries}
        self._bus_url, self._store_url = bus_server.url, store_server.url("chaos")
        self._notes = folder / "notes"
        self._notes.touch()
        self._random = random.Random(seed)
        self._answered = 0
        self.promises = Promises()
        self.kills = Kills(
            bus_server,
            store_server,
            folder,
            randomness=self._random,
            workers=workers,
            limits=self._limits,
            answered=lambda: self._answered,
        )

    def _bus(self) -> Any:
        kind: Any = NatsBus if self._bus_url.startswith("nats") else RedisBus
        return kind(self._bus_url, limits=Limits(**self._limits))

    async def run(self, seconds: float, poison: int) -> None:
        """Send for so long, with so much poison; everything is over then, or a promise is broken."""
        begun = time.monotonic()
        calls = max(poison + 1, round(seconds / 60 * MESSAGES_A_MINUTE / chaos_flow.MESSAGES))
        poisoned = set(self._random.sample(range(calls), poison))
        orders = [chaos_flow.Order(number=number, poison=number in poisoned) for number in range(calls)]
        store = PostgresStateStore(self._store_url, patience_s=60.0)
        await store.open()
        flow = chaos_flow.build()
        flow.run(registry=chaos_flow.registry, message_bus=self._bus(), state_store=store)
        looking = self._bus()
        try:
            async with self.kills.workers():
                async with self.kills.killing(seconds):
                    await self._send_all(flow, orders, begun, seconds)
                await self.promises.look_at_edges(looking)
                await self.promises.look_at_traces(store)
        finally:
            await looking.close()
            await flow.stop()
            await store.close()
        self.promises.look_at_notes(self._notes)
        self.promises.seconds = time.monotonic() - begun

    async def _send_all(self, flow: Any, orders: list[chaos_flow.Order], begun: float, seconds: float) -> None:
        """Call at an even pace, not more than so many at once."""
        slots = asyncio.Semaphore(AT_ONCE + sum(order.poison for order in orders))

        async def one(order: chaos_flow.Order) -> None:
            try:
                await self._call(flow, order)
            finally:
                self._answered += 1
                slots.release()

        async with asyncio.TaskGroup() as group:
            for number, order in enumerate(orders):
                at = begun + seconds * number / len(orders)
                await asyncio.sleep(max(0.0, at - time.monotonic()))
                await slots.acquire()
                group.create_task(one(order))

    async def _call(self, flow: Any, order: chaos_flow.Order) -> None:
        message = Message(payload=order, headers=Headers(tenant="chaos"))
        self.promises.traces[message.trace_id] = order
        about = f"order {order.number} ({message.trace_id})"
        try:
            async with asyncio.timeout(CALL_S):
                result = await flow.call(message)
        except FlowError as error:
            if not order.poison or "dead letter" not in str(error):
                self.promises.broken("lost", f"{about}: {error}")
        except TimeoutError:
            self.promises.broken("unanswered", about)
        else:
            text = result.payload.text
            if order.poison or text != chaos_flow.expected(order.number):
                self.promises.broken("lost", f"{about}: {text!r}")


def unleash(engine: str, seconds: float, poison: int, **options: Any) -> Chaos:
    """Run it on servers of its own."""
    bus_server = new_server(engine)
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder, postgres_server() as store_server:
        try:
            bus_server.start()
            chaos = Chaos(bus_server, store_server, Path(folder), **options)
            asyncio.run(chaos.run(seconds, poison))
            return chaos
        finally:
            bus_server.remove()


def main() -> int:
    """Run it, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--bus", choices=("redis", "nats"), default="redis")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--poison", type=int, help="messages that kill whoever handles them; one in two minutes")
    parser.add_argument("--lease", type=float, default=4.0, help="of a message, in seconds")
    parser.add_argument("--deliveries", type=int, default=12, help="of a message, before it is a dead letter")
    given = parser.parse_args()
    poison = max(1, round(given.minutes / 2)) if given.poison is None else given.poison
    options = {"seed": given.seed, "workers": given.workers, "lease_s": given.lease, "deliveries": given.deliveries}
    chaos = unleash(given.bus, given.minutes * 60, poison, **options)
    chaos.kills.tell()
    chaos.promises.tell()
    return int(not chaos.promises.held)


if __name__ == "__main__":
    sys.exit(main())
