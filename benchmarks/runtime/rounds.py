"""Takes the measurements: all of them in turn, each in a process of its own, and that again for each round."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.runtime import environments
from benchmarks.runtime.child import RUNTIME, Suite
from benchmarks.runtime.environments import Environment
from benchmarks.runtime.lines import ONCE

__all__ = ["Figures", "Job", "measure"]

CHILD_TIMEOUT_S = 600.0
IMPORTS = 5
"""Processes in which an import is measured, in each round."""


class Job(NamedTuple):
    """One runtime and one workload."""

    runtime: str
    workload: str


Figures = dict[tuple[str, str], list[dict[str, float]]]
"""What was measured, by runtime and workload: one mapping for each round."""


def measure(
    jobs: Sequence[Job], places: Mapping[str, Environment], rounds: int, seconds: float, suite: Suite = RUNTIME
) -> tuple[Figures, list[str]]:
    """The figures, and what failed: a job that failed once is not tried again, and has no figures."""
    figures: Figures = {job: [] for job in jobs}
    failures: dict[Job, str] = {}
    installs = _Installs()
    for number in range(rounds):
        if not sys.stderr.isatty():
            print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        for position, job in enumerate(jobs):
            if job in failures or (number and job in ONCE):
                continue
            _note(f"round {number + 1} of {rounds}, {position + 1} of {len(jobs)}: {job.workload} on {job.runtime}")
            place = places[job.runtime]
            try:
                if job.workload == "W10":
                    figures[job].append(installs.measure(job.runtime, place))
                else:
                    figures[job].append(_in_child(job, place, seconds, suite))
            except (subprocess.SubprocessError, ValueError) as error:
                failures[job] = f"FAILED {job.workload} on {job.runtime}: {_reason(error)}"
                del figures[job]
    _note("")
    _derive(figures)
    return figures, list(failures.values())


def _in_child(job: Job, place: Environment, seconds: float, suite: Suite) -> dict[str, float]:
    command = environments.command(place.python, job.runtime, job.workload, str(seconds), suite=suite)
    done = subprocess.run(command, capture_output=True, text=True, timeout=CHILD_TIMEOUT_S, check=True, cwd="/")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


class _Installs:
    """W10: what somebody gets who installs the package and nothing else."""

    def __init__(self) -> None:
        self._python: Path | None = None
        self._ours: dict[str, float] = {}
        self._forerunner: dict[str, float] = {}

    def measure(self, runtime: str, place: Environment) -> dict[str, float]:
        """The figures of one round."""
        if runtime == "ours":
            if self._python is None:
                self._python, self._ours = environments.base_install()
            return self._imports(self._python) | self._ours
        if not self._forerunner:
            self._forerunner = {"distributions": float(environments.whole_install())}
        return self._imports(place.python) | self._forerunner

    def _imports(self, python: Path) -> dict[str, float]:
        script = Path(__file__).with_name("imports.py")
        taken = []
        for _ in range(IMPORTS):
            command = [str(python), "-I", str(script)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, cwd="/")
            taken.append(json.loads(done.stdout))
        return {figure: statistics.median(each[figure] for each in taken) for figure in taken[0]}


def _derive(figures: Figures) -> None:
    """What follows from two workloads of one round: what an event costs beyond the chain without a listener."""
    for runtime in {runtime for runtime, _ in figures}:
        # Where W1 itself was measured its nodes are registered as those of W8 are.
        quiet = figures.get((runtime, "W1")) or figures.get((runtime, "W1.message")) or []
        for told, untold in zip(figures.get((runtime, "W8"), []), quiet, strict=False):
            if told.get("events"):
                told["event_us"] = (told["cpu_us"] - untold["cpu_us"]) / told["events"]


def _reason(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        lines = str(error.stderr).strip().splitlines()
        return next((line for line in reversed(lines) if line[:1].isalpha()), lines[-1] if lines else "no reason given")
    return str(error)


def _note(text: str) -> None:
    """Say what goes on, where somebody watches."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{text}")
        sys.stderr.flush()
