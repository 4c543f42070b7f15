"""What is typed becomes an input, and what comes out a text."""

from __future__ import annotations

from typing import Any

import pytest

from playground.dashboard.chat.inputs import (
    Pause,
    answer_hint,
    answer_value,
    chat_input,
    pause_of,
    reply_text,
    resume_input,
    text_field,
    user_text,
)

TEXT = {"type": "string"}
PLANNER = {
    "type": "object",
    "properties": {
        "query": TEXT,
        "tool_context": {"anyOf": [{"type": "object"}, {"type": "null"}]},
        "memory_key": {"anyOf": [TEXT, {"type": "null"}]},
    },
}


@pytest.mark.parametrize(
    ("schema", "field"),
    [
        (None, ""),
        (TEXT, ""),
        (PLANNER, "query"),
        ({"type": "object", "properties": {"name": TEXT, "question": TEXT}}, "question"),
        ({"type": "object", "properties": {"note": TEXT, "n": {"type": "integer"}}}, "note"),
        ({"type": "object", "properties": {"a": TEXT, "b": TEXT}, "required": ["b"]}, "b"),
        ({"type": "object", "properties": {"a": TEXT, "b": TEXT}}, None),
        ({"type": "object", "properties": {"n": {"type": "integer"}}}, None),
        ({"type": "object"}, None),
        ({"type": "integer"}, None),
    ],
)
def test_the_field_for_a_text_is_found(schema: dict[str, Any] | None, field: str | None) -> None:
    assert text_field(schema) == field


def test_the_other_fields_come_from_earlier_inputs_and_the_session_is_put_in() -> None:
    base = {"query": "old", "tool_context": {"tenant_id": "t", "session_id": "s0"}, "gone": 1}
    assert chat_input(PLANNER, "hi", "s1", [{"resume": {}}, base]) == {
        "query": "hi",
        "tool_context": {"tenant_id": "t", "session_id": "s1"},
    }
    assert base["query"] == "old"
    assert chat_input(PLANNER, "hi", "s1") == {"query": "hi", "tool_context": {"session_id": "s1"}}
    asks = {"type": "object", "properties": {"text": TEXT, "session_id": TEXT}}
    assert chat_input(asks, "hi", "s1") == {"text": "hi", "session_id": "s1"}
    assert chat_input(None, "hi", "s1") == "hi"
    with pytest.raises(ValueError, match="no field for a text"):
        chat_input({"type": "integer"}, "hi", "s1")


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [
        (None, "12", "12"),
        (TEXT, "12", "12"),
        ({"type": "integer"}, "12", 12),
        ({"type": "integer"}, "twelve", "twelve"),
        ({"type": "boolean"}, " Yes", True),
        ({"type": "boolean"}, "n", False),
        ({"type": "object"}, '{"a": 1}', {"a": 1}),
    ],
)
def test_answers_are_what_their_schema_wants(schema: dict[str, Any] | None, text: str, value: object) -> None:
    assert answer_value(schema, text) == value


def test_what_an_answer_may_be_is_told_in_a_few_words() -> None:
    assert answer_hint(None) == answer_hint(TEXT) == ""
    assert answer_hint({"enum": ["red", "blue"]}) == "red or blue"
    assert answer_hint({"type": "boolean"}) == "yes or no"
    assert answer_hint({"type": "object", "properties": {"a": TEXT, "b": TEXT}}) == "object: a, b"
    assert answer_hint({"type": "integer"}) == "integer"


@pytest.mark.parametrize(
    ("output", "text"),
    [
        (None, ""),
        ("hello", "hello"),
        ({"reason": "answer_complete", "payload": {"raw_answer": "fish"}}, "fish"),
        ({"answer": {"text": "deep"}}, "deep"),
        ({"n": 1}, '{\n  "n": 1\n}'),
        ([1], "[\n  1\n]"),
    ],
)
def test_the_answer_is_found_in_what_comes_out(output: object, text: str) -> None:
    assert reply_text(output) == text


def test_a_run_that_ended_with_a_question_can_be_gone_on_with() -> None:
    paused = {
        "reason": "await_input",
        "payload": {"prompt": "Send?", "schema": {"type": "boolean"}},
        "resume_token": "t",
    }
    pause = pause_of(paused)
    assert pause == Pause("Send?", "t", {"type": "boolean"})
    assert resume_input(pause, "yes") == {"resume": {"pause": "t", "answer": True}}
    assert pause_of({"reason": "answer_complete"}) is None
    assert pause_of("text") is None
    bare = pause_of({"reason": "external_event", "payload": {}, "resume_token": "t"})
    assert bare is not None
    assert bare.prompt == "external_event"


def test_what_somebody_said_is_read_from_an_input() -> None:
    assert user_text({"query": "hi", "tool_context": {}}) == "hi"
    assert user_text({"resume": {"pause": "t", "answer": True}}) == "true"
    assert user_text({"resume": {"pause": "t", "user_input": "yes"}}) == "yes"
    assert user_text("hi") == "hi"
    assert user_text({"n": 1}) == '{"n": 1}'
