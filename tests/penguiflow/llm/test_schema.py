"""Schemas in the forms that providers take."""

from __future__ import annotations

import copy
import json
from typing import Annotated, Any, ClassVar, Literal

import pytest
from pydantic import BaseModel, Field

from penguiflow.llm.profiles import ModelProfile, get_profile
from penguiflow.llm.schema import TRANSFORMERS
from penguiflow.llm.schema.plan import OutputMode, choose_output_mode, plan_schema
from penguiflow.llm.schema.transformer import (
    JsonSchemaTransformer,
    estimate_object_key_count,
    has_composition_keywords,
    has_open_objects,
    has_recursive_refs,
    has_refs,
    inlined,
)


class Page(BaseModel):
    title: Annotated[str, Field(min_length=1, pattern="^[A-Z]")]
    size: Annotated[int, Field(ge=1, lt=9)] = 3
    kind: Literal["web"] = "web"


class Found(BaseModel):
    pages: Annotated[list[Page], Field(min_length=1)]
    best: Page | None = None


class Tree(BaseModel):
    children: list[Tree]


class Open(BaseModel):
    args: dict[str, Any]


FOUND, TREE, OPEN = Found.model_json_schema(), Tree.model_json_schema(), Open.model_json_schema()


@pytest.mark.parametrize("name", sorted(TRANSFORMERS))
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("schema", [FOUND, TREE, OPEN])
def test_what_is_not_supported_is_gone_and_the_rest_is_as_it_was(
    name: str, strict: bool, schema: dict[str, Any]
) -> None:
    before = copy.deepcopy(schema)

    transformer = TRANSFORMERS[name](schema, strict=strict)
    text = json.dumps(transformer.transform())

    assert schema == before
    assert [
        word for word in sorted(transformer.UNSUPPORTED_KEYWORDS) if f'"{word}": ' in text and word != "title"
    ] == []
    assert '"args"' in text or '"pages"' in text or '"children"' in text
    if transformer.INLINE:
        assert "$ref" not in text


def test_openai_has_all_properties_and_no_others() -> None:
    schema = TRANSFORMERS["openai"](FOUND, strict=True).transform()
    page = schema["$defs"]["Page"]

    assert schema["additionalProperties"] is page["additionalProperties"] is False
    assert (schema["required"], page["required"]) == (["pages", "best"], ["title", "size", "kind"])
    assert page["properties"]["size"]["type"] == ["integer", "null"]
    assert page["properties"]["title"]["type"] == "string"
    assert {"type": "null"} in page["properties"]["kind"]["anyOf"]
    assert schema["properties"]["best"]["anyOf"].count({"type": "null"}) == 1
    loose = TRANSFORMERS["openai"](FOUND, strict=False).transform()
    assert loose["required"] == ["pages"]
    assert "additionalProperties" not in loose


def test_anthropic_is_told_bounds_in_words() -> None:
    title = TRANSFORMERS["anthropic"](FOUND, strict=False).transform()["$defs"]["Page"]["properties"]["title"]
    assert title["description"] == 'minLength: 1, pattern: "^[A-Z]"'


def test_google_has_enums_of_one_and_no_references() -> None:
    schema = TRANSFORMERS["google"](FOUND, strict=True).transform()
    page = schema["properties"]["pages"]["items"]
    assert page["properties"]["kind"]["enum"] == ["web"]
    assert page["properties"]["size"]["minimum"] == 1
    assert "exclusiveMaximum" not in page["properties"]["size"]


def test_databricks_has_no_alternatives() -> None:
    schema = TRANSFORMERS["databricks"](FOUND, strict=True).transform()
    assert not has_composition_keywords(schema)
    assert schema["properties"]["best"]["type"] == "object"
    assert schema["properties"]["best"]["description"].endswith("(may be left out)")


def test_a_transformer_of_a_program() -> None:
    class Shouting(JsonSchemaTransformer):
        UNSUPPORTED_KEYWORDS: ClassVar[set[str]] = {"title"}

        def convert(self, node: dict[str, Any]) -> dict[str, Any]:
            return {**node, "description": "!"}

    schema = {"title": "A", "type": "object", "properties": {"title": {"type": "string"}}, "items": True}
    assert Shouting(schema).transform() == {
        "type": "object",
        "properties": {"title": {"type": "string", "description": "!"}},
        "items": True,
        "description": "!",
    }


def test_what_is_known_of_a_schema() -> None:
    assert (estimate_object_key_count(FOUND), estimate_object_key_count(TREE)) == (5, 1)
    assert (has_refs(FOUND), has_refs(OPEN)) == (True, False)
    assert (has_recursive_refs(FOUND), has_recursive_refs(TREE)) == (False, True)
    assert (has_composition_keywords(FOUND), has_composition_keywords(TREE)) == (True, False)
    assert (has_open_objects(FOUND), has_open_objects(OPEN), has_open_objects({"type": "object"})) == (
        False,
        True,
        True,
    )
    assert has_recursive_refs({"type": "object", "properties": {"me": {"$ref": "#"}}})


def test_references_are_replaced_by_what_they_stand_for() -> None:
    schema = {"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": "integer", "title": "old"}}, "title": "new"}
    assert inlined(schema) == {"type": "integer", "title": "new"}
    assert inlined(TREE)["properties"]["children"]["items"] == {"type": "object"}
    assert inlined({"$ref": "#/$defs/none"}) == {}


@pytest.mark.parametrize(
    ("model", "schema", "mode"),
    [
        ("gpt-4o", FOUND, OutputMode.NATIVE),
        ("gpt-4", FOUND, OutputMode.TOOLS),
        ("claude-opus-4-6", FOUND, OutputMode.TOOLS),
        ("gemini-2.5-pro", FOUND, OutputMode.NATIVE),
        ("gemini-2.5-pro", TREE, OutputMode.TOOLS),
        ("nobody-knows-1", FOUND, OutputMode.TOOLS),
    ],
)
def test_the_mode_that_a_model_likes_and_a_schema_allows(model: str, schema: dict[str, Any], mode: OutputMode) -> None:
    assert choose_output_mode(get_profile(model), schema)[0] is mode


def test_a_model_that_can_nothing_is_asked_in_words() -> None:
    mode, plan = choose_output_mode(ModelProfile(supports_tools=False), FOUND)
    assert mode is OutputMode.PROMPTED
    assert plan.reasons == ("the model has no structured output", "the model has no tools")


def test_a_plan_says_what_is_applied() -> None:
    plan = plan_schema(get_profile("gpt-4o"), FOUND)
    assert (plan.strict_requested, plan.strict_applied, plan.estimated_total_keys) == (True, True, 5)
    assert plan.requested_schema is FOUND
    assert plan.transformed_schema["additionalProperties"] is False
    open_plan = plan_schema(get_profile("gpt-4o"), OPEN)
    assert (open_plan.strict_requested, open_plan.strict_applied) == (True, False)
    many = {"type": "object", "properties": {f"k{number}": {"type": "string"} for number in range(65)}}
    crowded = plan_schema(get_profile("databricks-llama"), many)
    assert not crowded.compatible_with_native
    assert crowded.reasons == ("65 keys are more than the 64 that the model takes",)
    assert plan_schema(get_profile("databricks-llama"), many, mode=OutputMode.TOOLS).reasons == ()
