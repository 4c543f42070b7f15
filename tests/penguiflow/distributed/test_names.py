"""Names, numbers and headers that workers and callers agree on."""

from __future__ import annotations

import pytest

from penguiflow import FlowError, Node, NodePolicy, create
from penguiflow.bus import CannotRead, Codec
from penguiflow.distributed import edges_of
from penguiflow.distributed.header import Fault, Header, end_message, read_end
from penguiflow.distributed.names import bus_id, id_on_bus, number_of, run_id
from penguiflow.errors import FlowErrorCode
from penguiflow.ids import send_id

HEADER = Header("t", "t#1", "Rookery@c", asked=True, piece="m/s", place=2, root="5", epoch=1)


async def same(message: object, ctx: object) -> object:
    return message


def test_results_are_on_no_edge_of_the_flow() -> None:
    plain = NodePolicy(validate="none")
    first, second = Node(same, name="first", policy=plain), Node(same, name="second", policy=plain)
    assert edges_of(create(first.to(second), second.to())) == ("OpenSea->first", "first->second")


def test_a_flow_is_called_as_it_was_told_else_by_its_entries() -> None:
    plain = NodePolicy(validate="none")
    first, second = Node(same, name="first", policy=plain), Node(same, name="second", policy=plain)
    assert create(first.to(), second.to()).name == "first+second"
    assert create(first.to(), name="mine").name == "mine"


def test_an_id_on_the_bus_is_that_of_the_run_and_of_the_message() -> None:
    assert id_on_bus(bus_id("a/b#1", "0123456789abcdef")) == "0123456789abcdef"
    assert run_id("t", 0) == "t"
    assert run_id("t", 2) == "t#2"


def test_numbers_of_a_million_messages_fit_a_counter() -> None:
    largest = max(number_of(send_id("a", "b", "a->b", ordinal)) for ordinal in range(1000))
    assert 2**40 < largest < 2**44


def test_a_header_goes_with_a_message() -> None:
    body = Codec().encode({"a": 1}, "node", about=HEADER.about())
    assert Header.of(body, "a->b") == HEADER
    assert Codec().decode(body, "a->b") == {"a": 1}
    assert read_end(body) is None


@pytest.mark.parametrize("body", [b"", b"x\n", b"{}\n{}", b'{"flow":{"trace":1}}\n', b"[]\n"])
def test_what_has_no_header_is_refused(body: bytes) -> None:
    with pytest.raises(CannotRead, match="a->b"):
        Header.of(body, "a->b")


def test_the_end_says_what_went_wrong_first() -> None:
    first = FlowError(trace_id="t", node_name="n", code=FlowErrorCode.NODE_TIMEOUT, message="slow")
    second = FlowError(trace_id="t", node_name="m", code=FlowErrorCode.NODE_EXCEPTION, message="broken")
    fault = Fault().with_(first, stopped=False).with_(second, stopped=True)
    assert Fault.load(fault.dump()).stopped
    message = end_message(HEADER, "timeout", fault)
    end = read_end(message.body)
    assert end is not None
    assert (end.status, end.fault.stopped) == ("timeout", True)
    assert end.fault.error is not None
    assert (end.fault.error.code, end.fault.error.message) == (FlowErrorCode.NODE_TIMEOUT, "slow")
    assert Header.of(message.body, "a->b") == HEADER
