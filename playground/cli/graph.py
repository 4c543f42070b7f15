"""`pf graph`: the shape of a flow, without running it."""

from __future__ import annotations

import asyncio
from typing import Literal

from playground.cli.console import Console
from playground.cli.failures import Failure
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
    asked: list[GraphFormat] = []
    if mermaid:
        asked.append("mermaid")
    if dot:
        asked.append("dot")
    if json:
        asked.append("json")
    if len(asked) > 1:
        raise Failure("choose one of --mermaid, --dot and --json")
    return asked[0] if asked else "text"


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
