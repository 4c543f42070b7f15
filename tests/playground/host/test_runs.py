from __future__ import annotations

import json
from typing import Any

import pydantic_core
import pytest
from pydantic import BaseModel, ConfigDict

from penguiflow.recording.payloads import encode_payload
from playground.host.runs import jsonable
from playground.protocol import Result, decode, encode

NAN, INFINITY = float("nan"), float("inf")


class Quiet(BaseModel):
    """Says null for NaN, as pydantic does by default."""

    score: float
    more: dict[str, float] = {}


class Loud(BaseModel):
    model_config = ConfigDict(ser_json_inf_nan="strings")

    score: float


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (NAN, "NaN"),
        ({"a": NAN, "b": [INFINITY, -INFINITY, 1.5]}, {"a": "NaN", "b": ["Infinity", "-Infinity", 1.5]}),
        (Quiet(score=NAN, more={"x": INFINITY}), {"score": None, "more": {"x": None}}),
        (Loud(score=NAN), {"score": "NaN"}),
        ([Quiet(score=1.0), NAN], [{"score": 1.0, "more": {}}, "NaN"]),
    ],
)
def test_a_result_and_its_record_agree_on_what_is_no_number(value: Any, shown: Any) -> None:
    assert jsonable(value) == shown
    assert pydantic_core.from_json(encode_payload(value))["value"] == shown
    sent = encode(Result(trace_id="t", status="ok", output=jsonable(value)))
    assert decode(sent).output == shown
    json.loads(sent, parse_constant=pytest.fail)


def test_what_text_cannot_hold_is_spelled() -> None:
    assert jsonable([2**20_000, NAN, "\udcff"]) == [hex(2**20_000), "NaN", "\udcff"]


def test_a_payload_that_cannot_be_shown() -> None:
    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    assert "Broken: cannot be shown as JSON" in jsonable(Broken())
