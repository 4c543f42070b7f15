"""Routers and joins, ready to wire in."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from penguiflow import Context, FlowError, Message, create, join_k, predicate_router

if TYPE_CHECKING:
    from tests.conftest import MakeMessage, MakeNode, MemoryRecorder, Start, Until


async def test_a_router_sends_by_name_by_node_and_to_several(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    a, b, c = (make_node(name=name) for name in "abc")
    routes: dict[str, Any] = {"name": "a", "node": b, "several": ["a", c], "none": None, "empty": []}
    router = predicate_router("router", lambda message: routes[message.payload])
    assert router.policy.validate == "none"
    flow = start(create(router.to(a, b, c)))
    for route in routes:
        await flow.emit(make_message(route))
    await flow.emit(make_message("node"))
    assert [(await flow.fetch(from_=a)).payload for _ in range(2)] == ["name", "several"]
    assert [(await flow.fetch(from_=b)).payload for _ in range(2)] == ["node", "node"]
    assert (await flow.fetch(from_=c)).payload == "several"
    assert await flow.call(make_message("none")) is None
    assert not flow._traces


@pytest.mark.parametrize(
    ("route", "text"),
    [
        ("nobody", "No successor named 'nobody'"),
        (["a", "nobody"], "No successor named 'nobody'"),
        (5, "int"),
        ([5], "Targets must be Node or str"),
    ],
)
async def test_a_route_that_leads_nowhere_is_an_error(
    start: Start, make_node: MakeNode, make_message: MakeMessage, route: Any, text: str
) -> None:
    flow = start(create(predicate_router("router", lambda message: route).to(make_node(name="a"))))
    with pytest.raises(FlowError) as failure:
        await flow.call(make_message(1))
    assert text in failure.value.message
    assert not flow._rookery.inbox.items


async def test_a_failing_predicate_fails_its_message(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    def predicate(message: Message) -> str:
        return {"ok": "a"}[message.payload]

    flow = start(create(predicate_router("router", predicate).to(make_node(name="a"))))
    with pytest.raises(FlowError, match="KeyError"):
        await flow.call(make_message("bad"))
    assert (await flow.call(make_message("ok"))).payload == "ok"


async def test_a_join_waits_for_all_branches_of_its_trace(
    start: Start, make_node: MakeNode, make_message: MakeMessage, recorder: MemoryRecorder
) -> None:
    async def branch(message: Message, ctx: Context) -> Message:
        assert isinstance(ctx.owner.name, str)
        for _ in range(message.payload % 3):
            await asyncio.sleep(0)
        return message.model_copy(update={"payload": (ctx.owner.name, message.payload)})

    branches = [make_node(branch, name=name, max_concurrency=5) for name in "abc"]
    join = join_k("join", 3)
    flow = start(create(make_node(name="top").to(*branches), *(each.to(join) for each in branches)), recorder=recorder)
    sent = [make_message(value, meta={"value": value}) for value in range(20)]
    results = await asyncio.gather(*(flow.call(message) for message in sent))
    for message, result in zip(sent, results, strict=True):
        assert sorted(result.payload) == [(name, message.payload) for name in "abc"]
        assert (result.trace_id, result.meta) == (message.trace_id, message.meta)
    assert not flow._traces
    recorder.check()


async def test_a_join_begins_again_after_each_k(start: Start, make_message: MakeMessage) -> None:
    flow = create(join_k("join", 2).to())
    for value in range(5):
        await flow.emit(make_message(value, trace_id="t"))
    start(flow)
    assert [(await flow.fetch()).payload for _ in range(2)] == [[0, 1], [2, 3]]
    assert not flow._traces


async def test_a_half_full_join_is_forgotten_with_its_trace(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until
) -> None:
    join = join_k("join", 2)
    flow = start(create(join.to()))
    other = start(create(join.to()))
    await flow.emit(make_message("lost", trace_id="t"))
    await until(lambda: not flow._traces)
    # Neither a later trace of the same id nor another flow with the same node gets to see it.
    assert await flow.call(make_message("x", trace_id="t")) is None
    assert await other.call(make_message("y", trace_id="t")) is None


async def test_two_joins_of_one_name_keep_apart(start: Start, make_node: MakeNode, make_message: MakeMessage) -> None:
    pair, triple = join_k("join", 2), join_k("join", 3)
    x, y, z = (make_node(name=name) for name in "xyz")
    flow = start(create(make_node(name="top").to(x, y, z), x.to(pair, triple), y.to(pair, triple), z.to(triple)))
    items = [len(item.payload) async for item in flow.stream(make_message(1))]
    assert sorted(items) == [2, 3]


async def test_a_join_of_bare_payloads_needs_a_trace(start: Start, make_node: MakeNode) -> None:
    top, x, y, join = make_node(name="top"), make_node(name="x"), make_node(name="y"), join_k("join", 2)
    flow = start(create(top.to(x, y), x.to(join), y.to(join), emit_errors_to_rookery=True))
    assert await flow.call("v") == ["v", "v"]
    await flow.emit("v")
    error = await flow.fetch()
    assert isinstance(error, FlowError)
    assert "join_k requires messages with trace_id" in error.message


def test_k_must_be_positive() -> None:
    for k in (0, -1):
        with pytest.raises(ValueError, match="k must be positive"):
            join_k("join", k)
