"""The tables, as rows of cells: what was measured, and which bounds it meets."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.runtime.lines import LINES, NAMES
from benchmarks.runtime.targets import Judged, Rounds, Spread, Target, judge, middle_of

__all__ = ["Table", "align", "cell", "figures_table", "judged_table", "markdown", "number", "peers_table"]

Table = list[list[str]]


def figures_table(rounds: Rounds, runtimes: Sequence[str]) -> Table:
    """One line for each figure, one column for each runtime: medians, and how far the rounds lie apart."""
    shown = [runtime for runtime in runtimes if any(key[0] == runtime for key in rounds)]
    table = [["", "", "", *(NAMES[runtime] for runtime in shown)]]
    name = ""
    for line in LINES:
        name = line.name or name
        cells = [cell(middle_of(rounds, runtime, line.workload, line.figure)) for runtime in shown]
        if any(cells):
            table.append([name, line.what, line.unit, *cells])
    return table


def judged_table(rounds: Rounds) -> Table:
    """One line for each bound."""
    header = ["", "against", "measured", "lowest to highest", "must", "aim", ""]
    return [header, *(_judged_cells(judged) for judged in judge(rounds))]


def peers_table(rounds: Rounds, peers: Sequence[str]) -> Table:
    """How many times as much as ours each peer needs; below 1 it is ahead of ours."""
    shown = [peer for peer in peers if any(key[0] == peer for key in rounds)]
    table = [["", "", *(NAMES[peer] for peer in shown)]]
    name = ""
    for line in LINES:
        name = line.name or name
        cells = []
        for peer in shown if line.unit and not line.figure.startswith("event") else ():
            target = Target(line.what, line.workload, line.figure, None, None, (peer, line.workload, line.figure))
            judged = judge(rounds, [target])
            ahead = 1 / judged[0].spread.median if judged and judged[0].spread.median else None
            cells.append("" if ahead is None else f"{number(ahead)}{'' if ahead >= 1 else ' **ahead of ours**'}")
        if any(cells):
            table.append([name, line.what, *cells])
    return table


def align(table: Table) -> str:
    """The table with its columns one below the other."""
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    rows = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    return "\n".join(rows).replace("**", "").replace("`", "")


def markdown(table: Table) -> str:
    """The table for a document."""
    header, *rows = table
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def cell(spread: Spread | None) -> str:
    """A figure: its median, and how far the rounds lie apart; empty without one."""
    if spread is None:
        return ""
    low, middle, high = number(spread.low), number(spread.median), number(spread.high)
    return middle if low == high else f"{middle} ({low} to {high})"


def _judged_cells(judged: Judged) -> list[str]:
    target, spread = judged
    runtime, workload = target.against[:2] if target.against is not None else ("", "")
    against = NAMES.get(runtime, "")
    if runtime == "ours":
        against = "itself" if workload == target.workload else f"its {workload}"

    def text(value: float | None) -> str:
        if value is None:
            return ""
        if runtime == "forerunner":
            return f"1/{number(1 / value)}" if value else "0"
        return f"{number(value)} {target.unit}".rstrip()

    extremes = "" if spread.low == spread.high else f"{text(spread.low)} to {text(spread.high)}"
    return [target.title, against, text(spread.median), extremes, text(target.must), text(target.aim), _verdict(judged)]


def _verdict(judged: Judged) -> str:
    if judged.met is False:
        must = judged.target.must
        return f"**missed** by {abs(judged.spread.median / must - 1):.0%}" if must else "**missed**"
    words = ["met"] if judged.met else []
    if judged.reached is not None:
        words.append("aim reached" if judged.reached else "aim not reached")
    return ", ".join(words)


def number(value: float) -> str:
    """A number with about three digits."""
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) < 0.005:
        return f"{value:.4f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
