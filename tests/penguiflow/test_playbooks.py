"""Playbooks: results, failures, time, and cancellation in both directions."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from penguiflow import Context, FlowError, FlowErrorCode, Headers, Message, ModelRegistry, Node, PenguiFlow, create
from penguiflow.checkpoints import Checkpoint
from penguiflow.core import TraceCancelled, call_playbook


def message(payload: Any = "x") -> Message:
    return Message(payload=payload, headers=Headers(tenant="test"))


def playbook_of(*nodes: Node) -> Any:
    flows: list[PenguiFlow] = []

    def retrieval() -> tuple[PenguiFlow, ModelRegistry | None]:
        flow = create(*([first.to(second) for first, second in itertools.pairwise(nodes)] or [nodes[0].to()]))
        flows.append(flow)
        return flow, None

    retrieval.flows = flows  # type: ignore[attr-defined]
    return retrieval


async def shout(message: Message, ctx: Context) -> Message:
    return message.model_copy(update={"payload": message.payload.upper()})


async def fail(message: Message, ctx: Context) -> Message:
    raise ValueError("no luck")


async def hang(message: Message, ctx: Context) -> Message:
    await asyncio.Event().wait()
    return message


async def test_the_payload_of_the_first_result_is_returned_and_the_flow_stopped() -> None:
    playbook = playbook_of(Node(shout), Node(shout, name="again"))
    assert await call_playbook(playbook, message()) == "X"
    assert not playbook.flows[0].running


async def test_a_failure_is_raised_and_does_not_hang() -> None:
    playbook = playbook_of(Node(fail))
    with pytest.raises(FlowError, match="no luck"):
        await call_playbook(playbook, message(), 5)
    assert not playbook.flows[0].running


async def test_a_timeout() -> None:
    playbook = playbook_of(Node(hang))
    with pytest.raises(TimeoutError):
        await call_playbook(playbook, message(), 0.01)
    assert not playbook.flows[0].running


def caller_of(playbook: Any) -> PenguiFlow:
    async def asks(message: Message, ctx: Context) -> Message:
        answer = await ctx.call_playbook(playbook, message)
        return message.model_copy(update={"payload": answer})

    return create(Node(asks).to())


async def test_a_node_calls_it_and_the_events_nest(recorder: Any) -> None:
    flow = caller_of(playbook_of(Node(shout)))
    flow.run(recorder=recorder)
    assert (await flow.call(message())).payload == "X"
    await flow.stop()
    recorder.check()


async def test_cancelling_the_caller_reaches_the_playbook(until: Any) -> None:
    playbook = playbook_of(Node(hang))
    flow = caller_of(playbook)
    flow.run()
    question = message()
    call = asyncio.create_task(flow.call(question))
    await until(lambda: playbook.flows and playbook.flows[0]._traces)
    assert await flow.cancel(question.trace_id)
    with pytest.raises(FlowError) as caught:
        await call
    assert caught.value.code == FlowErrorCode.TRACE_CANCELLED
    await until(lambda: not playbook.flows[0].running)
    await flow.stop()


async def test_cancelling_the_playbook_reaches_the_caller(until: Any) -> None:
    playbook = playbook_of(Node(hang))
    flow = caller_of(playbook)
    flow.run()
    question = message()
    call = asyncio.create_task(flow.call(question))
    await until(lambda: playbook.flows and playbook.flows[0]._traces)
    assert await playbook.flows[0].cancel(question.trace_id)
    with pytest.raises(FlowError) as caught:
        await call
    assert caught.value.code == FlowErrorCode.TRACE_CANCELLED
    await flow.stop()


async def test_a_trace_that_is_cancelled_already_starts_nothing() -> None:
    playbook = playbook_of(Node(shout))
    outer = create(Node(shout).to())
    outer.run()
    question = message()
    event = outer.ensure_trace_event(question.trace_id)
    event.set()
    with pytest.raises(TraceCancelled):
        await call_playbook(playbook, question, runtime=outer)
    assert playbook.flows == []
    await outer.stop()


async def test_the_event_of_the_trace_ends_a_playbook_called_from_outside_a_node(until: Any) -> None:
    playbook = playbook_of(Node(hang))
    outer = create(Node(shout).to())
    outer.run()
    question = message()
    event = outer.ensure_trace_event(question.trace_id)
    call = asyncio.create_task(call_playbook(playbook, question, runtime=outer))
    await until(lambda: playbook.flows and playbook.flows[0]._traces)
    event.set()
    with pytest.raises(TraceCancelled):
        await call
    assert not playbook.flows[0].running
    await outer.stop()


async def test_the_callers_interceptors_are_asked_also_those_that_come_later() -> None:
    seen: list[tuple[str, ...]] = []
    inside, go = asyncio.Event(), asyncio.Event()

    async def note(checkpoint: Checkpoint) -> None:
        if checkpoint.kind == "before_node":
            seen.append(tuple(part.partition("[")[0] for part in checkpoint.path))

    async def waits(message: Message, ctx: Context) -> Message:
        inside.set()
        await go.wait()
        return message

    playbook = playbook_of(Node(waits), Node(shout))

    async def ask(message: Message, ctx: Context) -> Message:
        return message.model_copy(update={"payload": await ctx.call_playbook(playbook, message)})

    flow = create(Node(ask).to())
    flow.run()
    call = asyncio.create_task(flow.call(message()))
    await inside.wait()
    flow.intercept(note)  # in the middle of the playbook
    go.set()
    assert (await call).payload == "X"
    assert seen == [("node:ask", "playbook:retrieval", "node:shout")]
    seen.clear()
    await flow.call(message())
    assert [path[-1] for path in seen] == ["node:ask", "node:waits", "node:shout"]
    flow.release(note)
    seen.clear()
    await flow.call(message())
    assert seen == []
    await flow.stop()
