"""A described flow as Mermaid and DOT: as `penguiflow.viz` draws a flow, with round ends."""

from __future__ import annotations

from collections.abc import Sequence

from penguiflow.viz import ENDPOINTS, OPEN_SEA, ROOKERY, Picture, dot_text, mermaid_text, stable_ids
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


_TOOL = "tool "


def flow_to_mermaid(flow: FlowInfo, *, direction: str = "TD") -> str:
    """The graph as a Mermaid flowchart, nodes in the flow's order; a planner with its tools."""
    picture = _picture(flow)
    lines = [picture.to_mermaid(direction, endpoint_shape=("([", "])"))]
    ids, planner = _with_tools(picture, flow)
    for tool in flow.tools if planner else ():
        lines.append(f'    {ids[_TOOL + tool]}[["{mermaid_text(tool)}"]]')
        lines.append(f"    {ids[planner]} -.-> {ids[_TOOL + tool]}")
    return "\n".join(lines)


def flow_to_dot(flow: FlowInfo, *, rankdir: str = "TB") -> str:
    """The graph in Graphviz' DOT, nodes in the flow's order; a planner with its tools."""
    picture = _picture(flow)
    lines = picture.to_dot(rankdir).split("\n")
    ids, planner = _with_tools(picture, flow)
    for tool in flow.tools if planner else ():
        lines.insert(-1, f'    {ids[_TOOL + tool]} [label="{dot_text(tool)}", shape=component, style=""]')
        lines.insert(-1, f"    {ids[planner]} -> {ids[_TOOL + tool]} [style=dotted]")
    return "\n".join(lines)


def _with_tools(picture: Picture, flow: FlowInfo) -> tuple[dict[str, str], str]:
    """Ids of the nodes and, under `tool NAME`, of a planner's tools; and the planner's node, or nothing."""
    planner = next((node.name for node in flow.nodes), "")
    return stable_ids([*picture.names, *(_TOOL + tool for tool in flow.tools)]), planner


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
