"""How one process measures one workload: warm-up, clocks, drivers, and the count of what the nodes really did.

This runs in the environments of other runtimes too: it may import nothing but pydantic and the standard library.
"""

from __future__ import annotations

import gc
import resource
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from pydantic import BaseModel

__all__ = [
    "CHUNKS",
    "CROWD",
    "FAN",
    "GATHER_S",
    "HOPS",
    "IN_FLIGHT",
    "NAP_S",
    "NODES",
    "ROUNDS_IN_FLIGHT",
    "ROUTES",
    "Chunk",
    "Crowd",
    "Payload",
    "Nap",
    "Run",
    "SkippedWork",
    "payload",
    "peak_rss_kb",
    "percentile",
    "rss_kb",
]

NODES = 5
IN_FLIGHT = 64
FAN = 50
ROUNDS_IN_FLIGHT = 8
CHUNKS = 1_000
ROUTES = 10
HOPS = 20
CROWD = 10_000
NAP_S = 0.05
GATHER_S = 5.0
"""How long a crowd gets to come together, in seconds."""

Nap = Callable[[], Awaitable[None]]
Drive = Callable[[int], Awaitable[None]]


class Payload(BaseModel):
    """What travels in every workload: three fields."""

    text: str
    number: int
    tags: list[str]


class Chunk(BaseModel):
    """What the limits and the peers stream; the fields of penguiflow's `StreamChunk`."""

    stream_id: str
    seq: int
    text: str
    done: bool = False


class SkippedWork(Exception):
    """A runtime called its nodes less or more often than the workload asks for."""


def payload(number: int) -> Payload:
    """A payload as a program would make it, validated."""
    return Payload(text="the quick brown fox", number=number, tags=["a", "b"])


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def rss_kb() -> float:
    """Resident memory of this process now, in KB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4.0


def peak_rss_kb() -> float:
    """The most resident memory that this process ever had, in KB."""
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


class Crowd:
    """How many are inside now, and how many there were at most."""

    def __init__(self) -> None:
        self.now = 0
        self.most = 0

    def __enter__(self) -> None:
        self.now += 1
        self.most = max(self.most, self.now)

    def __exit__(self, *exc: object) -> None:
        self.now -= 1


class Run:
    """One measurement. Node functions count themselves in `calls`; `figures` is what the process reports."""

    def __init__(self, cpu_s: float, units: int | None = None) -> None:
        self.calls = 0
        self.latencies: list[float] = []
        """Seconds, one for each unit that was timed."""
        self.figures: dict[str, float] = {}
        self._cpu_s = cpu_s
        self._units = units

    async def measure(self, drive: Drive, *, calls: float, smallest: int = 16, scale: float = 1.0) -> None:
        """Warm up, choose how many units take about the time given, drive them, and check the calls.

        Args:
            drive: Sends that many units through and returns when they are all out.
            calls: Node executions that one unit takes.
            smallest: Fewest units; also those of the first warm-up.
            scale: Share of the time that this workload gets.

        Raises:
            SkippedWork: The nodes were not called as often as they should have been.
        """
        units = self._units
        if units is None:
            count = smallest
            while True:
                spent = await self._timed(drive, count)
                if spent > self._cpu_s * scale / 8:
                    break
                count *= 2
            units = max(smallest, int(self._cpu_s * scale * count / spent))
        else:
            await drive(units)
        gc.collect()
        self.calls = 0
        self.latencies.clear()
        wall, cpu = time.perf_counter(), time.process_time()
        await drive(units)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        self.check(units * calls)
        self.figures |= {"units": units, "cpu_us": cpu / units * 1e6, "wall_us": wall / units * 1e6}
        self.figures["calls"] = self.calls / units
        if self.latencies:
            self.report_latencies(self.latencies)

    def report_latencies(self, seconds: list[float], prefix: str = "") -> None:
        """Percentiles of latencies, in µs."""
        for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
            self.figures[f"{prefix}{name}_us"] = percentile(seconds, share) * 1e6

    def check(self, expected: float) -> None:
        """Raise `SkippedWork` unless the nodes were called exactly that often."""
        if self.calls != expected:
            raise SkippedWork(f"the nodes were called {self.calls:,} times, and should have been {expected:,.0f} times")

    async def _timed(self, drive: Drive, count: int) -> float:
        started = time.process_time()
        await drive(count)
        return max(time.process_time() - started, 1e-6)
