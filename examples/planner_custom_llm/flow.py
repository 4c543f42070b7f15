"""A model client of your own: one method that takes messages and gives a text, and what it cost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from penguiflow import ModelRegistry, Node
from penguiflow.planner import PlannerEvent, PlannerFinish, ReactPlanner, ToolContext


class Words(BaseModel):
    """What is to be counted."""

    text: str


class Count(BaseModel):
    """How many there are."""

    words: int


async def count(words: Words, ctx: ToolContext) -> Count:
    """Count the words of a text."""
    return Count(words=len(words.text.split()))


class HouseModel:
    """Stands for the client of a service that penguiflow does not know.

    A planner gives the arguments that `complete` names, and no others: what cannot stream leaves the last two out.
    """

    model = "house-1"

    async def complete(
        self,
        *,
        messages: Sequence[Mapping[str, str]],
        response_format: Mapping[str, Any] | None = None,
        stream: bool = False,
        on_stream_chunk: Callable[[str, bool], None] | None = None,
    ) -> tuple[str, float]:
        """The reply as text, and its cost in US dollars."""
        said = json.loads(messages[-1]["content"])
        if "observation" in said:
            action = {"next_node": "final_response", "args": {"answer": f"{said['observation']['words']} words."}}
        else:
            action = {"next_node": "count", "args": {"text": said["query"]}}
        text = json.dumps(action)
        if stream and on_stream_chunk is not None:
            for start in range(0, len(text), 16):
                on_stream_chunk(text[start : start + 16], False)
            on_stream_chunk("", True)
        return text, 0.002


def tell(event: PlannerEvent) -> None:
    """The answer, while it is written."""
    if event.event_type == "llm_stream_chunk" and event.extra["channel"] == "answer" and event.extra["text"]:
        print(f"streamed: {event.extra['text']}")


registry = ModelRegistry()
registry.register("count", Words, Count)

planner = ReactPlanner(
    llm_client=HouseModel(),
    nodes=[Node(count)],
    registry=registry,
    stream_final_response=True,
    event_callback=tell,
)

__flow__ = {"title": "Planner: a client of your own", "samples": [{"query": "How long is this question?"}]}


async def main() -> None:
    """Ask, and look at what it cost."""
    finish = await planner.run("How long is this question?")
    assert isinstance(finish, PlannerFinish)
    print(finish.payload["raw_answer"])
    cost = finish.metadata["cost"]
    print(f"{cost['main_llm_calls']} calls, {cost['total_cost_usd']} dollars")


if __name__ == "__main__":
    asyncio.run(main())
