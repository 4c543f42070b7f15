"""Interceptors decide: proceed, edit, skip, inject, retry, abort."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penguiflow import Context, FlowError, FlowErrorCode, Headers, Message, Node, NodePolicy, create
from penguiflow.checkpoints import Checkpoint, Decision, Interceptor


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
        return await flow.call(1, timeout=5, trace_id="t")
    finally:
        await flow.stop()


async def test_nothing_changes_when_all_proceed() -> None:
    before, hits = at("before_node", None)
    assert await outcome(Adder(), before) == 2
    assert [(hit.name, hit.payload, hit.trace_id) for hit in hits] == [("add", 1, "t")]


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
    assert await flow.call(3, timeout=30) == 3
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
