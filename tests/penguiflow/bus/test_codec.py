"""Messages as bytes, and back."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from penguiflow import (
    WM,
    FinalAnswer,
    FlowError,
    FlowErrorCode,
    Headers,
    Message,
    ModelRegistry,
    Node,
    StreamChunk,
    create,
)
from penguiflow.bus import BusEnvelope, BusError, CannotRead, CannotSend, Codec, NewerVersion
from penguiflow.bus.codec import feed_body


class Order(BaseModel):
    model_config = ConfigDict(strict=True)

    at: datetime
    lines: list[str] = []
    extra: Any = None


class OrderV2(BaseModel):
    __bus_version__: ClassVar[int] = 2
    total: int = 0


CODEC = Codec([("price", Order), ("price", Message), ("total", OrderV2)])
ORDER = Order(at=datetime(2026, 1, 2, tzinfo=UTC), lines=["a", "ü\n\0"])


def there_and_back(message: Any, codec: Codec = CODEC) -> Any:
    return codec.decode(codec.encode(message, "price"), "price->total")


def test_a_message_comes_back_as_it_was() -> None:
    message = Message(
        payload=ORDER,
        headers=Headers(tenant="acme", topic="t", priority=3),
        trace_id="t1",
        ts=12.5,
        deadline_s=99.25,
        meta={"a": [1, None, {"b": "ü"}]},
    )
    back = there_and_back(message)
    assert back == message
    assert type(back.payload) is Order
    plain = Message(payload=1, headers=Headers(tenant="acme"), ts=1.0)
    assert there_and_back(plain) == plain


@pytest.mark.parametrize(
    "payload",
    [
        ORDER,
        StreamChunk(stream_id="s", seq=3, text="\n", done=True, meta={"a": 1}),
        WM(query="q", facts=[1, "two"], budget_hops=None),
        FinalAnswer(text="x", citations=["c"]),
        {"a": [1, 2.5, None, True, "ü\n"]},
        ["x"],
        "text",
        7,
        None,
    ],
)
def test_a_bare_payload_comes_back_as_it_was(payload: Any) -> None:
    back = there_and_back(payload)
    assert back == payload
    assert type(back) is type(payload)


def test_an_error_comes_back_as_what_it_says() -> None:
    error = FlowError(
        trace_id="t", node_name="n", code=FlowErrorCode.NODE_TIMEOUT, message="late", metadata={"at": ORDER.at}
    )
    back = there_and_back(Message(payload=error, headers=Headers(tenant="acme"))).payload
    assert isinstance(back, FlowError)
    assert str(back) == str(error)


class Opaque:
    pass


class Unregistered(BaseModel):
    x: int = 0


@pytest.mark.parametrize(
    ("message", "match"),
    [
        (Opaque(), r"Node 'price' sent a .*Opaque, which cannot leave the process: register it"),
        (Unregistered(), r"Node 'price' sent a .*Unregistered, which cannot leave"),
        ({1: "a key that is no text"}, "Node 'price' sent a builtins:dict"),
        ((1, 2), "Node 'price' sent a builtins:tuple"),
        (Order(at=ORDER.at, extra=Opaque()), "Node 'price' sent a Order that is not JSON"),
        (Message(payload=1, headers=Headers(tenant="a"), meta={"o": Opaque()}), "'price' sent a message whose meta"),
    ],
)
def test_what_cannot_travel_is_refused_with_the_nodes_name(message: Any, match: str) -> None:
    with pytest.raises(CannotSend, match=match):
        CODEC.encode(message, "price")


def test_a_model_that_cannot_travel_is_refused_at_once() -> None:
    class Live(BaseModel):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        what: Opaque

    class Calls(BaseModel):
        what: Callable[[], int]

    class Inner(BaseModel):
        key: SecretStr

    class Keeps(BaseModel):
        inner: list[Inner]

    class Hides(BaseModel):
        x: int = Field(default=0, exclude=True)

    class Renames(BaseModel):
        x: int = Field(default=0, serialization_alias="y")

    for model, why in (
        (Live, "has a field that JSON cannot carry"),
        (Calls, "has a field that JSON cannot carry"),
        (Keeps, "it has a secret, whose JSON is stars"),
        (Hides, "its field x is excluded"),
        (Renames, "its field x is written as y and read as x"),
    ):
        with pytest.raises(CannotSend, match=f"Node 'n': its model {model.__name__} cannot leave the process: .*{why}"):
            Codec([("n", model)])


def test_a_model_with_other_names_in_json() -> None:
    class Renamed(BaseModel):
        x: int = Field(alias="the x")

    class Both(BaseModel):
        model_config = ConfigDict(populate_by_name=True)
        x: int = Field(validation_alias="in")

    codec = Codec([("n", Renamed), ("n", Both)])
    for value in (Renamed(**{"the x": 3}), Both(x=4)):
        assert there_and_back(value, codec) == value


def test_a_feed_tells_of_anything() -> None:
    message = Message(payload=Opaque(), headers=Headers(tenant="acme"), trace_id="t", meta={"o": {1, 2}})
    told = json.loads(feed_body(BusEnvelope.of("a", "b", message)))
    assert (told["edge"], told["trace_id"], told["headers"]["tenant"]) == ("a->b", "t", "acme")
    assert "Opaque" in told["payload"]
    assert json.loads(feed_body(BusEnvelope.of("a", "b", ORDER)))["payload"]["lines"] == ORDER.lines


def test_two_models_of_one_name_are_refused() -> None:
    def make() -> type[BaseModel]:
        class Same(BaseModel):
            x: int = 0

        return Same

    with pytest.raises(CannotSend, match="both named"):
        Codec([("a", make()), ("b", make())])


def test_the_models_of_a_flow() -> None:
    async def price(order: Order, ctx: Any) -> OrderV2:
        return OrderV2(total=len(order.lines))

    registry = ModelRegistry()
    registry.register("price", Order, OrderV2)
    codec = Codec.for_flow(create(Node(price).to()), registry)
    assert there_and_back(OrderV2(total=3), codec) == OrderV2(total=3)


def test_a_newer_version_is_left_to_others() -> None:
    class Older(BaseModel):
        total: int = 0

    body = CODEC.encode(OrderV2(total=1), "total")
    Older.__module__, Older.__qualname__ = OrderV2.__module__, OrderV2.__qualname__
    older = Codec([("total", Older)])
    with pytest.raises(NewerVersion, match=r"edge a->b is .*OrderV2 version 2; this worker knows 1: update it"):
        older.decode(body, "a->b")
    assert CODEC.decode(older.encode(Older(total=4), "total"), "a->b") == OrderV2(total=4)
    with pytest.raises(NewerVersion, match="written by a newer penguiflow"):
        CODEC.decode(b'{"format":2,"type":"json"}\n1', "a->b")


@pytest.mark.parametrize(
    ("body", "match"),
    [
        (b"", "is no message of penguiflow"),
        (b"\xff\x00\n1", "is no message of penguiflow"),
        (b"[]\n1", "is no message of penguiflow"),
        (b'{"format":1}\n1', "is no message of penguiflow"),
        (b'{"format":1,"type":"os:system"}\n"x"', "is a os:system, which no node of this flow registers"),
        (b'{"format":1,"type":"json"}\n{', "holds no JSON"),
        (b'{"format":1,"type":"json","headers":{}}\n1', "no valid json"),
        (b'{"format":1,"type":"penguiflow.types:WM"}\n{"hops":1}', "no valid penguiflow.types:WM"),
    ],
)
def test_what_cannot_be_read_says_why(body: bytes, match: str) -> None:
    with pytest.raises(CannotRead, match=match) as caught:
        CODEC.decode(body, "a->b")
    assert "a->b" in str(caught.value)
    assert isinstance(caught.value, BusError)


def test_numbers_that_json_does_not_have() -> None:
    back = there_and_back([math.inf, -math.inf, math.nan])
    assert back[:2] == [math.inf, -math.inf]
    assert math.isnan(back[2])


def test_a_list_of_models_comes_back_as_it_was() -> None:
    items = [ORDER, OrderV2(total=3), {"plain": ["json,\n"]}, None, Order(at=ORDER.at, lines=["],\n["])]
    back = there_and_back(Message(payload=items, headers=Headers(tenant="acme")))
    assert back.payload == items
    assert [type(each) for each in back.payload] == [type(each) for each in items]
    head, _, payload = CODEC.encode(items, "join").partition(b"\n")
    assert len(json.loads(payload)) == len(items)
    with pytest.raises(NewerVersion):
        CODEC.decode(head.replace(b'"version":2', b'"version":3') + b"\n" + payload, "a->b")
    for wrong in (
        b'{"format":1,"type":"list"}\n[]',
        b'{"format":1,"type":"list","items":[1]}\n[1]',
        head + b"\n[1,\n2]",
    ):
        with pytest.raises(CannotRead):
            CODEC.decode(wrong, "a->b")


def test_a_list_of_what_cannot_travel_is_refused() -> None:
    for items in ([ORDER, object()], [[ORDER]], [ORDER, [ORDER]]):
        with pytest.raises(CannotSend, match="Node 'join' sent a"):
            CODEC.encode(items, "join")


def test_a_model_is_known_by_its_class_where_its_module_has_another_name() -> None:
    body = CODEC.encode(ORDER, "price")
    assert CODEC.decode(body.replace(f'"{Order.__module__}:Order"'.encode(), b'"__main__:Order"'), "a->b") == ORDER

    class Other(BaseModel):
        at: datetime | None = None

    Other.__qualname__ = "Order"
    Other.__module__ = "elsewhere"
    two = Codec([("price", Order), ("ship", Other)])
    assert type(two.decode(body, "a->b")) is Order
    with pytest.raises(CannotRead, match="no node of this flow registers"):
        two.decode(body.replace(f'"{Order.__module__}:Order"'.encode(), b'"__main__:Order"'), "a->b")
