"""The story on langgraph's prebuilt agent, with a chat model that answers at once. Nobody listens."""

from __future__ import annotations

import warnings
from typing import Any

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import StructuredTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.prebuilt import create_react_agent

from benchmarks.planner.story import ANSWER, INSTRUCTIONS, LONG, STEPS, TOOLS, Scope, Story, Wanted
from benchmarks.runtime.measure import Run, SkippedWork


class Model(BaseChatModel):
    """A chat model that is a function of the story."""

    story: Any

    @property
    def _llm_type(self) -> str:
        return "story"

    def bind_tools(self, tools: Any, **options: Any) -> Any:
        """As models of providers do it."""
        return self.bind(tools=[convert_to_openai_tool(each) for each in tools], **options)

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **options: Any) -> ChatResult:
        raise NotImplementedError

    async def _agenerate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **options: Any
    ) -> ChatResult:
        if len(options["tools"]) != len(TOOLS):
            raise SkippedWork("the model was not offered the tools")
        number = self.story.turn(lambda: "\n".join(map(str, messages)))
        usage: Any = {"input_tokens": 100, "output_tokens": 20, "total_tokens": 120}
        if number == self.story.steps:
            message = AIMessage(ANSWER, usage_metadata=usage)
        else:
            name, args = self.story.calls[number]
            call = {"name": name, "args": args, "id": f"call_{number}", "type": "tool_call"}
            message = AIMessage("", tool_calls=[call], usage_metadata=usage)
        return ChatResult(generations=[ChatGeneration(message=message)])


async def native(run: Run, steps: int = STEPS) -> None:
    """Decisions as tool calls."""
    story = Story(run, steps)

    def tool_of(name: str) -> StructuredTool:
        async def work(query: str, scope: Scope, limit: int, tags: list[str]) -> dict[str, Any]:
            args = Wanted.model_construct(query=query, scope=scope, limit=limit, tags=tags)
            return (await story.work(name, args)).model_dump(mode="json")

        return StructuredTool.from_function(coroutine=work, name=name, description=TOOLS[name], args_schema=Wanted)

    with warnings.catch_warnings(action="ignore"):  # it has another name elsewhere, and is the same agent
        agent = create_react_agent(Model(story=story), [tool_of(name) for name in TOOLS], prompt=INSTRUCTIONS)
    config: Any = {"recursion_limit": 2 * steps + 5}

    async def ask(query: str) -> str:
        state = await agent.ainvoke({"messages": [("user", query)]}, config)
        answer: str = state["messages"][-1].content
        return answer

    await story.measure(ask)


async def native_long(run: Run) -> None:
    """The same with forty steps."""
    await native(run, LONG)


WORKLOADS = {"native": native, "native.long": native_long}
