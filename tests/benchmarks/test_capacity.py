"""The arithmetic of capacity: what a simulation says of known costs, and that the measurements run.

Whether a prediction holds is looked at by `python -m benchmarks.capacity`, on a machine that is quiet.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.capacity.arithmetic import Need, bus_needs, store_needs
from benchmarks.capacity.costs import Costs, EngineCosts, Spent, StoreCosts, Work
from benchmarks.capacity.deployment import Deployment
from benchmarks.capacity.measuring import EngineMeasurement
from benchmarks.capacity.simulation import Pools, simulate

ROOT = Path(__file__).parents[2]
LIMIT_S = 300.0
NOTHING = Spent(server_s=0, client_s=0)
PLAN = Deployment(edges=20, workers=4, rate=200.0)


def spent(server_us: float, client_us: float) -> Spent:
    return Spent(server_s=server_us / 1e6, client_s=client_us / 1e6)


def costs(**changed: Spent) -> EngineCosts:
    """Put 10 and 20 µs, get the same, acknowledge the same; nothing else costs anything."""
    work = Work(fixed=spent(10, 20), each=NOTHING)
    known = {"send": spent(10, 20), "wait": spent(10, 20), "crowd": NOTHING, "idle": NOTHING, "open_edge": NOTHING}
    return EngineCosts(
        put=work,
        take=work,
        ack=work,
        relief=1.0,
        connections=1.0,
        bytes_edge=1000,
        bytes_id=100,
        bytes_message=1000,
        bytes_entered=1000,
        bytes_passed_on=500,
        **{**known, **changed},
    )


def machines(plan: Deployment) -> Pools:
    return Pools.of(plan, server_cores=1)


def test_each_message_costs_a_put_a_get_and_an_acknowledgment() -> None:
    told = simulate(costs(), "redis", PLAN, machines(PLAN), seconds=20.0)
    assert told.rate == pytest.approx(PLAN.rate, rel=0.1)
    assert told.server_s == pytest.approx(30e-6, rel=0.02)
    assert told.client_s == pytest.approx(60e-6, rel=0.02)
    assert told.busiest_server == pytest.approx(200 * 30e-6, rel=0.1)


def test_others_who_wait_cost_where_all_are_woken() -> None:
    crowded = costs(crowd=spent(50, 0))
    told = {engine: simulate(crowded, engine, PLAN, machines(PLAN), seconds=10.0) for engine in ("redis", "nats")}
    assert told["nats"].server_s == pytest.approx(30e-6, rel=0.02)
    assert told["redis"].server_s == pytest.approx(80e-6, rel=0.1)
    alone = replace(PLAN, readers=1)
    assert simulate(crowded, "redis", alone, machines(alone), seconds=10.0).server_s == pytest.approx(30e-6, rel=0.02)


def test_a_server_without_time_is_the_bound_and_another_one_helps() -> None:
    slow = costs(send=spent(4000, 0))
    plan = replace(PLAN, rate=2000.0)
    one, four = (
        simulate(slow, "nats", each, machines(each), seconds=10.0) for each in (plan, replace(plan, servers=4))
    )
    assert one.rate < 0.8 * plan.rate
    assert one.busiest_server == pytest.approx(1.0, abs=0.05)
    assert four.rate == pytest.approx(plan.rate, rel=0.1)


def test_messages_that_wait_are_taken_together() -> None:
    late = costs(wait=spent(10, 30_000))
    told = simulate(late, "nats", replace(PLAN, rate=4000.0), machines(PLAN), seconds=5.0)
    assert told.client_s < 30e-3 / 2


def test_needs_grow_with_the_deployment() -> None:
    store = StoreCosts(
        event=spent(1, 5), bytes_event=200, written_event=300, commit=spent(700, 0), commit_group=NOTHING
    )
    known = Costs(body_bytes=1000, cores=2, redis=costs(), nats=costs(), postgres=store, deliveries={})
    small = {need.what: need.needed for need in _needs(known, PLAN)}
    big = {need.what: need.needed for need in _needs(known, replace(PLAN, edges=200, workers=40, rate=2000.0))}
    assert big["CPU"] == pytest.approx(10 * small["CPU"], rel=0.05)
    assert big["connections"] == 10 * small["connections"] == 40 + 400
    assert big["disk, events"] == 2000 * 6 * 300
    assert big["CPU, commits one by one"] == pytest.approx(1.4)


def _needs(known: Costs, plan: Deployment) -> list[Need]:
    told = simulate(known.redis, "redis", plan, machines(plan))
    return [*bus_needs(known, "redis", plan, told), *store_needs(known, plan)]


def test_every_edge_is_read_by_as_many_workers_as_it_should_be() -> None:
    read = [edge for worker in range(PLAN.workers) for edge in PLAN.edges_of(worker)]
    assert sorted(read) == sorted(list(range(PLAN.edges)) * PLAN.readers)


def test_a_server_is_measured() -> None:
    measurement = EngineMeasurement("nats", messages=200, rounds=1, seconds=0.5, body=b"x" * 100)
    measurement.round()
    found = measurement.costs()
    assert found.put.of(1).client_s > 0
    assert found.wait.client_s > 0
    assert 0 < found.relief <= 1
    assert found.bytes_entered > 0


def test_a_run_is_foretold_and_done() -> None:
    small = ["--edges", "10", "--workers", "2", "--rate", "100", "--seconds", "1", "--rounds", "1"]
    command = [sys.executable, "-m", "benchmarks.capacity", "--engine", "redis", "--measured", *small]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert "% off" in done.stdout, done.stderr
    assert done.stderr == ""
