"""What things cost, as it was measured on a machine: the numbers that the arithmetic and the simulation are made of."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

__all__ = ["Costs", "DeliveryCosts", "EngineCosts", "Spent", "StoreCosts", "Work"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Spent(_Frozen):
    """CPU seconds of the server and of its client."""

    server_s: float
    client_s: float

    def __add__(self, other: Spent) -> Spent:
        return Spent(server_s=self.server_s + other.server_s, client_s=self.client_s + other.client_s)

    def __sub__(self, other: Spent) -> Spent:
        """What is left, never less than nothing: two measurements may contradict each other a little."""
        return Spent(
            server_s=max(0.0, self.server_s - other.server_s), client_s=max(0.0, self.client_s - other.client_s)
        )

    def times(self, factor: float) -> Spent:
        """So many of them."""
        return Spent(server_s=self.server_s * factor, client_s=self.client_s * factor)


class Work(_Frozen):
    """An operation on some messages: what it costs at all, and for each of them."""

    fixed: Spent
    each: Spent

    def of(self, messages: float) -> Spent:
        """One such operation on so many messages."""
        return self.fixed + self.each.times(messages)

    @classmethod
    def through(cls, few: int, of_few: Spent, many: int, of_many: Spent) -> Work:
        """From what it costs with few messages and with many."""
        each = (of_many - of_few).times(1 / (many - few))
        return cls(fixed=of_few - each.times(few), each=each)


class EngineCosts(_Frozen):
    """Those of a bus and its server."""

    put: Work
    """By somebody who has just received something."""
    take: Work
    """`get` where messages wait."""
    ack: Work
    send: Spent
    """`put` of one message by somebody who had nothing to do before."""
    wait: Spent
    """`get` of one message that was not there yet: asking, waiting, being woken and getting it."""
    crowd: Spent
    """For each other receiver that waits at the same edge, when a message comes."""
    idle: Spent
    """For each receiver that waits, a second."""
    open_edge: Spent
    """For each edge that a process opens which is there already."""
    relief: float
    """What is left of the server's work on a request when others wait already: nobody has to be woken."""
    connections: float
    """For each receiver that waits."""
    bytes_edge: float
    """Memory of the server, for each edge without messages."""
    bytes_id: float
    """Memory, for each id that is remembered after its message is gone."""
    bytes_message: float
    """Memory, for each message that waits."""
    bytes_entered: float
    """To the disk, for each message that was put, got and acknowledged, of those that enter."""
    bytes_passed_on: float
    """The same, of those that are put by somebody who has just received something: it is written with that."""

    def bytes_written(self, chain: int) -> float:
        """To the disk, for each message, where they go over so many edges one after the other."""
        return (self.bytes_entered + (chain - 1) * self.bytes_passed_on) / chain


class StoreCosts(_Frozen):
    """Those of a state store that runs in a server."""

    event: Spent
    """An event of a trace that is written for itself: those of nodes that wait for something."""
    bytes_event: float
    """In the database, indexes and all."""
    written_event: float
    """To the disk, for each event."""
    commit: Spent | None = None
    """`commit_shared` with one change."""
    commit_group: Spent | None = None
    """The same for each of twenty in one commit."""


class DeliveryCosts(_Frozen):
    """CPU seconds of one delivery to a worker of a flow, recorded in PostgreSQL."""

    worker_s: float
    bus_s: float
    """Of the bus server."""
    store_s: float
    """Of PostgreSQL."""
    caller_s: float
    """Of the process that calls; a fifth of a call, in a chain of five nodes."""


class Costs(_Frozen):
    """All of it, with what was measured where."""

    body_bytes: int
    cores: int
    redis: EngineCosts
    nats: EngineCosts
    postgres: StoreCosts
    deliveries: dict[str, DeliveryCosts]
    """In a worker of a flow, by engine."""

    @classmethod
    def load(cls, path: Path) -> Costs:
        """Read what `save` wrote."""
        return cls.model_validate_json(path.read_bytes())

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")

    def engine(self, name: str) -> EngineCosts:
        """Of `redis` or `nats`."""
        return {"redis": self.redis, "nats": self.nats}[name]
