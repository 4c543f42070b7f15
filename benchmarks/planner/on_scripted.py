"""The story on this version's planner with a scripted model, which calls tools as a provider's models do."""

from __future__ import annotations

import json

from benchmarks.planner.on_penguiflow import measure, planner_of
from benchmarks.planner.story import ANSWER, LONG, STEPS, TOOLS, Story
from benchmarks.runtime.measure import Run, SkippedWork
from penguiflow.llm.scripted import ScriptedModel
from penguiflow.llm.types import (
    CompletionResponse,
    Cost,
    LLMMessage,
    LLMRequest,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    Usage,
)
from penguiflow.recording import EventRecord, Recorder

__all__ = ["WORKLOADS"]


def scripted(story: Story) -> ScriptedModel:
    """A model that tells the story."""
    calls = [ToolCallPart(name, json.dumps(args), f"call_{number}") for number, (name, args) in enumerate(story.calls)]
    usage, cost = Usage(100, 20, 120), Cost.zero()
    messages = [*(LLMMessage("assistant", (call,)) for call in calls), LLMMessage.of("assistant", ANSWER)]
    replies = [CompletionResponse(message, usage, cost=cost) for message in messages]

    def reply(request: LLMRequest) -> CompletionResponse:
        if len(request.tools or ()) != len(TOOLS):
            raise SkippedWork("the model was not offered the tools")
        return replies[story.turn(lambda: "\n".join(map(_text, request.messages)))]

    return ScriptedModel(rules=[(lambda _: True, reply)])


def _text(message: LLMMessage) -> str:
    texts = []
    for part in message.parts:
        match part:
            case TextPart(text):
                texts.append(text)
            case ToolCallPart(_, arguments):
                texts.append(arguments)
            case ToolResultPart(_, result):
                texts.append(result)
            case _:
                raise SkippedWork(f"nobody said {part!r}")
    return "\n".join(texts)


async def native(run: Run, steps: int = STEPS) -> None:
    """Decisions as tool calls."""
    story = Story(run, steps)
    await measure(story, planner_of(story, llm_client=scripted(story), tool_call_mode="native"))


async def native_long(run: Run) -> None:
    """The same with forty steps."""
    await native(run, LONG)


async def quiet(run: Run) -> None:
    """Nobody listens."""
    story = Story(run)
    model = scripted(story)
    await measure(story, planner_of(story, listen=False, llm_client=model, tool_call_mode="native"), events=False)


class Counting:
    """A sink that counts the records."""

    records = 0

    def write(self, record: EventRecord) -> None:
        """Take one record."""
        self.records += 1


async def recorded(run: Run) -> None:
    """All that happens is recorded, and written nowhere."""
    story, log = Story(run), Counting()
    model, recorder = scripted(story), Recorder(log, name="planner")
    await measure(story, planner_of(story, llm_client=model, tool_call_mode="native", recorder=recorder))
    if log.records < 2 * story.steps:
        raise SkippedWork(f"{log.records} records were made")


WORKLOADS = {"native": native, "native.long": native_long, "native.quiet": quiet, "native.recorded": recorded}
