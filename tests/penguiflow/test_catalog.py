"""What is told of nodes that are tools."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from penguiflow import ModelRegistry, Node, ToolInputExample, ToolLoadingMode, build_catalog, tool


class Query(BaseModel):
    text: str


class Answer(BaseModel):
    text: str


def check(parsed: Any, action: Any) -> None:
    return None


@tool(
    desc="Look things up",
    side_effects="read",
    tags=["search"],
    auth_scopes=["docs:read"],
    cost_hint="low",
    latency_hint_ms=200,
    safety_notes="none",
    arg_validation={"emit_suspect": True},
    arg_validator=check,
    extra={"owner": "docs"},
    loading_mode="deferred",
    examples=[{"text": "penguins"}, {"args": {"text": "fish"}, "tags": ["a", "b", "a"]}],
)
async def look_up(query: Query, ctx: Any) -> Answer:
    """Not this."""
    return Answer(text=query.text)


async def documented(query: Query, ctx: Any) -> Answer:
    """Says what it does."""
    return Answer(text=query.text)


async def plain(query: Query, ctx: Any) -> Answer:
    return Answer(text=query.text)


def catalog(*functions: Any, **options: Any) -> Any:
    registry = ModelRegistry()
    nodes = [Node(function) for function in functions]
    for node in nodes:
        registry.register(str(node.name), Query, Answer)
    return build_catalog(nodes, registry, **options)


def test_everything_that_is_told_of_a_tool() -> None:
    (spec,) = catalog(look_up)
    assert (spec.args_model, spec.out_model) == (Query, Answer)
    assert spec.node.func is look_up
    assert spec.to_tool_record() == {
        "name": "look_up",
        "desc": "Look things up",
        "side_effects": "read",
        "loading_mode": "deferred",
        "tags": ["search"],
        "auth_scopes": ["docs:read"],
        "cost_hint": "low",
        "latency_hint_ms": 200,
        "safety_notes": "none",
        "args_schema": Query.model_json_schema(),
        "out_schema": Answer.model_json_schema(),
        "extra": {"owner": "docs", "arg_validation": {"emit_suspect": True}},
        "examples": [
            {"args": {"text": "penguins"}, "description": None, "tags": []},
            {"args": {"text": "fish"}, "description": None, "tags": ["a", "b"]},
        ],
    }
    with pytest.raises(AttributeError):
        spec.name = "other"


def test_the_function_is_left_as_it_is() -> None:
    mark = look_up.__penguiflow_tool__  # type: ignore[attr-defined]
    assert mark["desc"] == "Look things up"
    assert mark["loading_mode"] is ToolLoadingMode.DEFERRED


def test_descriptions_without_one() -> None:
    assert [spec.desc for spec in catalog(documented, plain)] == ["Says what it does.", "plain"]


def test_the_default_of_the_loading_mode() -> None:
    modes = [spec.loading_mode for spec in catalog(look_up, plain, default_loading_mode="deferred")]
    assert modes == [ToolLoadingMode.DEFERRED, ToolLoadingMode.DEFERRED]
    assert catalog(plain)[0].loading_mode is ToolLoadingMode.ALWAYS


@pytest.mark.parametrize(
    ("given", "args"),
    [
        ({"text": "bare"}, [{"text": "bare"}]),
        ({"args": {"text": "one"}, "description": "d"}, [{"text": "one"}]),
        ({"args": {"text": "one"}, "mode": "x"}, [{"args": {"text": "one"}, "mode": "x"}]),
        ([ToolInputExample(args={"text": "model"})], [{"text": "model"}]),
        (None, []),
    ],
)
def test_ways_to_give_an_example(given: Any, args: list[Any]) -> None:
    @tool(examples=given)
    async def example(query: Query, ctx: Any) -> Answer:
        return Answer(text="")

    assert [each["args"] for each in catalog(example)[0].examples_payload()] == args


@pytest.mark.parametrize("value", [object(), float("nan"), {1, 2}])
def test_an_example_must_be_json(value: Any) -> None:
    with pytest.raises(ValidationError, match="JSON-serializable"):
        ToolInputExample(args={"a": value})


def test_what_there_is_not() -> None:
    effects: Any = "magic"
    with pytest.raises(ValueError, match="side_effects must be one of pure, read, write, external, stateful"):
        tool(side_effects=effects)
    with pytest.raises(ValueError, match="sometimes"):
        tool(loading_mode="sometimes")
    with pytest.raises(KeyError, match="plain"):
        build_catalog([Node(plain)], ModelRegistry())
    registry = ModelRegistry()
    registry.register("plain", Query, Answer)
    with pytest.raises(ValueError, match="Two tools are named 'plain'"):
        build_catalog([Node(plain), Node(plain)], registry)
