"""The tables: CPU time of a step, and how that compares."""

from __future__ import annotations

from typing import NamedTuple

from benchmarks.runtime.report import Table, cell, number
from benchmarks.runtime.targets import Judged, Rounds, Target, judge, middle_of, spread_of

__all__ = ["AIM", "NAMES", "WORKLOADS", "figures_table", "judged", "ratios_table"]

NAMES = {"ours": "penguiflow", "forerunner": "3.11.2", "pydantic_ai": "pydantic-ai", "langgraph": "langgraph"}
"""Who is measured, and what the tables call them."""
WORKLOADS = {
    "native": "10 steps, tool calls",
    "prompted": "10 steps, JSON in text",
    "native.long": "40 steps, tool calls",
    "prompted.long": "40 steps, JSON in text",
    "native.quiet": "10 steps, tool calls, nobody listens",
    "native.recorded": "10 steps, tool calls, recorded",
}
AIM = 1 / 3
_BOUND = ("native", "prompted", "native.long", "prompted.long")
_PEERS = tuple(name for name in NAMES if name != "ours")


class Line(NamedTuple):
    """One of our ways, against each of the others and against the best of them in each round."""

    workload: str
    against: dict[str, Judged]
    best: Judged


def figures_table(rounds: Rounds) -> Table:
    """CPU time of a step in µs: the median of the rounds, the lowest and the highest."""
    shown = [runtime for runtime in NAMES if any(key[0] == runtime for key in rounds)]
    table = [["µs a step", *(NAMES[runtime] for runtime in shown)]]
    for workload, title in WORKLOADS.items():
        cells = [cell(middle_of(rounds, runtime, workload, "step_us")) for runtime in shown]
        if any(cells):
            table.append([title, *cells])
    return table


def judged(rounds: Rounds) -> list[Line]:
    """Our ways of deciding against what each of the others has for as many steps. Ratios are taken within a round."""
    lines = []
    for workload in _BOUND:
        ours = [each["step_us"] for each in rounds.get(("ours", workload), ())]
        against: dict[str, Judged] = {}
        ratios: list[list[float]] = []
        for runtime in _PEERS:
            theirs = "prompted" if runtime == "forerunner" else "native"
            theirs += ".long" if workload.endswith(".long") else ""
            target = Target(workload, workload, "step_us", 1.0, AIM, (runtime, theirs, "step_us"))
            found = judge(rounds, [target])
            if found:
                against[runtime] = found[0]
                others = [each["step_us"] for each in rounds[runtime, theirs]]
                ratios.append([mine / other for mine, other in zip(ours, others, strict=False)])
        spread = spread_of([max(each) for each in zip(*ratios, strict=False)])
        if spread is not None:
            lines.append(Line(workload, against, Judged(Target(workload, workload, "step_us", 1.0, AIM), spread)))
    return lines


def ratios_table(rounds: Rounds) -> Table:
    """What a step of ours takes of one of theirs, and whether that is ahead of the best of them."""
    lines = judged(rounds)
    shown = [runtime for runtime in _PEERS if any(runtime in line.against for line in lines)]
    table = [["", *(f"of {NAMES[runtime]}" for runtime in shown), "of the best", "must", "aim", ""]]
    for line in lines:
        cells = [_share(line.against.get(runtime)) for runtime in shown]
        best = line.best
        verdict = "**missed**" if not best.met else "met, aim reached" if best.reached else "met, aim not reached"
        table.append([WORKLOADS[line.workload], *cells, _share(best), "1", number(AIM), verdict])
    return table


def _share(found: Judged | None) -> str:
    return "" if found is None else cell(found.spread)
