"""Sets are written in the same order by every process, and come back as they were."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, RootModel, SecretStr
from pydantic_core import from_json

from penguiflow.recording.payloads import encode_data, encode_payload
from penguiflow.recording.rebuilding import rebuild

WORDS = ["alpha", "beta", "gamma", "delta", "epsilon"]


class Tagged(BaseModel):
    model_config = ConfigDict(extra="allow", populate_by_name=True)

    tags: set[str] = Field(default_factory=set, alias="Tags")
    inner: list[frozenset[str]] = []


class Tags(RootModel[set[str]]):
    pass


@dataclasses.dataclass
class Basket:
    fruit: set[str]
    label: str = ""


class Careful(BaseModel):
    tags: set[str]
    key: SecretStr = SecretStr("planted")


VALUES: dict[str, Any] = {
    "set": set(WORDS),
    "frozenset": frozenset(WORDS),
    "in a dict": {"a": [set(WORDS), 1], "b": (frozenset(WORDS),)},
    "in a model": Tagged.model_validate({"tags": set(WORDS), "inner": [frozenset(WORDS)], "more": set(WORDS)}),
    "root model": Tags(set(WORDS)),
    "dataclass": Basket(set(WORDS)),
    "with a secret": Careful(tags=set(WORDS)),
    "mixed": {1, "a", 2.5, None, date(2026, 1, 1), Decimal("1.5"), ("t", 1), frozenset(WORDS)},
    "sets of tuples": {(word, number) for word in WORDS for number in range(2)},
    "bytes": {b"\xff", b"a", b"b"},
    "one": {"alone"},
}


def show() -> str:
    return "\n".join(f"{name}: {encode_payload(value).decode()}" for name, value in VALUES.items())


def test_every_process_writes_them_alike() -> None:
    told = set()
    for seed in ("1", "2", "3"):
        code = "import runpy, sys; print(runpy.run_path(sys.argv[1])['show']())"
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", code, __file__], env=environment, capture_output=True, text=True, timeout=240
        )
        assert done.returncode == 0, done.stderr
        told.add(done.stdout.replace("<run_path>:", f"{__name__}:"))
    assert len(told) == 1


@pytest.mark.parametrize("name", sorted(set(VALUES) - {"with a secret"}))
def test_they_come_back(name: str) -> None:
    value = VALUES[name]
    again = rebuild(from_json(encode_payload(value)))
    assert again == value
    assert type(again) is type(value)


def test_they_are_sorted() -> None:
    assert from_json(encode_payload({"b", "a", "c"}))["value"] == ["a", "b", "c"]
    assert from_json(encode_data({"kinds": {3, 10, 1}})) == {"kinds": [1, 3, 10]}
