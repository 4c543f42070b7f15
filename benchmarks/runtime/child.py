"""One process, one runtime, one workload: measures it and prints the figures as one line of JSON."""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

from benchmarks.runtime.measure import Run

__all__ = ["FORERUNNER_VERSION", "RUNTIME", "TABLES", "Suite", "main", "measure", "workloads_of"]

Workload = Callable[[Run], Awaitable[None]]

FORERUNNER_VERSION = "3.11.2"
TABLES = {
    "ours": [("adapters.flows", "OURS"), ("adapters.defects", "OURS")],
    "forerunner": [("adapters.flows", "FORERUNNER"), ("adapters.defects", "FORERUNNER")],
    "limit_a": [("adapters.limits", "LIMIT_A")],
    "limit_b": [("adapters.limits", "LIMIT_B")],
    "limit_c": [("adapters.limits", "LIMIT_C")],
    "langgraph": [("peers.on_langgraph", "WORKLOADS")],
    "pydantic_graph": [("peers.on_pydantic_graph", "WORKLOADS")],
    "llama_index": [("peers.on_llama_index", "WORKLOADS")],
    "burr": [("peers.on_burr", "WORKLOADS")],
}
"""The modules and names of each runtime's tables of workloads."""


class Suite(NamedTuple):
    """One benchmark: where its modules are, and the tables of its runtimes. `PACKAGE.child` measures it."""

    package: str
    tables: Mapping[str, Sequence[tuple[str, str]]]


RUNTIME = Suite("benchmarks.runtime", TABLES)


def measure(
    runtime: str, workload: str, cpu_s: float, units: int | None = None, suite: Suite = RUNTIME
) -> dict[str, float]:
    """Measure it in this process.

    Raises `SkippedWork` when the nodes did not run as often as they should have, `KeyError` for a workload that the
    runtime does not have.
    """
    table = _table(suite, runtime)
    _check_version(runtime)
    run = Run(cpu_s, units)

    async def measured() -> None:
        await table[workload](run)

    asyncio.run(measured())
    return run.figures


def workloads_of(runtime: str, suite: Suite = RUNTIME) -> list[str]:
    """The workloads that the runtime has."""
    return sorted(_table(suite, runtime))


def _check_version(runtime: str) -> None:
    """That the forerunner is the forerunner, and this version is not."""
    if runtime in ("ours", "forerunner"):
        import penguiflow

        if (penguiflow.__version__ == FORERUNNER_VERSION) != (runtime == "forerunner"):
            raise ValueError(f"{runtime} is penguiflow {penguiflow.__version__} of {penguiflow.__path__[0]}")


def _table(suite: Suite, runtime: str) -> Mapping[str, Workload]:
    table: dict[str, Workload] = {}
    for module, name in suite.tables[runtime]:
        table |= getattr(importlib.import_module(f"{suite.package}.{module}"), name)
    return table


def main(suite: Suite = RUNTIME) -> None:
    """List the workloads of a runtime, or measure one: `RUNTIME [WORKLOAD SECONDS]`."""
    runtime, *rest = sys.argv[1:]
    answer = measure(runtime, rest[0], float(rest[1]), suite=suite) if rest else workloads_of(runtime, suite)
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
