from __future__ import annotations

from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, ValidationError

from playground.dashboard.editing.schemas import choices, faults, pointer, skeleton


class Page(BaseModel):
    url: str = Field(min_length=1, description="where it is")
    rank: int = Field(default=1, ge=1, le=10)


class Search(BaseModel):
    model_config = {"extra": "forbid"}

    query: str
    mode: Literal["fast", "whole"] = "fast"
    pages: list[Page] = []
    near: Page | None = None
    flags: dict[str, bool] = {}


SCHEMA = Search.model_json_schema()
TOOLS = {
    "oneOf": [
        {
            "type": "object",
            "properties": {"tool": {"const": "search"}, "args": {"$ref": "#/$defs/Page"}},
            "required": ["tool", "args"],
        },
        {"type": "object", "properties": {"tool": {"const": "final"}}, "required": ["tool"]},
    ],
    "$defs": SCHEMA["$defs"],
}


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"query": "x"}, []),
        ({}, [("", "query is missing")]),
        ({"query": 1}, [("/query", "must be a text")]),
        ({"query": "x", "mode": "slow"}, [("/mode", 'must be one of "fast", "whole"')]),
        ({"query": "x", "pages": [{"url": ""}]}, [("/pages/0/url", "needs at least 1 characters")]),
        ({"query": "x", "pages": [{"url": "a", "rank": 11}]}, [("/pages/0/rank", "must be at most 10")]),
        ({"query": "x", "near": {"rank": 1}}, [("/near", "url is missing")]),
        ({"query": "x", "near": 3}, [("/near", "must be Page or null")]),
        ({"query": "x", "flags": {"a": 1}}, [("/flags/a", "must be true or false")]),
        ([], [("", "must be an object")]),
    ],
)
def test_what_does_not_fit_is_told(value: Any, told: list[tuple[str, str]]) -> None:
    assert [(fault.pointer, fault.message) for fault in faults(value, SCHEMA)] == told


@pytest.mark.parametrize(
    "value",
    [
        {"query": {"$secret": "hmac:00ff"}},
        {"query": "x", "mode": {"$secret": "env:MODE"}},
        {"query": "x", "near": {"url": {"$secret": "hmac:00ff"}}},
        {"query": "x", "near": {"$secret": "hmac:00ff"}},
        {"query": "x", "mode": "with ⟦$secret env:MODE⟧"},
    ],
)
def test_a_secret_that_is_hidden_is_no_fault(value: Any) -> None:
    assert faults(value, SCHEMA) == []
    # Only the mark itself stands for a secret, and what is beside one is still looked at.
    assert faults({**value, "query": {"$secret": 1}}, SCHEMA)
    assert faults({**value, "flags": {"a": 1}}, SCHEMA)


def test_an_unknown_key_is_told_with_those_there_are() -> None:
    (fault,) = faults({"query": "x", "mod": 1}, SCHEMA)
    assert fault.pointer == "/mod"
    assert "there is flags, mode" in fault.message
    assert fault.rule == "additionalProperties"


def test_of_alternatives_the_one_that_was_meant_is_told_about() -> None:
    (fault,) = faults({"tool": "search", "args": {"url": ""}}, TOOLS)
    assert fault.pointer == "/args/url"


def test_what_another_tool_lacks_is_told_and_not_that_the_first_one_is_wanted() -> None:
    calls = {
        "properties": {"tool": {"enum": ["search", "page"]}, "args": {"type": "object"}},
        "anyOf": [
            {"properties": {"tool": {"const": "search"}, "args": {"$ref": "#/$defs/Search"}}},
            {"properties": {"tool": {"const": "page"}, "args": {"$ref": "#/$defs/Page"}}},
        ],
        "$defs": {"Search": SCHEMA, **SCHEMA["$defs"]},
    }
    assert faults({"tool": "page", "args": {"url": "a"}}, calls) == []
    (fault,) = faults({"tool": "page", "args": {}}, calls)
    assert (fault.pointer, fault.message) == ("/args", "url is missing")
    (fault,) = faults({"tool": "pages", "args": {"url": "a"}}, calls)
    assert (fault.pointer, fault.message) == ("/tool", 'must be one of "search", "page"')


@given(
    st.fixed_dictionaries(
        {"query": st.one_of(st.text(max_size=3), st.integers())},
        optional={
            "mode": st.sampled_from(["fast", "whole", "slow"]),
            "near": st.none() | st.fixed_dictionaries({"url": st.text(max_size=2), "rank": st.integers(-2, 12)}),
            "flags": st.dictionaries(st.text(max_size=2), st.booleans() | st.none(), max_size=2),
            "other": st.none(),
        },
    )
)
def test_it_agrees_with_pydantic(value: dict[str, Any]) -> None:
    try:
        Search.model_validate(value, strict=True)
        fits = True
    except ValidationError:
        fits = False
    assert (faults(value, SCHEMA) == []) is fits


def texts(parts: list[str], wants: str, *present: str) -> list[str]:
    return [choice.text for choice in choices(SCHEMA, parts, wants, frozenset(present))]


def test_keys_and_values_are_offered() -> None:
    assert texts([], "key", "query", "pages") == ['"mode"', '"near"', '"flags"']
    assert texts(["mode"], "value") == ['"fast"', '"whole"']
    assert texts(["pages", "0"], "key") == ['"url"', '"rank"']
    assert texts(["near"], "value") == ["null", '{"url": ""}']
    assert texts(["flags", "any"], "value") == ["true", "false"]
    assert [each.text for each in choices(TOOLS, ["tool"], "value", frozenset())] == ['"search"', '"final"']
    assert choices(None, [], "key", frozenset()) == []


def test_descriptions_go_with_the_keys() -> None:
    (first, _) = choices(SCHEMA, ["near"], "key", frozenset())
    assert first.about == "string · where it is"


def test_a_skeleton_has_what_is_required() -> None:
    assert skeleton(SCHEMA) == {"query": ""}
    assert skeleton(TOOLS) == {"tool": "search", "args": {"url": ""}}
    assert skeleton(None) is None


def test_pointers_are_escaped() -> None:
    assert pointer(["a/b", "~", "0"]) == "/a~1b/~0/0"


def test_a_schema_that_refers_to_itself_ends() -> None:
    schema = {"$ref": "#/$defs/Tree", "$defs": {"Tree": {"properties": {"in": {"$ref": "#/$defs/Tree"}}}}}
    deep: dict[str, Any] = {}
    for _ in range(300):
        deep = {"in": deep}
    assert faults(deep, schema) == []
    assert choices(schema, ["in"] * 5, "key", frozenset())[0].text == '"in"'
