"""What is simple is encoded in one go, and comes out as it does with care."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, date, datetime
from enum import Enum, IntEnum, StrEnum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, RootModel, SecretStr, field_serializer

from penguiflow.observer import Payload
from penguiflow.recording.masking import Masker
from penguiflow.recording.payloads import encode_data, encode_payload, encode_simple, encode_simple_payload
from penguiflow.recording.simple import is_simple

SECRET = "hunter2hunter2"


class Color(StrEnum):
    RED = "red"


class Size(IntEnum):
    L = 3


class Odd(Enum):
    ANY = ("a", 1)


class Leaf(BaseModel):
    color: Color = Color.RED
    at: datetime | None = None
    score: float = 0.5
    note: Annotated[str, Field(max_length=50)] = "x"


class Special(Leaf):
    more: int = 1


class Branch(BaseModel):
    leaf: Leaf | None = None
    leaves: list[Leaf] = Field(default_factory=list)
    data: dict[str, Any] = Field(default_factory=dict)
    anything: Any = None
    words: list[str] = Field(default_factory=list)
    kind: Literal["a", "b"] = "a"
    either: Leaf | Special | None = None
    size: Size | None = None
    odd: Odd | None = None
    day: date = date(2026, 1, 2)
    branch: Branch | None = None


class Renamed(BaseModel):
    model_config = ConfigDict(populate_by_name=True)
    text: str = Field(default="x", serialization_alias="password")


class Aliased(BaseModel):
    model_config = ConfigDict(populate_by_name=True)
    text: str = Field(default="x", alias="apiKey")


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")


class Custom(BaseModel):
    number: int = 1

    @field_serializer("number")
    def _write(self, value: int) -> str:
        return f"{value}!"


class Written(BaseModel):
    number: Annotated[int, PlainSerializer(lambda value: f"{value}?")] = 1


class Listed(RootModel[list[int]]):
    pass


class Secret(BaseModel):
    key: SecretStr = SecretStr(SECRET)


KEYS = [
    "a",
    "b",
    "token",
    "api_key",
    "error",
    "repr",
    "$secret",
    "X-Auth-Token",
    "tokens_used",
    "ключ",
    "value",
    "type",
]
TEXTS = [
    "",
    "plain",
    SECRET,
    f"with {SECRET} in it",
    "⟦$secret env:X⟧",
    "half \ud83d",
    "password=abc def",
    "é…",
    "\x00",
]


def leaf(chance: random.Random) -> Any:
    numbers = (0, -1, 2**63, 10**30, 1.5, float("nan"), float("inf"), True, None)
    others = (Color.RED, Size.L, Odd.ANY, date(2026, 1, 2), datetime(2026, 1, 2, tzinfo=UTC), b"bytes", {1, 2}, (1, 2))
    return chance.choice([chance.choice(TEXTS), chance.choice(numbers), chance.choice(TEXTS), chance.choice(others)])


def grown(chance: random.Random, depth: int) -> Any:
    """Some value."""
    if depth > 3 or chance.random() < 0.3:
        return leaf(chance)

    def inner() -> Any:
        return grown(chance, depth + 1)

    def some_leaf() -> Any:
        return Leaf.model_construct(score=chance.choice([0.5, float("nan")]), note=chance.choice(TEXTS))

    def branch() -> Any:
        given: dict[str, Any] = {"data": {chance.choice(KEYS): inner() for _ in range(2)}, "anything": inner()}
        given["leaf"] = chance.choice([None, some_leaf(), Special(), [some_leaf()]])
        given["leaves"] = chance.choice([[], [some_leaf()], [some_leaf(), Special()], some_leaf(), ["text"]])
        given["either"] = chance.choice([None, some_leaf(), Special()])
        given["size"], given["odd"] = chance.choice([None, Size.L]), chance.choice([None, Odd.ANY])
        given["branch"] = chance.choice([None, Branch(), inner()])
        return Branch.model_construct(**{name: given[name] for name in given if chance.random() < 0.4})

    made: list[Callable[[], Any]] = [
        lambda: [inner() for _ in range(chance.randrange(4))],
        lambda: {chance.choice(KEYS): inner() for _ in range(chance.randrange(4))},
        lambda: {chance.choice([1, None, "a"]): inner()},
        branch,
        branch,
        lambda: chance.choice(
            [Renamed(), Aliased(), Open.model_validate({"x": 1}), Custom(), Written(), Listed([1]), Secret()]
        ),
        lambda: OrderedDict(a=inner()),
    ]
    return chance.choice(made)()


@pytest.fixture
def masker() -> Masker:
    return Masker(environment={"MY_TOKEN": SECRET})


@pytest.mark.parametrize("seed", range(40))
def test_any_value_comes_out_as_it_does_with_care(masker: Masker, seed: int) -> None:
    chance = random.Random(seed)
    simple = 0
    for _ in range(100):
        value = grown(chance, 0)
        careful = encode_payload(value)
        quick = encode_simple_payload(value, set())
        assert quick in (None, careful)
        simple += quick is not None
        assert masker.payload(value) == masker.mask(encode_payload(value, masker._hide))
        data = {"request": Payload(value), chance.choice(KEYS): grown(chance, 2), "ordinal": 1}
        assert encode_simple(data, set()) in (None, encode_data(data))
        assert masker.encode(data) == masker.mask(encode_data(data, masker._hide))
    assert simple > 0


def test_most_payloads_are_simple() -> None:
    keys: set[str] = set()
    leaves = [Leaf(at=datetime(2026, 1, 2, tzinfo=UTC)), Leaf()]
    rows = {"rows": [{"id": 1, "cost": 1.5, "none": None}]}
    assert is_simple(
        Branch.model_construct(leaf=Leaf(), leaves=leaves, data=rows, branch=Branch.model_construct()), keys
    )
    assert {"leaf", "leaves", "color", "score", "rows", "id", "cost", "none"} <= keys
    assert is_simple({"messages": [{"role": "user", "content": "x"}], "temperature": 0.7}, set())


def test_what_is_deep_or_holds_itself_is_not() -> None:
    deep: Any = []
    for _ in range(50):
        deep = [deep]
    assert not is_simple({"deep": deep}, set())
    loop: dict[str, Any] = {}
    loop["self"] = loop
    assert not is_simple(loop, set())
    assert b'"repr":true' in encode_payload(loop)


def test_keys_that_come_late_are_looked_at_again(masker: Masker) -> None:
    for _ in range(3):
        assert SECRET[:5].encode() in masker.payload({"note": SECRET[:5]})
        assert b'"$secret"' in masker.payload({"password": "sesame"})
        many = {f"key {number}": "x" for number in range(100)}
        assert b'"$secret"' in masker.payload({**many, "password": "sesame"})
        assert b"$secret" not in masker.payload(many)
