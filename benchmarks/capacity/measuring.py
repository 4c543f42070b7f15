"""What a bus costs, operation by operation: CPU time of its server and of its client, memory, disk."""

from __future__ import annotations

import asyncio
import itertools
import statistics
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypedDict

from benchmarks.capacity.children import Used, use_of
from benchmarks.capacity.costs import EngineCosts, Spent, Work
from benchmarks.capacity.deployment import Deployment
from benchmarks.capacity.meter import Meter, resident_bytes, sockets
from penguiflow.bus import BusMessage
from tests.bus_servers import BusServer, NatsServer, ValkeyServer, bus_at

__all__ = ["measure_engine", "new_server"]

MANY = 32
EDGE = "a->b"
RECEIVERS = 40
CLIENTS = 8
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


def _paced(server: BusServer, readers: int, seconds: float, body: bytes) -> Used:
    """Messages that come one by one, so that everybody has waited before; with so many workers at each edge.

    A server that has something to do takes less for each of them: it has to be a few.
    """
    workers = PACED if readers else 0
    edges, rate, flow = PACED * EDGES_EACH, PACED * PACE, f"paced{readers}"
    plan = Deployment(
        edges=edges, chain=1, workers=workers, readers=readers, rate=rate, body_bytes=len(body), flow=flow
    )
    return use_of(server, plan, warm_s=1.0, seconds=seconds)


async def _relief(server: BusServer, messages: int, body: bytes) -> float:
    """The part of its work that is left to a server when requests wait for it: it need not be woken for each."""
    edges = [f"{number}->relief" for number in range(RECEIVERS)]
    meter = Meter(_pid(server))
    async with AsyncExitStack() as stack:
        # A client of its own for some of them: what one client asks for at once costs a server less.
        clients = [await stack.enter_async_context(_opened(server, "relief", *edges)) for _ in range(CLIENTS)]

        async def carry(number: int, count: int) -> None:
            bus, edge = clients[number % CLIENTS], edges[number]
            for _ in range(count):
                await bus.put(edge, *_new_messages(1, body))
                assert all(await bus.ack(*await bus.get(edge)))

        await asyncio.gather(*(carry(number, 2) for number in range(RECEIVERS)))
        with meter.on():
            for number in range(RECEIVERS):
                await carry(number, messages // RECEIVERS)
        alone = meter.spent.server_s
        with meter.on():
            await asyncio.gather(*(carry(number, messages // RECEIVERS) for number in range(RECEIVERS)))
    return min(1.0, meter.spent.server_s / alone)


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


async def _all_operations(server: BusServer, rounds: int, messages: int, body: bytes) -> dict[str, Work]:
    """Each operation without pauses, on one message and on many."""
    meter = Meter(_pid(server))
    few: list[dict[str, Spent]] = []
    many: list[dict[str, Spent]] = []
    async with _opened(server, "operations", EDGE) as bus:
        await _operations(bus, meter, MANY, 10 * MANY, body)
        for _ in range(rounds):
            few.append(await _operations(bus, meter, 1, messages, body))
            many.append(await _operations(bus, meter, MANY, 4 * messages, body))
    return {
        name: Work.through(1, _median([each[name] for each in few]), MANY, _median([each[name] for each in many]))
        for name in ("put", "take", "ack")
    }


def measure_engine(engine: str, *, messages: int, rounds: int, seconds: float, body: bytes) -> EngineCosts:
    """Start a server of the engine and measure it: so many messages in each of some rounds, runs of some seconds."""
    server = new_server(engine)
    try:
        server.start()
        works = asyncio.run(_all_operations(server, rounds, messages, body))
        sending, alone, crowded = (_paced(server, readers, seconds, body) for readers in (0, 1, CROWD))
        idle = asyncio.run(_idle(server, seconds))
        opening = asyncio.run(_opening(server))
        relief = asyncio.run(_relief(server, messages, body))
    finally:
        server.remove()
    sized = new_server(engine)
    try:
        sized.start()
        sizes = asyncio.run(_sizes(sized, 10 * messages, body))
    finally:
        sized.remove()
    send = Spent(server_s=sending.server_s / sending.sent, client_s=sending.sender_s / sending.sent)
    one, two = (
        Spent(server_s=each.server_s / each.done, client_s=each.workers_s / each.done) for each in (alone, crowded)
    )
    return EngineCosts(
        put=works["put"],
        take=works["take"],
        ack=works["ack"],
        send=send,
        wait=one - Spent(server_s=send.server_s, client_s=0) - works["ack"].of(1),
        crowd=(two - one).times(1 / (CROWD - 1)),
        idle=idle,
        open_edge=opening,
        relief=relief,
        bytes_written=alone.written / alone.done,
        **sizes,
    )
