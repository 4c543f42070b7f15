"""The envelope, its defaults and its way through JSON."""

from __future__ import annotations

import time

import pytest
from pydantic import ValidationError

from penguiflow import WM, FinalAnswer, Headers, Message, PlanStep, StreamChunk, Thought
from penguiflow.validation import rewrap


def test_a_message_names_its_own_trace() -> None:
    before = time.time()
    first, second = (Message(payload=1, headers=Headers(tenant="acme")) for _ in range(2))
    assert first.trace_id != second.trace_id
    assert len(first.trace_id) == 32
    assert int(first.trace_id, 16) >= 0
    assert before <= first.ts <= time.time()
    assert (first.deadline_s, first.meta) == (None, {})
    assert first.meta is not second.meta
    assert (first.headers.topic, first.headers.priority) == (None, 0)


def test_a_message_survives_json() -> None:
    sent = Message(payload={"a": [1, None]}, headers=Headers(tenant="ä", topic="x", priority=3), meta={"k": 1})
    assert Message.model_validate_json(sent.model_dump_json()) == sent


def test_headers_are_needed() -> None:
    with pytest.raises(ValidationError):
        Message.model_validate({"payload": 1})
    with pytest.raises(ValidationError):
        Headers.model_validate({})


def test_the_defaults_of_the_payloads() -> None:
    assert WM(query="q").model_dump() == {
        "query": "q",
        "facts": [],
        "hops": 0,
        "budget_hops": 8,
        "tokens_used": 0,
        "budget_tokens": None,
        "confidence": 0.0,
    }
    assert FinalAnswer(text="a").citations == []
    assert StreamChunk(stream_id="s", seq=0, text="").model_dump()["done"] is False
    assert PlanStep(kind="web").max_concurrency == 1
    assert Thought(steps=[PlanStep(kind="stop")], rationale="r").done is False
    with pytest.raises(ValidationError):
        PlanStep.model_validate({"kind": "dance"})


class Tagged(Message):
    tag: str = "t"


@pytest.mark.parametrize("kind", [Message, Tagged])
def test_a_rewrapped_message_differs_in_its_payload_only(kind: type[Message]) -> None:
    sent = kind(payload=1, headers=Headers(tenant="acme"), deadline_s=4e9, meta={"k": [1]})
    again = rewrap(sent, "two")
    assert type(again) is kind
    assert again == sent.model_copy(update={"payload": "two"})
    assert again.model_fields_set == sent.model_fields_set
    assert again.model_copy(update={"payload": 1}) == sent
    assert kind.model_validate_json(again.model_dump_json()) == again
    assert sent.payload == 1
