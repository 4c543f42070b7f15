"""Objects as JSON and back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_core import from_json, to_json

from penguiflow.state.values import decode_value, encode_value


class Model(BaseModel):
    at: datetime
    raw: bytes = b""


@dataclass
class Plain:
    n: int
    model: Model | None = None


NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    [None, 1, "ü", [1, {"a": None}], {"type": "x", "value": 1}, (1, 2), {1, 2}, Model(at=NOW, raw=b"x"),
     Plain(1, Model(at=NOW))],
)  # fmt: skip
def test_it_comes_back(value: Any) -> None:
    assert decode_value(encode_value(value)) == value


def test_what_cannot_be_rebuilt_comes_as_its_json_value() -> None:
    class Local(BaseModel):
        n: int

    assert decode_value(encode_value(Local(n=1))) == {"n": 1}
    assert str(decode_value(encode_value(object()))).startswith("<object")
    for type_of in ("nowhere:Class", "penguiflow:Nothing", "os:system", "builtins:eval", "json", ""):
        assert decode_value(to_json({"type": type_of, "value": {"a": 1}})) == {"a": 1}


def test_a_class_that_has_changed_gives_the_value() -> None:
    stored = from_json(encode_value(Plain(1)))
    stored["value"] = {"other": "shape"}
    assert decode_value(to_json(stored)) == {"other": "shape"}
