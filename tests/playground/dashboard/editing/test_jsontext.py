from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playground.dashboard.editing.jsontext import colors, line_of, locate, read, spot, write

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("text", "message", "place"),
    [
        ("", "a value is missing", (0, 0)),
        ('{"a": }', "a value is missing", (0, 6)),
        ('{"a": 1\n "b": 2}', "a comma is missing, or a bracket", (1, 1)),
        ('{"a" 1}', "a colon is missing", (0, 5)),
        ('{"a": 1} x', "there is more after the value", (0, 9)),
        ('{"a": NaN}', "NaN is no JSON", (0, 0)),
        ('{"a": 1,\n  "a": 2}', 'the key "a" stands there twice', (1, 2)),
    ],
)
def test_what_is_no_json_says_what_and_where(text: str, message: str, place: tuple[int, int]) -> None:
    _, problem = read(text)
    assert problem is not None
    assert problem.message == message
    assert line_of(text, problem.offset) == place


def test_deep_nesting_is_a_problem_and_no_crash() -> None:
    _, problem = read("[" * 200_000)
    assert problem is not None
    assert spot("[" * 5000, 5000) is not None


@given(VALUES)
def test_every_value_is_read_back_and_found(value: Any) -> None:
    text = write(value)
    assert read(text) == (value, None)
    # A field breaks lines at all of these.
    assert text.splitlines() == text.split("\n")
    for parts, inner in places(value):
        found = json.JSONDecoder().raw_decode(text, locate(text, parts))[0]
        assert found == inner


def places(value: Any) -> list[tuple[list[str], Any]]:
    found: list[tuple[list[str], Any]] = [([], value)]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found += [([str(key), *parts], inner) for parts, inner in places(item)]
    return found


def test_a_missing_place_is_found_as_near_as_there_is() -> None:
    text = '{"a": {"b": 1}}'
    assert text[locate(text, ["a", "x"]) :].startswith('{"b"')


@pytest.mark.parametrize(
    ("text", "parts", "wants", "typed", "present"),
    [
        ("|", [], "value", "", set()),
        ("{|", [], "key", "", set()),
        ('{"a": 1, |}', [], "key", "", {"a"}),
        ('{"a": 1, "b|"}', [], "key", '"b', {"a"}),
        ('{"ur|": 1, "z": 2}', [], "key", '"ur', {"z"}),
        ('{"a": |}', ["a"], "value", "", set()),
        ('{"a": tr|}', ["a"], "value", "tr", set()),
        ('{"a": {"b": [1, "x|"]}}', ["a", "b", "1"], "value", '"x', set()),
        ('{"a": {"b": 1, |}, "c": 2}', ["a"], "key", "", {"b"}),
    ],
)
def test_what_may_stand_at_the_cursor(text: str, parts: list[str], wants: str, typed: str, present: set[str]) -> None:
    found = spot(text.replace("|", ""), text.index("|"))
    assert found is not None
    assert (found.parts, found.wants, found.typed, set(found.present)) == (parts, wants, typed, present)


@pytest.mark.parametrize("text", ['{"a": 1 |}', '{"a": {} |}', "1 |"])
def test_nothing_may_stand_where_a_sign_belongs(text: str) -> None:
    assert spot(text.replace("|", ""), text.index("|")) is None


@given(st.text(alphabet='{}[]:," a1\n\\', max_size=60), st.integers(0, 60))
def test_no_text_breaks_it(text: str, offset: int) -> None:
    read(text)
    spot(text, min(offset, len(text)))
    locate(text, ["a", "1"])
    list(colors(text))


def test_keys_strings_numbers_and_literals_have_colors() -> None:
    line = '  "a": [1.5, "x", true]'
    assert [(line[start:end], role) for start, end, role in colors(line)] == [
        ('"a"', "key"),
        ("1.5", "number"),
        ('"x"', "string"),
        ("true", "literal"),
    ]
