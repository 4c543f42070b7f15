"""The runtime against its forerunner, its peers and three limits, side by side in one run.

    uv run python -m benchmarks.runtime [--workloads W1,W3] [--runtimes ours,limit_c] [--rounds N] [--quick] [--write]

What is measured, and how to read it, stands in `docs/performance.md`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.runtime import document, environments, lines, report
from benchmarks.runtime.rounds import Figures, Job, measure


def main() -> None:
    """Measure, print the tables and, if asked to, write them into the documentation."""
    options = parse()
    if options.rounds == 0:
        figures: Figures = {Job(*key): each for *key, each in json.loads(options.figures.read_text())}
        failures: list[str] = []
    else:
        places = {runtime: environments.ready(runtime) for runtime in options.runtimes}
        jobs = [
            Job(runtime, workload)
            for workload in lines.WORKLOADS
            for runtime in options.runtimes
            if wanted(workload, options.workloads, everything=options.write) and workload in places[runtime].workloads
        ]
        if not jobs:
            sys.exit("nothing to measure: none of these runtimes has such a workload")
        figures, failures = measure(jobs, places, 1 if options.quick else options.rounds, 0.1 if options.quick else 0.5)
        if options.figures is not None:
            options.figures.write_text(json.dumps([[*key, each] for key, each in figures.items()]))
    peers = [runtime for runtime in lines.NAMES if runtime != "ours" and not runtime.startswith("limit")]
    tables = [
        report.figures_table(figures, list(lines.NAMES)),
        report.judged_table(figures),
        report.peers_table(figures, peers),
    ]
    for table in tables:
        if len(table) > 1:
            print(report.align(table), end="\n\n")
    if options.write:
        document.write(figures, tables, environments.describe())
    for failure in failures:
        print(failure, file=sys.stderr)
    if failures:
        sys.exit(1)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options, with lists where names are given; exits with a message when they make no sense."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.runtime", description="The runtime side by side.")
    parser.add_argument("--workloads", default="", help="W1,W3: these and their variants; default: all but `memory`")
    parser.add_argument("--runtimes", default="", help=f"some of {','.join(lines.NAMES)}; default: all")
    parser.add_argument("--rounds", type=int, default=5, help="0: only read the file of --figures")
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--write", action="store_true", help="measure all, write tables and plot to the documentation")
    parser.add_argument("--figures", type=Path, help="keep the figures of all rounds in this JSON file")
    options = parser.parse_args(arguments)
    if options.write and (options.workloads or options.runtimes):
        parser.error("--write is for all workloads and runtimes")
    if options.rounds < 0 or (options.rounds == 0 and (options.figures is None or not options.figures.exists())):
        parser.error("--rounds has to be at least 1, or 0 with a file of --figures that exists")
    options.runtimes = options.runtimes.split(",") if options.runtimes else list(lines.NAMES)
    options.workloads = options.workloads.split(",") if options.workloads else []
    unknown = [each for each in options.runtimes if each not in lines.NAMES]
    unknown += [each for each in options.workloads if not any(wanted(one, [each]) for one in lines.WORKLOADS)]
    if unknown:
        parser.error(f"there is no {', no '.join(unknown)}")
    return options


def wanted(workload: str, named: Sequence[str], *, everything: bool = False) -> bool:
    """Whether the workload is one of those named: `W1` names its variants too, and not W10."""
    if not named:
        return everything or workload not in lines.SLOW
    return any(workload == name or workload.startswith(f"{name}.") for name in named)


if __name__ == "__main__":
    main()
