"""The runtime against its forerunner, its peers and two limits, side by side in one run.

    uv run python -m benchmarks.runtime [--workloads W1,W3] [--runtimes ours,limit_c] [--rounds N] [--quick] [--write]

What is measured, and how to read it, stands in `docs/performance.md`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.runtime import environments, report
from benchmarks.runtime.child import TABLES
from benchmarks.runtime.environments import Environment

ROOT = Path(__file__).resolve().parents[2]
CHILD_TIMEOUT_S = 600.0
_CHILD = "import sys; sys.path.append({root!r}); from benchmarks.runtime.child import main; main()"
"""The checkout comes last on the path: in the forerunner's environment `penguiflow` is the forerunner."""


class Job(NamedTuple):
    """One runtime and one workload."""

    runtime: str
    workload: str


def main() -> None:
    """Measure, print the tables and, if asked to, write them into the documentation."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.runtime", description="The runtime side by side.")
    parser.add_argument("--workloads", default="", help="W1,W3: all that begin so; default: all")
    parser.add_argument("--runtimes", default="", help=f"some of {','.join(TABLES)}; default: all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="CPU time that one measurement takes, about")
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--write", action="store_true", help="write tables and plot into docs/performance.md")
    parser.add_argument("--save", type=Path, help="keep the figures of all rounds as JSON")
    options = parser.parse_args()
    rounds, seconds = (1, 0.1) if options.quick else (options.rounds, options.seconds)
    runtimes = options.runtimes.split(",") if options.runtimes else list(TABLES)
    unknown = [runtime for runtime in runtimes if runtime not in TABLES]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(TABLES)}")
    prefixes = options.workloads.split(",") if options.workloads else []
    places = {runtime: environments.ready(runtime) for runtime in runtimes}
    jobs = [
        Job(runtime, workload)
        for workload in report.UNITS
        for runtime in runtimes
        if wanted(workload, prefixes) and workload in places[runtime].workloads
    ]
    if not jobs:
        parser.error("nothing to measure: no runtime has such a workload")
    figures, failures = measure(jobs, places, rounds, seconds)
    if options.save is not None:
        options.save.write_text(json.dumps([[*key, each] for key, each in figures.items()]))
    print()
    for lines in tables(figures, runtimes):
        print("\n".join(align(lines)), end="\n\n")
    for failure in failures:
        print(failure, file=sys.stderr)
    if failures:
        sys.exit(1)


def wanted(workload: str, prefixes: Sequence[str]) -> bool:
    """Whether the workload is one of those named: `W1` names all its variants, and not W10."""
    return not prefixes or any(workload == prefix or workload.startswith(f"{prefix}.") for prefix in prefixes)


Figures = dict[tuple[str, str], list[dict[str, float]]]


def measure(
    jobs: Sequence[Job], places: dict[str, Environment], rounds: int, seconds: float
) -> tuple[Figures, list[str]]:
    """All jobs in turn, and that again for each round; also what failed, each once."""
    figures: Figures = defaultdict(list)
    failures: dict[Job, str] = {}
    for number in range(rounds):
        for position, job in enumerate(jobs):
            if job in failures:
                continue
            if sys.stderr.isatty():
                note = f"round {number + 1}/{rounds}  {position + 1}/{len(jobs)}  {job.workload} on {job.runtime}"
                print(f"\r\033[K{note}", end="", file=sys.stderr, flush=True)
            try:
                figures[job].append(run_child(job, places[job.runtime], seconds))
            except (subprocess.SubprocessError, ValueError) as error:
                reason = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
                last = str(reason).strip().splitlines()[-1:] or ["no reason given"]
                failures[job] = f"FAILED {job.workload} on {job.runtime}: {last[0]}"
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    derive(figures)
    return figures, list(failures.values())


def run_child(job: Job, place: Environment, seconds: float) -> dict[str, float]:
    """One measurement in a process of its own."""
    command = [str(place.python), "-P", "-c", _CHILD.format(root=str(ROOT)), job.runtime, job.workload, str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=CHILD_TIMEOUT_S, check=True, cwd="/")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def derive(figures: Figures) -> None:
    """What follows from two workloads of one round: what an event costs beyond W1."""
    for (runtime, workload), rounds in figures.items():
        if workload == "W8":
            plain = figures.get((runtime, "W1")) or figures.get((runtime, "W1.message")) or []
            for told, quiet in zip(rounds, plain, strict=False):
                if told.get("events"):
                    told["event_us"] = (told["cpu_us"] - quiet["cpu_us"]) / told["events"]


def tables(figures: Figures, runtimes: Sequence[str]) -> list[list[str]]:
    """The tables that are not empty."""
    peers = [runtime for runtime in runtimes if runtime != "ours" and not runtime.startswith("limit")]
    every = [
        report.figures_table(figures, runtimes),
        report.judged_table(figures),
        report.peers_table(figures, peers),
    ]
    return [lines for lines in every if len(lines) > 2]


def align(lines: Sequence[str]) -> list[str]:
    """The lines of a Markdown table with its columns one below the other."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if not line.startswith("| ---")]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


if __name__ == "__main__":
    main()
