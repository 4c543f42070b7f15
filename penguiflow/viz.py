"""A flow's graph as Mermaid and DOT: the same text for the same flow, whatever its names contain."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penguiflow.core import PenguiFlow

__all__ = ["flow_to_dot", "flow_to_mermaid"]

OPEN_SEA = "OpenSea"
ROOKERY = "Rookery"
ENDPOINTS = (OPEN_SEA, ROOKERY)
"""Where messages come from and where they go; no nodes of the flow."""

_STYLES = {
    "controller_loop": "fill:#fef3c7,stroke:#b45309,stroke-width:1px,color:#78350f",
    "endpoint": "fill:#e0f2fe,stroke:#0369a1,stroke-width:1px,color:#0c4a6e",
}
_DOT_STYLES = {
    "controller_loop": ', style="rounded,filled", fillcolor="#fef3c7"',
    "endpoint": ', shape=oval, style="filled", fillcolor="#e0f2fe"',
}
_RESERVED = frozenset({
    "call", "class", "classdef", "click", "default", "digraph", "direction", "edge", "end", "flowchart", "graph",
    "href", "linkstyle", "node", "strict", "style", "subgraph",
})  # fmt: skip
_DIRECTION = re.compile(r"[A-Z]{2}")


def flow_to_mermaid(flow: PenguiFlow, *, direction: str = "TD") -> str:
    """The flow as a Mermaid flowchart, in the order in which its nodes and edges were named.

    `direction` is one of Mermaid's: TD, TB, BT, LR, RL. Raises `ValueError` for what cannot be one.
    """
    return Picture.of_flow(flow).to_mermaid(direction)


def flow_to_dot(flow: PenguiFlow, *, rankdir: str = "TB") -> str:
    """The flow in Graphviz' DOT, in the order in which its nodes and edges were named.

    `rankdir` is one of Graphviz': TB, BT, LR, RL. Raises `ValueError` for what cannot be one.
    """
    return Picture.of_flow(flow).to_dot(rankdir)


@dataclass(frozen=True)
class Picture:
    """What is drawn: names and edges, endpoints among them, in the order in which they are written."""

    names: tuple[str, ...]
    edges: tuple[tuple[str, str], ...]
    loops: frozenset[str]
    """Names of controller loops."""

    @classmethod
    def of_flow(cls, flow: PenguiFlow) -> Picture:
        """The picture of a flow."""
        loops = {str(node.name) for node in flow.nodes if node.allow_cycle}
        return cls.of((str(node.name) for node in flow.nodes), flow.edges, loops)

    @classmethod
    def of(cls, nodes: Iterable[str], edges: Iterable[tuple[str, str]], loops: Iterable[str] = ()) -> Picture:
        """The picture of nodes (and whatever else the edges name); a node with an edge to itself is a loop."""
        edges = tuple(edges)
        used = dict.fromkeys(name for edge in edges for name in edge)
        inner = [name for name in dict.fromkeys([*nodes, *used]) if name not in ENDPOINTS]
        names = ([OPEN_SEA] if OPEN_SEA in used else []) + inner + ([ROOKERY] if ROOKERY in used else [])
        return cls(tuple(names), edges, frozenset(loops) | {source for source, target in edges if source == target})

    def to_mermaid(self, direction: str = "TD", *, endpoint_shape: tuple[str, str] = ("[", "]")) -> str:
        """The picture as a Mermaid flowchart."""
        ids = stable_ids(self.names)
        lines = [f"graph {_checked(direction)}"]
        for name in self.names:
            opening, closing = endpoint_shape if name in ENDPOINTS else ("[", "]")
            lines.append(f'    {ids[name]}{opening}"{mermaid_text(name)}"{closing}')
        for style, css in _STYLES.items():
            members = [ids[name] for name in self.names if self._style(name) == style]
            if members:
                lines.append(f"    classDef {style} {css}")
                lines.extend(f"    class {member} {style}" for member in members)
        for source, target in self.edges:
            label = _edge_label(source, target)
            arrow = f"-->|{label}|" if label else "-->"
            lines.append(f"    {ids[source]} {arrow} {ids[target]}")
        return "\n".join(lines)

    def to_dot(self, rankdir: str = "TB") -> str:
        """The picture in Graphviz' DOT."""
        ids = stable_ids(self.names)
        lines = ["digraph PenguiFlow {", f"    rankdir={_checked(rankdir)}", "    node [shape=box, style=rounded]"]
        for name in self.names:
            style = _DOT_STYLES.get(self._style(name) or "", "")
            lines.append(f'    {ids[name]} [label="{dot_text(name)}"{style}]')
        for source, target in self.edges:
            label = _edge_label(source, target)
            lines.append(f"    {ids[source]} -> {ids[target]}" + (f' [label="{label}"]' if label else ""))
        lines.append("}")
        return "\n".join(lines)

    def _style(self, name: str) -> str | None:
        if name in ENDPOINTS:
            return "endpoint"
        return "controller_loop" if name in self.loops else None


def stable_ids(names: Iterable[str]) -> dict[str, str]:
    """An identifier for each name that Mermaid and DOT both take: readable, unique, the same every time."""
    ids: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        base = re.sub(r"[^0-9A-Za-z_]", "_", name) or "node"
        if base[0].isdigit() or base.lower() in _RESERVED:
            base = f"node_{base}"
        candidate, number = base, 2
        while candidate.lower() in taken:
            candidate, number = f"{base}_{number}", number + 1
        taken.add(candidate.lower())
        ids[name] = candidate
    return ids


def mermaid_text(text: str) -> str:
    """A label for Mermaid: what has a meaning there becomes an entity, line ends become spaces."""
    return "".join(_mermaid_character(char) for char in text)


def dot_text(text: str) -> str:
    """A label for DOT, between double quotes; line ends become spaces."""
    safe = "".join(char if char.isprintable() else " " for char in text)
    return safe.replace("\\", "\\\\").replace('"', '\\"')


def _mermaid_character(char: str) -> str:
    if char in '"#<>&;`\\{}[]()|':
        return f"#{ord(char)};"
    return char if char.isprintable() else " "


def _edge_label(source: str, target: str) -> str:
    if source == target:
        return "loop"
    if source == OPEN_SEA:
        return "ingress"
    return "egress" if target == ROOKERY else ""


def _checked(direction: str) -> str:
    if not _DIRECTION.fullmatch(direction):
        raise ValueError(f"a direction is two capital letters, such as TD or LR; got {direction!r}")
    return direction
