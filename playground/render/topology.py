"""A flow's graph, drawn in text: boxes from top to bottom, or a list where boxes would not fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from playground.dashboard.text import cells, one_line, pad
from playground.protocol import FlowInfo, NodeInfo
from playground.render.diagrams import graph_names, successors
from playground.render.drawing import Drawing
from playground.render.layers import Edge, lay_out

__all__ = ["draw_graph", "graph_lines"]

MAX_WIDTH = 160
"""Columns of a drawing whose place is unknown."""
MAX_NODES = 80


def graph_lines(flow: FlowInfo, *, width: int | None = None) -> list[str]:
    """The drawing, then what each node takes, gives and is allowed."""
    names = graph_names(flow)
    lines = draw_graph(names, flow.edges, width=width)
    back = lay_out(names, flow.edges).back if len(names) <= MAX_NODES else []
    if back:
        lines += ["", *(f"↺ {one_line(source)} → {one_line(target)}" for source, target in back)]
    table = _table(flow.nodes)
    if table:
        lines += ["", *table]
    if flow.tools:
        lines += ["", f"tools  {', '.join(map(one_line, flow.tools))}"]
    return lines


def draw_graph(names: Sequence[str], edges: Sequence[Edge], *, width: int | None = None) -> list[str]:
    """Boxes and lines; edges against the direction are left out. A list of edges where `width` is too small."""
    if not names:
        return ["(no nodes)"]
    limit = width or MAX_WIDTH
    if len(names) > MAX_NODES:
        return _listing(names, edges)
    layout = lay_out(names, edges)
    lines = Drawing(layout, {name: [_label(name, layout.back)] for name in names}).lines()
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
