"""A flow's graph, drawn in text: boxes from top to bottom, or a list where boxes would not fit."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from playground.dashboard.text import cells, one_line, pad
from playground.protocol import FlowInfo, NodeInfo
from playground.render.canvas import DOWN, Canvas
from playground.render.diagrams import ENDPOINTS, graph_names, successors
from playground.render.layers import Edge, Layout, lay_out
from playground.render.routing import route

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
        lines = route(edges, self.center, self.layout.stand_ins)
        lines.draw(canvas, row)
        bottom = row + lines.height
        for target in lines.drops.keys() - self.layout.stand_ins:
            canvas.write(bottom, lines.drops[target], "▼")
        return bottom + 1


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
