"""How a flow is spread out: edges in chains, workers that read them, servers that keep them."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Deployment"]


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """Messages go through chains of edges; each edge is read by some of the workers."""

    edges: int
    workers: int
    rate: float
    """Messages over all edges that are offered, a second: put, got, handled and acknowledged."""
    chain: int = 5
    """Edges from where a message enters to where it leaves."""
    readers: int = 2
    """Workers that read the same edge: one may die."""
    limit: int = 32
    """Messages that a worker takes at once from an edge, if there are so many."""
    servers: int = 1
    """Servers that edges are spread over."""
    closed: bool = False
    """Nobody sends: each worker puts a message on an edge of its own, takes it, acknowledges it, and begins anew."""
    body_bytes: int = 1000
    flow: str = "capacity"
    """Its name on the bus."""

    @property
    def chains(self) -> int:
        """How many there are."""
        return self.edges // self.chain

    def name(self, edge: int) -> str:
        """Of an edge, on the bus."""
        return f"c{edge // self.chain}n{edge % self.chain}->c{edge // self.chain}n{edge % self.chain + 1}"

    def following(self, edge: int) -> int | None:
        """The edge on which a message goes on; None where it leaves."""
        return None if edge % self.chain == self.chain - 1 else edge + 1

    def edges_of(self, worker: int) -> list[int]:
        """Those that a worker reads. Neighbors of an edge are read by others."""
        mine = {
            edge % self.edges
            for each in range(self.readers)
            for edge in range((worker - each) % self.workers, self.edges, self.workers)
        }
        return sorted(mine)
