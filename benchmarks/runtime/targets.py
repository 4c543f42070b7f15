"""What the runtime has to show: each bound, and whether a set of rounds meets it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

__all__ = ["TARGETS", "Judged", "Rounds", "Spread", "Target", "judge", "middle_of", "spread_of"]

Rounds = Mapping[tuple[str, str], Sequence[Mapping[str, float]]]
"""Figures by runtime and workload, one mapping for each round."""


class Spread(NamedTuple):
    """The median of the rounds and their extremes."""

    median: float
    low: float
    high: float


class Target(NamedTuple):
    """A bound on a figure of ours, or on its ratio to a figure of another one in the same round."""

    title: str
    workload: str
    figure: str
    must: float | None
    aim: float | None = None
    against: tuple[str, str, str] | None = None
    """Runtime, workload and figure; None for a bound on the figure itself."""
    unit: str = ""
    at_least: bool = False
    """The figure has to be as large as the bound, not as small."""


class Judged(NamedTuple):
    """A target and what the rounds say."""

    target: Target
    spread: Spread

    @property
    def met(self) -> bool | None:
        """Whether the median keeps the bound; None where nothing is asked for."""
        return self._keeps(self.target.must)

    @property
    def reached(self) -> bool | None:
        """Whether the median reaches the aim."""
        return self._keeps(self.target.aim)

    def _keeps(self, bound: float | None) -> bool | None:
        if bound is None:
            return None
        return self.spread.median >= bound if self.target.at_least else self.spread.median <= bound


def _pair(
    title: str,
    workload: str,
    forerunner: tuple[str, float],
    limit: tuple[str, float, float] | None,
    figure: str = "cpu_us",
) -> list[Target]:
    """Bounds against the forerunner (its workload, the must) and against limit (c) (its workload, must, aim)."""
    targets = [Target(title, workload, figure, forerunner[1], None, ("forerunner", forerunner[0], figure))]
    if limit is not None:
        targets.append(Target(title, workload, figure, limit[1], limit[2], ("limit_c", limit[0], figure)))
    return targets


TARGETS: list[Target] = [
    *_pair("W1 chain of 5, 64 in flight", "W1", ("W1.message", 1 / 20), ("W1", 1.6, 1.0)),
    *_pair("W1 nodes registered for Message", "W1.message", ("W1.message", 1 / 20), ("W1", 1.6, 1.0)),
    *_pair("W1 bare payload", "W1.bare", ("W1.bare", 1 / 10), ("W1", 1.2, 0.6)),
    *_pair("W1 one in flight, p50 latency", "W1.one", ("W1.one.message", 1 / 12), ("W1.one", 1.0, 0.5), "p50_us"),
    *_pair("W2 fan-out 50 and join", "W2", ("W2", 1 / 40), ("W2", 1.0, 0.6)),
    *_pair("W3 streaming 1,000 chunks", "W3", ("W3", 1 / 1.7), ("W3", 1.9, 1.3)),
    *_pair("W3 first chunk, p50", "W3", ("W3", 1 / 1.8), ("W3", 2.0, 1.0), "p50_us"),
    *_pair("W4 router", "W4", ("W4", 1 / 18), ("W4", 2.4, 1.3)),
    *_pair("W5 controller loop of 20", "W5", ("W5", 1 / 30), ("W5", 1.9, 1.2)),
    Target("W6 10,000 traces: at once", "W6", "most", 10_000, at_least=True),
    Target("W6 10,000 traces: time", "W6", "wall_s", 1.0, 0.45, unit="s"),
    Target("W6 10,000 traces: memory", "W6", "kb", 9.0, 6.0, unit="KB a trace"),
    *_pair("W7 cancel one of 1,000, p50", "W7", ("W7", 1 / 10), None, "p50_us"),
    Target("W7 cancel one of 1,000, p50", "W7", "p50_us", None, 20.0, unit="µs"),
    Target(
        "W7 100,000 queued against 1,000", "W7", "queued_100000_p50_us", 1.5, None, ("ours", "W7", "queued_1000_p50_us")
    ),
    Target("W8 an event to a middleware", "W8", "event_us", 1.2, 0.5, unit="µs"),
    Target("W8 nobody listens: events made", "W8.quiet", "events", 0, unit="a message"),
    Target("W8 nobody listens, against W1 (A/A)", "W8.quiet", "cpu_us", 1.1, None, ("ours", "W1", "cpu_us")),
    *_pair("W9 durable in SQLite", "W9", ("W9", 1 / 5), None),
    Target("W9 durable in SQLite", "W9", "cpu_us", 0.7, 0.4, ("limit_b", "W9", "cpu_us")),
    Target("W9, limit with as many events", "W9", "cpu_us", None, 0.7, ("limit_b", "W9.all", "cpu_us")),
    Target("W10 import beyond asyncio and pydantic", "W10", "import_ms", 30.0, 10.0, unit="ms"),
    Target("W10 with the names of a first flow", "W10", "names_ms", 30.0, 10.0, unit="ms"),
    Target("W10 base install, distributions", "W10", "distributions", 7, 6),
    Target("W10 base install, size", "W10", "megabytes", 12.0, unit="MB"),
    Target("D9 20 messages that wait 50 ms", "D9", "wall_s", 0.1, unit="s"),
    Target("D27 kept of a finished roundtrip", "D27", "kept_bytes", 32, unit="bytes"),
    Target("D28 asyncio tasks a message, chain of 5", "D28", "tasks", 0.5),
    Target("D29 fan-in of 100 edges against 1", "D29", "fan_100_us", 1.5, None, ("ours", "D29", "fan_1_us")),
    Target("D30 message, with a store that takes 10 ms an event", "D30", "wall_ms", 2.0, unit="ms"),
    *_pair("D31 hop without budgets, 1,000 facts", "D31", ("D31", 1 / 2), None, "facts_1000_us"),
    *_pair("D32 event to the store in memory", "D32", ("D32", 1 / 2), None, "event_us"),
    Target("D32 growth beyond 10,000 traces", "D32", "trace_kb", 0.1, unit="KB a trace"),
    *_pair("D33 import", "W10", ("W10", 1 / 5), None, "names_ms"),
    *_pair("D34 distributions of a plain install", "W10", ("W10", 1 / 10), None, "distributions"),
    Target("memory, a million traces against 10,000", "memory", "grown_mb", 5.0, unit="MB"),
    *_pair("W11 one retry and one timeout", "W11", ("W11", 1.0), ("W11", 1.0, 1.0)),
    *_pair("W12 playbook of two nodes", "W12", ("W12", 1.0), ("W12", 1.0, 1.0)),
]  # fmt: skip
# Of the last two no bound is set: their ratios are shown.
TARGETS = [each._replace(must=None, aim=None) if each.workload in ("W11", "W12") else each for each in TARGETS]


def spread_of(values: Sequence[float]) -> Spread | None:
    """Median and extremes; None without values."""
    return Spread(statistics.median(values), min(values), max(values)) if values else None


def middle_of(rounds: Rounds, runtime: str, workload: str, figure: str) -> Spread | None:
    """A figure over the rounds; None where it was not measured."""
    return spread_of([each[figure] for each in rounds.get((runtime, workload), ()) if figure in each])


def judge(rounds: Rounds, targets: Sequence[Target] = ()) -> list[Judged]:
    """What the rounds say of each target that they have figures for. Ratios are taken within a round."""
    judged = []
    for target in targets or TARGETS:
        ours = rounds.get(("ours", target.workload), ())
        if target.against is None:
            values = [each[target.figure] for each in ours if target.figure in each]
        else:
            runtime, workload, figure = target.against
            theirs = rounds.get((runtime, workload), ())
            pairs = zip(ours, theirs, strict=False)
            values = [a[target.figure] / b[figure] for a, b in pairs if target.figure in a and b.get(figure)]
        spread = spread_of(values)
        if spread is not None:
            judged.append(Judged(target, spread))
    return judged
