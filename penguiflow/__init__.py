"""Typed async agent flows that you can stop, look inside, change and run again, from your terminal."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penguiflow import testkit
    from penguiflow.artifacts import (
        ArtifactRef,
        ArtifactRetentionConfig,
        ArtifactScope,
        ArtifactStore,
        InMemoryArtifactStore,
        NoOpArtifactStore,
        discover_artifact_store,
    )
    from penguiflow.bus import BusEnvelope, MessageBus
    from penguiflow.catalog import NodeSpec, SideEffect, ToolInputExample, ToolLoadingMode, build_catalog, tool
    from penguiflow.core import DEFAULT_QUEUE_MAXSIZE, Context, CycleError, PenguiFlow, call_playbook, create
    from penguiflow.debug import format_flow_event
    from penguiflow.errors import FlowError, FlowErrorCode
    from penguiflow.logging import ExtraFormatter, StructuredFormatter, configure_logging
    from penguiflow.metrics import StoredEvent
    from penguiflow.middlewares import FlowEvent, LatencyCallback, Middleware, log_flow_events
    from penguiflow.node import Node, NodePolicy
    from penguiflow.patterns import join_k, map_concurrent, predicate_router, union_router
    from penguiflow.planner import (
        PlannerAction,
        PlannerFinish,
        ReactPlanner,
        ToolExamplesConfig,
        Trajectory,
        TrajectoryStep,
    )
    from penguiflow.policies import DictRoutingPolicy, RoutingPolicy, RoutingRequest
    from penguiflow.registry import ModelRegistry
    from penguiflow.remote import (
        REMOTE_TERMINAL_TASK_STATES,
        RemoteCallRequest,
        RemoteCallResult,
        RemoteNode,
        RemotePushNotificationBinding,
        RemoteStreamEvent,
        RemoteTaskAuthRequired,
        RemoteTaskEvent,
        RemoteTaskInputRequired,
        RemoteTaskPage,
        RemoteTaskSnapshot,
        RemoteTaskState,
        RemoteTaskStatus,
        RemoteTransport,
        SupportsRemoteTasks,
    )
    from penguiflow.state.models import RemoteBinding
    from penguiflow.state.protocol import StateStore, SupportsConversationBindings
    from penguiflow.steering import SteeringCancelled, SteeringEvent, SteeringEventType, SteeringInbox
    from penguiflow.streaming import chunk_to_ws_json, emit_stream_events, format_sse_event, stream_flow
    from penguiflow.types import WM, FinalAnswer, Headers, Message, PlanStep, StreamChunk, Thought
    from penguiflow.viz import flow_to_dot, flow_to_mermaid

    __version__: str

_MODULES = {
    "artifacts": (
        "ArtifactRef",
        "ArtifactRetentionConfig",
        "ArtifactScope",
        "ArtifactStore",
        "InMemoryArtifactStore",
        "NoOpArtifactStore",
        "discover_artifact_store",
    ),
    "bus": ("BusEnvelope", "MessageBus"),
    "catalog": ("NodeSpec", "SideEffect", "ToolInputExample", "ToolLoadingMode", "build_catalog", "tool"),
    "core": ("DEFAULT_QUEUE_MAXSIZE", "Context", "CycleError", "PenguiFlow", "call_playbook", "create"),
    "debug": ("format_flow_event",),
    "errors": ("FlowError", "FlowErrorCode"),
    "logging": ("ExtraFormatter", "StructuredFormatter", "configure_logging"),
    "metrics": ("StoredEvent",),
    "middlewares": ("FlowEvent", "LatencyCallback", "Middleware", "log_flow_events"),
    "node": ("Node", "NodePolicy"),
    "patterns": ("join_k", "map_concurrent", "predicate_router", "union_router"),
    "planner": (
        "PlannerAction",
        "PlannerFinish",
        "ReactPlanner",
        "ToolExamplesConfig",
        "Trajectory",
        "TrajectoryStep",
    ),
    "policies": ("DictRoutingPolicy", "RoutingPolicy", "RoutingRequest"),
    "registry": ("ModelRegistry",),
    "remote": (
        "REMOTE_TERMINAL_TASK_STATES",
        "RemoteCallRequest",
        "RemoteCallResult",
        "RemoteNode",
        "RemotePushNotificationBinding",
        "RemoteStreamEvent",
        "RemoteTaskAuthRequired",
        "RemoteTaskEvent",
        "RemoteTaskInputRequired",
        "RemoteTaskPage",
        "RemoteTaskSnapshot",
        "RemoteTaskState",
        "RemoteTaskStatus",
        "RemoteTransport",
        "SupportsRemoteTasks",
    ),
    "state.models": ("RemoteBinding",),
    "state.protocol": ("StateStore", "SupportsConversationBindings"),
    "steering": ("SteeringCancelled", "SteeringEvent", "SteeringEventType", "SteeringInbox"),
    "streaming": ("chunk_to_ws_json", "emit_stream_events", "format_sse_event", "stream_flow"),
    "types": ("FinalAnswer", "Headers", "Message", "PlanStep", "StreamChunk", "Thought", "WM"),
    "viz": ("flow_to_dot", "flow_to_mermaid"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "DEFAULT_QUEUE_MAXSIZE",
    "REMOTE_TERMINAL_TASK_STATES",
    "WM",
    "ArtifactRef",
    "ArtifactRetentionConfig",
    "ArtifactScope",
    "ArtifactStore",
    "BusEnvelope",
    "Context",
    "CycleError",
    "DictRoutingPolicy",
    "ExtraFormatter",
    "FinalAnswer",
    "FlowError",
    "FlowErrorCode",
    "FlowEvent",
    "Headers",
    "InMemoryArtifactStore",
    "LatencyCallback",
    "Message",
    "MessageBus",
    "Middleware",
    "ModelRegistry",
    "NoOpArtifactStore",
    "Node",
    "NodePolicy",
    "NodeSpec",
    "PenguiFlow",
    "PlanStep",
    "PlannerAction",
    "PlannerFinish",
    "ReactPlanner",
    "RemoteBinding",
    "RemoteCallRequest",
    "RemoteCallResult",
    "RemoteNode",
    "RemotePushNotificationBinding",
    "RemoteStreamEvent",
    "RemoteTaskAuthRequired",
    "RemoteTaskEvent",
    "RemoteTaskInputRequired",
    "RemoteTaskPage",
    "RemoteTaskSnapshot",
    "RemoteTaskState",
    "RemoteTaskStatus",
    "RemoteTransport",
    "RoutingPolicy",
    "RoutingRequest",
    "SideEffect",
    "StateStore",
    "SteeringCancelled",
    "SteeringEvent",
    "SteeringEventType",
    "SteeringInbox",
    "StoredEvent",
    "StreamChunk",
    "StructuredFormatter",
    "SupportsConversationBindings",
    "SupportsRemoteTasks",
    "Thought",
    "ToolExamplesConfig",
    "ToolInputExample",
    "ToolLoadingMode",
    "Trajectory",
    "TrajectoryStep",
    "__version__",
    "build_catalog",
    "call_playbook",
    "chunk_to_ws_json",
    "configure_logging",
    "create",
    "discover_artifact_store",
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
    "tool",
    "union_router",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for (PEP 562)."""
    if name == "__version__":
        return _version()
    if name == "testkit":
        return import_module("penguiflow.testkit")
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module 'penguiflow' has no attribute {name!r}") from None
    value = getattr(import_module(f"penguiflow.{home}"), name)
    globals()[name] = value
    return value


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("penguiflow")
    except PackageNotFoundError:
        return "0+unknown"  # the source alone is on the path: nobody has installed it


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
