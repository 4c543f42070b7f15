"""What a model is told of a run."""

from __future__ import annotations

import gc
import json
import re
from typing import Any

import pytest
from pydantic import BaseModel, Field

from penguiflow import Node
from penguiflow.catalog import ToolInputExample, build_catalog, tool
from penguiflow.checkpoints import Checkpoint, Decision
from penguiflow.llm.scripted import ScriptedModel
from penguiflow.llm.types import ImagePart, ToolCallPart, ToolResultPart
from penguiflow.planner import ReactPlanner, ToolExamplesConfig, prompts
from penguiflow.planner.kept import _kept
from penguiflow.registry import ModelRegistry
from penguiflow.state.models import SteeringEventType
from penguiflow.steering import SteeringEvent, SteeringInbox


class Query(BaseModel):
    query: str = Field(description="What to look for")


class Found(BaseModel):
    title: str


class Report(BaseModel):
    total: int


@tool(
    desc="Looks things up",
    side_effects="read",
    tags=["web"],
    safety_notes="Slow",
    examples=[ToolInputExample(args={"query": "a"}, description="short"), ToolInputExample(args={"query": "b"})],
)
async def search(args: Query, ctx: Any) -> Found:
    return Found(title=args.query)


async def broken(args: Query, ctx: Any) -> Found:
    raise ValueError("no such thing")


def records() -> list[dict[str, Any]]:
    registry = ModelRegistry()
    registry.register("search", Query, Found)
    return [spec.to_tool_record() for spec in build_catalog([Node(search, name="search")], registry)]


def sections(prompt: str) -> list[str]:
    return re.findall(r"^<(\w+)>$", prompt, re.MULTILINE)


def test_the_sections_come_in_their_order() -> None:
    prompt = prompts.build_system_prompt(
        records(),
        extra="Be kind.",
        planning_hints={"prefer_nodes": ["search"]},
        current_date="2026-01-31",
        structured_final_schema=Report.model_json_schema(),
    )
    assert sections(prompt) == [
        "identity",
        "output_format",
        "action_schema",
        "finishing",
        "structured_final_response",
        "tool_usage",
        "parallel_execution",
        "reasoning",
        "tone",
        "error_handling",
        "available_tools",
        "additional_guidance",
        "planning_constraints",
    ]
    assert "Today is 2026-01-31." in prompt
    assert sections(prompts.build_system_prompt(records()))[-1] == "available_tools"


def test_a_tool_is_described_with_its_examples() -> None:
    text = prompts.render_tool(records()[0])
    assert text.startswith("- search: Looks things up")
    for part in ("read", "web", "Slow", "What to look for", 'example (short): {"query":"a"}', 'example: {"query":"b"}'):
        assert part in text
    one = prompts.render_tool(
        records()[0], tool_examples=ToolExamplesConfig(max_examples_per_tool=1, include_descriptions=False)
    )
    assert 'example: {"query":"a"}' in one
    assert '"b"' not in one
    assert "example" not in prompts.render_tool(records()[0], tool_examples=ToolExamplesConfig(enabled=False))


async def test_hints_stand_in_the_prompt_of_a_run(kit: Any) -> None:
    hints = {
        "ordering_hints": ["search", "broken"],
        "parallel_groups": [["search", "broken"]],
        "sequential_only": ["broken"],
        "disallow_nodes": ["rm"],
        "prefer_nodes": ["search"],
        "max_parallel": 3,
        "budget_hints": {"usd": 1},
    }
    model = ScriptedModel([kit.answer("a")])
    await kit.planner_of(search, broken, model=model, planning_hints=hints, system_prompt_extra="Be kind.").run("q")
    prompt = model.requests[0].messages[0].text
    told = prompt.split("<planning_constraints>")[1]
    for part in ("search -> broken", "search, broken", "Never call these: rm", "Prefer", "At most 3", '{"usd":1}'):
        assert part in told
    assert "Be kind." in prompt


async def test_the_messages_of_a_prompted_run(kit: Any) -> None:
    model = ScriptedModel([kit.call("search", query="x"), kit.call("broken", query="y"), kit.answer("a")])
    context = {"who": "me", "external_memory": {"likes": "fish"}, "conversation_memory": {"recent_turns": ["hi"]}}
    await kit.planner_of(search, broken, model=model).run("q", llm_context=context)
    first, last = model.requests[0].messages, model.requests[-1].messages
    assert [message.role for message in first] == ["system", "system", "system", "user"]
    assert "<external_memory>" in first[1].text
    assert "fish" in first[1].text
    assert "<conversation_memory>" in first[2].text
    assert json.loads(first[3].text) == {"query": "q", "context": {"who": "me"}}
    assert list(last[:4]) == list(first)
    steps = [json.loads(message.text) for message in last[4:]]
    assert [message.role for message in last[4:]] == ["assistant", "user", "assistant", "user"]
    assert steps[0] == {"args": {"query": "x"}, "next_node": "search"}
    assert steps[1] == {"observation": {"title": "x"}}
    assert "no such thing" in steps[3]["error"]
    assert steps[3]["failure"]["node"] == "broken"


async def test_the_messages_of_a_native_run(kit: Any) -> None:
    script = [
        kit.call("search", query="x"),
        kit.plan(kit.call("search", query="a"), kit.call("broken", query="b")),
        kit.answer("done"),
    ]
    model = ScriptedModel(script)
    finish = await kit.planner_of(search, broken, model=model, tool_call_mode="native").run("q")
    assert finish.payload["raw_answer"] == "done"
    request = model.requests[-1]
    assert [spec.name for spec in request.tools or ()] == ["search", "broken"]
    assert request.structured_output is None
    one, result, both, results = request.messages[2:]
    assert one.tool_calls == [ToolCallPart("search", '{"query":"x"}', "call_0")]
    assert list(result.parts) == [ToolResultPart("search", '{"observation":{"title":"x"}}', "call_0")]
    assert [call.call_id for call in both.tool_calls] == ["call_1_0", "call_1_1"]
    told = [part for part in results.parts if isinstance(part, ToolResultPart)]
    assert [(part.call_id, part.is_error) for part in told] == [("call_1_0", False), ("call_1_1", True)]
    assert "no such thing" in told[1].result_json


async def test_pictures_go_with_the_query(kit: Any) -> None:
    model = ScriptedModel([kit.answer("a")])
    picture = ImagePart(b"png", "image/png")
    await kit.planner_of(search, model=model).run("q", input_parts=[picture])
    assert list(model.requests[0].messages[-1].parts)[1:] == [picture]


class Injects:
    """Puts a message into the prompt that follows the first call of the model."""

    done = False

    async def __call__(self, checkpoint: Checkpoint) -> Decision:
        if checkpoint.kind == "before_llm" and not self.done:
            self.done = True
            return Decision.inject("Think of fish.")
        return Decision.proceed


@pytest.mark.parametrize("first", ["a call", "a repair"])
async def test_what_is_injected_stands_in_the_next_prompt_alone(kit: Any, first: str) -> None:
    script = ["Hm."] if first == "a repair" else []
    model = ScriptedModel([*script, kit.call("search", query="x"), kit.call("search", query="y"), kit.answer("a")])
    await kit.planner_of(search, model=model, interceptors=[Injects()]).run("q")
    seen = [sum(message.text == "Think of fish." for message in request.messages) for request in model.requests]
    assert seen == [0, 1, *[0] * (len(seen) - 2)]


async def test_steering_is_told_after_the_steps(kit: Any) -> None:
    inbox = SteeringInbox()

    async def look(args: Query, ctx: Any) -> Found:
        payload = {"text": "Only birds."}
        event = SteeringEvent(
            session_id="s", task_id="t", event_type=SteeringEventType.USER_MESSAGE, payload=payload, source="user"
        )
        await inbox.push(event)
        return Found(title="x")

    look.__annotations__ = {"args": Query, "return": Found}
    model = ScriptedModel([kit.call("look", query="x"), kit.answer("a"), kit.answer("b")])
    await kit.planner_of(look, model=model).run("q", steering=inbox)
    last = model.requests[1].messages[-1]
    assert last.role == "user"
    assert last.text.startswith("Steering input: ")
    assert "Only birds." in last.text


async def test_what_was_said_at_a_resume_is_told(kit: Any) -> None:
    async def ask(args: Query, ctx: Any) -> Found:
        await ctx.pause("await_input", {"what": "which?"})
        return Found(title="never")

    ask.__annotations__ = {"args": Query, "return": Found}
    model = ScriptedModel([kit.call("ask", query="x"), kit.answer("a")])
    planner = kit.planner_of(ask, model=model)
    paused = await planner.run("q")
    await planner.resume(paused.resume_token, "the blue one")
    assert model.requests[1].messages[-1].text == "Resume input: the blue one"
    assert '"pause":"await_input"' in model.requests[1].messages[-2].text


@pytest.mark.parametrize(
    ("count", "word"), [(0, None), (1, "REMINDER"), (2, "WARNING"), (3, "CRITICAL"), (9, "CRITICAL")]
)
def test_reminders_become_sharper(count: int, word: str | None) -> None:
    for render in (
        prompts.render_finish_guidance,
        prompts.render_arg_fill_guidance,
        prompts.render_multi_action_guidance,
    ):
        text = render(count)
        assert text is None if word is None else text is not None and text.startswith(word)


async def test_what_went_wrong_before_is_recalled(kit: Any) -> None:
    blank = {"next_node": "final_response", "args": {}}
    model = ScriptedModel([{**blank}, "No answer here.", kit.answer("b")])
    planner = kit.planner_of(search, model=model)
    finish = await planner.run("q")
    assert finish.payload["raw_answer"] == "No answer here."
    two = "\n".join(json.dumps(kit.call("search", query=each)) for each in "ab")
    model = ScriptedModel([two, kit.answer("b")])
    await kit.planner_of(search, model=model).run("q")
    assert model.requests[1].messages[1].text.startswith("REMINDER: A reply is one JSON object.")


async def test_the_prompt_is_built_once_for_all_runs(kit: Any) -> None:
    model = ScriptedModel(rules=[(lambda _: True, kit.answer("a"))])
    planner = kit.planner_of(search, model=model)
    await planner.run("q")
    kept = _kept[id(planner.settings)][1]
    before = [entry[-1] for entry in kept]
    await planner.run("other")
    assert [entry[-1] for entry in kept] == before
    assert model.requests[0].messages[0].text == model.requests[1].messages[0].text
    key = id(planner.settings)
    del planner, kept
    gc.collect()
    assert key not in _kept


def test_what_is_no_json_is_shown_as_text() -> None:
    class Odd:
        def __str__(self) -> str:
            return "odd"

    loop: list[Any] = []
    loop.append(loop)
    assert json.loads(prompts.render_observation(observation={"a": Odd()}, error=None)) == {"observation": {"a": "odd"}}
    prompts.render_observation(observation=loop, error=None).encode()
    prompts.render_observation(observation="\ud83d", error=None).encode()


async def test_a_planner_made_of_a_catalog_shows_it(kit: Any) -> None:
    registry = ModelRegistry()
    registry.register("search", Query, Found)
    model = ScriptedModel([kit.answer("a")])
    await ReactPlanner(model, catalog=build_catalog([Node(search, name="search")], registry)).run("q")
    assert "Looks things up" in model.requests[0].messages[0].text
