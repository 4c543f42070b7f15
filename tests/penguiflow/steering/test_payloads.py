"""Payloads of steering events: their limits, and what they must hold."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from penguiflow.steering import (
    MAX_STEERING_KEYS,
    MAX_STEERING_LIST_ITEMS,
    MAX_STEERING_PAYLOAD_BYTES,
    MAX_STEERING_STRING,
    SteeringEvent,
    SteeringEventType,
    SteeringValidationError,
    sanitize_payload,
    sanitize_steering_event,
    validate_steering_event,
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=60) | st.dictionaries(st.text(max_size=5), inner, max_size=70),
    max_leaves=150,
)


def event(kind: str = "INJECT_CONTEXT", **payload: Any) -> SteeringEvent:
    return SteeringEvent(session_id="s", task_id="t", event_type=SteeringEventType(kind), payload=payload)


def test_what_is_within_the_limits_stays_as_it_is() -> None:
    payload: dict[str, Any] = {"text": "x", "list": [1, 2.5, None, True], "nested": {"a": {"b": {"c": {"d": 1}}}}}
    assert sanitize_payload(payload) == payload
    given = event(**payload)
    assert sanitize_steering_event(given) is given


def test_strings_lists_keys_and_depth_are_cut_and_marked() -> None:
    deep: dict[str, Any] = {"n": 1}
    for _ in range(10):
        deep = {"n": deep}
    cut = sanitize_payload(
        {"text": "x" * 5000, "list": list(range(60)), "keys": {str(number): 0 for number in range(70)}, "deep": deep}
    )
    assert len(cut["text"]) == MAX_STEERING_STRING
    assert cut["text"].endswith("<truncated>")
    assert cut["list"] == [*range(MAX_STEERING_LIST_ITEMS), "<truncated>"]
    assert len(cut["keys"]) == MAX_STEERING_KEYS + 1
    assert cut["keys"]["__truncated_keys__"] == 6
    assert cut["deep"] == {"n": {"n": {"n": {"n": {"n": "<truncated>"}}}}}
    assert sanitize_payload(cut) == cut


def test_too_many_bytes_leave_a_summary() -> None:
    cut = sanitize_payload({str(number): "é" * 1000 for number in range(20)})
    assert cut["truncated"] is True
    assert cut["summary"].startswith('{"0": "éé')
    small = sanitize_steering_event(event(text="x" * 500), max_payload_bytes=300)
    assert small.payload["truncated"] is True
    assert len(json.dumps(small.payload)) <= 300


def test_anything_becomes_plain_data() -> None:
    class Model(BaseModel):
        when: datetime

    cut = sanitize_payload(
        {"model": Model(when=datetime(2026, 1, 2, tzinfo=UTC)), "tuple": (1,), "nan": float("nan"), "half": "\ud800"}
    )
    assert cut == {"model": {"when": "2026-01-02 00:00:00+00:00"}, "tuple": [1], "nan": "nan", "half": "?"}
    assert sanitize_steering_event(event(text=(1,))).payload == {"text": [1]}


def test_a_payload_that_refers_to_itself_ten_thousandfold() -> None:
    level: Any = "x"
    for _ in range(5):
        level = [level] * 50
    assert sanitize_payload({"bomb": level})["truncated"] is True


@settings(max_examples=100, deadline=None)
@given(payload=st.dictionaries(st.text(max_size=5), json_values, max_size=70))
def test_it_fits_and_doing_it_again_changes_nothing(payload: dict[str, Any]) -> None:
    cut = sanitize_payload(payload)
    text = json.dumps(cut, ensure_ascii=False, allow_nan=False)
    assert len(text.encode()) <= MAX_STEERING_PAYLOAD_BYTES
    assert sanitize_payload(cut) == cut


@pytest.mark.parametrize(
    ("kind", "payload", "error"),
    [
        ("INJECT_CONTEXT", {"text": " "}, "INJECT_CONTEXT requires non-empty 'text'"),
        ("USER_MESSAGE", {}, "USER_MESSAGE requires non-empty 'text'"),
        ("REDIRECT", {"instruction": 1}, "REDIRECT requires non-empty 'instruction' (or 'goal'/'query')"),
        ("REDIRECT", {"goal": "x", "constraints": "y"}, "REDIRECT 'constraints' must be an object"),
        ("INJECT_CONTEXT", {"text": "x", "scope": 5}, "INJECT_CONTEXT 'scope' must be 'foreground' or 'task_only'"),
        ("INJECT_CONTEXT", {"text": "x", "severity": ""}, "INJECT_CONTEXT 'severity' must be 'note' or 'correction'"),
        ("CANCEL", {"hard": 1}, "CANCEL 'hard' must be a boolean"),
        ("REJECT", {"patch_id": "x", "decision": 5}, "APPROVE/REJECT 'decision' must be a string"),
        ("RESUME", {"reason": 5}, "PAUSE/RESUME 'reason' must be a string"),
        ("USER_MESSAGE", {"text": "x", "active_tasks": "y"}, "USER_MESSAGE 'active_tasks' must be a list"),
        ("PRIORITIZE", {"priority": "1"}, "PRIORITIZE requires integer 'priority'"),
        ("PRIORITIZE", {"priority": True}, "PRIORITIZE requires integer 'priority'"),
        ("APPROVE", {}, "APPROVE/REJECT requires 'resume_token' or 'patch_id'"),
        ("REJECT", {"patch_id": ""}, "APPROVE/REJECT requires 'resume_token' or 'patch_id'"),
        ("CANCEL", {"reason": 1}, "CANCEL 'reason' must be a string"),
    ],
)
def test_what_a_payload_lacks(kind: str, payload: dict[str, Any], error: str) -> None:
    with pytest.raises(SteeringValidationError, match=r"^Invalid steering payload$") as caught:
        validate_steering_event(event(kind, **payload))
    assert caught.value.errors == [error]
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("INJECT_CONTEXT", {"text": "x"}),
        ("REDIRECT", {"instruction": "x"}),
        ("PRIORITIZE", {"priority": 3}),
        ("APPROVE", {"resume_token": "x"}),
        ("REJECT", {"patch_id": "x"}),
        ("CANCEL", {}),
        ("CANCEL", {"hard": None, "reason": None}),
        ("INJECT_CONTEXT", {"text": "x", "scope": "task_only", "severity": "note"}),
        ("PAUSE", {}),
        ("RESUME", {}),
    ],
)
def test_what_is_valid(kind: str, payload: dict[str, Any]) -> None:
    validate_steering_event(event(kind, **payload))
