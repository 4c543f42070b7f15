"""What a node takes and gives under a registry: checked, unwrapped, wrapped again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from penguiflow import Context, FlowError, Message, ModelRegistry, Node, NodePolicy, create

if TYPE_CHECKING:
    from tests.conftest import MakeMessage, Start


class In(BaseModel):
    n: int


class Out(BaseModel):
    n: int


class Strict(BaseModel):
    model_config = ConfigDict(revalidate_instances="always")
    n: int


def typed(func: Any, in_model: type[BaseModel], out_model: type[BaseModel], **policy: Any) -> tuple[Node, Any]:
    registry = ModelRegistry()
    node = Node(func, policy=NodePolicy(**policy))
    registry.register(str(node.name), in_model, out_model)
    return node, registry


CASES = [
    # validate, what is sent, what the function sees, what it returns, what comes out (or which error)
    ("both", {"n": "1"}, In(n=1), {"n": "2"}, Out(n=2)),
    ("in", {"n": "1"}, In(n=1), {"n": "2"}, {"n": "2"}),
    ("out", {"n": "1"}, {"n": "1"}, {"n": "2"}, Out(n=2)),
    ("none", {"n": "1"}, {"n": "1"}, {"n": "2"}, {"n": "2"}),
    ("both", In(n=1), In(n=1), Out(n=2), Out(n=2)),
    ("both", {"n": 1}, In(n=1), None, None),
    ("both", {"n": 1}, In(n=1), 5, ValidationError),
    ("in", {"n": 1}, In(n=1), 5, 5),
    ("both", {"n": "x"}, None, None, ValidationError),
    ("in", 5, None, None, ValidationError),
    ("out", 5, 5, 6, ValidationError),
]


@pytest.mark.parametrize(("validate", "sent", "expected", "returned", "result"), CASES)
@pytest.mark.parametrize("enveloped", [False, True])
async def test_what_is_checked(
    start: Start,
    make_message: MakeMessage,
    validate: str,
    sent: Any,
    expected: Any,
    returned: Any,
    result: Any,
    enveloped: bool,
) -> None:
    seen: list[Any] = []

    async def node(value: Any, ctx: Context) -> Any:
        seen.append(value)
        return returned

    checked, registry = typed(node, In, Out, validate=validate)
    flow = start(create(checked.to()), registry=registry)
    message = make_message(sent, meta={"k": 1})
    call = flow.call(message if enveloped else sent)
    if result is ValidationError:
        with pytest.raises(FlowError, match="ValidationError") as failure:
            await call
        assert isinstance(failure.value.unwrap(), ValidationError)
        assert seen == ([] if expected is None else [expected])
        return
    out = await call
    unwrapped = enveloped and validate != "none"
    if unwrapped and result is not None:
        assert isinstance(out, Message)
        assert (out.trace_id, out.headers, out.meta) == (message.trace_id, message.headers, message.meta)
        out = out.payload
    assert out == result
    assert seen == [message if enveloped and not unwrapped else expected]


async def test_without_a_registry_nothing_is_checked(start: Start, make_message: MakeMessage) -> None:
    async def node(value: Any, ctx: Context) -> Any:
        return value

    flow = start(create(Node(node, policy=NodePolicy(validate="both")).to()))
    assert await flow.call("anything") == "anything"
    message = make_message("anything")
    assert await flow.call(message) is message


async def test_a_message_node_gets_the_message(start: Start, make_message: MakeMessage) -> None:
    async def node(message: Message, ctx: Context) -> Message:
        assert isinstance(message, Message)
        return message.model_copy(update={"payload": message.payload + 1})

    checked, registry = typed(node, Message, Message)
    flow = start(create(checked.to()), registry=registry)
    assert (await flow.call(make_message(1))).payload == 2
    with pytest.raises(FlowError, match="ValidationError"):
        await flow.call("no message")


async def test_a_message_node_that_returns_something_else_is_warned(start: Start, make_message: MakeMessage) -> None:
    async def node(message: Message, ctx: Context) -> int:
        return 5

    checked, registry = typed(node, Message, Message)
    flow = start(create(checked.to()), registry=registry)
    with pytest.warns(RuntimeWarning) as warned:
        assert await flow.call(make_message(1)) == 5
    assert str(warned[0].message) == (
        "Node 'node' is registered for Message -> Message outputs but returned int. "
        "Return a penguiflow.types.Message to preserve headers, trace_id, and meta."
    )


async def test_a_payload_node_may_return_a_message(start: Start, make_message: MakeMessage) -> None:
    async def node(value: In, ctx: Context) -> Message:
        sent = ctx.message
        assert isinstance(sent, Message)
        return sent.model_copy(update={"payload": {"n": str(value.n)}, "meta": {"new": True}})

    checked, registry = typed(node, In, Out)
    flow = start(create(checked.to()), registry=registry)
    out = await flow.call(make_message(In(n=3)))
    assert (out.payload, out.meta) == (Out(n=3), {"new": True})


async def test_a_chain_of_typed_and_untyped_nodes_keeps_the_envelope(start: Start, make_message: MakeMessage) -> None:
    async def typed_node(value: In, ctx: Context) -> Out:
        return Out(n=value.n + 1)

    async def message_node(message: Message, ctx: Context) -> Message:
        return message.model_copy(update={"payload": {"n": message.payload.n}})

    first, registry = typed(typed_node, In, Out)
    middle = Node(message_node, policy=NodePolicy(validate="none"))
    last = Node(typed_node, name="last")
    registry.register("last", In, Out)
    flow = start(create(first.to(middle), middle.to(last)), registry=registry)
    sent = make_message({"n": 1}, deadline_s=4e9, meta={"k": 1})
    out = await flow.call(sent)
    assert out == sent.model_copy(update={"payload": Out(n=3)})


async def test_the_senders_message_is_left_alone(start: Start, make_message: MakeMessage) -> None:
    async def node(value: In, ctx: Context) -> Out:
        return Out(n=value.n + 1)

    checked, registry = typed(node, In, Out)
    flow = start(create(checked.to()), registry=registry)
    sent = make_message({"n": "1"})
    before = sent.model_copy(deep=True)
    await flow.call(sent)
    assert sent == before


async def test_instances_are_trusted_unless_their_model_says_otherwise(start: Start) -> None:
    async def node(value: Any, ctx: Context) -> Any:
        value.__dict__["n"] = "not a number"
        return value

    checked, registry = typed(node, In, In)
    flow = start(create(checked.to()), registry=registry)
    assert (await flow.call(In(n=1))).n == "not a number"
    await flow.stop()

    checked, registry = typed(node, Strict, Strict)
    flow = start(create(checked.to()), registry=registry)
    with pytest.raises(FlowError, match="ValidationError"):
        await flow.call(Strict(n=1))


async def test_subclasses_of_a_model_pass(start: Start) -> None:
    class More(In):
        extra: str

    async def node(value: In, ctx: Context) -> In:
        return value

    checked, registry = typed(node, In, In)
    flow = start(create(checked.to()), registry=registry)
    more = More(n=1, extra="kept")
    assert await flow.call(more) == more


async def test_invoke_checks_as_the_flow_does(make_message: MakeMessage) -> None:
    async def node(value: In, ctx: Context) -> dict[str, int]:
        return {"n": value.n}

    checked, registry = typed(node, In, Out)
    context = Context(checked)
    assert await checked.invoke({"n": 1}, context, registry=registry) == Out(n=1)
    assert (await checked.invoke(make_message({"n": 1}), context, registry=registry)).payload == Out(n=1)
    assert await checked.invoke(In(n=1), context, registry=None) == {"n": 1}
    with pytest.raises(ValidationError):
        await checked.invoke({"n": "x"}, context, registry=registry)
