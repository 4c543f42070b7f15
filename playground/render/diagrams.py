"""A flow's graph as Mermaid and DOT: the same text for the same flow, whatever its names contain."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from playground.protocol import FlowInfo

__all__ = ["ENDPOINTS", "flow_to_dot", "flow_to_mermaid", "graph_names", "mermaid_text", "stable_ids"]

OPEN_SEA = "OpenSea"
ROOKERY = "Rookery"
ENDPOINTS = (OPEN_SEA, ROOKERY)
"""Where messages come from and where they go; no nodes of the flow."""

_ENDPOINT_STYLE = "fill:#e0f2fe,stroke:#0369a1,color:#0c4a6e"
_LOOP_STYLE = "fill:#fef3c7,stroke:#b45309,color:#78350f"


def flow_to_mermaid(flow: FlowInfo, *, direction: str = "TD") -> str:
    """The graph as a Mermaid flowchart, nodes in the flow's order."""
    names = graph_names(flow)
    ids = stable_ids(names)
    loops = {source for source, target in flow.edges if source == target}
    lines = [f"graph {direction}"]
    for name in names:
        opening, closing = ("([", "])") if name in ENDPOINTS else ("[", "]")
        lines.append(f'    {ids[name]}{opening}"{mermaid_text(name)}"{closing}')
    endpoints = [ids[name] for name in names if name in ENDPOINTS]
    looping = [ids[name] for name in names if name in loops]
    for style, css, members in (("endpoint", _ENDPOINT_STYLE, endpoints), ("controller_loop", _LOOP_STYLE, looping)):
        if members:
            lines.append(f"    classDef {style} {css}")
            lines.extend(f"    class {member} {style}" for member in members)
    for source, target in flow.edges:
        label = _edge_label(source, target)
        arrow = f"-->|{label}|" if label else "-->"
        lines.append(f"    {ids[source]} {arrow} {ids[target]}")
    return "\n".join(lines)


def flow_to_dot(flow: FlowInfo, *, rankdir: str = "TB") -> str:
    """The graph in Graphviz' DOT, nodes in the flow's order."""
    names = graph_names(flow)
    ids = stable_ids(names)
    lines = ["digraph PenguiFlow {", f"    rankdir={rankdir}", "    node [shape=box, style=rounded]"]
    for name in names:
        shape = ", shape=oval" if name in ENDPOINTS else ""
        lines.append(f'    {ids[name]} [label="{_dot_text(name)}"{shape}]')
    for source, target in flow.edges:
        label = _edge_label(source, target)
        lines.append(f"    {ids[source]} -> {ids[target]}" + (f' [label="{label}"]' if label else ""))
    lines.append("}")
    return "\n".join(lines)


def graph_names(flow: FlowInfo) -> list[str]:
    """Every node: where messages enter first, then the flow's own in its order, then where they leave."""
    used = {name for edge in flow.edges for name in edge}
    names = dict.fromkeys(node.name for node in flow.nodes)
    names.update(dict.fromkeys(name for edge in flow.edges for name in edge if name not in ENDPOINTS))
    inner = [name for name in names if name not in ENDPOINTS]
    return [*([OPEN_SEA] if OPEN_SEA in used else []), *inner, *([ROOKERY] if ROOKERY in used else [])]


_RESERVED = frozenset({
    "call", "class", "classdef", "click", "default", "digraph", "direction", "edge", "end", "flowchart", "graph",
    "href", "linkstyle", "node", "strict", "style", "subgraph",
})  # fmt: skip


def stable_ids(names: Iterable[str]) -> dict[str, str]:
    """An identifier for each name that Mermaid and DOT both take: readable, unique, the same every time."""
    ids: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        base = re.sub(r"[^0-9A-Za-z_]", "_", name) or "node"
        if base.lower() in _RESERVED or base[0].isdigit():
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


def _mermaid_character(char: str) -> str:
    if char in '"#<>&;`\\{}[]()|':
        return f"#{ord(char)};"
    return char if char.isprintable() else " "


def _dot_text(text: str) -> str:
    safe = "".join(char if char.isprintable() else " " for char in text)
    return safe.replace("\\", "\\\\").replace('"', '\\"')


def _edge_label(source: str, target: str) -> str:
    if source == target:
        return "loop"
    if source == OPEN_SEA:
        return "ingress"
    return "egress" if target == ROOKERY else ""


def successors(edges: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    """The targets of each source, in the order of the edges."""
    out: dict[str, list[str]] = {}
    for source, target in edges:
        out.setdefault(source, []).append(target)
    return out
