"""A distributed flow whose workers, bus and store are killed again and again: what is left of its promises.

    .venv/bin/python -m benchmarks.distributed.chaos [--minutes 30] [--seed 1] [--bus redis|nats] [--workers 3]

100,000 messages in half an hour (in proportion, in less) go through a flow of five nodes with a fan-out, a join and a
loop. A worker is killed with -9 every 3 to 7 s, the bus server and PostgreSQL about every 40 s; a few messages are
poison, which kills whoever handles it. Then it is counted:

- `lost`: calls whose answer is wrong or never came, where no poison was sent: none;
- `unanswered`: calls of which the caller has heard nothing at all: none;
- `dead letters`: exactly the poison;
- `repeats`: invocations beyond one for each message: at most the leases lost, in each trace;
- `untold`: traces of which the store does not say how they ended: none.

Exits with 1 where one of that does not hold.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.capacity.measuring import new_server
from benchmarks.capacity.storing import postgres_server
from benchmarks.distributed import chaos_flow
from penguiflow import FlowError, Headers, Message
from penguiflow.bus import Limits, NatsBus, RedisBus
from penguiflow.state import PostgresStateStore
from tests.bus_servers import BusServer
from tests.servers import PostgresServer

__all__ = ["Chaos", "Promises", "main"]

ROOT = Path(__file__).parents[2]
MESSAGES_A_MINUTE = 100_000 / 30
KILL_S = (3.0, 7.0)
PROGRESS = 4
"""Calls that are answered between two kills, at least."""
SERVER_S = (30.0, 50.0)
AWAY_S = (0.2, 2.0)
CALL_S = 240.0
"""How long a caller waits before he gives up: much longer than anything here is away."""
AT_ONCE = 24
LIMITS: dict[str, Any] = {"capacity": 200, "dedupe_s": 600.0, "start_s": 60.0}
SETTLE_S = 120.0


_BROKEN = ("lost", "unanswered", "wrong_dead", "left_over", "too_many", "untold")
"""Lists of what was found that should not be."""


@dataclass
class Promises:
    """What was counted."""

    calls: int = 0
    messages: int = 0
    seconds: float = 0.0
    poison: int = 0
    worker_kills: int = 0
    poisoned_workers: int = 0
    bus_kills: int = 0
    store_kills: int = 0
    lost: list[str] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)
    dead: int = 0
    wrong_dead: list[str] = field(default_factory=list)
    left_over: list[str] = field(default_factory=list)
    repeats: int = 0
    leases_lost: int = 0
    too_many: list[str] = field(default_factory=list)
    untold: list[str] = field(default_factory=list)

    @property
    def held(self) -> bool:
        """Whether every one was kept."""
        return not any(getattr(self, name) for name in _BROKEN) and self.dead == self.poison

    def tell(self) -> None:
        """Print it."""
        print(f"{self.calls} calls, {self.messages} messages in {self.seconds:.0f} s")
        print(
            f"killed: workers {self.worker_kills} times (and {self.poisoned_workers} by poison),"
            f" the bus {self.bus_kills}, PostgreSQL {self.store_kills}"
        )
        print(f"poison {self.poison}, dead letters {self.dead}")
        print(f"invocations repeated {self.repeats}, leases lost {self.leases_lost}")
        for name in _BROKEN:
            found: list[str] = getattr(self, name)
            print(f"{name.replace('_', ' ')}: {len(found)}")
            for each in found[:10]:
                print(f"  {each}")
        print("every promise was kept" if self.held else "a promise was broken")


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
        self._bus_server, self._store_server = bus_server, store_server
        self._store_url = store_server.url("chaos")
        self._notes, self._folder = folder / "notes", folder
        self._notes.touch()
        self._random = random.Random(seed)
        self._workers: list[subprocess.Popen[bytes] | None] = [None] * workers
        self.promises = Promises()
        self._traces: dict[str, chaos_flow.Order] = {}
        self._answered = 0

    def _bus(self) -> Any:
        kind: Any = NatsBus if self._bus_server.url.startswith("nats") else RedisBus
        return kind(self._bus_server.url, limits=Limits(**self._limits))

    async def run(self, seconds: float, poison: int) -> Promises:
        """Send for so long, with so much poison; everything is over then, or a promise is broken."""
        begun = time.monotonic()
        calls = max(poison + 1, round(seconds / 60 * MESSAGES_A_MINUTE / chaos_flow.MESSAGES))
        poisoned = set(self._random.sample(range(calls), poison))
        store = PostgresStateStore(self._store_url, patience_s=60.0)
        await store.open()
        flow = chaos_flow.build()
        flow.run(registry=chaos_flow.registry, message_bus=self._bus(), state_store=store)
        fates = [self._keep_workers(), self._kill_workers(), self._kill_servers(seconds)]
        destroying = [asyncio.create_task(each) for each in fates]
        try:
            orders = [chaos_flow.Order(number=number, poison=number in poisoned) for number in range(calls)]
            await self._send_all(flow, orders, begun, seconds)
            for task in destroying[1:]:
                task.cancel()
            await asyncio.gather(*destroying[1:], return_exceptions=True)
            await self._settle()
            await self._look_at_traces(store)
        finally:
            for task in destroying:
                task.cancel()
            failures = await asyncio.gather(*destroying, return_exceptions=True)
            self._kill_all()
            await flow.stop()
            await store.close()
        for failure in failures:
            if failure is not None and not isinstance(failure, asyncio.CancelledError):
                raise failure
        self.promises.calls, self.promises.messages = calls, calls * chaos_flow.MESSAGES
        self.promises.seconds, self.promises.poison = time.monotonic() - begun, poison
        self._count_repeats()
        return self.promises

    # Callers

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
        self._traces[message.trace_id] = order
        about = f"order {order.number} ({message.trace_id})"
        try:
            async with asyncio.timeout(CALL_S):
                result = await flow.call(message)
        except FlowError as error:
            if not order.poison or "dead letter" not in str(error):
                self.promises.lost.append(f"{about}: {error}")
        except TimeoutError:
            self.promises.unanswered.append(about)
        else:
            text = result.payload.text
            if order.poison or text != chaos_flow.expected(order.number):
                self.promises.lost.append(f"{about}: {text!r}")

    # What goes wrong

    async def _keep_workers(self) -> None:
        """Begin a worker for each that has died."""
        while True:
            for number, worker in enumerate(self._workers):
                if worker is None or worker.poll() is not None:
                    # One that was killed here was taken out of the list; whoever is still in it died by itself.
                    self.promises.poisoned_workers += worker is not None
                    self._workers[number] = self._start()
            await asyncio.sleep(0.1)

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "benchmarks.distributed.chaos_worker"]
        env = {**os.environ, "CHAOS_NOTES": str(self._notes)}
        with (self._folder / "workers.log").open("ab") as log:
            return subprocess.Popen(
                [*command, self._bus_server.url, self._store_url, json.dumps(self._limits)],
                cwd=ROOT,
                env=env,
                stdin=subprocess.DEVNULL,
                stderr=log,
            )

    async def _progress(self, seconds: float) -> None:
        """Wait so long, and until some calls were answered meanwhile."""
        answered = self._answered
        await asyncio.sleep(seconds)
        while True:
            if self._answered >= answered + PROGRESS:
                return
            await asyncio.sleep(0.2)

    async def _kill_workers(self) -> None:
        """On a machine so busy that they do not begin within that time, they are let do something first."""
        while True:
            await self._progress(self._random.uniform(*KILL_S))
            number = self._random.randrange(len(self._workers))
            victim = self._workers[number]
            while victim is None or f"here\t{victim.pid}\t" not in self._notes.read_text(encoding="utf-8"):
                await asyncio.sleep(0.2)
                victim = self._workers[number]
            if self._workers[number] is victim:
                self._workers[number] = None
                self.promises.worker_kills += 1
                victim.kill()
                await asyncio.to_thread(victim.wait)

    async def _kill_servers(self, seconds: float) -> None:
        """The bus and PostgreSQL in turn; each at least once, however little time there is."""
        while True:
            for kill in (self._kill_bus, self._kill_store):
                await self._progress(min(self._random.uniform(*SERVER_S) / 2, seconds / 3))
                # Once begun it is brought to an end: a server has to come back.
                await asyncio.shield(asyncio.ensure_future(kill(self._random.uniform(*AWAY_S))))

    async def _kill_bus(self, away_s: float) -> None:
        self.promises.bus_kills += 1
        await asyncio.to_thread(self._bus_server.kill)
        await asyncio.sleep(away_s)
        await asyncio.to_thread(self._bus_server.start)

    async def _kill_store(self, away_s: float) -> None:
        self.promises.store_kills += 1
        await asyncio.to_thread(self._store_server.stop, signal.SIGKILL)
        await asyncio.sleep(away_s)
        await asyncio.to_thread(self._store_server.start)

    def _kill_all(self) -> None:
        for worker in self._workers:
            if worker is not None:
                worker.kill()
                worker.wait()

    # What is left

    async def _settle(self) -> None:
        """Every edge becomes empty, and the dead letters are the poison."""
        from penguiflow.distributed import edges_of

        bus = self._bus()
        edges = edges_of(chaos_flow.build())
        await bus.open(chaos_flow.NAME, edges)
        deadline = time.monotonic() + SETTLE_S
        try:
            while True:
                depths = {edge: await bus.depth(edge) for edge in edges}
                left = [f"{edge}: {depth}" for edge, depth in depths.items() if depth.waiting or depth.leased]
                if not left or time.monotonic() > deadline:
                    break
                await asyncio.sleep(0.2)
            self.promises.left_over += left
            for edge in edges:
                for letter in await bus.dead_letters(edge, limit=1000):
                    self.promises.dead += 1
                    order = self._traces.get(letter.id.rpartition("/")[0])
                    if order is None or not order.poison or b'"poison":true' not in letter.body:
                        self.promises.wrong_dead.append(f"{edge} {letter.id}: {letter.reason}")
        finally:
            await bus.close()

    async def _look_at_traces(self, store: PostgresStateStore) -> None:
        """Each has ended as its caller was told."""
        deadline = time.monotonic() + SETTLE_S
        for trace_id, order in self._traces.items():
            wanted = "error" if order.poison else "ok"
            while (found := await store.get_trace(trace_id)) is None or found.status != wanted:
                if time.monotonic() > deadline:
                    self.promises.untold.append(f"order {order.number} ({trace_id}): {found and found.status}")
                    break
                await asyncio.sleep(0.2)

    def _count_repeats(self) -> None:
        """Lines that say the same: of what ran, and of what was handed out."""
        seen: set[str] = set()
        more: dict[str, Counter[str]] = {"ran": Counter(), "got": Counter()}
        for line in self._notes.read_text(encoding="utf-8").splitlines():
            kind, trace_id, _ = line.split("\t", 2)
            if kind == "here":
                continue
            more[kind][trace_id] += line in seen
            seen.add(line)
        ran, got = more["ran"], more["got"]
        self.promises.repeats, self.promises.leases_lost = ran.total(), got.total()
        self.promises.too_many += [
            f"{trace_id}: {count} repeated, {got[trace_id]} leases lost"
            for trace_id, count in ran.items()
            if count > got[trace_id]
        ]


def unleash(engine: str, seconds: float, poison: int, **options: Any) -> Promises:
    """Run it on servers of its own."""
    bus_server = new_server(engine)
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder, postgres_server() as store_server:
        try:
            bus_server.start()
            chaos = Chaos(bus_server, store_server, Path(folder), **options)
            return asyncio.run(chaos.run(seconds, poison))
        finally:
            bus_server.remove()


def main() -> int:
    """Run it."""
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
    promises = unleash(given.bus, given.minutes * 60, poison, **options)
    promises.tell()
    return int(not promises.held)


if __name__ == "__main__":
    sys.exit(main())
