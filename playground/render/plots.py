"""Plots for a terminal: bars, dots in braille where there are too many for bars, and rows of blocks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

__all__ = ["axis_top", "bars", "binned", "blocks", "columns", "dots"]

_BRAILLE = 0x2800
_DOT = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
_BLOCKS = " ▁▂▃▄▅▆▇█"
_MAX_BAR = 6
"""Cells of one bar."""


def axis_top(highest: float) -> float:
    """A round number at or above `highest`: 1, 2, 2.5 or 5 times a power of ten."""
    if not math.isfinite(highest) or highest <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(highest))
    return next((power * factor for factor in (1.0, 2.0, 2.5, 5.0) if power * factor >= highest * 0.999999), power * 10)


def columns(number: int, width: int) -> list[tuple[int, int]]:
    """First cell and cells of each of `number` bars on `width` cells, with a gap between them where there is room."""
    if not 0 < number <= width:
        return []
    size = max(min(width // number - 1, _MAX_BAR), 1)
    return [(index * width // number, size) for index in range(number)]


def bars(values: Sequence[float | None], *, top: float, width: int, height: int) -> list[str]:
    """A bar for each value: `height` rows of `width` cells, to an eighth of a row. None leaves its place empty."""
    rows = [[" "] * width for _ in range(height)]
    for (first, size), value in zip(columns(len(values), width), values, strict=False):
        if value is None or not math.isfinite(value):
            continue
        eighths = max(round(min(max(value / top, 0.0), 1.0) * 8 * height), 1)
        for row in range(height):
            level = min(max(eighths - 8 * (height - 1 - row), 0), 8)
            rows[row][first : first + size] = _BLOCKS[level] * size
    return ["".join(row) for row in rows]


def dots(values: Sequence[float | None], *, top: float, width: int, height: int) -> list[str]:
    """Each value as a dot over its place in the sequence; `height` rows of `width` cells, 0 at the bottom.

    None leaves its place empty. What lies above `top` is drawn at the upper edge.
    """
    cells = [[0] * width for _ in range(height)]
    last = max(len(values) - 1, 1)
    for index, value in enumerate(values):
        if value is None or not math.isfinite(value) or width < 1 or height < 1:
            continue
        x = round(index / last * (2 * width - 1))
        share = min(max(value / top, 0.0), 1.0)
        y = round((1 - share) * (4 * height - 1))
        cells[y // 4][x // 2] |= _DOT[x % 2][y % 4]
    return ["".join(chr(_BRAILLE + cell) if cell else " " for cell in row) for row in cells]


def binned(values: Sequence[float], width: int) -> list[float]:
    """At most `width` values: neighbors become their mean."""
    if len(values) <= width or width < 1:
        return list(values)
    edges = [round(index * len(values) / width) for index in range(width + 1)]
    return [sum(values[first:last]) / (last - first) for first, last in pairwise(edges)]


def blocks(values: Sequence[float], width: int, *, top: float | None = None) -> str:
    """One row of blocks, as wide as `bars`; the highest is `top`, or the highest value. What is not 0 is seen."""
    shown = binned(values, width)
    highest = top if top is not None else max(shown, default=0.0)
    row = [" "] * width
    for (first, size), value in zip(columns(len(shown), width), shown, strict=True):
        row[first : first + size] = (_BLOCKS[_level(value / highest)] if value > 0 and highest > 0 else "▁") * size
    return "".join(row)


def _level(share: float) -> int:
    return min(max(math.ceil(share * 8), 2), 8)
