"""A layout drawn as boxes and lines, and where in the drawing each node is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from playground.dashboard.text import cells
from playground.render.canvas import DOWN, Canvas
from playground.render.diagrams import ENDPOINTS
from playground.render.layers import Layout
from playground.render.routing import route

__all__ = ["Drawing", "Place"]

_GAP = 3
"""Columns between neighbors."""
_PASSES = 4
"""How often columns are drawn towards their neighbors."""


class Place(NamedTuple):
    """Where a node is drawn: its top left corner, and its size."""

    row: int
    column: int
    width: int
    height: int


class Drawing:
    """Places a layout's nodes in columns and draws them as boxes around their lines of text."""

    def __init__(self, layout: Layout, texts: Mapping[str, Sequence[str]]) -> None:
        self.layout = layout
        self.texts = texts
        self.places: dict[str, Place] = {}
        """Where each node was drawn."""
        self.arrows: dict[str, tuple[int, int]] = {}
        """Row and column of the arrow head above each node that something leads to."""
        self._widths = {name: max(map(cells, lines)) + 4 for name, lines in texts.items()}
        self._sources = {source for source, _ in layout.edges}
        self.center = self._columns()

    def lines(self) -> list[str]:
        """The picture; fills `places` and `arrows`."""
        canvas = Canvas()
        row = 0
        for level, names in enumerate(self.layout.rows):
            height = max(self._height(name) for name in names)
            for name in names:
                self._draw_node(canvas, row, height, name)
            row += height
            if level + 1 < len(self.layout.rows):
                row = self._draw_edges(canvas, row, set(names))
        return canvas.lines()

    def _width(self, name: str) -> int:
        return 1 if name in self.layout.stand_ins else self._widths[name]

    def _height(self, name: str) -> int:
        return 1 if name in ENDPOINTS or name in self.layout.stand_ins else len(self.texts[name]) + 2

    def _columns(self) -> dict[str, int]:
        """A middle column for each node: near the mean of its neighbors', in order, without overlap."""
        above: dict[str, list[str]] = {}
        below: dict[str, list[str]] = {}
        for source, target in self.layout.edges:
            above.setdefault(target, []).append(source)
            below.setdefault(source, []).append(target)
        center: dict[str, float] = {}
        for names in self.layout.rows:
            center.update(zip(names, self._spread(names, [0.0] * len(names)), strict=True))
        for number in range(_PASSES):
            neighbors, rows = (above, self.layout.rows) if number % 2 == 0 else (below, self.layout.rows[::-1])
            for names in rows:
                wanted = []
                for name in names:
                    near = [center[other] for other in neighbors.get(name, ())]
                    wanted.append(sum(near) / len(near) if near else center[name])
                center.update(zip(names, self._spread(names, wanted), strict=True))
        leftmost = min(round(center[name]) - self._width(name) // 2 for names in self.layout.rows for name in names)
        return {name: round(column) - leftmost for name, column in center.items()}

    def _spread(self, names: Sequence[str], wanted: Sequence[float]) -> list[float]:
        """The columns nearest to the wanted ones that keep order and distances: those that touch move as one."""
        offsets = [0]
        for left, right in pairwise(names):
            half = self._width(left) - self._width(left) // 2
            offsets.append(offsets[-1] + half + _GAP + self._width(right) // 2)
        pools: list[tuple[float, int]] = []
        for value, offset in zip(wanted, offsets, strict=True):
            mean, size = value - offset, 1
            while pools and pools[-1][0] > mean:
                other, count = pools.pop()
                mean, size = (mean * size + other * count) / (size + count), size + count
            pools.append((mean, size))
        starts = [round(mean) for mean, size in pools for _ in range(size)]
        return [float(start + offset) for start, offset in zip(starts, offsets, strict=True)]

    def _draw_node(self, canvas: Canvas, row: int, height: int, name: str) -> None:
        middle = self.center[name]
        outgoing = name in self._sources
        if name in self.layout.stand_ins:
            canvas.vertical(middle, row, row + height - 1)
            return
        left = middle - self._width(name) // 2
        self.places[name] = Place(row, left, self._width(name), self._height(name))
        if name in ENDPOINTS:
            canvas.write(row, left, f"( {self.texts[name][0]} )")
        else:
            canvas.box(row, left, *self.texts[name])
            if outgoing:
                canvas.join(row + self._height(name) - 1, middle, DOWN)
        if outgoing and self._height(name) < height:
            canvas.vertical(middle, row + self._height(name), row + height - 1)

    def _draw_edges(self, canvas: Canvas, row: int, names: set[str]) -> int:
        """Draw what leads from one row of nodes to the next; returns the row that follows."""
        edges = [edge for edge in self.layout.edges if edge[0] in names]
        lines = route(edges, self.center, self.layout.stand_ins)
        lines.draw(canvas, row)
        bottom = row + lines.height
        for target in lines.drops.keys() - self.layout.stand_ins:
            canvas.write(bottom, lines.drops[target], "▼")
            self.arrows[target] = (bottom, lines.drops[target])
        return bottom + 1
