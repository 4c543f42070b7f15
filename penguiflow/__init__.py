"""Typed async agent flows that you can stop, look inside, change and run again, from your terminal."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penguiflow import testkit
    from penguiflow.core import DEFAULT_QUEUE_MAXSIZE, Context, CycleError, PenguiFlow, create
    from penguiflow.debug import format_flow_event
    from penguiflow.errors import FlowError, FlowErrorCode
    from penguiflow.logging import ExtraFormatter, StructuredFormatter, configure_logging
    from penguiflow.middlewares import FlowEvent, LatencyCallback, Middleware, log_flow_events
    from penguiflow.node import Node, NodePolicy
    from penguiflow.patterns import join_k, map_concurrent, predicate_router, union_router
    from penguiflow.policies import DictRoutingPolicy, RoutingPolicy, RoutingRequest
    from penguiflow.registry import ModelRegistry
    from penguiflow.streaming import chunk_to_ws_json, emit_stream_events, format_sse_event, stream_flow
    from penguiflow.types import WM, FinalAnswer, Headers, Message, PlanStep, StreamChunk, Thought
    from penguiflow.viz import flow_to_dot, flow_to_mermaid

    __version__: str

_MODULES = {
    "core": ("DEFAULT_QUEUE_MAXSIZE", "Context", "CycleError", "PenguiFlow", "create"),
    "debug": ("format_flow_event",),
    "errors": ("FlowError", "FlowErrorCode"),
    "logging": ("ExtraFormatter", "StructuredFormatter", "configure_logging"),
    "middlewares": ("FlowEvent", "LatencyCallback", "Middleware", "log_flow_events"),
    "node": ("Node", "NodePolicy"),
    "patterns": ("join_k", "map_concurrent", "predicate_router", "union_router"),
    "policies": ("DictRoutingPolicy", "RoutingPolicy", "RoutingRequest"),
    "registry": ("ModelRegistry",),
    "streaming": ("chunk_to_ws_json", "emit_stream_events", "format_sse_event", "stream_flow"),
    "types": ("FinalAnswer", "Headers", "Message", "PlanStep", "StreamChunk", "Thought", "WM"),
    "viz": ("flow_to_dot", "flow_to_mermaid"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "DEFAULT_QUEUE_MAXSIZE",
    "WM",
    "Context",
    "CycleError",
    "DictRoutingPolicy",
    "ExtraFormatter",
    "FinalAnswer",
    "FlowError",
    "FlowErrorCode",
    "FlowEvent",
    "Headers",
    "LatencyCallback",
    "Message",
    "Middleware",
    "ModelRegistry",
    "Node",
    "NodePolicy",
    "PenguiFlow",
    "PlanStep",
    "RoutingPolicy",
    "RoutingRequest",
    "StreamChunk",
    "StructuredFormatter",
    "Thought",
    "__version__",
    "chunk_to_ws_json",
    "configure_logging",
    "create",
    "emit_stream_events",
    "flow_to_dot",
    "flow_to_mermaid",
    "format_flow_event",
    "format_sse_event",
    "join_k",
    "log_flow_events",
    "map_concurrent",
    "predicate_router",
    "stream_flow",
    "testkit",
    "union_router",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for (PEP 562)."""
    if name == "__version__":
        from importlib.metadata import version

        return version("penguiflow")
    if name == "testkit":
        return import_module("penguiflow.testkit")
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module 'penguiflow' has no attribute {name!r}") from None
    value = getattr(import_module(f"penguiflow.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
