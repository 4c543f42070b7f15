"""What was recorded becomes the object again, or an error that names the place."""

from __future__ import annotations

import dataclasses
import math
import pkgutil
import uuid
from collections import Counter, OrderedDict, deque
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import from_json

from penguiflow import recording
from penguiflow.recording.payloads import cuts, encode_payload
from penguiflow.recording.rebuilding import NotRebuildable, rebuild
from penguiflow.recording.shapes import is_plain


class Color(Enum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


class Item(BaseModel):
    name: str
    size: int = 0
    weight: float = 1.0


class Special(Item):
    extra: str = "kept"


class Plain(BaseModel):
    texts: list[str]
    when: datetime
    color: Color = Color.RED
    note: str | None = None


class Order(BaseModel):
    items: list[Item] = []
    anything: Any = None
    raw: bytes = b""
    by_number: dict[int, Item] = {}
    either: Item | Special | None = None


class Renamed(BaseModel):
    user_name: str = Field(alias="userName")
    other: str = Field(default="x", serialization_alias="written", validation_alias="read")


def renamed() -> Renamed:
    return Renamed.model_validate({"userName": "a", "read": "b"})


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)
    when: datetime
    anything: Any = None


class Partial(BaseModel):
    shown: int = 1
    hidden: int = Field(default=2, exclude=True)


class Rounded(BaseModel):
    exact: float

    @pydantic.field_serializer("exact")
    def round_it(self, value: float) -> float:
        return round(value)


class Tags(pydantic.RootModel[list[str]]):
    pass


class Pair(NamedTuple):
    left: int
    right: Any


@dataclasses.dataclass
class Box:
    label: str
    content: Any = None


class MyList(list[int]):
    pass


def shown(value: Any) -> str:
    return repr(value).replace("TzInfo(0)", "datetime.timezone.utc")


def stored(value: Any) -> dict[str, Any]:
    found: dict[str, Any] = from_json(encode_payload(value))
    return found


WHEN = datetime(2026, 1, 31, 12, 0, 0, 17, tzinfo=UTC)

EXACT = [
    None, True, 3, 0.5, "text", "", [], {}, [1, "a", None], {"a": {"b": [1.5]}},
    math.inf, -math.inf, [math.inf], b"text", b"\xff\x00", [b"text", b"\xff"], {"x": b"text"},
    (1, 2), ((1,), [2]), {1, 2}, frozenset({"a"}), {"t": (1, (2, 3))}, deque([1, 2]),
    {1: "a", 2: "b"}, {True: 1}, {"deep": {1: {2: (3,)}}}, OrderedDict(a=1), Counter("aab"),
    WHEN, [WHEN], {"d": date(2026, 1, 1), "t": timedelta(seconds=5), "n": Decimal("1.10"), "u": uuid.UUID(int=5)},
    [Path("/tmp/x")], Color.RED, [Color.RED, Color.RED], {"l": Level.LOW}, {Color.RED: 1},
    Item(name="a"), Special(name="a"), [Item(name="a"), Item(name="b")], [Item(name="a"), Special(name="b")],
    {"at": [Item(name="a")], "k/e~y": Item(name="b")}, (Item(name="a"), 1),
    Plain(texts=["a"], when=WHEN), Order(items=[Item(name="a"), Special(name="b", extra="!")]),
    Order(anything=Item(name="x"), raw=b"\xff", by_number={3: Special(name="s")}), Order(either=Special(name="e")),
    Order(either=Item(name="e")), Order(anything=(1, {2: WHEN})), Order(anything=Order(anything=Color.RED)),
    renamed(), [renamed()], Order(anything=renamed()),
    Strict(when=WHEN), Strict(when=WHEN, anything=(1, 2)), Tags(["a"]), {"tags": Tags(["a"])},
    Pair(1, 2), [Pair(1, (2,))], Box("a"), Box("a", Item(name="x")), [Box("a", Box("b", {1}))],
    {"type": "x", "value": 1}, {"items": "*", "*": (1,)}, {"*": Item(name="a"), "b": {"name": "a"}},
]  # fmt: skip


@pytest.mark.parametrize("value", EXACT, ids=lambda value: repr(value)[:40])
def test_what_was_stored_is_built_again(value: Any) -> None:
    found = rebuild(stored(value))
    assert found == value
    assert shown(found) == shown(value)
    assert type(found) is type(value)
    assert list(cuts(stored(value))) == []


def test_a_number_that_is_none() -> None:
    assert math.isnan(rebuild(stored({"x": math.nan}))["x"])


@pytest.mark.parametrize(
    ("value", "path", "type"),
    [
        ({"a": [iter("x")]}, "/a/0", "builtins:str_ascii_iterator"),
        (object(), "", "builtins:object"),
        (Order(anything={"f": len}), "/anything/f", "builtins:builtin_function_or_method"),
        (Item(name="a", weight=math.nan), "/weight", "builtins:float"),
        ([Partial(hidden=3)], "/0", f"{__name__}:Partial"),
        ({"r": Rounded(exact=1.4)}, "/r", f"{__name__}:Rounded"),
        ({(1, 2): "a"}, "", "builtins:dict"),
        ({"m": {1: "a", "b": 2}}, "/m", "builtins:dict"),
        ([MyList([1])], "/0", f"{__name__}:MyList"),
    ],
)
def test_what_is_lost_is_named(value: Any, path: str, type: str) -> None:
    payload = stored(value)
    with pytest.raises(NotRebuildable) as caught:
        rebuild(payload, at="/payload")
    assert (caught.value.path, caught.value.type) == ("/payload" + path, type)
    assert caught.value.path in str(caught.value)
    assert [(place.removeprefix("/value"), name) for place, name in cuts(payload)] == [(path, type)]


def test_an_odd_class_whose_object_survives_is_built() -> None:
    assert rebuild(stored([Partial(), Rounded(exact=2.0)])) == [Partial(), Rounded(exact=2.0)]


def test_a_class_of_a_function_cannot_be_found() -> None:
    class Local(BaseModel):
        x: int = 1

    with pytest.raises(NotRebuildable, match="inside a function"):
        rebuild(stored(Local()))


@pytest.mark.parametrize(
    ("payload", "match"),
    [
        ({"type": "no.such.module:Thing", "value": {}}, "its class is not there"),
        ({"type": f"{__name__}:Gone", "value": {}}, "its class is not there"),
        ({"type": f"{__name__}:WHEN", "value": {}}, "no class any more"),
        ({"type": f"{__name__}:Item", "value": {"title": "a"}}, "/name"),
        ({"type": f"{__name__}:Color", "value": "blue"}, "Color"),
        ({"type": "builtins:complex", "value": "1j"}, "nothing says how"),
        ({"type": "builtins:int", "value": "x"}, "builtins:int"),
        ({"type": "m:C", "$artifact": "sha256:00", "bytes": 9}, "kept elsewhere"),
        ({}, "has no value"),
    ],
)
def test_what_does_not_fit_the_code_is_told(payload: dict[str, Any], match: str) -> None:
    with pytest.raises(NotRebuildable, match=match):
        rebuild(payload)


def test_ordinary_models_need_no_walk() -> None:
    """The price of knowing is paid once for each class."""
    for value in (Plain(texts=[], when=WHEN), Item(name="a"), Box):
        kind = value if isinstance(value, type) else type(value)
        assert is_plain(kind, b"{}") == (kind is not Box)
    assert "types" not in stored(Plain(texts=["a"], when=WHEN))
    assert list(stored([Item(name=str(n)) for n in range(1000)])["types"]) == ["/*"]


JSON_LIKE = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text() | st.floats(allow_nan=False)
    | st.binary(max_size=4) | st.sampled_from([WHEN, Color.RED, Decimal("2.50"), Item(name="i"), Special(name="s")]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    | st.dictionaries(st.integers(-3, 3), inner, max_size=2) | st.tuples(inner, inner)
    | st.builds(Box, st.text(max_size=2), inner) | st.builds(lambda value: Order(anything=value), inner),
    max_leaves=8,
)  # fmt: skip


@given(JSON_LIKE)
@settings(max_examples=150, deadline=None)
def test_any_value_is_exact_or_refused(value: Any) -> None:
    payload = stored(value)
    if list(cuts(payload)):
        with pytest.raises(NotRebuildable):
            rebuild(payload)
    else:
        assert shown(rebuild(payload)) == shown(value)


def test_a_literal_says_what_it_is() -> None:
    class Choice(BaseModel):
        kind: Literal["a", "b"]

    assert is_plain(Choice, b"{}")


def test_public_names_are_not_those_of_modules() -> None:
    """An imported submodule becomes an attribute of its package, in place of a function of the same name."""
    modules = {module.name for module in pkgutil.iter_modules(recording.__path__)}
    assert not modules & set(recording.__all__)
    assert recording.rebuild is rebuild
