"""The story on penguiflow's planner: this version and 3.11.2, by the same names where both have them.

Somebody listens to the events, except where a workload says that nobody does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.planner.story import INSTRUCTIONS, LONG, STEPS, TOOLS, Found, Story, Wanted
from benchmarks.runtime.measure import Run, SkippedWork
from penguiflow import ModelRegistry, Node
from penguiflow.catalog import tool
from penguiflow.planner import ReactPlanner

__all__ = ["WORKLOADS", "measure", "planner_of"]


class Client:
    """A model client of a program's own."""

    def __init__(self, story: Story) -> None:
        self._story = story
        self._replies = story.replies()

    async def complete(
        self,
        *,
        messages: Sequence[Mapping[str, Any]],
        response_format: Mapping[str, Any] | None = None,
        stream: bool = False,
        on_stream_chunk: Any = None,
    ) -> tuple[str, float]:
        """The next reply, and what it cost."""
        if response_format is None:
            raise SkippedWork("no schema was asked for")
        return self._replies[self._story.turn(lambda: "\n".join(str(each["content"]) for each in messages))], 0.0


def planner_of(story: Story, *, listen: bool = True, **options: Any) -> Any:
    """A planner with eight tools."""

    def listener(event: Any) -> None:
        story.events += 1

    def node_of(name: str) -> Node:
        @tool(desc=TOOLS[name], side_effects="read", tags=["suppliers"])
        async def work(args: Wanted, ctx: Any) -> Found:
            return await story.work(name, args)

        return Node(work, name=name)

    registry = ModelRegistry()
    for name in TOOLS:
        registry.register(name, Wanted, Found)
    return ReactPlanner(
        nodes=[node_of(name) for name in TOOLS],
        registry=registry,
        max_iters=story.steps + 1,
        system_prompt_extra=INSTRUCTIONS,
        event_callback=listener if listen else None,
        **options,
    )


async def measure(story: Story, planner: Any, *, events: bool = True) -> None:
    """Measure runs of the planner."""

    async def ask(query: str) -> str:
        result = await planner.run(query)
        answer: str = result.payload["raw_answer"]
        return answer

    await story.measure(ask)
    if events != (story.events > 0):
        raise SkippedWork(f"{story.events} events came out")


async def prompted(run: Run, steps: int = STEPS) -> None:
    """Decisions as JSON in the model's text, by a client of the program's own."""
    story = Story(run, steps)
    await measure(story, planner_of(story, llm_client=Client(story)))


async def prompted_long(run: Run) -> None:
    """The same with forty steps."""
    await prompted(run, LONG)


WORKLOADS = {"prompted": prompted, "prompted.long": prompted_long}
