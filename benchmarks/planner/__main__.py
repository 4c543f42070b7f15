"""The planner against its forerunner, pydantic-ai and langgraph's prebuilt agent, side by side in one run.

    uv run python -m benchmarks.planner [--workloads native,prompted] [--runtimes ours,langgraph] [--rounds N] [--write]

What is measured, and how to read it, stands in `docs/performance.md`.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import platform
import sys
from collections.abc import Sequence

from benchmarks.planner.child import PLANNER
from benchmarks.planner.report import NAMES, WORKLOADS, figures_table, judged, ratios_table
from benchmarks.runtime import document, environments
from benchmarks.runtime.report import align, markdown
from benchmarks.runtime.rounds import Figures, Job, measure

__all__ = ["main", "parse", "written"]


def main() -> None:
    """Measure, print the tables and, if asked to, write them into the documentation.

    Exits with 1 when a measurement failed, and when ours is not ahead of the best of the others.
    """
    options = parse()
    places = {runtime: environments.ready(runtime, PLANNER) for runtime in options.runtimes}
    jobs = [
        Job(runtime, workload)
        for workload in options.workloads
        for runtime in options.runtimes
        if workload in places[runtime].workloads
    ]
    if not jobs:
        sys.exit("nothing to measure: none of these runtimes has such a workload")
    figures, failures = measure(jobs, places, options.rounds, options.seconds, PLANNER)
    for table in (figures_table(figures), ratios_table(figures)):
        if len(table) > 1:
            print(align(table), end="\n\n")
    if options.write:
        text = document.DOCUMENT.read_text(encoding="utf-8")
        about = (
            f"Measured on {dt.datetime.now(dt.UTC):%Y-%m-%d}, {platform.machine()}, {os.cpu_count()} cores, medians of "
            f"{options.rounds} rounds: {', '.join(environments.describe(PLANNER))}."
        )
        document.DOCUMENT.write_text(written(text, figures, about), encoding="utf-8")
    failures += [
        f"MISSED: {WORKLOADS[line.workload]} takes {line.best.spread.median:.2f} times as long as with the best of them"
        for line in judged(figures)
        if not line.best.met
    ]
    for failure in failures:
        print(failure, file=sys.stderr)
    if failures:
        sys.exit(1)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options, with lists where names are given; exits with a message when they make no sense."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.planner", description="The planner side by side.")
    parser.add_argument("--workloads", default=",".join(WORKLOADS), help="default: all")
    parser.add_argument("--runtimes", default=",".join(NAMES), help="default: all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="of CPU time, for each measurement")
    parser.add_argument("--write", action="store_true", help="write the tables into the documentation")
    options = parser.parse_args(arguments)
    options.workloads = options.workloads.split(",")
    options.runtimes = options.runtimes.split(",")
    if options.write and (len(options.workloads), len(options.runtimes)) != (len(WORKLOADS), len(NAMES)):
        parser.error("--write is for all workloads and runtimes")
    if options.rounds < 1 or options.seconds <= 0:
        parser.error("--rounds has to be at least 1, and --seconds more than 0")
    unknown = [each for each in options.runtimes if each not in NAMES]
    unknown += [each for each in options.workloads if each not in WORKLOADS]
    if unknown:
        parser.error(f"there is no {', no '.join(unknown)}")
    return options


def written(text: str, figures: Figures, about: str) -> str:
    """The documentation with these figures. Raises `ValueError` when it has no place for them."""
    tables = {"planner": figures_table(figures), "planner-ratios": ratios_table(figures)}
    parts = {"planner-about": about, **{name: markdown(table) for name, table in tables.items()}}
    return document.fill(text, parts)


if __name__ == "__main__":
    main()
