"""A planner: a language model that chooses typed tools, one step after the other, until it can answer."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penguiflow.planner.actions import JoinInjection, ParallelCall, ParallelJoin, PlannerAction
    from penguiflow.planner.catalog_extension import extend_tool_catalog
    from penguiflow.planner.config import (
        ErrorRecoveryConfig,
        ReflectionConfig,
        ReflectionCriteria,
        ReflectionCritique,
        ToolExamplesConfig,
        ToolPolicy,
        ToolVisibilityPolicy,
        UsageLimits,
    )
    from penguiflow.planner.context import AnyContext, ToolContext
    from penguiflow.planner.dspy_client import DSPyLLMClient
    from penguiflow.planner.events import PlannerEvent, PlannerEventCallback
    from penguiflow.planner.hooks import LLMContextHook, LLMContextHookInput
    from penguiflow.planner.iteration import PlannerIteration
    from penguiflow.planner.outcomes import PlannerFinish, PlannerPause
    from penguiflow.planner.react import ReactPlanner
    from penguiflow.planner.recovery import LLMErrorType
    from penguiflow.planner.requests import PlannerRequest
    from penguiflow.planner.run import RunStep
    from penguiflow.planner.signals import RunAborted
    from penguiflow.planner.trajectory import BackgroundTaskResult, Trajectory, TrajectoryStep, TrajectorySummary

_MODULES = {
    "actions": ("JoinInjection", "ParallelCall", "ParallelJoin", "PlannerAction"),
    "config": (
        "ErrorRecoveryConfig",
        "ReflectionConfig",
        "ReflectionCriteria",
        "ReflectionCritique",
        "ToolExamplesConfig",
        "ToolPolicy",
        "ToolVisibilityPolicy",
        "UsageLimits",
    ),
    "catalog_extension": ("extend_tool_catalog",),
    "context": ("AnyContext", "ToolContext"),
    "dspy_client": ("DSPyLLMClient",),
    "events": ("PlannerEvent", "PlannerEventCallback"),
    "hooks": ("LLMContextHook", "LLMContextHookInput"),
    "outcomes": ("PlannerFinish", "PlannerPause"),
    "iteration": ("PlannerIteration",),
    "react": ("ReactPlanner",),
    "recovery": ("LLMErrorType",),
    "requests": ("PlannerRequest",),
    "run": ("RunStep",),
    "signals": ("RunAborted",),
    "trajectory": ("BackgroundTaskResult", "Trajectory", "TrajectoryStep", "TrajectorySummary"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "AnyContext",
    "BackgroundTaskResult",
    "DSPyLLMClient",
    "ErrorRecoveryConfig",
    "JoinInjection",
    "LLMContextHook",
    "LLMContextHookInput",
    "LLMErrorType",
    "ParallelCall",
    "ParallelJoin",
    "PlannerAction",
    "PlannerEvent",
    "PlannerEventCallback",
    "PlannerFinish",
    "PlannerIteration",
    "PlannerPause",
    "PlannerRequest",
    "ReactPlanner",
    "ReflectionConfig",
    "ReflectionCriteria",
    "ReflectionCritique",
    "RunAborted",
    "RunStep",
    "ToolContext",
    "ToolExamplesConfig",
    "ToolPolicy",
    "ToolVisibilityPolicy",
    "Trajectory",
    "TrajectoryStep",
    "TrajectorySummary",
    "UsageLimits",
    "extend_tool_catalog",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
