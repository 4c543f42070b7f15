"""Values as JSON: right for the ordinary ones, harmless for the others."""

from __future__ import annotations

import dataclasses
import decimal
import io
import math
import sys
import uuid
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr
from pydantic_core import from_json

from penguiflow.observer import Payload
from penguiflow.recording import payloads
from penguiflow.recording.payloads import cuts, encode_data, encode_payload

HERE = __name__


class Color(Enum):
    RED = "red"


class Item(BaseModel):
    name: str
    size: int = 0


class Special(Item):
    extra: str = "kept"


class Order(BaseModel):
    items: list[Item]
    when: datetime
    note: str | None = None
    anything: Any = None


class Login(BaseModel):
    user: str
    password: SecretStr


class Tags(pydantic.RootModel[list[str]]):
    pass


class Pair(NamedTuple):
    left: int
    right: int


@dataclasses.dataclass
class Box:
    label: str
    content: Any = None


@dataclasses.dataclass(slots=True)
class Slotted:
    label: str


class Opaque:
    def __repr__(self) -> str:
        return "<opaque>"


class Rude:
    def __repr__(self) -> str:
        raise RuntimeError("no")


class Endless:
    """An iterator that never ends, like a stream."""

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        return 1


def stored(value: Any) -> Any:
    return from_json(encode_payload(value))


def of(value: Any, type_: str) -> Any:
    found = stored(value)
    assert found["type"] == type_
    assert set(found) - {"types", "lost"} == {"type", "value"}
    return found["value"]


@pytest.mark.parametrize(
    ("value", "type_", "expected"),
    [
        (None, "builtins:NoneType", None),
        ("text", "builtins:str", "text"),
        ("nul \0 and \x1b[31m", "builtins:str", "nul \0 and \x1b[31m"),
        (3, "builtins:int", 3),
        (10**30, "builtins:int", 10**30),
        (math.nan, "builtins:float", "NaN"),
        (-math.inf, "builtins:float", "-Infinity"),
        ([1, [2, {"a": None}]], "builtins:list", [1, [2, {"a": None}]]),
        ({"a": (1, 2)}, "builtins:dict", {"a": [1, 2]}),
        ({1: "a", None: "b"}, "builtins:dict", {"1": "a", "None": "b"}),
        ({"x"}, "builtins:set", ["x"]),
        (b"plain", "builtins:bytes", "plain"),
        (date(2026, 1, 2), "datetime:date", "2026-01-02"),
        (datetime(2026, 1, 2, tzinfo=UTC), "datetime:datetime", "2026-01-02T00:00:00Z"),
        (timedelta(seconds=90), "datetime:timedelta", "PT1M30S"),
        (decimal.Decimal("1.50"), "decimal:Decimal", "1.50"),
        (uuid.UUID(int=7), "uuid:UUID", "00000000-0000-0000-0000-000000000007"),
        (deque([1, 2]), "collections:deque", [1, 2]),
        (OrderedDict(a=1), "collections:OrderedDict", {"a": 1}),
        (Counter("aab"), "collections:Counter", {"a": 2, "b": 1}),
        (Color.RED, f"{HERE}:Color", "red"),
        (Pair(1, 2), f"{HERE}:Pair", [1, 2]),
        (Box("a", Slotted("b")), f"{HERE}:Box", {"label": "a", "content": {"label": "b"}}),
        (Item(name="a"), f"{HERE}:Item", {"name": "a", "size": 0}),
        (Tags(["x"]), f"{HERE}:Tags", ["x"]),
        ([Item(name="a")], "builtins:list", [{"name": "a", "size": 0}]),
        (Order(items=[Special(name="s")], when=datetime(2026, 1, 2, tzinfo=UTC)), f"{HERE}:Order",
         {"items": [{"name": "s", "size": 0, "extra": "kept"}], "when": "2026-01-02T00:00:00Z", "note": None,
          "anything": None}),
    ],
)  # fmt: skip
def test_a_value_is_stored_with_its_type(value: Any, type_: str, expected: Any) -> None:
    assert of(value, type_) == expected


def test_a_path_is_stored_as_text() -> None:
    assert stored(Path("a/b"))["value"] == "a/b"


def test_a_model_can_be_built_again() -> None:
    order = Order(items=[Item(name="ü", size=3)], when=datetime.now(UTC), note="x\0y")
    assert Order.model_validate(stored(order)["value"]) == order


def test_a_secret_stays_masked() -> None:
    login = Login(user="ada", password=SecretStr("hunter2"))
    for value in (login, {"deep": [login]}, [SecretStr("hunter2")], Box("x", SecretStr("hunter2")), login.password):
        assert b"hunter2" not in encode_payload(value)
        assert b"**********" in encode_payload(value)
    # The careful way too: a lone surrogate beside it.
    beside = encode_payload({"bad": "\ud800", "login": login})
    assert b"hunter2" not in beside
    assert b"**********" in beside


def test_bytes_that_are_no_text_are_marked() -> None:
    assert stored(b"\xff\x00") == {"type": "builtins:bytes", "value": "/wA=", "base64": True}
    assert stored({"raw": b"\xff"})["value"] == {"raw": {"type": "builtins:bytes", "value": "/w==", "base64": True}}


def test_a_lone_surrogate_is_spelled_out_and_spares_the_rest() -> None:
    assert stored({"a": "x\udc80", "\ud800": 1, "n": 1})["value"] == {"a": "x\\udc80", "\\ud800": 1, "n": 1}


@pytest.mark.parametrize(
    "value",
    [Opaque(), ValueError("no"), len, Opaque, range(3), io.StringIO("x"), pytest.param(10**5000, id="huge")],
)
def test_what_has_no_json_is_told_by_its_repr(value: Any) -> None:
    found = stored(value)
    assert found["repr"] is True
    assert found["type"] == f"{type(value).__module__}:{type(value).__qualname__}"
    inside = stored({"at": [value]})
    assert inside["value"]["at"][0] == found
    assert list(cuts(inside)) == [("/value/at/0", found["type"])]
    assert list(cuts(found)) == [("", found["type"])]


def test_a_long_or_failing_repr_is_bounded() -> None:
    class Long:
        def __repr__(self) -> str:
            return "x" * 1_000_000

    assert len(encode_payload(Long())) < 3000
    assert "raised RuntimeError" in stored(Rude())["value"]
    assert "raised RuntimeError" in stored([Rude()])["value"][0]["value"]


def test_recording_uses_nothing_up() -> None:
    numbers = iter([1, 2, 3])
    generator = (number for number in (4, 5, 6))
    file = io.StringIO("line\n")
    encode_payload({"numbers": numbers, "nested": [Box("b", generator)], "file": file, "order": [Endless()]})
    encode_payload(numbers)
    encode_data({"meta": {"rows": numbers}})
    assert list(numbers) == [1, 2, 3]
    assert list(generator) == [4, 5, 6]
    assert file.read() == "line\n"


def test_a_models_lazy_field_is_not_used_up() -> None:
    class Lazy(BaseModel):
        rows: Iterable[int]

    lazy = Lazy(rows=iter([1, 2]))
    encode_payload(lazy)
    assert list(lazy.rows) == [1, 2]


def test_cycles_end() -> None:
    ring: list[Any] = [1]
    ring.append(ring)
    table: dict[str, Any] = {}
    table["self"] = Box("x", table)
    assert stored(ring)["value"] == [1, {"type": "builtins:list", "value": "…", "repr": True}]
    assert list(cuts(stored(table)))


def test_a_value_seen_twice_is_no_cycle() -> None:
    shared = {"a": "\ud800"}
    assert list(cuts(stored([shared, shared]))) == []


@pytest.mark.parametrize("depth", [50, 90, 150, 199, 230, 254, 300, 10_000])
def test_depth_stays_readable(depth: int) -> None:
    value: Any = "bottom"
    for _ in range(depth):
        value = [value]
    found = from_json(b'{"data":' + encode_data({"payload": Payload(value)}) + b"}")
    assert bool(list(cuts(found))) == (depth > 90)


class Node(BaseModel):
    children: list[Node] = []


def test_a_deep_model_stays_readable() -> None:
    node = Node()
    for _ in range(110):
        node = Node.model_construct(children=[node])
    assert stored(node)["type"] == f"{HERE}:Node"


def test_a_huge_payload_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payloads, "MAX_PAYLOAD_BYTES", 100_000)
    data = encode_data({"message_id": "m", "payload": Payload(["x" * 200_000]), "meta": {"y": "z" * 200_000}})
    assert len(data) < 200_000
    found = from_json(data)
    assert found["message_id"] == "m"
    assert found["payload"]["type"] == "builtins:list"
    assert found["payload"]["repr"] is True
    assert found["payload"]["bytes"] == 200_004
    assert found["meta"]["repr"] is True


def test_many_objects_that_need_care_are_bounded() -> None:
    found = stored([*({"a": number} for number in range(200_000)), "\ud800"])
    assert len(found["value"]) < 100_000
    assert "200001 items" in found["value"][-1]


def test_a_serializer_that_raises_is_survived() -> None:
    class Broken(BaseModel):
        name: str

        @pydantic.model_serializer
        def refuse(self) -> dict[str, Any]:
            raise RuntimeError("no")

    assert stored(Broken(name="x"))["value"] == {"name": "x"}


def test_an_unvalidated_model_gives_no_warning() -> None:
    assert stored(Item.model_construct(name=3, size="big"))["value"] == {"name": 3, "size": "big"}


def test_a_mapping_whose_items_raise_is_marked() -> None:
    class Lazy(dict[str, int]):
        def items(self) -> Any:
            raise OSError("gone")

    assert stored(Lazy(a=1))["repr"] is True


def test_data_keeps_its_fields_and_puts_payloads_first() -> None:
    data = encode_data({"message_id": "m", "payload": Payload(Item(name="a")), "meta": {"k": [1]}, "none": None})
    assert data.startswith(b'{"payload":{"type":')
    assert from_json(data) == {
        "payload": {"type": f"{HERE}:Item", "value": {"name": "a", "size": 0}},
        "message_id": "m",
        "meta": {"k": [1]},
        "none": None,
    }
    assert encode_data(None) == encode_data({}) == b"{}"
    assert encode_data({"only": Payload(1)}) == b'{"only":{"type":"builtins:int","value":1}}'
    assert from_json(encode_data({"text": "\ud800", "n": math.nan})) == {"text": "\\ud800", "n": "NaN"}
    assert from_json(encode_data({"a": 1, "huge": 10**5000}))["huge"]["repr"] is True


def test_a_payload_that_looks_like_its_own_envelope_is_wrapped() -> None:
    value = {"type": "builtins:dict", "value": 1, "repr": True}
    assert stored(value) == {"type": "builtins:dict", "value": value}


keys = st.one_of(st.text(), st.integers(), st.none(), st.booleans(), st.floats(), st.binary())
leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(st.characters()), st.binary(), st.datetimes(),
    st.decimals(), st.uuids(), st.timedeltas(), st.builds(Opaque), st.builds(Rude), st.just(Color.RED),
    st.builds(Item, name=st.text()), st.builds(SecretStr, st.text()), st.builds(pow, st.just(10), st.just(5000)),
    st.builds(iter, st.just([1])),
    st.just("\ud800"),
)  # fmt: skip
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(keys, inner, max_size=4),
        st.builds(Box, label=st.text(), content=inner),
        st.tuples(inner, inner),
        st.builds(Order, items=st.just([]), when=st.datetimes(), anything=inner),
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(values)
def test_any_value_is_readable_json(value: Any) -> None:
    assert set(stored(value)) >= {"type", "value"}
    assert isinstance(from_json(encode_data({"payload": Payload(value), "meta": value})), dict)


def test_encoding_works_near_the_end_of_the_stack() -> None:
    def dive(depth: int) -> bytes:
        return encode_payload({"a": [Opaque(), "\ud800"]}) if depth == 0 else dive(depth - 1)

    frame, used = sys._getframe(), 0
    while frame.f_back is not None:
        frame, used = frame.f_back, used + 1
    assert from_json(dive(sys.getrecursionlimit() - used - 30))
