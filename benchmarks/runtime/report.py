"""The tables: what was measured, and which bounds it meets."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.runtime.targets import Judged, Rounds, Spread, Target, judge, middle_of

__all__ = ["NAMES", "UNITS", "figures_table", "judged_table", "peers_table"]

NAMES = {
    "ours": "penguiflow",
    "forerunner": "penguiflow 3.11.2",
    "limit_a": "limit (a)",
    "limit_b": "limit (b)",
    "limit_c": "limit (c)",
    "langgraph": "langgraph",
    "pydantic_graph": "pydantic-graph",
    "llama_index": "llama-index-workflows",
    "burr": "burr",
}
UNITS = {
    "W1": ("chain of 5, 64 in flight", "cpu_us"),
    "W1.message": ("the same, nodes registered for Message", "cpu_us"),
    "W1.bare": ("the same, bare payloads", "cpu_us"),
    "W1.call": ("the same, 64 callers of `flow.call`", "cpu_us"),
    "W1.one": ("one in flight, p50 latency", "p50_us"),
    "W1.one.message": ("the same, nodes registered for Message", "p50_us"),
    "W1.bare.one": ("the same, bare payloads", "p50_us"),
    "W2": ("fan-out to 50 and join, a round", "cpu_us"),
    "W3": ("streaming, 1,000 chunks", "cpu_us"),
    "W3.first": ("streaming, p50 of the first chunk", "p50_us"),
    "W3.stream": ("streaming through `flow.stream`", "cpu_us"),
    "W4": ("router with 10 targets", "cpu_us"),
    "W5": ("controller loop of 20", "cpu_us"),
    "W6": ("one of 10,000 in flight", "cpu_us"),
    "W7": ("cancel one of 1,000, p50", "p50_us"),
    "W8": ("W1 with a listener", "cpu_us"),
    "W8.quiet": ("W1 again, nobody listens", "cpu_us"),
    "W9": ("W1, durable in SQLite", "cpu_us"),
    "W9.events": ("the same, flow events only", "cpu_us"),
    "W11": ("one retry and one timeout", "cpu_us"),
    "W12": ("playbook of two nodes", "cpu_us"),
}
"""What each line of the table is, and which figure stands in it; µs of CPU time unless it says p50."""


def figures_table(rounds: Rounds, runtimes: Sequence[str]) -> list[str]:
    """One line for each workload, one column for each runtime: medians, and how far the rounds lie apart."""
    shown = [runtime for runtime in runtimes if any(key[0] == runtime for key in rounds)]
    lines = ["| µs | what | " + " | ".join(NAMES[runtime] for runtime in shown) + " |"]
    lines.append("| --- | --- |" + " --- |" * len(shown))
    for line, (what, figure) in UNITS.items():
        workload = "W3" if line == "W3.first" else line
        cells = [_cell(middle_of(rounds, runtime, workload, figure)) for runtime in shown]
        if any(cells):
            lines.append(f"| {line} | {what} | " + " | ".join(cells) + " |")
    return lines


def judged_table(rounds: Rounds) -> list[str]:
    """One line for each bound."""
    lines = [
        "| | against | measured | lowest to highest | must | aim | |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for judged in judge(rounds):
        lines.append("| " + " | ".join(_judged_cells(judged)) + " |")
    return lines


def peers_table(rounds: Rounds, peers: Sequence[str]) -> list[str]:
    """How many times as much as ours each peer needs; below 1 it is ahead of ours."""
    shown = [peer for peer in peers if any(key[0] == peer for key in rounds)]
    if not shown:
        return []
    lines = ["| as often as ours | " + " | ".join(NAMES[peer] for peer in shown) + " |"]
    lines.append("| --- |" + " --- |" * len(shown))
    for line, (_, figure) in UNITS.items():
        workload = "W3" if line == "W3.first" else line
        cells = []
        for peer in shown:
            target = Target(line, workload, figure, None, None, (peer, workload, figure))
            judged = judge(rounds, [target])
            cells.append(f"{1 / judged[0].spread.median:.1f}" if judged else "")
        if any(cells):
            lines.append(f"| {line} | " + " | ".join(cells) + " |")
    return lines


def _cell(spread: Spread | None) -> str:
    return "" if spread is None else f"{_number(spread.median)} ({_number(spread.low)}-{_number(spread.high)})"


def _judged_cells(judged: Judged) -> list[str]:
    target, spread = judged
    ratio = target.against is not None
    against = ""
    if target.against is not None:
        runtime, workload, _ = target.against
        against = NAMES[runtime] if runtime != "ours" else f"itself ({workload})"
    unit = "" if ratio else f" {target.unit}".rstrip()

    def text(value: float | None) -> str:
        if value is None:
            return ""
        if ratio and value < 0.58 and runtime_is_forerunner:
            return f"1/{1 / value:.1f}"
        return f"{_number(value)}{unit}"

    runtime_is_forerunner = target.against is not None and target.against[0] == "forerunner"
    verdict = {None: "", True: "met", False: "**missed**"}[judged.met]
    if judged.met is not False and judged.reached is not None:
        verdict = (f"{verdict}, " if verdict else "") + ("aim reached" if judged.reached else "aim not reached")
    elif judged.met is False and target.must:
        verdict += f" by {abs(spread.median / target.must - 1):.0%}"
    extremes = f"{text(spread.low)} to {text(spread.high)}"
    return [target.title, against, text(spread.median), extremes, text(target.must), text(target.aim), verdict]


def _number(value: float) -> str:
    if value == int(value):
        return f"{value:,.0f}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
