"""How a model is asked for an answer that fits a pydantic model, and how its answer is read."""

from __future__ import annotations

from penguiflow.llm.output.base import OutputStrategy
from penguiflow.llm.output.native import NativeOutputStrategy
from penguiflow.llm.output.prompted import PromptedOutputStrategy
from penguiflow.llm.output.tool import ToolsOutputStrategy
from penguiflow.llm.schema.plan import OutputMode

__all__ = [
    "NativeOutputStrategy",
    "OutputStrategy",
    "PromptedOutputStrategy",
    "ToolsOutputStrategy",
    "strategy_for",
]


def strategy_for(mode: OutputMode) -> OutputStrategy:
    """The strategy of a mode."""
    if mode is OutputMode.NATIVE:
        return NativeOutputStrategy()
    return ToolsOutputStrategy() if mode is OutputMode.TOOLS else PromptedOutputStrategy()
