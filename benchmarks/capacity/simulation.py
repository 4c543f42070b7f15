"""A discrete simulation: senders, workers and servers that need CPU time for what they do, at the costs given.

A process is a generator that says what it waits for: CPU time of a pool, a moment, a message on an edge. Pools serve in
the order in which they are asked. What the simulation knows beyond the arithmetic is what depends on the moment: how
many messages a receiver finds, how many others wait beside it, who is late because somebody else is at work.
"""

from __future__ import annotations

import heapq
import itertools
import random
import statistics
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass, field

from benchmarks.capacity.costs import EngineCosts, Spent
from benchmarks.capacity.deployment import Deployment

__all__ = ["Forecast", "Pools", "simulate"]

LOOK_S = {"redis": 1.0, "nats": 30.0}
"""After how long a receiver asks anew."""
WAKES_ALL = {"redis": True, "nats": False}
"""Whether all who wait at an edge hear of a message, or one is handed it."""

Step = Generator["Use | Sleep | Edge", None, None]


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a deployment will do."""

    rate: float
    """Messages a second that were taken off their edges."""
    server_s: float
    """CPU seconds of all servers, for each of them."""
    client_s: float
    """CPU seconds of workers and senders, for each of them."""
    written_bytes: float
    """To the servers' disks, for each of them."""
    busiest_server: float
    """Share of the time of its cores that the busiest server is at work."""
    busiest_worker: float
    wait_s: float
    """From put to got, the median."""


class Pool:
    """Cores of a machine or of a process; serves in the order in which it is asked."""

    def __init__(self, cores: float) -> None:
        count = max(1, round(cores))
        self.speed = cores / count
        self.free = [0.0] * count
        self.used_s = 0.0

    def serve(self, now: float, seconds: float) -> float:
        """When so much work is done that is asked for now."""
        self.used_s += seconds
        done = max(now, heapq.heappop(self.free)) + seconds / self.speed
        heapq.heappush(self.free, done)
        return done


@dataclass(frozen=True, slots=True)
class Pools:
    """Where the work of a deployment is done."""

    servers: list[Pool]
    workers: list[Pool]
    sender: Pool

    @classmethod
    def of(cls, plan: Deployment, server_cores: float) -> Pools:
        """Servers with so many cores for messages, a core for each worker, as many as it takes for senders."""
        servers = [Pool(server_cores) for _ in range(plan.servers)]
        return cls(servers, [Pool(1) for _ in range(plan.workers)], Pool(plan.workers))

    @classmethod
    def on_one_machine(cls, plan: Deployment, cores: float) -> Pools:
        """All of them share its cores."""
        machine = Pool(cores)
        return cls([machine] * plan.servers, [machine] * plan.workers, machine)


@dataclass(eq=False, slots=True)
class Server:
    """One that keeps edges."""

    pool: Pool
    until: float = 0.0
    """When it has done all that it was asked for so far: whoever asks before that need not wake it."""


@dataclass(frozen=True, slots=True)
class Use:
    """Wait for CPU time."""

    pool: Pool
    seconds: float


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait until a moment."""

    until: float


@dataclass(eq=False, slots=True)
class Edge:
    """Messages that wait, as the moments when they were put, and receivers that wait for them."""

    server: Server
    messages: deque[float] = field(default_factory=deque)
    waiting: deque[list[Step]] = field(default_factory=deque)
    """Each a list, empty when its receiver goes on for another reason."""


class Simulation:
    """Runs the processes of one deployment."""

    def __init__(self, costs: EngineCosts, engine: str, plan: Deployment, pools: Pools) -> None:
        self.costs, self.plan, self.pools = costs, plan, pools
        self.wakes_all, self.look_s = WAKES_ALL[engine], LOOK_S[engine]
        self.now = 0.0
        self.done = 0
        self.server_s = self.client_s = 0.0
        self.waits: list[float] = []
        self._events: list[tuple[float, int, list[Step]]] = []
        self._numbers = itertools.count()
        self._random = random.Random(1)
        servers = [Server(pool) for pool in pools.servers]
        self.edges = [Edge(servers[number % len(servers)]) for number in range(plan.edges)]

    def run(self, warm_s: float, seconds: float) -> Forecast:
        """Let it go on for a while, and tell of what comes after that."""
        for chain in range(self.plan.chains):
            self._at(0.0, [self._send(self.edges[chain * self.plan.chain])])
        for worker in range(self.plan.workers):
            for edge in self.plan.edges_of(worker):
                self._at(0.0, [self._receive(self.pools.workers[worker], edge)])
        self._until(warm_s)
        before = self.done, self.server_s, self.client_s
        servers, workers = ([each.used_s for each in pools] for pools in (self.pools.servers, self.pools.workers))
        self.waits.clear()
        self._until(warm_s + seconds)
        count = max(1, self.done - before[0])
        return Forecast(
            rate=count / seconds,
            server_s=(self.server_s - before[1]) / count,
            client_s=(self.client_s - before[2]) / count,
            written_bytes=self.costs.bytes_written(self.plan.chain),
            busiest_server=_busiest(self.pools.servers, servers, seconds),
            busiest_worker=_busiest(self.pools.workers, workers, seconds),
            wait_s=statistics.median(self.waits or [0.0]),
        )

    # The clock

    def _at(self, when: float, step: list[Step]) -> None:
        heapq.heappush(self._events, (when, next(self._numbers), step))

    def _until(self, end: float) -> None:
        while self._events and self._events[0][0] <= end:
            self.now, _, waiting = heapq.heappop(self._events)
            if waiting:  # else it went on before
                self._go_on(waiting.pop())
        self.now = end

    def _go_on(self, step: Step) -> None:
        wanted = next(step)
        if isinstance(wanted, Use):
            self._at(wanted.pool.serve(self.now, wanted.seconds), [step])
        elif isinstance(wanted, Sleep):
            self._at(wanted.until, [step])
        else:
            waiting = [step]
            wanted.waiting.append(waiting)
            self._at(self.now + self.look_s, waiting)

    # Who does what

    def _spend(self, client: Pool, server: Server, what: Spent) -> Step:
        """One request: half of the client's work comes before the server's, half after."""
        self.client_s += what.client_s
        yield Use(client, what.client_s / 2)
        server_s = what.server_s * (self.costs.relief if server.until > self.now else 1)
        self.server_s += server_s
        done = server.pool.serve(self.now, server_s)
        server.until = max(server.until, done)
        yield Sleep(done)
        yield Use(client, what.client_s / 2)

    def _put(self, edge: Edge) -> None:
        edge.messages.append(self.now)
        while edge.waiting:
            waiting = edge.waiting.popleft()
            if waiting:
                self._at(self.now, [waiting.pop()])
                if not self.wakes_all:
                    return

    def _send(self, edge: Edge) -> Step:
        """Puts messages on an edge at random moments, whatever becomes of them."""
        every_s = self.plan.edges / self.plan.rate
        at = 0.0
        while True:
            at += self._random.expovariate(1 / every_s)
            yield Sleep(max(at, self.now))
            yield from self._spend(self.pools.sender, edge.server, self.costs.send)
            self._put(edge)

    def _receive(self, worker: Pool, number: int) -> Step:
        """Takes what there is on an edge, puts it on the next one, acknowledges it."""
        edge, costs = self.edges[number], self.costs
        following = self.plan.following(number)
        while True:
            waited = not edge.messages
            if waited:
                begun = self.now
                yield edge
                if not edge.messages:
                    late = self.now - begun >= self.look_s
                    yield from self._spend(worker, edge.server, costs.idle.times(self.look_s) if late else costs.crowd)
                    continue
            got = [edge.messages.popleft() for _ in range(min(self.plan.limit, len(edge.messages)))]
            cost = costs.wait + costs.take.each.times(len(got) - 1) if waited else costs.take.of(len(got))
            yield from self._spend(worker, edge.server, cost)
            self.waits += [self.now - put for put in got]
            if following is not None:
                for _ in got:
                    yield from self._spend(worker, self.edges[following].server, costs.put.of(1))
                    self._put(self.edges[following])
            yield from self._spend(worker, edge.server, costs.ack.of(len(got)))
            self.done += len(got)


def _busiest(pools: list[Pool], before: list[float], seconds: float) -> float:
    """The largest share of its time that one of them was at work."""
    used = ((each.used_s - was) / (len(each.free) * each.speed) for each, was in zip(pools, before, strict=True))
    return min(1.0, max(used) / seconds)  # what is asked for may be more than can be done


def simulate(
    costs: EngineCosts, engine: str, plan: Deployment, pools: Pools, *, warm_s: float = 1.0, seconds: float = 5.0
) -> Forecast:
    """What a deployment will do on these machines."""
    return Simulation(costs, engine, plan, pools).run(warm_s, seconds)
