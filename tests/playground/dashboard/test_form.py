from __future__ import annotations

from enum import Enum
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field, TypeAdapter

from playground.dashboard.form import Invalid, collect, fields_of, initial, parse, ready_input, takes_null


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Inner(BaseModel):
    name: str
    size: int = 1


class Everything(BaseModel):
    word: str
    count: int = Field(ge=1, le=9, description="how many")
    ratio: float = 0.5
    flag: bool = False
    color: Color = Color.RED
    mode: Literal["fast", "slow"] = "fast"
    maybe: int | None = None
    either: int | str = 3
    inner: Inner
    tags: list[str] = []


def by_name() -> dict[str, Any]:
    return {field.name: field for field in fields_of(Everything.model_json_schema())}


def test_fields_are_made_from_a_model() -> None:
    fields = by_name()
    assert {name: field.kind for name, field in fields.items()} == {
        "word": "text", "count": "integer", "ratio": "number", "flag": "bool", "color": "choice", "mode": "choice",
        "maybe": "integer", "either": "json", "inner": "json", "tags": "json",
    }  # fmt: skip
    assert fields["word"].required
    assert not fields["ratio"].required
    assert fields["maybe"].nullable
    assert fields["color"].choices == ("red", "blue")
    assert fields["count"].about == "how many"
    assert (fields["inner"].type, fields["tags"].type) == ("Inner", "list of string")


def test_what_the_form_collects_is_what_the_model_takes() -> None:
    fields = fields_of(Everything.model_json_schema())
    texts = initial(fields, None) | {"word": "hi", "count": "3", "inner": '{"name": "n"}', "maybe": ""}
    value, errors = collect(fields, texts)
    assert not errors
    model = Everything.model_validate(value)
    assert (model.count, model.inner.name, model.color, model.maybe) == (3, "n", Color.RED, None)


def test_a_sample_fills_the_fields_and_comes_out_the_same() -> None:
    sample = {"word": "hi", "count": 2, "ratio": 0.25, "flag": True, "color": "blue", "mode": "slow",
              "maybe": 7, "either": "x", "inner": {"name": "a", "size": 2}, "tags": ["t"]}  # fmt: skip
    fields = fields_of(Everything.model_json_schema())
    assert collect(fields, initial(fields, sample)) == (sample, {})


def test_each_field_has_its_own_message() -> None:
    fields = fields_of(Everything.model_json_schema())
    texts = initial(fields, None) | {"count": "12", "ratio": "much", "inner": "{", "tags": "{}", "maybe": "x"}
    _, errors = collect(fields, texts)
    assert errors["count"] == "must be at most 9"
    assert errors["ratio"] == "must be a number"
    assert errors["inner"].startswith("is no JSON")
    assert errors["tags"] == "must be a JSON array"
    assert errors["maybe"] == "must be a whole number"


def test_required_fields_must_be_there() -> None:
    fields = by_name()
    with pytest.raises(Invalid, match="is required"):
        parse(fields["count"], " ")
    assert parse(fields["ratio"], "") == (False, None)
    assert parse(fields["word"], "") == (True, "")


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [({"type": "string"}, "hi", "hi"), ({"type": "integer"}, "4", 4), (None, '[1, {"a": null}]', [1, {"a": None}])],
)
def test_inputs_that_are_no_objects_are_one_field(schema: dict[str, Any] | None, text: str, value: Any) -> None:
    assert collect(fields_of(schema), {"": text}) == (value, {})


@pytest.mark.parametrize(
    ("annotation", "nullable"),
    [(Any, True), (int | None, True), (Inner | None, True), (None, True), (int, False), (Inner, False), (list, False)],
)
def test_nothing_is_null_where_the_model_allows_it(annotation: Any, nullable: bool) -> None:
    schema = None if annotation is Any else TypeAdapter(annotation).json_schema()
    assert takes_null(schema) is nullable
    value, errors = collect(fields_of(schema), {})
    if nullable:
        assert (value, errors) == (None, {})
    else:
        assert errors or value is not None


def test_models_that_refer_to_themselves_end() -> None:
    class Tree(BaseModel):
        value: int
        children: list[Tree] = []

    Tree.model_rebuild()
    fields = fields_of(Tree.model_json_schema())
    assert [field.name for field in fields] == ["value", "children"]


def test_odd_schemas_do_not_break_the_form() -> None:
    schemas: list[dict[str, Any]] = [
        {},
        {"$ref": "#/$defs/No"},
        {"type": "object", "properties": {"a": True, "b": {"enum": []}}},
        {"anyOf": []},
    ]
    for schema in schemas:
        fields = fields_of(schema)
        collect(fields, initial(fields, None))


def test_a_flow_runs_at_once_with_the_last_input_the_sample_or_the_defaults() -> None:
    schema = Everything.model_json_schema()
    assert ready_input(schema, [], []) is None
    assert ready_input(schema, [{"word": "s"}], []) == ({"word": "s"},)
    assert ready_input(schema, [{"word": "s"}], [{"word": "r"}]) == ({"word": "r"},)
    assert ready_input({"type": "object", "properties": {"a": {"type": "integer", "default": 1}}}, [], []) == ({},)
