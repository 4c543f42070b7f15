"""Measure what things cost, foretell a run of a hundredth of the scale, run it, and say how far that was off.

    .venv/bin/python -m benchmarks.capacity [--engine redis|nats] [--seconds 10] [--costs FILE] [--measured] [--scale]

`--costs` names the JSON in which measured costs are kept (`--measured` takes those that are there and measures
nothing), `--scale` also tells of 10,000 edges, 1,000 workers and 100,000 messages a second. Exits with 1 where a
prediction is off by more than 30 %. CPU times are compared, not wall times: other things run on the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.capacity.arithmetic import tell_scale
from benchmarks.capacity.costs import Costs, EngineCosts
from benchmarks.capacity.delivering import measure_delivery
from benchmarks.capacity.deployment import Deployment
from benchmarks.capacity.measuring import EngineMeasurement
from benchmarks.capacity.real_run import Found, run_really
from benchmarks.capacity.simulation import Forecast, Pools, simulate
from benchmarks.capacity.storing import measure_store, postgres_server

ENGINES = ("redis", "nats")
OFF = 1.3
KEPT = Path(__file__).with_name("costs.json")


def measure_and_contest(plan: Deployment, engines: Sequence[str], given: Any) -> tuple[Costs, float]:
    """Measure all, and run each engine between the rounds of its measurement; the worst factor of all."""
    found: dict[str, EngineCosts] = {}
    worst = 1.0
    for engine in ENGINES:
        print(f"measuring {engine} …", file=sys.stderr)
        measurement = EngineMeasurement(
            engine, messages=given.messages, rounds=given.rounds, seconds=given.seconds, body=b"x" * plan.body_bytes
        )
        runs: list[Found] = []
        for _ in range(given.rounds):
            measurement.round()
            if engine in engines:
                runs.append(run_really(engine, plan, warm_s=2.0, seconds=given.seconds))
        found[engine] = measurement.costs()
        if runs:
            worst = max(worst, contest(engine, found[engine], plan, runs, given.seconds))
    print("measuring postgres …", file=sys.stderr)
    with postgres_server() as server:
        store = asyncio.run(measure_store(server, messages=given.messages))
    deliveries = {}
    for engine in ENGINES:
        print(f"measuring deliveries over {engine} …", file=sys.stderr)
        deliveries[engine] = measure_delivery(engine, calls=given.messages // 5, at_once=16, body_bytes=plan.body_bytes)
    costs = Costs(
        body_bytes=plan.body_bytes,
        cores=os.cpu_count() or 1,
        redis=found["redis"],
        nats=found["nats"],
        postgres=store,
        deliveries=deliveries,
    )
    return costs, worst


def contest(engine: str, costs: EngineCosts, plan: Deployment, runs: Sequence[Found], seconds: float) -> float:
    """Foretell a deployment and compare it with the median of its runs; by how much the worst is off, as a factor."""
    found = Found.median(runs)
    foretold = simulate(costs, engine, plan, Pools.on_one_machine(plan, found.cores), seconds=seconds)
    return compare(engine, foretold, found)


def compare(engine: str, foretold: Forecast, found: Found) -> float:
    """Print what was foretold beside what came; by how much the worst of it is off, as a factor."""
    rows = [
        ("messages a second", foretold.rate, found.rate, 1.0),
        ("server CPU, µs a message", foretold.server_s, found.server_s, 1e6),
        ("client CPU, µs a message", foretold.client_s, found.client_s, 1e6),
        ("written, bytes a message", foretold.written_bytes, found.written_bytes, 1.0),
    ]
    print(f"\n{engine} ({found.cores:.2f} cores to have){'foretold':>22}{'found':>10}{'ratio':>8}")
    worst = 1.0
    for name, said, came, unit in rows:
        ratio = said / came if came else float("inf")
        worst = max(worst, ratio, 1 / ratio if ratio else float("inf"))
        print(f"  {name:<38}{said * unit:>10.0f}{came * unit:>10.0f}{ratio:>8.2f}")
    return worst


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=ENGINES, help="the run on this one only")
    parser.add_argument("--edges", type=int, default=100)
    parser.add_argument("--workers", type=int, default=10)
    parser.add_argument("--rate", type=float, default=1000.0, help="messages a second, over all edges")
    parser.add_argument("--seconds", type=float, default=10.0, help="of the run, and of those that are measured")
    parser.add_argument("--messages", type=int, default=1500, help="of each measurement")
    parser.add_argument(
        "--rounds", type=int, default=3, help="of each measurement, and of the run: medians of them are compared"
    )
    parser.add_argument("--bytes", type=int, default=1000, help="of each message")
    parser.add_argument("--costs", type=Path, default=KEPT, help="where costs are kept")
    parser.add_argument("--measured", action="store_true", help="take those that are there")
    parser.add_argument("--scale", action="store_true", help="tell of a hundred times as much")
    given = parser.parse_args()
    plan = Deployment(edges=given.edges, workers=given.workers, rate=given.rate, body_bytes=given.bytes)
    engines = (given.engine,) if given.engine else ENGINES
    if given.measured:
        costs = Costs.load(given.costs)
        worst = 1.0
        for engine in engines:
            runs = [run_really(engine, plan, warm_s=2.0, seconds=given.seconds) for _ in range(given.rounds)]
            worst = max(worst, contest(engine, costs.engine(engine), plan, runs, given.seconds))
    else:
        costs, worst = measure_and_contest(plan, engines, given)
        costs.save(given.costs)
    print(f"\nat most {100 * (worst - 1):.0f} % off, of {100 * (OFF - 1):.0f} %")
    if given.scale:
        tell_scale(costs, replace(plan, edges=100 * plan.edges, workers=100 * plan.workers, rate=100 * plan.rate))
    return int(worst > OFF)


if __name__ == "__main__":
    sys.exit(main())
