"""What a deployment needs of each thing that may run out, and how many servers that takes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from benchmarks.capacity.costs import Costs
from benchmarks.capacity.deployment import Deployment
from benchmarks.capacity.simulation import Forecast, Pools, simulate

__all__ = [
    "BUS_SERVERS",
    "STORE_SERVER",
    "Machine",
    "Need",
    "bus_needs",
    "delivery_needs",
    "slice_of",
    "store_needs",
    "tell_scale",
]

BUSY = 0.7
"""Share of its time that a core may be at work: beyond it, whoever asks waits longer than is worked for him."""
DEDUPE_S = 120.0
"""For how long ids are remembered: the default of `Limits.dedupe_s`."""
BACKLOG_S = 10.0
"""For how long messages may have to be kept that nobody takes."""
EVENTS = 6
"""Events of a delivery: put, taken, begun, attempt and its end, ended."""
GIB, MB = 2**30, 1e6


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What one server has."""

    name: str
    cores: float
    """That work on what is asked of it."""
    connections: float = float("inf")
    memory: float = 64 * GIB
    disk: float = 500 * MB
    """Bytes a second that it can go on writing."""
    network: float = 1250 * MB
    """Bytes a second in one direction: 10 Gbit/s."""


BUS_SERVERS = {
    "redis": Machine(name="Redis or Valkey", cores=1, connections=10_000),  # one thread; `maxclients` as it comes
    "nats": Machine(name="NATS JetStream", cores=8),
}
STORE_SERVER = Machine(name="PostgreSQL", cores=16)


@dataclass(frozen=True)
class Need:
    """Of one thing: how much is needed, and how much of it one server has."""

    what: str
    needed: float
    has: float
    unit: str

    @property
    def servers(self) -> float:
        """How many it takes."""
        return self.needed / self.has

    def __str__(self) -> str:
        return f"{self.what:<30}{_short(self.needed):>10}{_short(self.has):>10} {self.unit:<12}{self.servers:>9.2f}"


def bus_needs(costs: Costs, engine: str, plan: Deployment, forecast: Forecast) -> list[Need]:
    """What the messages of a deployment need of servers of this engine; the worst first."""
    each, machine = costs.engine(engine), BUS_SERVERS[engine]
    waiting = plan.edges * plan.readers
    memory = plan.edges * each.bytes_edge + plan.rate * (DEDUPE_S * each.bytes_id + BACKLOG_S * each.bytes_message)
    needs = [
        Need("CPU", forecast.server_s * plan.rate, BUSY * machine.cores, "cores"),
        Need("memory", memory, machine.memory, "bytes"),
        Need("disk", each.bytes_written(plan.chain) * plan.rate, machine.disk, "bytes/s"),
        Need("network", 1.3 * plan.body_bytes * plan.rate, machine.network, "bytes/s"),
        Need("connections", plan.workers + each.connections * waiting, machine.connections, "connections"),
        Need("CPU of those who only wait", waiting * each.idle.server_s, BUSY * machine.cores, "cores"),
        Need("CPU to open all again in 60 s", _opening_cores(costs, engine, plan), BUSY * machine.cores, "cores"),
    ]
    return sorted(needs, key=lambda need: need.servers, reverse=True)


def _opening_cores(costs: Costs, engine: str, plan: Deployment) -> float:
    """Cores for a minute when every worker begins anew and opens every edge."""
    return plan.edges * plan.workers * costs.engine(engine).open_edge.server_s / 60


def store_needs(costs: Costs, plan: Deployment, *, recorded: float = 1.0) -> list[Need]:
    """What the traces of a deployment need of PostgreSQL, when this part of them is recorded; the worst first."""
    store, machine = costs.postgres, STORE_SERVER
    events = plan.rate * EVENTS * recorded
    needs = [
        Need("disk, events", events * store.written_event, machine.disk, "bytes/s"),
        Need("kept in a day", events * store.bytes_event * 86_400, 2000 * GIB, "bytes"),
        Need("CPU, events", events * store.event.server_s, BUSY * machine.cores, "cores"),
    ]
    if store.commit and store.commit_group:
        alone, grouped = store.commit.server_s, store.commit_group.server_s
        needs.append(Need("CPU, commits one by one", plan.rate * alone, BUSY * machine.cores, "cores"))
        needs.append(Need("CPU, commits by twenty", plan.rate * grouped, BUSY * machine.cores, "cores"))
    return sorted(needs, key=lambda need: need.servers, reverse=True)


def slice_of(plan: Deployment, part: int) -> Deployment:
    """This part of a deployment: what is needed for a message is the same in all of it."""
    return replace(plan, edges=plan.edges // part, workers=plan.workers // part, rate=plan.rate / part)


def variants(plan: Deployment) -> dict[str, Deployment]:
    """The same messages, spread out in other ways."""
    tenth = replace(plan, edges=plan.edges // 10)
    return {
        "as it is": plan,
        "one worker at each edge": replace(plan, readers=1),
        "a tenth of the edges": tenth,
        "… one worker at each": replace(tenth, readers=1),
    }


def delivery_needs(costs: Costs, engine: str, plan: Deployment) -> list[Need]:
    """What whole deliveries need: nodes that do nothing, in workers, recorded in PostgreSQL."""
    each = costs.deliveries[engine]
    return [
        Need("workers", each.worker_s * plan.rate, BUSY, "cores"),
        Need("CPU of PostgreSQL", each.store_s * plan.rate, BUSY * STORE_SERVER.cores, "cores"),
        Need("CPU of the bus", each.bus_s * plan.rate, BUSY * BUS_SERVERS[engine].cores, "cores"),
    ]


def tell_scale(costs: Costs, plan: Deployment) -> None:
    """Print what a deployment needs on each engine, and what a simulation of so many servers says."""
    head = f"{'':<30}{'needed':>10}{'one has':>10} {'':<12}{'servers':>9}"
    print(
        f"\n{plan.edges:,} edges, {plan.workers:,} workers, {plan.rate:,.0f} messages a second, {plan.body_bytes} bytes"
    )
    for engine, machine in BUS_SERVERS.items():
        each = costs.engine(engine)
        print(f"\n{machine.name}\n{head}")
        needs = bus_needs(costs, engine, plan, _unhindered(costs, engine, plan))
        for need in needs:
            print(need)
        spread = replace(plan, servers=math.ceil(needs[0].servers))
        told = simulate(each, engine, spread, Pools.of(spread, machine.cores), warm_s=0.3, seconds=0.7)
        print(
            f"simulated on {spread.servers}: {told.rate:,.0f} a second, {told.wait_s * 1000:.1f} ms from put to got,"
            f" servers {told.busiest_server:.0%} and workers {told.busiest_worker:.0%} at work"
        )
        for name, variant in variants(plan).items():
            spent = _unhindered(costs, engine, variant)
            print(f"{name:<30}{spent.server_s * 1e6:>6.0f} and {spent.client_s * 1e6:.0f} µs of server and client")
        print(f"deliveries to nodes that do nothing\n{head}")
        for need in delivery_needs(costs, engine, plan):
            print(need)
    print(f"\n{STORE_SERVER.name}, every trace recorded\n{head}")
    for need in store_needs(costs, plan):
        print(need)


def _unhindered(costs: Costs, engine: str, plan: Deployment) -> Forecast:
    """What messages cost where there are servers enough."""
    part = slice_of(plan, max(1, plan.workers // 10))
    return simulate(costs.engine(engine), engine, part, Pools.of(part, 1000), seconds=3.0)


def _short(number: float) -> str:
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.1f}{letter}"
    return f"{number:.1f}"
