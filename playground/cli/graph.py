"""`pf graph`: the shape of a flow, without running it."""

from __future__ import annotations

import asyncio
from typing import Literal

from playground.cli.console import Console
from playground.cli.failures import one_of
from playground.cli.outputs import GraphOutput
from playground.cli.targets import check_target
from playground.project import find_project
from playground.protocol import FlowInfo
from playground.render.diagrams import flow_to_dot, flow_to_mermaid
from playground.render.topology import graph_lines
from playground.session import HostSession

__all__ = ["GraphFormat", "choose_format", "show_graph"]

GraphFormat = Literal["text", "mermaid", "dot", "json"]


def choose_format(*, mermaid: bool, dot: bool, json: bool) -> GraphFormat:
    """The one format that was asked for. Raises `Failure` for several."""
    formats: dict[GraphFormat, bool] = {"mermaid": mermaid, "dot": dot, "json": json}
    return one_of(formats) or "text"


def show_graph(target: str, format: GraphFormat) -> int:
    """Load a flow in a host and print its graph; returns the exit code."""
    check_target(target)
    flow = asyncio.run(_load(target))
    console = Console()
    if format == "json":
        console.json(GraphOutput(schema=1, flow=flow).model_dump(mode="json", by_alias=True), indent=2)
    elif format == "mermaid":
        console.line(flow_to_mermaid(flow))
    elif format == "dot":
        console.line(flow_to_dot(flow))
    else:
        for line in graph_lines(flow, width=console.width):
            console.line(line)
    return 0


async def _load(target: str) -> FlowInfo:
    async with HostSession(find_project([target]), [target], record=False) as host:
        return host.find_flow(target)
