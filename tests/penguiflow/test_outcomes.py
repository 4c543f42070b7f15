"""What becomes of a message when something is wrong: the table of docs/runtime-outcomes.md, row by row.

Whoever waits is answered, in each of the ways there are to wait; the flow goes on with the next message.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from pydantic import BaseModel

from penguiflow import (
    Context,
    FinalAnswer,
    FlowError,
    FlowErrorCode,
    Headers,
    Message,
    ModelRegistry,
    Node,
    NodePolicy,
    PenguiFlow,
    create,
    predicate_router,
)
from penguiflow.core import DEADLINE_EXCEEDED_TEXT, TraceCancelled
from penguiflow.endings import Endings
from penguiflow.recording import EventRecord, Recorder

if TYPE_CHECKING:
    from tests.conftest import MakeMessage, MakeNode, Start, Until

Check: TypeAlias = Callable[[PenguiFlow], Awaitable[None]]
Ask: TypeAlias = Callable[[PenguiFlow, Message], Awaitable[Any]]


async def by_call(flow: PenguiFlow, message: Message) -> Any:
    return await flow.call(message)


async def by_stream(flow: PenguiFlow, message: Message) -> Any:
    results = [result async for result in flow.stream(message)]
    return results[-1] if results else None


async def by_fetch(flow: PenguiFlow, message: Message) -> Any:
    await flow.emit(message, trace_id=message.trace_id)
    return await flow.fetch(trace_id=message.trace_id)


@pytest.fixture(params=[by_call, by_stream, by_fetch])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Each of the ways to send a message and wait for its result."""
    way: Ask = request.param
    return way


@pytest.fixture
def still_well() -> Check:
    """Asks whether the flow handles the next message, and has kept nothing of the last one."""

    async def check(flow: PenguiFlow) -> None:
        fine = Message(payload="fine", headers=Headers(tenant="acme"))
        assert (await flow.call(fine)).payload == "fine"
        assert not flow._traces
        assert not flow._table.sinks

    return check


class Sink:
    """Keeps what is recorded."""

    def __init__(self, records: list[EventRecord]) -> None:
        self.write = records.append


class Odd(BaseException):
    """No `Exception`."""


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize(
    "error",
    [ValueError("x"), asyncio.CancelledError(), TimeoutError("socket"), Odd("odd"), SystemExit(3), GeneratorExit()],
)
async def test_whatever_a_node_raises_is_a_node_exception(
    start: Start,
    make_node: MakeNode,
    make_message: MakeMessage,
    ask: Ask,
    error: BaseException,
    waits: bool,
    still_well: Check,
) -> None:
    async def raises(message: Message, ctx: Context) -> Message:
        if waits:
            await asyncio.sleep(0)
        if message.payload == "bad":
            raise error
        return message

    flow = start(create(make_node(raises, timeout_s=5).to()))
    with pytest.raises(FlowError) as caught:
        await ask(flow, make_message("bad"))
    assert caught.value.code == FlowErrorCode.NODE_EXCEPTION
    assert caught.value.node_name == "raises"
    assert caught.value.unwrap() is error
    await still_well(flow)


def test_ctrl_c_ends_the_loop(make_node: MakeNode, make_message: MakeMessage) -> None:
    async def interrupted(message: Message, ctx: Context) -> None:
        raise KeyboardInterrupt

    async def main() -> None:
        flow = create(make_node(interrupted).to())
        flow.run()
        await flow.call(make_message(1), timeout=60)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())


@pytest.mark.parametrize("waits", [False, True])
def test_the_log_of_what_ctrl_c_ended_says_so(make_node: MakeNode, make_message: MakeMessage, waits: bool) -> None:
    records: list[EventRecord] = []

    async def interrupted(message: Message, ctx: Context) -> None:
        if waits:
            await asyncio.sleep(0)
        raise KeyboardInterrupt

    async def main() -> None:
        flow = create(make_node(interrupted).to())
        flow.run(recorder=Recorder(Sink(records)))
        await flow.emit(make_message(1))
        await flow.fetch()

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    ends = {event.kind: event.data["status"] for event in map(EventRecord.decode, records) if "status" in event.data}
    assert ends == {"attempt.end": "error", "node.end": "cancelled", "trace.end": "cancelled"}


async def test_where_a_program_answers_ctrl_c_itself_no_node_can_pretend_it(
    start: Start,
    make_node: MakeNode,
    make_message: MakeMessage,
    still_well: Check,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def raises(message: Message, ctx: Context) -> Message:
        if message.payload == "bad":
            raise KeyboardInterrupt
        return message

    monkeypatch.setattr(Endings, "interrupts_end_loop", False)
    flow = start(create(make_node(raises).to()))
    with pytest.raises(FlowError) as caught:
        await flow.call(make_message("bad"))
    assert caught.value.message == "Node 'raises' raised KeyboardInterrupt"
    await still_well(flow)


class Number(BaseModel):
    """What the nodes of the next test are registered for."""

    value: int


@pytest.mark.parametrize(
    ("gives", "node"), [({"value": "many"}, "gives"), ("text", "gives"), (Headers(tenant="x"), "gives")]
)
async def test_a_result_of_the_wrong_type_fails_the_node_that_gave_it(
    start: Start, make_message: MakeMessage, ask: Ask, gives: Any, node: str
) -> None:
    async def give(message: Number, ctx: Context) -> Any:
        return gives if message.value else message

    registry = ModelRegistry()
    for name in ("gives", "takes"):
        registry.register(name, Number, Number)

    async def take(message: Number, ctx: Context) -> Number:
        return message

    flow = start(create(Node(give, name="gives").to(Node(take, name="takes"))), registry=registry)
    with pytest.raises(FlowError) as caught:
        await ask(flow, make_message(Number(value=1)))
    assert (caught.value.code, caught.value.node_name) == (FlowErrorCode.NODE_EXCEPTION, node)
    assert caught.value.exception_type == "ValidationError"
    assert (await ask(flow, make_message(Number(value=0)))).payload == Number(value=0)


async def test_a_result_that_nobody_checked_fails_the_node_that_gets_it(
    start: Start, make_message: MakeMessage, ask: Ask
) -> None:
    async def give(message: Number, ctx: Context) -> Any:
        return "text"

    async def take(message: Number, ctx: Context) -> Number:
        return message

    registry = ModelRegistry()
    for name in ("gives", "takes"):
        registry.register(name, Number, Number)
    gives = Node(give, name="gives", policy=NodePolicy(validate="in"))
    flow = start(create(gives.to(Node(take, name="takes"))), registry=registry)
    with pytest.raises(FlowError) as caught:
        await ask(flow, make_message(Number(value=1)))
    assert (caught.value.exception_type, caught.value.node_name) == ("ValidationError", "takes")


async def forever(message: Message, ctx: Context) -> Message:
    if message.payload == "bad":
        await asyncio.Event().wait()
    return message


async def test_a_node_that_never_returns_ends_with_its_policy(
    start: Start,
    make_node: MakeNode,
    make_message: MakeMessage,
    ask: Ask,
    still_well: Check,
) -> None:
    flow = start(create(make_node(forever, timeout_s=0.01, max_retries=1, backoff_base=0).to()))
    with pytest.raises(FlowError) as caught:
        await ask(flow, make_message("bad"))
    assert caught.value.code == FlowErrorCode.NODE_TIMEOUT
    assert caught.value.metadata["attempt"] == 1
    await still_well(flow)


async def test_a_node_that_never_returns_ends_with_the_deadline(
    start: Start,
    make_node: MakeNode,
    make_message: MakeMessage,
    ask: Ask,
    still_well: Check,
) -> None:
    flow = start(create(make_node(forever).to(make_node(name="next"))))
    answer = await ask(flow, make_message("bad", deadline_s=time.time() + 0.02))
    assert answer.payload == FinalAnswer(text=DEADLINE_EXCEEDED_TEXT)
    await still_well(flow)


@pytest.mark.parametrize("end", ["cancel", "stop"])
async def test_a_node_that_never_returns_ends_with_its_trace_or_flow(
    start: Start, make_node: MakeNode, make_message: MakeMessage, ask: Ask, until: Until, end: str
) -> None:
    flow = start(create(make_node(forever).to()))
    asking = asyncio.ensure_future(ask(flow, make_message("bad", trace_id="t")))
    await until(lambda: flow._engine is not None and flow._engine.suspended)
    if end == "cancel":
        assert await flow.cancel("t")
    else:
        await flow.stop()
    with pytest.raises(FlowError) as caught:
        await asking
    assert caught.value.code == FlowErrorCode.TRACE_CANCELLED


async def test_a_caller_need_not_wait_for_a_node_that_never_returns(
    start: Start,
    make_node: MakeNode,
    make_message: MakeMessage,
    until: Until,
    still_well: Check,
) -> None:
    flow = start(create(make_node(forever).to()))
    with pytest.raises(TimeoutError):
        await flow.call(make_message("bad"), timeout=0.01)
    await until(lambda: not flow._traces)
    await still_well(flow)


async def test_an_unregistered_node_is_refused_before_anything_starts(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    flow = create(make_node(name="known", validate="both").to(make_node(name="unknown", validate="in")))
    registry = ModelRegistry()
    registry.register("known", Message, Message)
    with pytest.raises(RuntimeError, match=r"missing entries for nodes requiring validation: unknown$"):
        flow.run(registry=registry)
    assert not flow.running
    registry.register("unknown", Message, Message)
    start(flow, registry=registry)
    assert (await flow.call(make_message(1))).payload == 1


def test_two_nodes_of_one_name_are_refused(make_node: MakeNode) -> None:
    with pytest.raises(ValueError, match="Two nodes are named 'same'"):
        create(make_node(name="same").to(make_node(name="same")))


@pytest.mark.parametrize("how", ["emit", "emit_nowait", "route"])
async def test_an_unknown_target_fails_the_node_that_names_it(
    start: Start,
    make_node: MakeNode,
    make_message: MakeMessage,
    ask: Ask,
    how: str,
    still_well: Check,
) -> None:
    stranger = make_node(name="stranger")

    async def lost(message: Message, ctx: Context) -> Message:
        if message.payload == "bad" and how == "emit":
            await ctx.emit(message, to=stranger)
        elif message.payload == "bad":
            ctx.emit_nowait(message, to=stranger)
        return message

    router = predicate_router("lost", lambda message: "stranger" if message.payload == "bad" else "next")
    flow = start(create((router if how == "route" else make_node(lost)).to(make_node(name="next"))))
    with pytest.raises(FlowError, match="stranger") as caught:
        await ask(flow, make_message("bad"))
    assert (caught.value.code, caught.value.exception_type) == (FlowErrorCode.NODE_EXCEPTION, "KeyError")
    await still_well(flow)


async def test_an_unknown_target_is_refused_to_a_sender_from_outside(
    start: Start,
    make_node: MakeNode,
    make_message: MakeMessage,
    still_well: Check,
) -> None:
    stranger = make_node(name="stranger")
    flow = start(create(make_node().to()))
    for refused in (flow.emit, flow.call):
        with pytest.raises(KeyError, match="Unknown target stranger for OpenSea"):
            await refused(make_message(1), to=stranger)
    with pytest.raises(KeyError, match="Unknown target stranger for OpenSea"):
        await flow.emit(make_message(1), to=stranger, trace_id="t")
    with pytest.raises(KeyError, match="Unknown target stranger for OpenSea"):
        flow.emit_nowait(make_message(1), to=stranger)
    await still_well(flow)


async def fill(flow: PenguiFlow, make_message: MakeMessage) -> None:
    """Send until the flow takes no more: its node is stuck and its queue of one is full."""
    for payload in ("bad", "waits"):
        await flow.emit(make_message(payload, trace_id="stuck"))
        for _ in range(5):
            await asyncio.sleep(0)


@pytest.mark.parametrize("end", ["room", "cancel", "stop", "gives up"])
async def test_a_full_queue_holds_its_sender_until_there_is_room_or_no_more_use(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until, end: str
) -> None:
    flow = start(create(make_node(forever).to(), queue_maxsize=1))
    await fill(flow, make_message)
    with pytest.raises(asyncio.QueueFull):
        flow.emit_nowait(make_message("more"))
    sender = asyncio.create_task(flow.emit(make_message("fine", trace_id="own")))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not sender.done()
    if end == "room":
        assert await flow.cancel("stuck")
        await sender
        assert (await flow.fetch()).payload == "fine"
    elif end == "gives up":
        sender.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sender
        assert await flow.cancel("stuck")
        assert (await flow.call(make_message("fine"))).payload == "fine"
    else:
        await (flow.cancel("own") if end == "cancel" else flow.stop())
        with pytest.raises(TraceCancelled):
            await sender


@pytest.mark.parametrize("payload", ["fine", "fails"])
async def test_a_fetch_that_timed_out_can_be_repeated(
    start: Start,
    make_node: MakeNode,
    make_message: MakeMessage,
    payload: str,
    still_well: Check,
) -> None:
    gate = asyncio.Event()

    async def gated(message: Message, ctx: Context) -> Message:
        await gate.wait()
        if message.payload == "fails":
            raise ValueError("no luck")
        return message

    flow = start(create(make_node(gated).to()))
    await flow.emit(make_message(payload), trace_id="t")
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(flow.fetch(trace_id="t"), 0.002)
    gate.set()
    if payload == "fine":
        assert (await flow.fetch(trace_id="t")).payload == "fine"
    else:
        with pytest.raises(FlowError, match="no luck"):
            await flow.fetch(trace_id="t")
    await still_well(flow)


@pytest.mark.parametrize("end", ["timeout", "deadline", "cancel", "stop"])
async def test_a_node_that_ignores_its_end(
    make_node: MakeNode, make_message: MakeMessage, until: Until, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """It cannot be ended, but nobody waits for it."""
    for module in ("worker", "traces", "invocation"):
        monkeypatch.setattr(f"penguiflow.{module}.STUBBORN_GRACE_S", 0.02)
    monkeypatch.setattr("penguiflow.worker.LISTENER_GRACE_S", 0.02)
    release = asyncio.Event()

    async def stubborn(message: Message, ctx: Context) -> Message:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        return message

    flow = create(make_node(stubborn, timeout_s=0.01 if end == "timeout" else None, max_concurrency=2).to())
    flow.run()
    deadline_s = time.time() + 0.05 if end == "deadline" else None
    calling = asyncio.create_task(flow.call(make_message("bad", trace_id="t", deadline_s=deadline_s)))
    try:
        # The deadline may be over before the node is called.
        await until(lambda: calling.done() or (flow._engine is not None and flow._engine.suspended))
        if end == "cancel":
            assert await flow.cancel("t")
        elif end == "stop":
            await asyncio.wait_for(flow.stop(), 60)
        if end == "deadline":
            answer = await asyncio.wait_for(asyncio.shield(calling), 60)
            assert answer.payload.text == "Deadline exceeded"
            return
        with pytest.raises(FlowError) as caught:
            await asyncio.wait_for(asyncio.shield(calling), 60)
        assert caught.value.code == ("NODE_TIMEOUT" if end == "timeout" else "TRACE_CANCELLED")
    finally:
        release.set()
        await asyncio.gather(calling, return_exceptions=True)
        await flow.stop()
