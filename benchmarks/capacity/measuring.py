"""What a bus costs, operation by operation: CPU time of its server and of its client, memory, disk."""

from __future__ import annotations

import asyncio
import itertools
import statistics
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypedDict

from benchmarks.capacity.children import Used, use_of
from benchmarks.capacity.costs import EngineCosts, Spent, Work
from benchmarks.capacity.deployment import Deployment
from benchmarks.capacity.meter import Meter, resident_bytes, sockets
from penguiflow.bus import BusMessage
from tests.bus_servers import BusServer, NatsServer, ValkeyServer, bus_at

__all__ = ["EngineMeasurement", "new_server"]

MANY = 32
EDGE = "a->b"
RECEIVERS = 40
CROWD = 2
"""Receivers at each edge."""
PACED = 4
"""Workers to whom messages come one by one."""
EDGES_EACH = 10
PACE = 100.0
"""Messages a second for each worker."""
_LIMITS: dict[str, Any] = {"capacity": 1_000_000, "dedupe_s": 300.0, "start_s": 60.0}
_ids = itertools.count()


class Sizes(TypedDict):
    """Fields of `EngineCosts` that are not CPU time."""

    bytes_edge: float
    bytes_id: float
    bytes_message: float
    connections: float


def new_server(engine: str) -> BusServer:
    """One of this engine, not started yet."""
    return NatsServer() if engine == "nats" else ValkeyServer()


def _new_messages(count: int, body: bytes) -> list[BusMessage]:
    """Messages whose ids nobody had before."""
    return [BusMessage(f"{next(_ids):032x}", body) for _ in range(count)]


@asynccontextmanager
async def _opened(server: BusServer, flow: str, *edges: str) -> Any:
    bus = bus_at(server, **_LIMITS)
    await bus.open(flow, edges)
    try:
        yield bus
    finally:
        await bus.close()


def _pid(server: BusServer) -> int:
    assert server.process is not None
    return server.process.pid


async def _operations(bus: Any, meter: Meter, size: int, messages: int, body: bytes) -> dict[str, Spent]:
    """What each operation on `size` messages costs, from taking many through."""
    rounds = messages // size
    got: list[Any] = []
    with meter.on():
        for _ in range(rounds):
            await bus.put(EDGE, *_new_messages(size, body))
    spent = {"put": meter.spent.times(1 / rounds)}
    with meter.on():
        while len(got) < rounds * size:
            got += await bus.get(EDGE, limit=size)
    spent["take"] = meter.spent.times(1 / rounds)
    with meter.on():
        for start in range(0, len(got), size):
            assert all(await bus.ack(*got[start : start + size]))
    spent["ack"] = meter.spent.times(1 / rounds)
    return spent


def _median(values: list[Spent]) -> Spent:
    return Spent(
        server_s=statistics.median(each.server_s for each in values),
        client_s=statistics.median(each.client_s for each in values),
    )


def _fresh(engine: str, plan: Deployment, seconds: float) -> Used:
    """What a deployment uses on a server of its own: one that has been at work rewrites its log at some moment."""
    server = new_server(engine)
    try:
        server.start()
        return use_of(server, plan, warm_s=1.0, seconds=seconds)
    finally:
        server.remove()


def _plan(body: bytes, **more: Any) -> Deployment:
    """Messages that come one by one, so that everybody has waited before.

    A server that has something to do takes less for each of them: it has to be a few.
    """
    given: dict[str, Any] = {"edges": PACED * EDGES_EACH, "chain": 1, "workers": PACED, "rate": PACED * PACE, **more}
    return Deployment(body_bytes=len(body), flow="measured", **given)


def _closed(clients: int, body: bytes) -> Deployment:
    """Clients that ask without a pause, from processes of their own: what one asks for at once costs a server less."""
    return _plan(body, edges=clients, workers=clients, readers=1, rate=0.0, closed=True)


async def _idle(server: BusServer, seconds: float) -> Spent:
    """What a receiver costs to whom nothing comes, a second."""
    edges = [f"{number}->idle" for number in range(RECEIVERS)]
    async with _opened(server, "idle", *edges) as bus:
        waiting = [asyncio.create_task(bus.get(edge)) for edge in edges]
        await asyncio.sleep(1)
        meter = Meter(_pid(server))
        with meter.on():
            await asyncio.sleep(seconds)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    return meter.spent.times(1 / meter.wall_s / RECEIVERS)


async def _growth(server: BusServer, work: Callable[[], Awaitable[None]]) -> int:
    """Bytes of memory that a server needs for something."""
    before = resident_bytes(_pid(server))
    await work()
    return resident_bytes(_pid(server)) - before


async def _sizes(server: BusServer, count: int, body: bytes) -> Sizes:
    """Bytes for each edge, message and id, and connections."""
    edges = [f"size{number}->x" for number in range(count // 10)]
    found: Sizes = {"bytes_edge": 0, "bytes_id": 0, "bytes_message": 0, "connections": 0}
    async with _opened(server, "sizes", EDGE) as bus:

        async def make() -> None:
            async with _opened(server, "sizes", EDGE, *edges) as other:
                for edge in edges:
                    await other.get(edge, wait_s=0)

        memory = await _growth(server, make)
        found["bytes_edge"] = max(0.0, memory / len(edges))

        async def carry() -> None:
            for _ in range(count // 100):
                await bus.put(EDGE, *_new_messages(100, b"x"))
                got = await bus.get(EDGE, limit=100)
                while len(got) < 100:
                    got += await bus.get(EDGE, limit=100 - len(got))
                await bus.ack(*got)

        kept = await _growth(server, carry)
        found["bytes_id"] = max(0.0, kept / count)

        async def fill() -> None:
            for _ in range(count // 100):
                await bus.put(EDGE, *_new_messages(100, body))

        filled = await _growth(server, fill)
        found["bytes_message"] = max(0.0, filled / count)

        before = sockets()
        waiting = [asyncio.create_task(bus.get(EDGE)) for _ in range(RECEIVERS)]
        await asyncio.sleep(0.5)
        found["connections"] = (sockets() - before) / RECEIVERS
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    return found


async def _opening(server: BusServer) -> Spent:
    """What it costs to open an edge that is there."""
    edges = [f"open{number}->x" for number in range(400)]
    meter = Meter(_pid(server))
    spent = []
    for count in (40, len(edges)):
        async with _opened(server, "opening", *edges):
            pass
        with meter.on():
            async with _opened(server, "opening", *edges[:count]):
                pass
        spent.append(meter.spent)
    return (spent[1] - spent[0]).times(1 / (len(edges) - 40))


async def _all_operations(server: BusServer, messages: int, body: bytes) -> tuple[dict[str, Spent], dict[str, Spent]]:
    """Each operation without pauses, on one message and on many."""
    meter = Meter(_pid(server))
    async with _opened(server, "operations", EDGE) as bus:
        await _operations(bus, meter, MANY, 10 * MANY, body)
        return await _operations(bus, meter, 1, messages, body), await _operations(bus, meter, MANY, 4 * messages, body)


class EngineMeasurement:
    """Measures an engine in rounds, so that what is compared with it may be measured between them.

    A machine that other people share is slower for minutes and faster for minutes: medians of rounds that are spread
    out see the same of it.
    """

    def __init__(self, engine: str, *, messages: int, rounds: int, seconds: float, body: bytes) -> None:
        self._engine, self._messages, self._body = engine, messages, body
        self._whole_s, self._seconds = seconds, seconds / rounds
        self._operations: list[tuple[dict[str, Spent], dict[str, Spent]]] = []
        self._used: dict[str, list[Used]] = {}
        self._plans = {
            "sending": _plan(body, workers=0, readers=0),
            "alone": _plan(body, readers=1),
            "crowded": _plan(body, readers=CROWD),
            "passed on": _plan(body, readers=1, chain=2),
            "one client": _closed(1, body),
            "many clients": _closed(PACED, body),
        }

    def round(self) -> None:
        """Measure for one of the rounds."""
        server = new_server(self._engine)
        try:
            server.start()
            self._operations.append(asyncio.run(_all_operations(server, self._messages, self._body)))
        finally:
            server.remove()
        for name, plan in self._plans.items():
            self._used.setdefault(name, []).append(_fresh(self._engine, plan, self._seconds))

    def costs(self) -> EngineCosts:
        """What was found in all rounds, with what is measured only once."""
        server = new_server(self._engine)
        try:
            server.start()
            idle = asyncio.run(_idle(server, self._whole_s))
            opening = asyncio.run(_opening(server))
        finally:
            server.remove()
        sized = new_server(self._engine)
        try:
            sized.start()
            sizes = asyncio.run(_sizes(sized, 10 * self._messages, self._body))
        finally:
            sized.remove()
        works = {name: self._work(name) for name in ("put", "take", "ack")}
        sending = self._used["sending"]
        send = _median([Spent(server_s=each.server_s, client_s=each.sender_s).times(1 / each.sent) for each in sending])
        alone = self._done("alone")
        entered = self._written("alone")
        busy, idling = (self._done(name).server_s for name in ("many clients", "one client"))
        return EngineCosts(
            **works,
            send=send,
            wait=alone - Spent(server_s=send.server_s, client_s=0) - works["ack"].of(1),
            crowd=(self._done("crowded") - alone).times(1 / (CROWD - 1)),
            idle=idle,
            open_edge=opening,
            relief=min(1.0, busy / idling),
            bytes_entered=entered,
            # In a chain of two every other message was put by somebody who had just received one.
            bytes_passed_on=max(0.0, 2 * self._written("passed on") - entered),
            **sizes,
        )

    def _work(self, name: str) -> Work:
        few, many = (_median([each[place][name] for each in self._operations]) for place in (0, 1))
        return Work.through(1, few, MANY, many)

    def _done(self, name: str) -> Spent:
        """For each message that was acknowledged."""
        used = self._used[name]
        return _median([Spent(server_s=each.server_s, client_s=each.workers_s).times(1 / each.done) for each in used])

    def _written(self, name: str) -> float:
        return statistics.median(each.written / each.done for each in self._used[name])
