"""The story on pydantic-ai: an `Agent` with a `FunctionModel`. Nobody listens."""

from __future__ import annotations

import json
from typing import Any

from pydantic_ai import Agent, Tool
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.usage import RequestUsage

from benchmarks.planner.story import ANSWER, INSTRUCTIONS, LONG, STEPS, TOOLS, Found, Story, Wanted
from benchmarks.runtime.measure import Run, SkippedWork


async def native(run: Run, steps: int = STEPS) -> None:
    """Decisions as tool calls."""
    story = Story(run, steps)
    texts = [json.dumps(args) for _, args in story.calls]

    async def model(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        if len(info.function_tools) != len(TOOLS):
            raise SkippedWork("the model was not offered the tools")
        number = story.turn(lambda: "\n".join([str(info.instructions), *map(str, messages)]))
        usage = RequestUsage(input_tokens=100, output_tokens=20)
        if number == steps:
            return ModelResponse(parts=[TextPart(ANSWER)], usage=usage)
        call = ToolCallPart(story.calls[number][0], texts[number], f"call_{number}")
        return ModelResponse(parts=[call], usage=usage)

    def tool_of(name: str) -> Tool[Any]:
        async def work(args: Wanted) -> Found:
            return await story.work(name, args)

        return Tool(work, name=name, description=TOOLS[name])

    agent = Agent(FunctionModel(model), instructions=INSTRUCTIONS, tools=[tool_of(name) for name in TOOLS])

    async def ask(query: str) -> str:
        return (await agent.run(query)).output

    await story.measure(ask)


async def native_long(run: Run) -> None:
    """The same with forty steps."""
    await native(run, LONG)


WORKLOADS = {"native": native, "native.long": native_long}
