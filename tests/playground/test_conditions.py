from __future__ import annotations

import contextlib
import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playground.conditions import MAX_LENGTH, Condition, ConditionError

PAYLOAD: dict[str, Any] = {
    "tool": "fetch",
    "args": {"url": "https://b.example", "tries": 2, "ratio": 0.5, "with space": 1, "in": True},
    "items": [{"done": False}, {"done": True}],
    "error": None,
    "text": 'a "quoted" \n line',
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('tool == "fetch"', True),
        ("tool == 'search'", False),
        ('"b." in args.url and args.tries >= 2', True),
        ("args.tries > 2 or args.ratio < 1", True),
        ("not items[0].done", True),
        ("not not items[-1].done", True),
        ("items[1].done == true and items[1].done == True", True),
        ("error == null", True),
        ("error", False),
        ('args["with space"] == 1', True),
        ("tool in ['search', \"fetch\",]", True),
        ("tool not in []", True),
        ('"url" in args', True),
        ('payload.tool == "fetch" and payload["args"].tries == 2', True),
        (r'text == "a \"quoted\" \n line" and "\u0022" in text', True),
        ("args.tries == 2.0 and args.tries != -2", True),
        ('tool == "other" and missing.here', False),
        ("tool[0] == 'f'", True),
        ('args == {"a": 1}', None),
        ("(tool == 'x' or tool == 'fetch') and (error == null)", True),
        ("args.tries == 2e0", True),
    ],
)
def test_what_it_says(text: str, expected: bool | None) -> None:
    if expected is None:
        with pytest.raises(ConditionError):
            Condition(text)
    else:
        assert Condition(text).holds(PAYLOAD) is expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "the condition is empty"),
        ("   ", "empty|not complete"),
        ("tool ==", "not complete"),
        ("tool = 'x'", "column 6: '=' is not understood"),
        ("len(tool)", r"column 4: '\(' is not expected here \(there are no calls\)"),
        ("args.__class__", "column 6: names that begin with an underscore"),
        ("_hidden", "underscore"),
        ("args['__class__']", None),
        ("1 + 1 == 2", "not understood"),
        ("tool == 'a' == 'b'", "not expected"),
        ("(tool", r"'\)' is missing"),
        ("tool[0", r"'\]' is missing"),
        ("'open", "not understood"),
        (r"tool == '\x41'", r"escape \\x is not known"),
        ("lambda: 1", "not understood"),
        ("x if y else z", "not expected"),
        ("12abc == 1", "not understood"),
        ("tool.in == 1", "not expected"),
        ("(" * 60 + "1" + ")" * 60, "inside each other"),
        ("a" * (MAX_LENGTH + 1), "at most 500 characters, this one has 501"),
    ],
)
def test_what_is_no_condition(text: str, why: str | None) -> None:
    with pytest.raises(ConditionError, match=why):
        Condition(text).holds(PAYLOAD)


@pytest.mark.parametrize(
    "text",
    ["nothing", "args.nothing", "items[2]", "items['0']", "tool.upper", "tool < 1", "1 in args", "1 in 2"],
)
def test_what_does_not_fit_the_payload(text: str) -> None:
    with pytest.raises(ConditionError):
        Condition(text).holds(PAYLOAD)


def test_a_key_named_payload_is_the_key() -> None:
    assert Condition("payload.a == 1").holds({"payload": {"a": 1}})


def test_a_payload_that_is_no_object() -> None:
    assert Condition("payload == 'x'").holds("x")
    assert Condition("payload[1] > 1").holds([1, 2])


def test_what_is_no_json_is_not_touched() -> None:
    class Trap:
        def __eq__(self, other: object) -> bool:
            raise AssertionError("reached")

        def __getattr__(self, name: str) -> Any:
            raise AssertionError("reached")

    for text in ("trap.x", "trap[0]", "trap == 1", "trap in [1]", "trap"):
        with pytest.raises(ConditionError, match="no JSON"):
            Condition(text).holds({"trap": Trap()})


def test_a_payload_too_deep_to_compare() -> None:
    deep: list[Any] = []
    other: list[Any] = []
    for _ in range(200_000):
        deep, other = [deep], [other]
    try:
        with pytest.raises(ConditionError, match="too deeply"):
            Condition("a == b").holds({"a": deep, "b": other})
    finally:
        while deep:  # else freeing it would recurse as deeply
            deep, other = deep[0], other[0]


def test_the_longest_chains_are_read() -> None:
    assert Condition("not " * 124 + "1").holds(None)
    assert Condition("1" + " or 1" * 99).holds(None)
    assert Condition("a" + "[0]" * 166).holds({"a": "x"})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
WORDS = (
    """a b payload a.b a[0] _x .__class__ 'a' " 1 -1 1e999 true null and or not in == < >= ( ) [ ] , . \\ { lambda"""
)
words = st.sampled_from([*WORDS.split(), "\0", "9" * 300])


@settings(max_examples=1500)
@given(st.lists(words, max_size=25).map(" ".join) | st.text(string.printable, max_size=40) | st.text(), json_values)
def test_nothing_but_an_answer_or_its_own_error(text: str, payload: Any) -> None:
    before = repr(payload)
    with contextlib.suppress(ConditionError):
        assert isinstance(Condition(text).holds(payload), bool)
    assert repr(payload) == before
