"""Writes what was measured into `docs/performance.md`: tables between marks, and a plot beside them."""

from __future__ import annotations

import datetime as dt
import os
import platform
from collections.abc import Mapping, Sequence

from benchmarks.runtime.environments import ROOT
from benchmarks.runtime.lines import NAMES
from benchmarks.runtime.report import Table, markdown
from benchmarks.runtime.targets import Rounds

__all__ = ["PLOTTED", "draw", "fill", "write"]

DOCUMENT = ROOT / "docs" / "performance.md"
PLOT = ROOT / "docs" / "images" / "performance.svg"
PLOTTED = {
    "W1": ("W1 chain", {"forerunner": "W1.message"}),
    "W2": ("W2 fan-out", {}),
    "W3": ("W3 stream", {}),
    "W4": ("W4 router", {}),
    "W5": ("W5 loop", {}),
    "W8": ("W8 listener", {}),
}
"""The workloads of the plot, and where a runtime's figure has another name."""
_COLORS = {
    "ours": "#0369a1", "forerunner": "#f59e0b", "langgraph": "#64748b", "pydantic_graph": "#a855f7",
    "llama_index": "#ef4444", "burr": "#16a34a",
}  # fmt: skip


def write(rounds: Rounds, tables: Sequence[Table], versions: Sequence[str]) -> None:
    """Replace what stands between the marks, and the plot."""
    counts = [len(each) for each in rounds.values()]
    about = (
        f"Measured on {dt.datetime.now(dt.UTC):%Y-%m-%d}, {platform.machine()}, {os.cpu_count()} cores, "
        f"medians of {max(counts)} rounds: {', '.join(versions)}."
    )
    parts = {"about": about}
    parts |= {name: markdown(table) for name, table in zip(("figures", "bounds", "peers"), tables, strict=True)}
    DOCUMENT.write_text(fill(DOCUMENT.read_text(encoding="utf-8"), parts), encoding="utf-8")
    PLOT.write_text(draw(rounds), encoding="utf-8")


def fill(text: str, parts: Mapping[str, str]) -> str:
    """The text with each part between its marks. Raises `ValueError` when a mark is missing."""
    for name, part in parts.items():
        before, begin, rest = text.partition(f"<!-- {name} -->")
        _, end, after = rest.partition(f"<!-- /{name} -->")
        if not end:
            raise ValueError(f"{DOCUMENT.name} has no place for {name!r}: <!-- {name} --> … <!-- /{name} -->")
        text = f"{before}{begin}\n{part}\n{end}{after}"
    return text


def draw(rounds: Rounds) -> str:
    """A bar for each workload and runtime: CPU time as a multiple of limit (c), on a logarithmic scale."""
    bars: list[tuple[str, str, float]] = []
    for workload, (title, others) in PLOTTED.items():
        for runtime in _COLORS:
            ratio = _against_limit(rounds, runtime, others.get(runtime, workload), workload)
            if ratio is not None:
                bars.append((title, runtime, ratio))
    return _svg(bars)


def _against_limit(rounds: Rounds, runtime: str, theirs: str, workload: str) -> float | None:
    pairs = zip(rounds.get((runtime, theirs), ()), rounds.get(("limit_c", workload), ()), strict=False)
    values = sorted(each["cpu_us"] / limit["cpu_us"] for each, limit in pairs)
    return values[len(values) // 2] if values else None


_WIDTH, _LEFT, _ROW, _TOP, _DECADES = 860, 120, 13, 66, 3.0
_LOWEST = 0.5


def _x(ratio: float) -> float:
    from math import log10

    share = (log10(max(ratio, _LOWEST)) - log10(_LOWEST)) / (_DECADES + 0.3)
    return _LEFT + share * (_WIDTH - _LEFT - 70)


def _svg(bars: Sequence[tuple[str, str, float]]) -> str:
    shapes: list[str] = []
    y, previous = _TOP, ""
    for title, runtime, ratio in bars:
        if title != previous:
            y += 8 if previous else 0
            shapes.append(f'<text x="{_LEFT - 10}" y="{y + 11}" text-anchor="end" class="title">{title}</text>')
            previous = title
        left, right = _x(_LOWEST), _x(ratio)
        shapes.append(
            f'<rect x="{left:.1f}" y="{y}" width="{max(right - left, 1):.1f}" height="{_ROW - 3}" '
            f'fill="{_COLORS[runtime]}"/><text x="{right + 4:.1f}" y="{y + 9}">{ratio:,.3g}</text>'
        )
        y += _ROW
    height = y + 16
    grid = [
        f'<line x1="{_x(mark):.1f}" y1="{_TOP - 6}" x2="{_x(mark):.1f}" y2="{y}" class="{kind}"/>'
        f'<text x="{_x(mark):.1f}" y="{_TOP - 10}" text-anchor="middle">{mark:,}</text>'
        for mark, kind in ((1, "limit"), (10, "grid"), (100, "grid"), (1_000, "grid"))
    ]
    legend, x = [], _LEFT
    for runtime, color in _COLORS.items():
        name = "penguiflow 3.11.2" if runtime == "forerunner" else NAMES[runtime]
        legend.append(
            f'<rect x="{x}" y="26" width="10" height="10" fill="{color}"/><text x="{x + 14}" y="35">{name}</text>'
        )
        x += 32 + 6 * len(name)
    style = (
        "text{font:11px sans-serif;fill:#475569}.title{font-weight:bold}.head{font:bold 13px sans-serif}"
        ".grid{stroke:#cbd5e1}.limit{stroke:#475569;stroke-dasharray:4 3}"
    )
    head = "CPU time as a multiple of queues with validators, limit (c); the scale is logarithmic, shorter is better"
    body = "\n".join([*grid, *legend, *shapes])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{head}">\n'
        f"<style>{style}</style>\n"
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>\n<text x="10" y="16" class="head">{head}</text>\n'
        f"{body}\n</svg>\n"
    )
