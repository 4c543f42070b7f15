"""A described flow as Mermaid and DOT: as `penguiflow.viz` draws a flow, with round ends."""

from __future__ import annotations

from collections.abc import Sequence

from penguiflow.viz import ENDPOINTS, OPEN_SEA, ROOKERY, Picture, mermaid_text, stable_ids
from playground.protocol import FlowInfo

__all__ = [
    "ENDPOINTS",
    "OPEN_SEA",
    "ROOKERY",
    "flow_to_dot",
    "flow_to_mermaid",
    "graph_names",
    "mermaid_text",
    "stable_ids",
    "successors",
]


def flow_to_mermaid(flow: FlowInfo, *, direction: str = "TD") -> str:
    """The graph as a Mermaid flowchart, nodes in the flow's order."""
    return _picture(flow).to_mermaid(direction, endpoint_shape=("([", "])"))


def flow_to_dot(flow: FlowInfo, *, rankdir: str = "TB") -> str:
    """The graph in Graphviz' DOT, nodes in the flow's order."""
    return _picture(flow).to_dot(rankdir)


def graph_names(flow: FlowInfo) -> list[str]:
    """Every node: where messages enter first, then the flow's own in its order, then where they leave."""
    return list(_picture(flow).names)


def _picture(flow: FlowInfo) -> Picture:
    return Picture.of((node.name for node in flow.nodes), flow.edges)


def successors(edges: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    """The targets of each source, in the order of the edges."""
    out: dict[str, list[str]] = {}
    for source, target in edges:
        out.setdefault(source, []).append(target)
    return out
