"""An answer is looked over before it is given."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel

from penguiflow.llm.errors import LLMServerError
from penguiflow.llm.scripted import ScriptedModel
from penguiflow.planner import ReflectionConfig, ReflectionCriteria, UsageLimits
from penguiflow.planner.events import PlannerEvent


class Text(BaseModel):
    text: str


async def echo(args: Text, ctx: Any) -> Text:
    return args


def critique(score: float, passed: bool = False, **more: Any) -> str:
    return json.dumps({"score": score, "passed": passed, "feedback": "too short", **more})


def told(events: list[PlannerEvent]) -> list[PlannerEvent]:
    return [event for event in events if event.event_type.startswith("reflection")]


ON = ReflectionConfig(enabled=True, criteria=ReflectionCriteria(clarity="No jargon"))


@pytest.mark.parametrize("reply", [critique(0.1, passed=True), critique(0.8), f"So: {critique(0.9)}"])
async def test_a_good_answer_is_given_as_it_is(kit: Any, reply: str) -> None:
    events: list[PlannerEvent] = []
    model = ScriptedModel([kit.answer("first"), reply])
    finish = await kit.planner_of(echo, model=model, reflection_config=ON, event_callback=events.append).run("q")
    assert finish.payload["raw_answer"] == "first"
    assert finish.metadata["reflection"]["revisions"] == 0
    assert finish.metadata["reflection"]["passed"] is True
    assert finish.metadata["cost"]["reflection_llm_calls"] == 1
    assert [event.event_type for event in told(events)] == ["reflection_critique"]
    assert "No jargon" in model.requests[1].messages[0].text


async def test_an_answer_is_revised(kit: Any) -> None:
    events: list[PlannerEvent] = []
    log = kit.Log()
    script = [
        kit.answer("first"),
        critique(0.3, issues=["no numbers"], suggestions=["add some"]),
        kit.answer("second"),
        critique(0.95),
    ]
    model = ScriptedModel(script)
    planner = kit.planner_of(
        echo, model=model, reflection_config=ON, event_callback=events.append, recorder=log.recorder(),
        stream_final_response=True,
    )  # fmt: skip
    finish = await planner.run("q")
    assert finish.payload["raw_answer"] == "second"
    assert finish.metadata["reflection"] == {"score": 0.95, "revisions": 1, "passed": True, "feedback": "too short"}
    [step] = finish.metadata["steps"]
    assert step["observation"]["status"] == "revision_requested"
    assert "no numbers" in model.requests[2].messages[-1].text
    assert "first" in model.requests[2].messages[-3].text
    assert [event.extra["score"] for event in told(events)] == [0.3, 0.95]
    revised = [event.extra for event in events if event.extra.get("phase") == "revision"]
    assert "".join(extra["text"] for extra in revised) == "second"
    assert {extra["revision_idx"] for extra in revised} == {1}
    assert [event.data["score"] for event in log.events if event.kind == "planner.reflection"] == [0.3, 0.95]


async def test_an_answer_that_stays_bad_becomes_a_clarification(kit: Any) -> None:
    events: list[PlannerEvent] = []
    clarification = {"text": "I could not find it.", "confidence": "unsatisfied", "clarifying_questions": ["Where?"]}
    script = [kit.answer("a"), critique(0.1), kit.answer("b"), critique(0.2), kit.answer("c"), critique(0.3)]
    model = ScriptedModel([*script, clarification])
    planner = kit.planner_of(echo, model=model, reflection_config=ON, event_callback=events.append)
    finish = await planner.run("q")
    assert finish.payload["raw_answer"] == "I could not find it."
    assert finish.payload["requires_followup"] is True
    assert finish.payload["extra"]["clarification"]["clarifying_questions"] == ["Where?"]
    assert finish.metadata["confidence"] == "unsatisfied"
    assert finish.metadata["reflection"]["revisions"] == 2
    assert finish.metadata["reflection"]["passed"] is False
    assert finish.metadata["trajectory_metadata"]["confidence"] == "unsatisfied"
    assert told(events)[-1].event_type == "reflection_clarification_generated"


async def test_no_revision_without_hops(kit: Any) -> None:
    script = [kit.call("echo", text="a"), kit.answer("a"), critique(0.1), "Sorry, no more."]
    finish = await kit.planner_of(echo, script=script, reflection_config=ON, hop_budget=1).run("q")
    assert finish.payload["raw_answer"] == "Sorry, no more."
    assert finish.metadata["reflection"]["revisions"] == 0


@pytest.mark.parametrize(
    ("replies", "limits"),
    [
        (["no critique"], None),
        ([LLMServerError("no")], None),
        ([critique(0.1), LLMServerError("no")], None),
        ([critique(0.1), "{}"], None),
        ([critique(0.1)], UsageLimits(requests=2)),
        ([], UsageLimits(requests=1)),
    ],
)
async def test_what_fails_here_costs_no_answer(kit: Any, replies: list[Any], limits: UsageLimits | None) -> None:
    planner = kit.planner_of(
        echo, script=[kit.answer("first"), *replies], reflection_config=ON, llm_max_retries=0, usage_limits=limits
    )
    finish = await planner.run("q")
    assert (finish.reason, finish.payload["raw_answer"]) == ("answer_complete", "first")
    assert finish.payload["warnings"]


async def test_another_model_may_look_answers_over(kit: Any) -> None:
    main = ScriptedModel([kit.answer("first")])
    critic = ScriptedModel([critique(0.9)], model="critic")
    config = ReflectionConfig(enabled=True, use_separate_llm=True)
    planner = kit.planner_of(echo, model=main, reflection_llm=critic, reflection_config=config)
    finish = await planner.run("q")
    assert finish.payload["raw_answer"] == "first"
    assert (len(main.requests), len(critic.requests)) == (1, 1)
