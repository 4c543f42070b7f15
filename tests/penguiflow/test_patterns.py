"""Routers and joins, ready to wire in."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from penguiflow import (
    Context,
    FlowError,
    Headers,
    Message,
    RoutingRequest,
    create,
    join_k,
    map_concurrent,
    predicate_router,
    union_router,
)

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
    # The fifth waits for a sixth until somebody ends the trace.
    assert await flow.cancel("t")
    assert not flow._traces


async def test_a_half_full_join_is_kept_for_its_trace_alone(
    start: Start, make_message: MakeMessage, until: Until
) -> None:
    join = join_k("join", 2)
    flow = start(create(join.to()))
    other = start(create(join.to()))
    await flow.emit(make_message("kept", trace_id="t"))
    await until(lambda: "t" in flow._traces and flow._traces["t"].idle)
    with pytest.raises(FlowError, match="1 of 2 messages came"):
        await other.call(make_message("y", trace_id="t"))
    with pytest.raises(FlowError, match="1 of 2 messages came"):
        await flow.call(make_message("z", trace_id="u"))
    assert (await flow.call(make_message("x", trace_id="t"))).payload == ["kept", "x"]


@pytest.mark.parametrize("end", ["cancel", "stop", "error"])
async def test_a_half_full_join_is_forgotten_when_its_trace_ends(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until, end: str
) -> None:
    async def fails(message: Message, ctx: Context) -> Message:
        raise ValueError("no luck")

    flow = create(
        make_node(name="top").to(join_k("join", 2), make_node(fails)) if end == "error" else join_k("join", 2).to()
    )
    flow.run()
    await flow.emit(make_message("lost", trace_id="t"))
    if end == "error":
        await until(lambda: not flow._traces)
    else:
        await until(lambda: flow._traces["t"].idle)
        await (flow.cancel("t") if end == "cancel" else flow.stop())
    assert not flow._traces
    await flow.stop()


async def test_two_joins_keep_apart(start: Start, make_node: MakeNode, make_message: MakeMessage) -> None:
    pair, triple = join_k("pair", 2), join_k("triple", 3)
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


async def test_many_things_at_once_come_back_in_order() -> None:
    running = most = 0

    async def square(value: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(value % 4 + 3):
            await asyncio.sleep(0)
        running -= 1
        return value * value

    assert await map_concurrent(range(50), square, max_concurrency=5) == [value * value for value in range(50)]
    assert most == 5
    assert await map_concurrent([], square) == []
    assert await map_concurrent([3], square, max_concurrency=0) == [9]


async def test_items_are_taken_as_room_becomes_free() -> None:
    taken = 0
    release = asyncio.Event()

    def items() -> Iterator[int]:
        nonlocal taken
        for value in range(1000):
            taken += 1
            yield value

    async def wait(value: int) -> int:
        await release.wait()
        return value

    before = len(asyncio.all_tasks())
    whole = asyncio.ensure_future(map_concurrent(items(), wait, max_concurrency=4))
    for _ in range(20):
        await asyncio.sleep(0)
    assert taken == 4
    assert len(asyncio.all_tasks()) - before == 5
    release.set()
    assert await whole == list(range(1000))


async def test_the_first_failure_cancels_the_others_and_is_raised_as_it_is() -> None:
    begun: list[int] = []
    cancelled: list[int] = []

    async def work(value: int) -> None:
        begun.append(value)
        if value == 2:
            await asyncio.sleep(0)
            raise LookupError("two") from ValueError("its cause")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            cancelled.append(value)
            raise

    with pytest.raises(LookupError, match="two") as failure:
        await map_concurrent(range(100), work, max_concurrency=4)
    assert isinstance(failure.value.__cause__, ValueError)
    assert (begun, sorted(cancelled)) == ([0, 1, 2, 3], [0, 1, 3])


async def test_a_failing_source_of_items_cancels_what_runs() -> None:
    states: list[str] = []
    begun = asyncio.Event()

    def items() -> Iterator[str]:
        yield "quick"
        yield "stuck"
        # Asked for once there is room again, which is when the quick one is done.
        raise OSError("disk")

    async def work(value: str) -> None:
        if value == "quick":
            await begun.wait()
            return
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            states.append(value)

    with pytest.raises(OSError, match="disk"):
        await map_concurrent(items(), work, max_concurrency=2)
    assert states == ["stuck"]


async def test_cancelling_cancels_what_runs(until: Until) -> None:
    states: list[str] = []

    async def work(value: int) -> None:
        states.append("begun")
        try:
            await asyncio.Event().wait()
        finally:
            states.append("over")

    whole = asyncio.ensure_future(map_concurrent(range(9), work, max_concurrency=3))
    await until(lambda: len(states) == 3)
    whole.cancel()
    with pytest.raises(asyncio.CancelledError):
        await whole
    assert states == ["begun"] * 3 + ["over"] * 3


async def test_a_caller_that_is_cancelled_twice_still_leaves_nothing_running(until: Until) -> None:
    states: list[str] = []
    let_go = asyncio.Event()

    async def work(value: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            states.append("cleaning")
            await let_go.wait()
            states.append("gone")

    whole = asyncio.ensure_future(map_concurrent(range(2), work))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    whole.cancel()
    await until(lambda: len(states) == 2)
    whole.cancel()
    await asyncio.sleep(0)
    assert not whole.done()
    let_go.set()
    with pytest.raises(asyncio.CancelledError):
        await whole
    assert states == ["cleaning", "cleaning", "gone", "gone"]


async def test_a_stray_cancellation_inside_is_no_result() -> None:
    async def work(value: int) -> int:
        if value == 1:
            raise asyncio.CancelledError("inner")
        return value

    with pytest.raises(asyncio.CancelledError, match="inner"):
        await map_concurrent(range(3), work)
    current = asyncio.current_task()
    assert current is not None
    assert current.cancelling() == 0


async def test_mapping_inside_a_node_ends_with_its_trace(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until
) -> None:
    running: set[int] = set()

    async def work(value: int) -> None:
        running.add(value)
        try:
            await asyncio.Event().wait()
        finally:
            running.discard(value)

    async def spread(message: Message, ctx: Context) -> None:
        await map_concurrent(range(10), work, max_concurrency=3)

    flow = start(create(make_node(spread).to()))
    await flow.emit(make_message(1, trace_id="t"))
    await until(lambda: len(running) == 3)
    await flow.cancel("t")
    await until(lambda: not flow._traces)
    assert not running


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"


class Fish(BaseModel):
    water: str


async def test_a_union_router_sends_by_kind_or_by_class(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    cat, dog, fish = (make_node(name=name) for name in ("cat", "dog", "Fish"))
    router = union_router("router", Cat | Dog | Fish)
    assert router.policy.validate == "none"
    flow = start(create(router.to(cat, dog, fish)))
    # A bare payload, a mapping that is validated on the way, and an envelope that is kept.
    for sent in (Dog(), {"kind": "cat", "lives": "7"}, make_message({"water": "salt"}, trace_id="t")):
        await flow.emit(sent)
    assert await flow.fetch(from_=dog) == Dog()
    assert await flow.fetch(from_=cat) == Cat(lives=7)
    envelope = await flow.fetch(from_=fish)
    assert (envelope.payload, envelope.trace_id) == (Fish(water="salt"), "t")


async def test_a_union_router_takes_a_discriminator_and_an_enum(start: Start, make_node: MakeNode) -> None:
    class Size(Enum):
        BIG = "big"

    class Box(BaseModel):
        kind: Size = Size.BIG

    node = make_node(name="big")
    assert await start(create(union_router("router", Box).to(node))).call(Box()) == Box()
    pets = union_router("router", Annotated[Cat | Dog, Field(discriminator="kind")])
    flow = start(create(pets.to(make_node(name="cat"), make_node(name="dog"))))
    assert await flow.call({"kind": "dog"}) == Dog()


async def test_a_union_of_messages_is_routed_by_the_envelope(start: Start, make_node: MakeNode) -> None:
    class Question(Message):
        kind: Literal["question"] = "question"

    flow = start(create(union_router("router", Question).to(make_node(name="question"))))
    question = Question(payload="?", headers=Headers(tenant="acme"))
    assert await flow.call(question) is question


async def test_a_union_router_without_the_successor_is_an_error(start: Start, make_node: MakeNode) -> None:
    flow = start(create(union_router("router", Cat | Dog).to(make_node(name="cat"))))
    with pytest.raises(FlowError, match="No successor named 'dog'"):
        await flow.call(Dog())
    with pytest.raises(FlowError, match="ValidationError"):
        await flow.call({"kind": "bird"})


async def test_a_policy_has_the_last_word(start: Start, make_node: MakeNode, make_message: MakeMessage) -> None:
    a, b = make_node(name="a"), make_node(name="b")
    asked: list[RoutingRequest] = []

    async def policy(request: RoutingRequest) -> str | None:
        asked.append(request)
        return {"swap": "b", "drop": None}.get(request.message.payload, "a")

    router = predicate_router("router", lambda message: None if message.payload == "none" else ["a", b], policy=policy)
    flow = start(create(router.to(a, b)))
    results = {}
    for payload in ("swap", "drop", "none", "keep"):
        results[payload] = [item.payload async for item in flow.stream(make_message(payload, trace_id=payload))]
    assert results == {"swap": ["swap"], "drop": [], "none": [], "keep": ["keep"]}
    # What the predicate drops, nobody is asked about.
    assert [request.trace_id for request in asked] == ["swap", "drop", "keep"]
    assert (asked[0].node, asked[0].node_name) == (router, "router")
    assert (asked[0].proposed, asked[0].proposed_names) == ((a, b), ("a", "b"))


async def test_a_union_router_asks_its_policy_too(start: Start, make_node: MakeNode) -> None:
    router = union_router("router", Cat | Dog, policy=lambda request: "dog")
    flow = start(create(router.to(make_node(name="cat"), make_node(name="dog"))))
    await flow.emit(Cat())
    assert await flow.fetch(from_=flow.nodes[2]) == Cat()


@pytest.mark.parametrize("end", ["cancel", "stop", "timeout", "failure"])
async def test_a_join_is_empty_however_its_traces_ended(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until, end: str
) -> None:
    async def late(message: Message, ctx: Context) -> None:
        if end == "failure":
            raise ValueError("never")
        await asyncio.Event().wait()

    top, quick, slow = make_node(name="top"), make_node(name="quick"), make_node(late, max_concurrency=50)
    join = join_k("join", 2)
    flow = start(create(top.to(quick, slow), quick.to(join), slow.to(join)))
    ids = [f"t{number}" for number in range(20)]
    if end == "timeout":
        for trace_id in ids:
            with pytest.raises(TimeoutError):
                await flow.call(make_message(1, trace_id=trace_id), timeout=0.002)
    else:
        for trace_id in ids:
            await flow.emit(make_message(1, trace_id=trace_id))
    if end == "cancel":
        await until(lambda: all(flow._traces[trace_id].state for trace_id in ids))
        for trace_id in ids:
            assert await flow.cancel(trace_id)
    if end == "stop":
        await until(lambda: all(flow._traces[trace_id].state for trace_id in ids))
        await flow.stop()
    await until(lambda: not flow._traces)
