"""Uses that are rare and must not hang, leak or lie."""

from __future__ import annotations

import asyncio
import functools
import math
from typing import Any

import pytest

from penguiflow import Context, FinalAnswer, FlowError, Headers, Message, Node, NodePolicy, create, join_k
from penguiflow.metrics import FlowEvent

HEADERS = Headers(tenant="test")


async def echo(message: Any, ctx: Context) -> Any:
    return message


async def test_an_empty_trace_id_is_an_id() -> None:
    flow = create(Node(echo).to())
    flow.run()
    assert (await flow.call(Message(payload=1, headers=HEADERS, trace_id=""), timeout=60)).payload == 1
    await flow.stop()


async def test_a_trace_in_flight_cannot_be_called() -> None:
    flow = create(Node(echo).to())
    flow.run()
    message = Message(payload=1, headers=HEADERS)
    await flow.emit(message)
    with pytest.raises(RuntimeError, match="in flight"):
        await flow.call(message)
    assert (await flow.fetch()) is message
    await flow.stop()


class Slow:
    """A recorder that is congested after each event until somebody has waited."""

    def __init__(self, recorder: Any) -> None:
        self.inner = recorder
        self.waits = 0

    @property
    def congested(self) -> bool:
        return True

    def open(self, trace_id: str, data: Any = None) -> Any:
        return self.inner.open(trace_id, data)

    async def wait_ready(self) -> None:
        self.waits += 1
        await asyncio.sleep(0)

    async def flush(self) -> None:
        return

    def durable(self) -> None:
        return


async def test_a_node_that_sends_much_waits_for_the_recorder(recorder: Any) -> None:
    async def fan_out(message: Any, ctx: Context) -> None:
        for value in range(50):
            await ctx.emit(value)

    slow = Slow(recorder)
    flow = create(Node(fan_out).to(Node(echo)))
    flow.run(recorder=slow)
    assert len([result async for result in flow.stream("go")]) == 50
    await flow.stop()
    assert slow.waits >= 50


async def test_a_join_takes_messages_that_come_one_by_one(until: Any) -> None:
    flow = create(join_k("join", 3).to())
    flow.run()
    for value in "abc":
        await flow.emit(Message(payload=value, headers=HEADERS, trace_id="t"))
        for _ in range(5):
            await asyncio.sleep(0)
    assert (await flow.fetch()).payload == ["a", "b", "c"]
    assert not flow._traces
    await flow.stop()


async def test_a_caller_is_told_of_a_join_that_never_fills() -> None:
    flow = create(join_k("join", 3).to())
    flow.run()
    with pytest.raises(FlowError, match="1 of 3 messages came"):
        await flow.call(Message(payload="a", headers=HEADERS), timeout=60)
    assert not flow._traces
    await flow.stop()


@pytest.mark.parametrize("waits", [False, True])
async def test_a_generator_exit_is_a_failure_like_any_other(waits: bool) -> None:
    async def closes(message: Any, ctx: Context) -> None:
        if waits:
            await asyncio.sleep(0)
        raise GeneratorExit

    flow = create(Node(closes).to())
    flow.run()
    with pytest.raises(FlowError, match="GeneratorExit"):
        await flow.call(1, timeout=60)
    await flow.stop()


@pytest.mark.usefixtures("virtual_time")
async def test_a_timeout_that_was_turned_into_something_else_does_not_touch_the_next_attempt() -> None:
    cancelling: list[int] = []

    async def stubborn(message: Any, ctx: Context) -> None:
        task = asyncio.current_task()
        assert task is not None
        cancelling.append(task.cancelling())
        if len(cancelling) == 2:
            raise asyncio.CancelledError
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ValueError("not what it was") from None

    flow = create(Node(stubborn, policy=NodePolicy(timeout_s=0.01, max_retries=1, backoff_base=0)).to())
    flow.run()
    with pytest.raises(FlowError) as caught:
        await flow.call(1, timeout=60)
    assert cancelling == [0, 0]
    assert caught.value.code == "NODE_EXCEPTION"
    await flow.stop()


async def test_stop_does_not_wait_for_ever_for_a_listener(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penguiflow.worker.LISTENER_GRACE_S", 0.01)

    async def never_returns(event: FlowEvent) -> None:
        await asyncio.Event().wait()

    flow = create(Node(echo).to(), middlewares=[never_returns])
    flow.run()
    call = asyncio.create_task(flow.call(1))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    async with asyncio.timeout(60):
        await flow.stop()
        with pytest.raises(FlowError):
            await call


async def test_answers_past_the_successors_are_bounded_too() -> None:
    async def answers(message: Message, ctx: Context) -> Message:
        return message.model_copy(update={"payload": FinalAnswer(text=str(message.payload))})

    flow = create(Node(answers).to(Node(echo)), queue_maxsize=2)
    flow.run()

    async def send() -> None:
        for value in range(20):
            await flow.emit(Message(payload=value, headers=HEADERS))

    sending = asyncio.create_task(send())
    for _ in range(50):
        await asyncio.sleep(0)
    assert not sending.done()
    assert [(await flow.fetch()).payload.text for _ in range(20)] == [str(value) for value in range(20)]
    await sending
    await flow.stop()


@pytest.mark.parametrize(
    "wrong",
    [
        {"timeout_s": -1.0},
        {"timeout_s": math.nan},
        {"backoff_base": -0.1},
        {"jitter": 2.0},
        {"max_concurrency": 0},
    ],
)
def test_a_policy_without_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        NodePolicy(**wrong)


def test_a_wait_never_overflows() -> None:
    assert NodePolicy().backoff(5000) == 86_400
    assert NodePolicy(max_backoff=3).backoff(5000) == 3


def test_a_partial_is_named_after_its_function() -> None:
    async def scaled(factor: int, message: Any, ctx: Context) -> Any:
        return factor

    assert Node(functools.partial(scaled, 3)).name == "scaled"


async def test_a_store_belongs_to_the_run_it_was_given_to() -> None:
    class Store:
        def __init__(self) -> None:
            self.events: list[Any] = []

        async def save_event(self, event: Any) -> None:
            self.events.append(event)

    store = Store()
    flow = create(Node(echo).to())
    flow.run(state_store=store)
    await flow.call(1)
    await flow.stop()
    seen = len(store.events)
    assert seen
    flow.run()
    await flow.call(1)
    await flow.stop()
    assert len(store.events) == seen
