"""A model is asked until its reply can be read; what it says is told while it comes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from penguiflow.llm.errors import (
    LLMAuthError,
    LLMContextLengthError,
    LLMInvalidRequestError,
    LLMRateLimitError,
    LLMServerError,
    LLMTimeoutError,
)
from penguiflow.llm.scripted import ScriptedModel, ScriptedReply
from penguiflow.planner import ErrorRecoveryConfig, ReactPlanner, ReflectionConfig, UsageLimits
from penguiflow.planner.events import PlannerEvent
from penguiflow.planner.recovery import LLMErrorType, classify_llm_error
from penguiflow.recording.cassette import Cassette
from penguiflow.recording.replay import replay


class Text(BaseModel):
    text: str


class Answer(BaseModel):
    answer: str


async def store(args: Answer, ctx: Any) -> Text:
    return Text(text="kept")


async def echo(args: Text, ctx: Any) -> Text:
    return args


async def read(args: Text, ctx: Any) -> Text:
    return Text(text="penguin " * 1000)


def streamed(events: list[PlannerEvent], channel: str = "answer") -> str:
    """What a listener shows: texts that are not superseded."""
    shown = ""
    for event in events:
        if event.event_type == "llm_stream_chunk" and event.extra["channel"] == channel:
            shown = "" if event.extra.get("superseded") else shown + event.extra["text"]
    return shown


async def test_repairs_are_counted_told_and_recorded(kit: Any) -> None:
    events: list[PlannerEvent] = []
    log = kit.Log()
    model = ScriptedModel(["Hm.", '```json\n{"next_node": "echo", "ar', kit.answer("done")])
    planner = kit.planner_of(echo, model=model, event_callback=events.append, recorder=log.recorder())
    finish = await planner.run("q")
    assert finish.payload["raw_answer"] == "done"
    metadata = finish.metadata
    assert (metadata["repair_attempts"], metadata["validation_failures_count"], metadata["salvage_used"]) == (2, 2, 0)
    told = [event.extra for event in events if event.event_type == "planner_repair_attempt"]
    assert [extra["attempt"] for extra in told] == [1, 2]
    assert (told[0]["had_code_fence"], told[0]["had_non_json_prefix"], told[0]["next_node_detected"]) == (
        False,
        True,
        None,
    )
    assert (told[1]["had_code_fence"], told[1]["next_node_detected"]) == (True, "echo")
    recorded = [event.data for event in log.events if event.kind == "planner.repair"]
    assert [data["attempt"] for data in recorded] == [1, 2]
    assert "no JSON object" in recorded[0]["problem"]
    repairs = [request.messages[-1] for request in list(model.requests)[1:]]
    assert [message.role for message in repairs] == ["system", "system"]
    assert "Hm." in repairs[0].text
    assert "in the middle" in repairs[1].text


async def test_as_many_calls_are_made_as_is_said(kit: Any) -> None:
    for attempts in (1, 2, 5):
        model = ScriptedModel(rules=[(lambda _: True, "Forty-two, I think.")])
        finish = await kit.planner_of(echo, model=model, repair_attempts=attempts).run("q")
        assert len(model.requests) == attempts
        assert finish.payload["raw_answer"] == "Forty-two, I think."
        assert finish.metadata["repair_attempts"] == attempts - 1
        assert finish.metadata["salvage_used"] == 1
        assert finish.payload["warnings"]


async def test_a_limit_holds_for_repairs(kit: Any) -> None:
    model = ScriptedModel(rules=[(lambda _: True, "Hm.")])
    finish = await kit.planner_of(echo, model=model, usage_limits=UsageLimits(requests=2)).run("q")
    assert finish.reason == "budget_exhausted"
    assert len(model.requests) == 2


async def test_a_reply_that_was_cut_off_at_the_limit_of_tokens_is_not_taken(kit: Any) -> None:
    text = json.dumps(kit.call("echo", text="a"))[:-1]
    for reason, steps in (("stop", 1), ("length", 0)):
        model = ScriptedModel([ScriptedReply(text=text, finish_reason=reason), kit.answer("done")])
        finish = await kit.planner_of(echo, model=model).run("q")
        assert finish.metadata["step_count"] == steps
    assert "limit of tokens" in model.requests[1].messages[-1].text


async def test_what_stands_around_an_action_is_told_and_kept(kit: Any) -> None:
    events: list[PlannerEvent] = []
    text = f"Two: {json.dumps(kit.call('echo', text='a'))} {json.dumps(kit.call('echo', text='b'))}"
    planner = kit.planner_of(echo, script=[text, kit.answer("done")], event_callback=events.append)
    finish = await planner.run("q")
    [told] = [event.extra for event in events if event.event_type == "llm_parse_extras"]
    assert told["other_actions"] == [{"next_node": "echo", "args": {"text": "b"}}]
    [kept] = finish.metadata["trajectory_metadata"]["llm_parse_extras"]
    assert kept["candidate_count"] == 2


@pytest.mark.parametrize("mode", ["prompted", "native"])
@given(text=st.text(min_size=1).filter(str.strip), piece=st.integers(1, 9))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_the_answer_is_streamed_as_it_is(kit: Any, mode: str, text: str, piece: int) -> None:
    events: list[PlannerEvent] = []
    script = [kit.call("echo", text="\U0001f427"), json.dumps(kit.answer(text)) if mode == "prompted" else text]
    model = ScriptedModel(script, piece=piece)
    planner = kit.planner_of(
        echo, model=model, tool_call_mode=mode, stream_final_response=True, event_callback=events.append
    )
    finish = await planner.run("q")
    assert finish.payload["raw_answer"] == text
    assert streamed(events) == text
    assert [e.extra["done"] for e in events if e.event_type == "llm_stream_chunk"][-1]
    for event in events:
        json.dumps(dict(event.extra), ensure_ascii=False, default=str).encode()


async def test_only_the_answer_is_streamed(kit: Any) -> None:
    events: list[PlannerEvent] = []
    script = [
        kit.call("store", answer="not for the user"),
        '{"args": {"answer": "args first"}, "next_node": "final_response"}',
    ]
    planner = kit.planner_of(store, script=script, stream_final_response=True, event_callback=events.append)
    await planner.run("q")
    chunks = [event.extra for event in events if event.event_type == "llm_stream_chunk"]
    assert streamed(events) == "args first"
    assert {chunk["action_seq"] for chunk in chunks} == {2}


async def test_reasoning_is_told_on_its_own_channel(kit: Any) -> None:
    events: list[PlannerEvent] = []
    reply = ScriptedReply(text=json.dumps(kit.answer("done")), reasoning="let me see")
    planner = kit.planner_of(echo, script=[reply], stream_final_response=True, event_callback=events.append)
    await planner.run("q")
    assert streamed(events, "thinking") == "let me see"
    assert streamed(events) == "done"


async def test_what_is_not_used_of_a_stream_is_superseded(kit: Any) -> None:
    events: list[PlannerEvent] = []
    cut = '{"next_node": "final_response", "args": {"answer": "It is forty-'
    broken = ScriptedReply(text=json.dumps(kit.answer("It is fo")), error=LLMServerError("cut"))
    planner = kit.planner_of(
        echo,
        script=[cut, broken, kit.answer("It is 42.")],
        stream_final_response=True,
        event_callback=events.append,
        llm_max_retries=1,
    )
    finish = await planner.run("q")
    assert finish.payload["raw_answer"] == streamed(events) == "It is 42."
    superseded = [e for e in events if e.extra.get("superseded")]
    assert len(superseded) == 2


async def test_nothing_is_streamed_unless_that_is_wanted(kit: Any) -> None:
    events: list[PlannerEvent] = []
    await kit.planner_of(echo, script=[kit.answer("a")], event_callback=events.append).run("q")
    assert not [event for event in events if event.event_type == "llm_stream_chunk"]


# Requests that a model refuses


def by_name(events: list[PlannerEvent]) -> list[str]:
    wanted = ("error_recovery", "trajectory_compressed")
    return [event.event_type for event in events if event.event_type.startswith(wanted)]


@pytest.mark.parametrize("summarize", [True, False])
async def test_a_request_that_is_too_long_is_made_shorter(kit: Any, summarize: bool) -> None:
    events: list[PlannerEvent] = []
    script = [kit.call("read", text="a"), LLMContextLengthError("too many tokens")]
    script += ["Penguins, a thousand times."] if summarize else []
    model = ScriptedModel([*script, kit.answer("done")])
    planner = kit.planner_of(
        read,
        model=model,
        event_callback=events.append,
        error_recovery=ErrorRecoveryConfig(summarize_on_compress=summarize),
    )
    finish = await planner.run("q")
    assert finish.payload["raw_answer"] == "done"
    assert by_name(events) == ["error_recovery_attempt", "trajectory_compressed", "error_recovery_success"]
    [step] = finish.metadata["steps"]
    assert step["llm_observation"]["_compressed"] is True
    assert step["observation"]["text"] == "penguin " * 1000
    shown = json.loads(model.requests[-1].messages[-1].text)["observation"]
    assert shown == step["llm_observation"]
    if summarize:
        assert shown["summary"] == "Penguins, a thousand times."


async def test_a_request_that_cannot_be_made_shorter_ends_in_an_apology(kit: Any) -> None:
    events: list[PlannerEvent] = []
    planner = kit.planner_of(echo, script=[LLMContextLengthError("too many tokens")], event_callback=events.append)
    finish = await planner.run("q")
    assert finish.reason == "answer_complete"
    assert "sorry" in finish.payload["raw_answer"]
    assert finish.payload["extra"]["_recovery"]["error_type"] == "context_length_exceeded"
    assert by_name(events) == ["error_recovery_attempt", "error_recovery_failed"]


async def test_a_request_that_is_refused_ends_in_an_apology(kit: Any) -> None:
    error = LLMInvalidRequestError('{"error": {"message": "images are not allowed"}}')
    finish = await kit.planner_of(echo, script=[error]).run("q")
    assert finish.payload["warnings"] == ["images are not allowed"]
    assert finish.payload["requires_followup"] is True


async def test_recovery_can_be_turned_off(kit: Any) -> None:
    planner = kit.planner_of(
        echo, script=[LLMInvalidRequestError("no")], error_recovery=ErrorRecoveryConfig(enabled=False)
    )
    with pytest.raises(LLMInvalidRequestError, match="no"):
        await planner.run("q")


@pytest.mark.parametrize(
    "error", [LLMRateLimitError("a"), LLMServerError("b"), LLMTimeoutError("c"), LLMAuthError("d")]
)
async def test_what_may_mend_itself_is_raised(kit: Any, error: Exception) -> None:
    planner: ReactPlanner = kit.planner_of(echo, script=[error], llm_max_retries=0)
    with pytest.raises(type(error)):
        await planner.run("q")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (LLMContextLengthError("x"), LLMErrorType.CONTEXT_LENGTH_EXCEEDED),
        (LLMInvalidRequestError("maximum context length is 8"), LLMErrorType.CONTEXT_LENGTH_EXCEEDED),
        (LLMInvalidRequestError("x"), LLMErrorType.BAD_REQUEST_OTHER),
        (LLMRateLimitError("x"), LLMErrorType.RATE_LIMIT),
        (LLMServerError("x"), LLMErrorType.SERVICE_UNAVAILABLE),
        (LLMTimeoutError("x"), LLMErrorType.TIMEOUT),
        (LLMAuthError("x"), LLMErrorType.UNKNOWN),
        (RuntimeError("x"), LLMErrorType.UNKNOWN),
    ],
)
def test_kinds_of_errors(error: Exception, kind: LLMErrorType) -> None:
    assert classify_llm_error(error) is kind


async def test_a_run_with_every_kind_of_question_is_replayed_offline(kit: Any) -> None:
    log = kit.Log()
    script: list[Any] = [
        "Hm.",
        kit.call("echo"),
        '{"text": "filled"}',
        kit.call("read", text="long"),
        LLMContextLengthError("too many tokens"),
        "Penguins.",
        {"next_node": "final_response", "args": {}},
        "no total",
        '{"answer": "first"}',
        '{"score": 0.1, "passed": false, "feedback": "more"}',
        kit.answer("second"),
        '{"score": 0.9, "passed": true, "feedback": "good"}',
    ]
    options: dict[str, Any] = {
        "final_response_model": Answer,
        "reflection_config": ReflectionConfig(enabled=True),
        "token_budget": 3000,
    }
    events: list[PlannerEvent] = []
    planner = kit.planner_of(
        echo, read, script=script, recorder=log.recorder(), event_callback=events.append, **options
    )
    finish = await planner.run("q")
    assert finish.payload["raw_answer"] == "second"
    asked = [event.extra["purpose"] for event in events if event.event_type == "llm_call"]
    silent = ScriptedModel(rules=[(lambda _: True, LLMAuthError("a replay asks nobody"))])
    flow, registry = kit.planner_of(echo, read, model=silent, **options).as_flow()
    done = await replay(flow, Cassette.of(log.events), registry=registry)
    done.check()
    assert done.output.payload == finish.payload
    assert done.output.metadata["steps"] == finish.metadata["steps"]
    assert not silent.requests
    assert asked == [
        "decision",
        "repair",
        "arg_fill",
        "decision",
        "decision",
        "summary",
        "decision",
        "structured_repair",
        "finish_repair",
        "critique",
        "revision",
        "critique",
    ]
