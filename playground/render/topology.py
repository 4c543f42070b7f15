"""A flow's graph, drawn in text: boxes from top to bottom, or a list where boxes would not fit."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from playground.dashboard.text import cells, one_line, pad
from playground.protocol import FlowInfo, NodeInfo
from playground.render.canvas import DOWN, UP, Canvas
from playground.render.diagrams import ENDPOINTS, graph_names, successors
from playground.render.layers import Edge, Layout, lay_out

__all__ = ["draw_graph", "graph_lines"]

MAX_WIDTH = 160
"""Columns of a drawing whose place is unknown."""
MAX_NODES = 80
_GAP = 3
"""Columns between neighbors."""
_PASSES = 4
"""How often columns are drawn towards their neighbors."""


def graph_lines(flow: FlowInfo, *, width: int | None = None) -> list[str]:
    """The drawing, then what each node takes, gives and is allowed."""
    names = graph_names(flow)
    lines = draw_graph(names, flow.edges, width=width)
    back = lay_out(names, flow.edges).back if len(names) <= MAX_NODES else []
    if back:
        lines += ["", *(f"↺ {one_line(source)} → {one_line(target)}" for source, target in back)]
    table = _table(flow.nodes)
    return [*lines, "", *table] if table else lines


def draw_graph(names: Sequence[str], edges: Sequence[Edge], *, width: int | None = None) -> list[str]:
    """Boxes and lines; edges against the direction are left out. A list of edges where `width` is too small."""
    if not names:
        return ["(no nodes)"]
    limit = width or MAX_WIDTH
    if len(names) > MAX_NODES:
        return _listing(names, edges)
    layout = lay_out(names, edges)
    labels = {name: _label(name, layout.back) for name in names}
    lines = _Drawing(layout, labels).lines()
    return lines if max(cells(line) for line in lines) <= limit else _listing(names, edges)


def _label(name: str, back: Sequence[Edge]) -> str:
    return f"{one_line(name)} ↺" if (name, name) in back else one_line(name)


def _listing(names: Sequence[str], edges: Sequence[Edge]) -> list[str]:
    following = successors(edges)
    lines: list[str] = []
    for name in names:
        lines.append(one_line(name))
        targets = following.get(name, [])
        for index, target in enumerate(targets):
            branch = "└" if index == len(targets) - 1 else "├"
            lines.append(f"  {branch}─▶ {one_line(target)}" + (" ↺" if target == name else ""))
    return lines


class _Bus(NamedTuple):
    """Sources that all lead to the same targets share one horizontal line."""

    sources: list[str]
    targets: list[str]


class _Drawing:
    """Places a layout's nodes in columns and draws it."""

    def __init__(self, layout: Layout, labels: dict[str, str]) -> None:
        self.layout = layout
        self.labels = labels
        self.center = self._place()

    def lines(self) -> list[str]:
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
        return 1 if name in self.layout.stand_ins else cells(self.labels[name]) + 4

    def _height(self, name: str) -> int:
        return 1 if name in ENDPOINTS or name in self.layout.stand_ins else 3

    def _place(self) -> dict[str, int]:
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
        outgoing = any(source == name for source, _ in self.layout.edges)
        if name in self.layout.stand_ins:
            canvas.vertical(middle, row, row + height - 1)
            return
        left = middle - self._width(name) // 2
        if name in ENDPOINTS:
            canvas.write(row, left, f"( {self.labels[name]} )")
        else:
            canvas.box(row, left, self.labels[name])
            if outgoing:
                canvas.join(row + 2, middle, DOWN)
        if outgoing and self._height(name) < height:
            canvas.vertical(middle, row + self._height(name), row + height - 1)

    def _draw_edges(self, canvas: Canvas, row: int, names: set[str]) -> int:
        """Draw what leads from one row of nodes to the next; returns the row that follows."""
        edges = [edge for edge in self.layout.edges if edge[0] in names]
        buses = self._buses(edges)
        tracks = self._tracks(buses)
        bottom = row + max(max(tracks, default=0), 1)
        for bus, track in zip(buses, tracks, strict=True):
            self._draw_bus(canvas, bus, row, row + track - 1 if track else row, bottom)
        for bus, track in zip(buses, tracks, strict=True):
            if track:
                self._bridge(canvas, bus, row + track - 1, edges, row, (buses, tracks))
        for target in {target for _, target in edges} - self.layout.stand_ins:
            canvas.write(bottom, self.center[target], "▼")
        return bottom + 1

    def _draw_bus(self, canvas: Canvas, bus: _Bus, top: int, line: int, bottom: int) -> None:
        for source in bus.sources:
            canvas.vertical(self.center[source], top, line)
            canvas.join(top, self.center[source], UP)
        for target in bus.targets:
            canvas.vertical(self.center[target], line, bottom)
            canvas.join(bottom, self.center[target], DOWN)
        columns = self._columns(bus)
        canvas.horizontal(line, min(columns), max(columns))

    def _columns(self, bus: _Bus) -> list[int]:
        return [self.center[name] for name in (*bus.sources, *bus.targets)]

    def _buses(self, edges: Sequence[Edge]) -> list[_Bus]:
        targets: dict[str, list[str]] = {}
        for source, target in edges:
            targets.setdefault(source, []).append(target)
        together: dict[frozenset[str], _Bus] = {}
        for source, found in targets.items():
            together.setdefault(frozenset(found), _Bus([], found)).sources.append(source)
        return list(together.values())

    def _tracks(self, buses: Sequence[_Bus]) -> list[int]:
        """A line (from 1) for each bus so that none runs along another; 0 for one that goes straight down.

        A bus whose source stands over a target of another bus comes first, or their verticals would run together.
        """
        spans = [(min(self._columns(bus)), max(self._columns(bus))) for bus in buses]
        order = sorted(range(len(buses)), key=lambda index: (self._stands_over(buses, index), spans[index]))
        tracks = [0] * len(buses)
        placed: list[tuple[int, int]] = []
        for index in order:
            left, right = spans[index]
            if left == right:
                continue
            track = 1
            for other, line in placed:
                apart = right < spans[other][0] or spans[other][1] < left
                if not apart or self._over(buses[other], buses[index]):
                    track = max(track, line + 1)
            tracks[index] = track
            placed.append((index, track))
        return tracks

    def _over(self, upper: _Bus, lower: _Bus) -> bool:
        drops = {self.center[target] for target in lower.targets}
        return any(self.center[source] in drops for source in upper.sources)

    def _stands_over(self, buses: Sequence[_Bus], index: int) -> int:
        """Buses without constraints first; ties and circles are broken by the order from the left."""
        return sum(1 for other, bus in enumerate(buses) if other != index and self._over(bus, buses[index]))

    def _bridge(
        self,
        canvas: Canvas,
        bus: _Bus,
        line: int,
        edges: Sequence[Edge],
        top: int,
        placed: tuple[Sequence[_Bus], Sequence[int]],
    ) -> None:
        """Mark where another bus's verticals cross this line without joining it."""
        own = set(self._columns(bus))
        for other, track in zip(*placed, strict=True):
            other_line = top + track - 1 if track else None
            for name in other.sources:
                if self.center[name] not in own and (other_line is None or other_line > line):
                    self._mark(canvas, bus, line, self.center[name])
            for name in other.targets:
                if self.center[name] not in own and (other_line is None or other_line < line):
                    self._mark(canvas, bus, line, self.center[name])

    def _mark(self, canvas: Canvas, bus: _Bus, line: int, column: int) -> None:
        columns = self._columns(bus)
        if min(columns) < column < max(columns):
            canvas.bridge(line, column)


def _table(nodes: Sequence[NodeInfo]) -> list[str]:
    """One line for each node: types and policy, as far as they say something."""
    rows = [(one_line(node.name), _types(node), _policy(node.policy)) for node in nodes]
    if not any(types or policy for _, types, policy in rows):
        return []
    columns = [max(cells(row[index]) for row in rows) for index in range(2)]
    return [f"{pad(name, columns[0])}  {pad(types, columns[1])}  {policy}".rstrip() for name, types, policy in rows]


def _types(node: NodeInfo) -> str:
    if node.input_type is None and node.output_type is None:
        return ""
    return f"{one_line(node.input_type or 'anything')} → {one_line(node.output_type or 'anything')}"


def _policy(policy: dict[str, Any]) -> str:
    """What differs from the defaults of a node's policy."""
    said = []
    if policy.get("timeout_s") is not None:
        said.append(f"timeout {policy['timeout_s']:g} s")
    retries = policy.get("max_retries")
    if retries:
        said.append("1 retry" if retries == 1 else f"{retries} retries")
    concurrency = policy.get("max_concurrency")
    if concurrency not in (None, 1):
        said.append(f"{concurrency} at once")
    if policy.get("validate") not in (None, "both"):
        said.append(f"validates {policy['validate']}")
    return ", ".join(said)
