"""Typed async agent flows that you can stop, look inside, change and run again, from your terminal."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penguiflow.core import DEFAULT_QUEUE_MAXSIZE, Context, CycleError, PenguiFlow, create
    from penguiflow.errors import FlowError, FlowErrorCode
    from penguiflow.middlewares import FlowEvent, LatencyCallback, Middleware, log_flow_events
    from penguiflow.node import Node, NodePolicy
    from penguiflow.patterns import join_k, predicate_router
    from penguiflow.registry import ModelRegistry
    from penguiflow.types import WM, FinalAnswer, Headers, Message, PlanStep, StreamChunk, Thought

    __version__: str

_MODULES = {
    "core": ("DEFAULT_QUEUE_MAXSIZE", "Context", "CycleError", "PenguiFlow", "create"),
    "errors": ("FlowError", "FlowErrorCode"),
    "middlewares": ("FlowEvent", "LatencyCallback", "Middleware", "log_flow_events"),
    "node": ("Node", "NodePolicy"),
    "patterns": ("join_k", "predicate_router"),
    "registry": ("ModelRegistry",),
    "types": ("FinalAnswer", "Headers", "Message", "PlanStep", "StreamChunk", "Thought", "WM"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "DEFAULT_QUEUE_MAXSIZE",
    "WM",
    "Context",
    "CycleError",
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
    "StreamChunk",
    "Thought",
    "__version__",
    "create",
    "join_k",
    "log_flow_events",
    "predicate_router",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for (PEP 562)."""
    if name == "__version__":
        from importlib.metadata import version

        return version("penguiflow")
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module 'penguiflow' has no attribute {name!r}") from None
    value = getattr(import_module(f"penguiflow.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
