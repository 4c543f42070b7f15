"""The same deployment in reality: a server, workers and a sender as processes of this machine."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, fields

from benchmarks.capacity.children import use_of
from benchmarks.capacity.deployment import Deployment
from benchmarks.capacity.measuring import new_server
from benchmarks.capacity.meter import cores_to_have

__all__ = ["Found", "run_really"]


@dataclass(frozen=True, slots=True)
class Found:
    """What a deployment did."""

    rate: float
    """Messages a second that were acknowledged."""
    server_s: float
    """CPU seconds of the server, for each of them."""
    client_s: float
    """CPU seconds of workers and sender, for each of them."""
    written_bytes: float
    """To the server's disk, for each of them."""
    cores: float
    """What busy processes got of the machine, right before and right after: others use it, too."""

    @classmethod
    def median(cls, runs: Sequence[Found]) -> Found:
        """Of each figure for itself."""
        return cls(*(statistics.median(getattr(run, each.name) for run in runs) for each in fields(cls)))


def run_really(engine: str, plan: Deployment, *, warm_s: float, seconds: float) -> Found:
    """Run it for so long, after everybody has begun to work and `warm_s` more."""
    server = new_server(engine)
    before = cores_to_have()
    try:
        server.start()
        used = use_of(server, plan, warm_s=warm_s, seconds=seconds)
    finally:
        server.remove()
    cores = (before + cores_to_have()) / 2
    done = used.done
    return Found(
        done / used.took_s, used.server_s / done, (used.sender_s + used.workers_s) / done, used.written / done, cores
    )
