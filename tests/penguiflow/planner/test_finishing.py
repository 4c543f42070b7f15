"""An answer becomes the payload of a run."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel, Field, model_validator

from penguiflow.llm.errors import LLMServerError
from penguiflow.llm.scripted import ScriptedModel
from penguiflow.planner import UsageLimits
from penguiflow.planner.events import PlannerEvent
from penguiflow.planner.finishing import NO_ANSWER


class Text(BaseModel):
    text: str


class Report(BaseModel):
    total: int
    note: str = ""


class Fussy(BaseModel):
    total: int

    @model_validator(mode="after")
    def _odd(self) -> Fussy:
        if self.total == 0:
            raise RuntimeError("a validator that breaks")
        return self


class Doc(BaseModel):
    model_config = {"json_schema_extra": {"produces_sources": True}}
    title: str
    url: str
    body: str = Field(json_schema_extra={"artifact": True})


async def echo(args: Text, ctx: Any) -> Text:
    return args


async def load(args: Text, ctx: Any) -> Doc:
    return Doc(title="A", url="u", body="long")


def ending(**args: Any) -> dict[str, Any]:
    return {"next_node": "final_response", "args": args}


def of(events: list[PlannerEvent], prefix: str) -> list[PlannerEvent]:
    return [event for event in events if event.event_type.startswith(prefix)]


async def test_all_that_an_answer_may_have(kit: Any) -> None:
    args = {
        "answer": "It is so.",
        "confidence": 0.75,
        "route": "billing",
        "requires_followup": True,
        "warnings": ["old data"],
        "language": "en",
        "sources": [{"title": "B", "url": "v"}, "C", {"no": "title"}],
        "suggested_actions": [{"action_id": "a", "label": "Do"}, {"label": "no id"}],
        "artifacts": {"chart": "ref"},
        "mood": "good",
    }
    finish = await kit.planner_of(echo, script=[ending(**args)]).run("q")
    payload = finish.payload
    assert payload["raw_answer"] == "It is so."
    assert (payload["confidence"], payload["route"], payload["requires_followup"]) == (0.75, "billing", True)
    assert (payload["warnings"], payload["language"]) == (["old data"], "en")
    assert [source["title"] for source in payload["sources"]] == ["B", "C"]
    assert payload["suggested_actions"] == [{"action_id": "a", "label": "Do", "params": {}}]
    assert payload["artifacts"] == {"chart": "ref"}
    assert payload["extra"] == {"answer": "It is so.", "mood": "good"}


@pytest.mark.parametrize(("given", "confidence"), [(1, 1.0), ("0.5", 0.5), (7, None), ("high", None), (True, None)])
async def test_a_confidence_is_a_number_from_0_to_1(kit: Any, given: Any, confidence: float | None) -> None:
    finish = await kit.planner_of(echo, script=[ending(answer="a", confidence=given)]).run("q")
    assert finish.payload["confidence"] == confidence


async def test_raw_answer_is_an_answer(kit: Any) -> None:
    finish = await kit.planner_of(echo, script=[ending(raw_answer="yes")]).run("q")
    assert (finish.payload["raw_answer"], finish.payload["extra"]) == ("yes", {"answer": "yes"})


@pytest.mark.parametrize(
    "reply",
    [
        "Forty-two.",
        '{"answer": "Forty-two."}',
        '{"raw_answer": "Forty-two."}',
        '```json\n{"text": "Forty-two."}\n```',
        '{"response": "Forty-two."}',
        '{"content": "Forty-two."}',
        '{"next_node": "final_response", "args": {"answer": "Forty-two."}}',
    ],
)
async def test_a_missing_answer_is_asked_for(kit: Any, reply: str) -> None:
    events: list[PlannerEvent] = []
    model = ScriptedModel([kit.call("echo", text="seen"), ending(confidence=0.5), reply])
    finish = await kit.planner_of(echo, model=model, event_callback=events.append).run("How many?")
    assert finish.payload["raw_answer"] == "Forty-two."
    assert finish.payload["confidence"] == 0.5
    assert [event.event_type for event in of(events, "finish_repair")] == [
        "finish_repair_attempt",
        "finish_repair_success",
    ]
    assert finish.metadata["finish_repair_success_count"] == 1
    told = json.loads(model.requests[-1].messages[-1].text)
    assert (told["query"], told["steps"][0]["observation"]) == ("How many?", {"text": "seen"})


@pytest.mark.parametrize("reply", ["", "{}", LLMServerError("no")])
async def test_a_model_without_an_answer_ends_the_run_all_the_same(kit: Any, reply: Any) -> None:
    planner = kit.planner_of(echo, script=[ending(), reply], llm_max_retries=0)
    finish = await planner.run("q")
    assert finish.reason == "answer_complete"
    assert finish.payload["raw_answer"] == NO_ANSWER
    assert "gave no answer" in finish.payload["warnings"][0]
    assert finish.metadata["finish_repair_failure_count"] == 1


async def test_answers_of_odd_types_are_dropped(kit: Any) -> None:
    events: list[PlannerEvent] = []
    script = [ending(answer={"a": 1}, raw_answer=[2]), "In words."]
    finish = await kit.planner_of(echo, script=script, event_callback=events.append).run("q")
    assert finish.payload["raw_answer"] == "In words."
    [told] = of(events, "finish_invalid_answer_type_discarded")
    assert sorted(told.extra["fields"]) == ["answer", "raw_answer"]


@pytest.mark.parametrize(
    "args",
    [
        {"answer": "three", "structured": {"total": 3}},
        {"answer": "three", "structured": '{"total": 3}'},
        {"answer": "three", "total": 3},
        {"answer": '{"total": 3}'},
        {"answer": {"total": 3}},
    ],
)
async def test_a_typed_answer_is_found_where_it_stands(kit: Any, args: dict[str, Any]) -> None:
    events: list[PlannerEvent] = []
    model = ScriptedModel([ending(**args)])
    planner = kit.planner_of(echo, model=model, final_response_model=Report, event_callback=events.append)
    finish = await planner.run("q")
    assert finish.payload["structured"] == {"total": 3, "note": ""}
    assert finish.payload["raw_answer"]
    assert len(model.requests) == 1
    assert '"total"' in model.requests[0].messages[0].text.split("<structured_final_response>")[1]
    [told] = of(events, "final_response_structured")
    assert (told.event_type, told.extra["repaired"]) == ("final_response_structured_validated", False)


@pytest.mark.parametrize(
    "reply", ['{"total": 3}', '{"structured": {"total": 3}}', json.dumps(ending(structured={"total": 3}))]
)
async def test_a_typed_answer_is_corrected(kit: Any, reply: str) -> None:
    events: list[PlannerEvent] = []
    model = ScriptedModel([ending(answer="three", structured={"total": "three"}), reply])
    planner = kit.planner_of(echo, model=model, final_response_model=Report, event_callback=events.append)
    finish = await planner.run("q")
    assert finish.payload["structured"] == {"total": 3, "note": ""}
    assert [event.event_type for event in of(events, "final_response_structured")] == [
        "final_response_structured_repair_attempt",
        "final_response_structured_validated",
    ]
    request = model.requests[1]
    assert request.structured_output is not None
    assert request.structured_output.name == "Report"
    assert "total: Input should be a valid integer" in request.messages[0].text


@pytest.mark.parametrize("retries", [0, 2])
async def test_a_typed_answer_that_never_fits_is_left_out(kit: Any, retries: int) -> None:
    events: list[PlannerEvent] = []
    model = ScriptedModel([ending(answer="three", structured={"total": "three"}), "no", '{"total": []}'])
    planner = kit.planner_of(
        echo, model=model, final_response_model=Report, final_response_retries=retries, event_callback=events.append
    )
    finish = await planner.run("q")
    assert (finish.payload["structured"], finish.payload["raw_answer"]) == (None, "three")
    assert "does not fit Report" in finish.payload["warnings"][0]
    assert len(model.requests) == 1 + retries
    assert of(events, "final_response_structured")[-1].event_type == "final_response_structured_degraded"


async def test_a_limit_or_a_failure_costs_no_answer(kit: Any) -> None:
    script = [ending(answer="three"), LLMServerError("no")]
    planner = kit.planner_of(echo, script=script, final_response_model=Report, llm_max_retries=0)
    finish = await planner.run("q")
    assert finish.payload["raw_answer"] == "three"
    planner = kit.planner_of(
        echo, script=[ending(answer="three")], final_response_model=Report, usage_limits=UsageLimits(requests=1)
    )
    finish = await planner.run("q")
    assert (finish.reason, finish.payload["raw_answer"]) == ("answer_complete", "three")


async def test_a_model_whose_validator_breaks(kit: Any) -> None:
    script = [ending(answer="three", structured={"total": 0}), '{"total": 4}']
    finish = await kit.planner_of(echo, script=script, final_response_model=Fussy).run("q")
    assert finish.payload["structured"] == {"total": 4}


async def test_sources_and_artifacts_of_tools_are_in_the_answer(kit: Any) -> None:
    script = [
        kit.call("load", text="a"),
        kit.call("load", text="a"),
        ending(answer="a", sources=[{"title": "A", "url": "u"}]),
    ]
    finish = await kit.planner_of(load, script=script).run("q")
    assert [(source["title"], source["url"]) for source in finish.payload["sources"]] == [("A", "u")]
    assert finish.payload["artifacts"]["load"]["body"]
