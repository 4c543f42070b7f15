"""One process, one runtime, one workload: measures it and prints the figures as one line of JSON."""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from collections.abc import Awaitable, Callable, Mapping

from benchmarks.runtime.measure import Run

__all__ = ["TABLES", "main", "measure", "workloads_of"]

Workload = Callable[[Run], Awaitable[None]]

TABLES = {
    "ours": ("flows", "OURS"),
    "forerunner": ("flows", "FORERUNNER"),
    "limit_a": ("limits", "LIMIT_A"),
    "limit_b": ("limits", "LIMIT_B"),
    "limit_c": ("limits", "LIMIT_C"),
}
"""The module and the name of each runtime's table of workloads."""


def measure(runtime: str, workload: str, cpu_s: float, units: int | None = None) -> dict[str, float]:
    """Measure it in this process.

    Raises `SkippedWork` when the nodes did not run as often as they should have, `KeyError` for a workload that the
    runtime does not have.
    """
    table = _table(runtime)
    run = Run(cpu_s, units)

    async def measured() -> None:
        await table[workload](run)

    asyncio.run(measured())
    return run.figures


def workloads_of(runtime: str) -> list[str]:
    """The workloads that the runtime has."""
    return sorted(_table(runtime))


def _table(runtime: str) -> Mapping[str, Workload]:
    module, name = TABLES[runtime]
    table: Mapping[str, Workload] = getattr(importlib.import_module(f"benchmarks.runtime.adapters.{module}"), name)
    return table


def main() -> None:
    """Measure what the arguments name: runtime, workload, seconds of CPU time."""
    runtime, workload, cpu_s = sys.argv[1:4]
    print(json.dumps(measure(runtime, workload, float(cpu_s))))


if __name__ == "__main__":
    main()
