"""Interceptors decide: proceed, edit, skip, inject, retry, abort."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from penguiflow import Context, FlowError, FlowErrorCode, Headers, Message, ModelRegistry, Node, NodePolicy, create
from penguiflow.checkpoints import Checkpoint, Decision, Interceptor, Place, Unfit


def message(payload: Any = 1) -> Message:
    return Message(payload=payload, headers=Headers(tenant="test"))


def at(kind: str, decision: Decision | None, *, times: int = 1) -> tuple[Interceptor, list[Checkpoint]]:
    hits: list[Checkpoint] = []

    async def interceptor(checkpoint: Checkpoint) -> Decision | None:
        if checkpoint.kind != kind:
            return None
        hits.append(checkpoint)
        return decision if len(hits) <= times else Decision.proceed()

    return interceptor, hits


class Adder:
    def __init__(self, failures: int = 0) -> None:
        self.calls: list[Any] = []
        self.failures = failures

    def node(self, **policy: Any) -> Node:
        async def add(value: Any, ctx: Context) -> Any:
            self.calls.append(value)
            if len(self.calls) <= self.failures:
                raise ValueError("no luck")
            return value + 1

        return Node(add, policy=NodePolicy(**policy))


async def outcome(adder: Adder, *interceptors: Interceptor, recorder: Any = None, **policy: Any) -> Any:
    flow = create(adder.node(**policy).to(), interceptors=interceptors)
    flow.run(recorder=recorder)
    try:
        return await flow.call(1, timeout=60, trace_id="t")
    finally:
        await flow.stop()


async def test_nothing_changes_when_all_proceed() -> None:
    before, hits = at("before_node", None)
    assert await outcome(Adder(), before) == 2
    assert [(hit.name, hit.payload, hit.trace_id) for hit in hits] == [("add", 1, "t")]
    assert hits[0].path[0].startswith("node:add[")


async def test_an_interceptor_comes_and_goes_while_the_flow_runs() -> None:
    asked, hits = at("before_node", Decision.edit(10), times=9)
    flow = create(Adder().node().to())
    flow.run()
    try:
        assert await flow.call(1) == 2
        flow.intercept(asked)
        assert await flow.call(1) == 11
        flow.release(asked)
        assert await flow.call(1) == 2
        flow.intercept(asked)
    finally:
        await flow.stop()
    flow.run()
    try:
        assert await flow.call(1) == 2
    finally:
        await flow.stop()
    assert len(hits) == 1


async def test_the_input_can_be_edited_and_the_edit_is_on_record(event_log: Any, recorder: Any) -> None:
    adder = Adder()
    assert await outcome(adder, at("before_node", Decision.edit(10))[0], recorder=recorder) == 11
    assert adder.calls == [10]
    recorder.check()


async def test_a_result_can_stand_in_for_the_call() -> None:
    adder = Adder()
    assert await outcome(adder, at("before_node", Decision.skip(42))[0]) == 42
    assert adder.calls == []


@pytest.mark.parametrize("decision", [Decision.edit(7), Decision.skip(7)])
async def test_the_result_can_be_edited(decision: Decision) -> None:
    assert await outcome(Adder(), at("after_node", decision)[0]) == 7


async def test_the_call_can_be_made_again() -> None:
    adder = Adder()
    assert await outcome(adder, at("after_node", Decision.retry, times=2)[0]) == 2
    assert adder.calls == [1, 1, 1]


async def test_an_error_can_be_replaced_or_tried_again_with_another_input() -> None:
    assert await outcome(Adder(failures=9), at("on_error", Decision.skip("sorry"))[0]) == "sorry"
    assert await outcome(Adder(failures=1), at("on_error", Decision.edit(5))[0]) == 6
    with pytest.raises(FlowError, match="no luck"):
        await outcome(Adder(failures=9), at("on_error", Decision.proceed)[0])


@pytest.mark.usefixtures("virtual_time")
async def test_a_timeout_can_be_tried_again() -> None:
    calls: list[int] = []

    async def slow_once(value: int, ctx: Context) -> int:
        calls.append(value)
        if len(calls) == 1:
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        return value

    flow = create(
        Node(slow_once, policy=NodePolicy(timeout_s=0.02)).to(), interceptors=[at("on_error", Decision.retry)[0]]
    )
    flow.run()
    assert await flow.call(3, timeout=60) == 3
    await flow.stop()


async def test_a_message_can_be_added() -> None:
    flow = create(Adder().node().to(), interceptors=[at("before_node", Decision.inject("extra"))[0]])
    flow.run()
    assert [result async for result in flow.stream(1)] == ["extra", 2]
    await flow.stop()


async def test_an_abort_cancels_the_trace_and_says_why() -> None:
    adder = Adder()
    with pytest.raises(FlowError, match="not on my watch") as caught:
        await outcome(adder, at("before_node", Decision.abort("not on my watch"))[0])
    assert caught.value.code == FlowErrorCode.TRACE_CANCELLED
    assert adder.calls == []


async def test_an_interceptor_that_fails_lets_nothing_pass() -> None:
    async def broken(checkpoint: Checkpoint) -> Decision | None:
        raise RuntimeError("guard is ill")

    adder = Adder()
    with pytest.raises(FlowError, match="before_node"):
        await outcome(adder, broken, max_retries=3)
    assert adder.calls == []


async def test_an_edit_is_shown_to_the_next_interceptor_and_a_skip_ends_the_round() -> None:
    first, _ = at("before_node", Decision.edit(20))
    second, seen = at("before_node", Decision.skip("stop"))
    third, unseen = at("before_node", Decision.edit(0))
    assert await outcome(Adder(), first, second, third) == "stop"
    assert [hit.payload for hit in seen] == [20]
    assert unseen == []


async def test_a_stopped_run_can_be_cancelled() -> None:
    waiting = asyncio.Event()

    async def waits(checkpoint: Checkpoint) -> Decision | None:
        waiting.set()
        await asyncio.Event().wait()
        return None

    flow = create(Adder().node().to(), interceptors=[waits])
    flow.run()
    question = message()
    call = asyncio.create_task(flow.call(question))
    await waiting.wait()
    assert await flow.cancel(question.trace_id)
    with pytest.raises(FlowError):
        await call
    await flow.stop()


class Order(BaseModel):
    items: int


async def of_orders(decision: Decision, kind: str = "before_node", payload: Any = None, **run: Any) -> Message:
    """What a node that takes and gives orders makes of a message for one item."""

    async def doubles(order: Order, ctx: Context) -> Order:
        calls.append(order)
        return Order(items=order.items * 2)

    calls: list[Order] = run.pop("calls", [])
    registry = ModelRegistry()
    registry.register("doubles", Order, Order)
    node = Node(doubles, policy=NodePolicy(max_retries=3, backoff_base=0.0))
    flow = create(node.to(), interceptors=[at(kind, decision, times=9)[0]])
    flow.run(registry=registry, **run)
    try:
        result = await flow.call(message(Order(items=1) if payload is None else payload), timeout=60)
        assert isinstance(result, Message)
        return result
    finally:
        await flow.stop()


async def test_an_input_that_is_given_is_checked_as_that_of_a_message() -> None:
    assert (await of_orders(Decision.edit({"items": "7"}))).payload == Order(items=14)


async def test_a_message_that_is_given_is_unwrapped_and_its_envelope_goes_on() -> None:
    given = Message(payload={"items": 5}, headers=Headers(tenant="other"), meta={"edited": True})
    result = await of_orders(Decision.edit(given))
    assert (result.payload, result.headers.tenant, result.meta) == (Order(items=10), "other", {"edited": True})
    assert result.trace_id != given.trace_id


@pytest.mark.parametrize(
    ("kind", "decision", "about"),
    [
        ("before_node", Decision.edit({"items": "many"}), "at before_node is not what node 'doubles' takes"),
        ("before_node", Decision.skip({"no": 1}), "at before_node is not what node 'doubles' gives"),
        ("after_node", Decision.edit("rubbish"), "at after_node is not what node 'doubles' gives"),
    ],
)
async def test_what_does_not_fit_is_one_clear_error(kind: str, decision: Decision, about: str) -> None:
    calls: list[Order] = []
    with pytest.raises(FlowError, match=about) as caught:
        await of_orders(decision, kind, calls=calls)
    assert caught.value.code == FlowErrorCode.NODE_EXCEPTION
    assert caught.value.metadata["attempt"] == 0
    assert len(calls) == (kind == "after_node")
    behind = caught.value.unwrap()
    assert behind is not None
    assert isinstance(behind.__cause__, ValidationError)


async def test_an_input_that_does_not_fit_can_be_mended() -> None:
    assert (await of_orders(Decision.edit(Order(items=3)), "on_error", payload="rubbish")).payload == Order(items=6)


async def test_a_result_that_does_not_fit_can_be_mended(recorder: Any) -> None:
    async def forgets(order: Order, ctx: Context) -> Any:
        return "rubbish"

    registry = ModelRegistry()
    registry.register("forgets", Order, Order)
    flow = create(Node(forgets).to(), interceptors=[at("on_error", Decision.skip({"items": "4"}))[0]])
    flow.run(registry=registry, recorder=recorder)
    assert (await flow.call(message(Order(items=1)), timeout=60)).payload == Order(items=4)
    await flow.stop()
    recorder.check()


class Weird(BaseException):
    pass


@pytest.mark.parametrize("failure", [asyncio.CancelledError(), SystemExit(2), GeneratorExit(), Weird(), ValueError()])
@pytest.mark.parametrize("waits", [False, True])
async def test_every_failure_of_a_node_is_asked_about(failure: BaseException, waits: bool) -> None:
    async def fails(value: int, ctx: Context) -> int:
        if waits:
            await asyncio.sleep(0)
        raise failure

    interceptor, hits = at("on_error", Decision.skip("mended"))
    flow = create(Node(fails).to(), interceptors=[interceptor])
    flow.run()
    assert await flow.call(1, timeout=60) == "mended"
    await flow.stop()
    assert [type(hit.payload) for hit in hits] == [type(failure)]


@pytest.mark.usefixtures("virtual_time")
async def test_a_timeout_is_shown_as_a_timeout_error() -> None:
    async def slow(value: int, ctx: Context) -> int:
        await asyncio.Event().wait()
        return value

    shown: list[Any] = []

    async def waits_itself(checkpoint: Checkpoint) -> Decision | None:
        if checkpoint.kind != "on_error":
            return None
        shown.append(checkpoint.payload)
        async with asyncio.timeout(60):
            await asyncio.sleep(0)
        return Decision.skip("mended")

    flow = create(Node(slow, policy=NodePolicy(timeout_s=0.01)).to(), interceptors=[waits_itself])
    flow.run()
    assert await flow.call(1, timeout=60) == "mended"
    await flow.stop()
    (payload,) = shown
    assert isinstance(payload, TimeoutError)
    assert str(payload) == "Node 'slow' timed out after 0.01s"


async def test_nobody_is_asked_about_a_cancellation_or_a_deadline() -> None:
    waiting = asyncio.Event()

    async def waits(value: Any, ctx: Context) -> Any:
        waiting.set()
        await asyncio.Event().wait()

    interceptor, hits = at("on_error", Decision.skip("mended"))
    flow = create(Node(waits).to(), interceptors=[interceptor])
    flow.run()
    late = Message(payload=1, headers=Headers(tenant="test"), deadline_s=time.time() + 0.05)
    assert (await flow.call(late, timeout=60)).payload.text == "Deadline exceeded"
    waiting.clear()
    question = message()
    call = asyncio.create_task(flow.call(question))
    await waiting.wait()
    assert await flow.cancel(question.trace_id)
    with pytest.raises(FlowError, match="cancelled"):
        await call
    await flow.stop()
    assert hits == []


async def test_what_an_interceptor_raises_is_never_tried_again() -> None:
    async def leaves(checkpoint: Checkpoint) -> Decision | None:
        hits.append(checkpoint)
        raise SystemExit(3)

    hits: list[Checkpoint] = []
    adder = Adder()
    with pytest.raises(FlowError, match="before_node"):
        await outcome(adder, leaves, max_retries=3)
    assert (len(hits), adder.calls) == (1, [])


@pytest.mark.parametrize("kind", ["before_node", "after_node"])
async def test_a_result_of_another_trace_reaches_who_waits(kind: str) -> None:
    answer = message("answer")
    flow = create(Adder().node().to(), interceptors=[at(kind, Decision.skip(answer))[0]])
    flow.run()
    assert await flow.call(1, timeout=60) == answer
    await flow.stop()
    assert not flow._traces


class Picky:
    """Asked only where it wants to be."""

    def __init__(self, kind: str, decision: Decision | None = None) -> None:
        self.kind = kind
        self.decision = decision
        self.asked: list[str] = []

    def wants(self, checkpoint: Checkpoint) -> bool:
        return checkpoint.kind == self.kind

    async def __call__(self, checkpoint: Checkpoint) -> Decision | None:
        self.asked.append(checkpoint.kind)
        return self.decision


async def test_who_says_what_it_wants_is_asked_there_alone_and_that_is_a_stop(recorder: Any) -> None:
    picky, (other, hits) = Picky("after_node"), at("before_node", None)
    assert await outcome(Adder(), picky, other, recorder=recorder) == 2
    assert (picky.asked, len(hits)) == (["after_node"], 1)
    told = [(event.kind, dict(event.data)) for event in recorder.only().events if event.kind.startswith("checkpoint.")]
    assert told == [
        ("checkpoint.hit", {"checkpoint": "after_node"}),
        ("checkpoint.resolved", {"checkpoint": "after_node", "decision": "proceed"}),
    ]


async def test_a_place_says_what_fits() -> None:
    class Number(BaseModel):
        n: int

    async def add(value: Number, ctx: Context) -> Number:
        return Number(n=value.n + 1)

    places: list[Place] = []

    async def look(checkpoint: Checkpoint) -> Decision | None:
        assert checkpoint.place is not None
        places.append(checkpoint.place)
        if checkpoint.kind == "before_node":
            return Decision.edit(checkpoint.place.checked("edit", {"n": 5}))
        return None

    registry = ModelRegistry()
    registry.register("add", Number, Number)
    flow = create(Node(add).to(), interceptors=[look])
    flow.run(registry=registry)
    assert (await flow.call(message(Number(n=1)))).payload == Number(n=6)
    await flow.stop()
    before = places[0]
    schema = before.schema("edit")
    assert schema is not None
    assert schema["properties"]["n"]["type"] == "integer"
    with pytest.raises(Unfit) as unfit:
        before.checked("edit", {"n": "x"})
    assert [pointer for pointer, _ in unfit.value.details] == ["/n"]
    assert set(before.parts()) == {"headers", "meta"}
