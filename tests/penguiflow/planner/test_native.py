"""Tools as a provider's own function calling has them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest
from pydantic import BaseModel

from penguiflow import ModelRegistry, Node
from penguiflow.llm.profiles.model import ModelProfile
from penguiflow.llm.scripted import ScriptedModel, ScriptedReply
from penguiflow.llm.types import ToolCallPart
from penguiflow.planner import ReactPlanner
from penguiflow.planner.events import PlannerEvent
from penguiflow.planner.native import FINISH_TOOL_NAME, wire_name, wire_names


class Number(BaseModel):
    n: int


class Report(BaseModel):
    total: int
    parts: list[Number] = []


async def double(args: Number, ctx: Any) -> Number:
    return Number(n=2 * args.n)


def named(names: Sequence[str], model: ScriptedModel, **options: Any) -> Any:
    registry = ModelRegistry()
    for name in names:
        registry.register(name, Number, Number)
    nodes = [Node(double, name=name) for name in names]
    return ReactPlanner(model, nodes=nodes, registry=registry, tool_call_mode="native", **options)


def test_names_on_the_wire_are_safe_and_unique() -> None:
    given = ["math.double", "math/double", "math_double", "final_response", "é" * 200, "è" * 200, "ok-1"]
    names = wire_names(dict.fromkeys(given, None))  # type: ignore[arg-type]
    assert list(names) == given
    assert len(set(names.values()) | {FINISH_TOOL_NAME}) == len(given) + 1
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,128}", name) for name in names.values())
    assert names["ok-1"] == "ok-1"
    assert wire_name("") == "_"


async def test_a_tool_is_called_by_its_name_on_the_wire() -> None:
    model = ScriptedModel([ToolCallPart("math_double", '{"n": 4}', "x"), "eight"])
    finish = await named(["math.double"], model).run("q")
    [step] = finish.metadata["steps"]
    assert step["action"]["next_node"] == "math.double"
    assert step["observation"] == {"n": 8}
    assert finish.payload["raw_answer"] == "eight"
    assert model.requests[1].messages[2].tool_calls[0].name == "math_double"


async def test_what_is_said_beside_a_call_is_its_thought() -> None:
    reply = ScriptedReply(text="Doubling.", tool_calls=[ToolCallPart("double", '{"n": 4}', "x")])
    model = ScriptedModel([reply, "eight"])
    finish = await named(["double"], model).run("q")
    assert finish.metadata["steps"][0]["action"]["thought"] == "Doubling."
    assert model.requests[1].messages[2].text == "Doubling."


async def test_several_calls_are_a_plan_without_a_join() -> None:
    calls = [ToolCallPart("double", f'{{"n": {n}}}', f"x{n}") for n in (1, 2, 3)]
    finish = await named(["double"], ScriptedModel([calls, "done"])).run("q")
    [step] = finish.metadata["steps"]
    assert step["action"]["join"] is None
    assert [branch["observation"] for branch in step["observation"]["branches"]] == [{"n": 2}, {"n": 4}, {"n": 6}]


async def test_a_typed_answer_is_given_by_a_tool() -> None:
    call = ToolCallPart(FINISH_TOOL_NAME, '{"structured": {"total": 3, "parts": [{"n": 1}]}, "answer": "three"}', "x")
    model = ScriptedModel([call])
    finish = await named(["double"], model, final_response_model=Report).run("q")
    assert finish.payload["structured"] == {"total": 3, "parts": [{"n": 1}]}
    assert finish.payload["raw_answer"] == "three"
    spec = (model.requests[0].tools or [])[-1]
    assert spec.name == FINISH_TOOL_NAME
    assert "$defs" in spec.json_schema
    assert "$defs" not in spec.json_schema["properties"]["structured"]


async def test_an_answer_among_calls_is_asked_for_again() -> None:
    both = [
        ToolCallPart("double", '{"n": 1}', "a"),
        ToolCallPart(FINISH_TOOL_NAME, '{"structured": {"total": 1}}', "b"),
    ]
    alone = ToolCallPart(FINISH_TOOL_NAME, '{"structured": {"total": 1}}', "b")
    model = ScriptedModel([both, alone])
    finish = await named(["double"], model, final_response_model=Report).run("q")
    assert finish.payload["structured"] == {"total": 1, "parts": []}
    assert finish.payload["raw_answer"] == '{"total":1,"parts":[]}'
    assert finish.metadata["repair_attempts"] == 1
    assert "call it alone" in model.requests[1].messages[-1].text


@pytest.mark.parametrize(
    "profile", [ModelProfile(supports_tools=False), ModelProfile(supports_native_tool_calls=False)]
)
async def test_a_model_without_tools_is_prompted_and_that_is_told_once(profile: ModelProfile, kit: Any) -> None:
    events: list[PlannerEvent] = []
    script = [kit.call("double", n=4), kit.answer("eight")]
    model = ScriptedModel(script, profile=profile)
    finish = await named(["double"], model, event_callback=events.append).run("q")
    assert finish.payload["raw_answer"] == "eight"
    told = [event.extra for event in events if event.event_type == "tool_call_mode_downgraded"]
    assert [(extra["from"], extra["to"]) for extra in told] == [("native", "prompted")]
    assert all(request.tools is None for request in model.requests)
    assert model.requests[1].messages[2].text == '{"args":{"n":4},"next_node":"double"}'


async def test_the_same_program_takes_the_same_steps_in_both_modes(kit: Any) -> None:
    script = [kit.call("double", n=1), kit.plan(kit.call("double", n=2), kit.call("double", n=3)), kit.answer("done")]
    seen = []
    for mode in ("prompted", "native"):
        finish = await kit.planner_of(double, script=script, tool_call_mode=mode).run("q")
        seen.append([(step["action"], step["observation"], step["error"]) for step in finish.metadata["steps"]])
    assert seen[0] == seen[1]
