"""A stop that finishes first what the flow has."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from penguiflow import Context, FlowError, FlowErrorCode, Message, create, join_k

if TYPE_CHECKING:
    from tests.conftest import EventLog, MakeMessage, MakeNode, MemoryRecorder, Start, Until


@pytest.mark.parametrize("how", ["itself", "task", "group", "thread"])
async def test_what_a_node_asks_its_own_flow_is_finished_too(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until, how: str
) -> None:
    gate = asyncio.Event()
    answers: list[Any] = []

    async def asks(message: Message, ctx: Context) -> Message | None:
        flow = ctx.runtime
        assert flow is not None
        if message.payload != "outer":
            return message
        await gate.wait()
        asking = flow.call(make_message("inner"))
        if how == "itself":
            answer = await asking
        elif how == "task":
            answer = await asyncio.create_task(asking)
        elif how == "group":
            async with asyncio.TaskGroup() as group:
                asked = group.create_task(asking)
            answer = asked.result()
        else:
            loop = asyncio.get_running_loop()
            answer = await asyncio.to_thread(lambda: asyncio.run_coroutine_threadsafe(asking, loop).result())
        answers.append(answer.payload)
        await flow.emit(make_message("emitted"))
        return None

    flow = start(create(make_node(asks, max_concurrency=2).to()))
    await flow.emit(make_message("outer"))
    await until(lambda: flow._engine is not None and flow._engine.suspended)
    stopping = asyncio.create_task(flow.stop(drain=True))
    await until(lambda: flow._draining.asked)
    gate.set()
    await stopping
    assert answers == ["inner"]
    assert (await flow.fetch()).payload == "emitted"


async def test_a_node_of_another_flow_is_outside(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until
) -> None:
    gate = asyncio.Event()

    async def waits(message: Message, ctx: Context) -> None:
        await gate.wait()

    async def asks(message: Message, ctx: Context) -> None:
        with pytest.raises(RuntimeError, match="takes no more messages"):
            await first.emit(message)

    first, second = start(create(make_node(waits).to())), start(create(make_node(asks).to()))
    await first.emit(make_message("x"))
    stopping = asyncio.create_task(first.stop(drain=True))
    await until(lambda: first._draining.asked)
    await second.call(make_message("y"))
    gate.set()
    await stopping


async def test_a_playbook_may_ask_the_flow_that_called_it(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until
) -> None:
    gate = asyncio.Event()

    async def calls(message: Message, ctx: Context) -> Any:
        if message.payload == "inner":
            return message
        await gate.wait()
        return await ctx.call_playbook(lambda: (create(make_node(asks).to()), None), message)

    async def asks(message: Message, ctx: Context) -> Message:
        return message.model_copy(update={"payload": (await outer.call(make_message("inner"))).payload})

    outer = start(create(make_node(calls, max_concurrency=2).to()))
    caller = asyncio.create_task(outer.call(make_message("outer")))
    await until(lambda: outer._engine is not None and outer._engine.suspended)
    stopping = asyncio.create_task(outer.stop(drain=True))
    await until(lambda: outer._draining.asked)
    gate.set()
    assert await caller == "inner"
    await stopping


async def test_one_of_two_drains_is_given_up(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until
) -> None:
    gate = asyncio.Event()

    async def waits(message: Message, ctx: Context) -> None:
        await gate.wait()

    flow = start(create(make_node(waits).to()))
    await flow.emit(make_message("x"))
    drains = [asyncio.create_task(flow.stop(drain=True)) for _ in range(2)]
    await until(lambda: len(flow._draining.asked) == 2)
    drains[0].cancel()
    await asyncio.wait(drains[:1])
    with pytest.raises(RuntimeError, match="takes no more messages"):
        await flow.emit(make_message("y"))
    gate.set()
    await drains[1]
    assert not flow.running
    assert not flow._draining.asked


async def test_a_plain_stop_ends_a_drain(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until
) -> None:
    async def hangs(message: Message, ctx: Context) -> None:
        await asyncio.Event().wait()

    flow = start(create(make_node(hangs).to()))
    for number in range(3):
        await flow.emit(make_message(number))
    draining = asyncio.create_task(flow.stop(drain=True))
    await until(lambda: flow._draining.asked)
    await flow.stop()
    await draining
    assert not flow.running
    # And the next run takes messages again.
    flow.run()
    await flow.emit(make_message("again"))
    assert sum(floe.size for floe in flow._graph.floes) > 0


async def test_an_emit_that_waits_for_its_turn_when_the_flow_stops(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    flow = start(create(make_node().to()))
    await flow.emit(make_message(1), trace_id="t")
    waiting = asyncio.create_task(flow.emit(make_message(2), trace_id="t"))
    await asyncio.sleep(0)
    await flow.stop()
    with pytest.raises(RuntimeError, match="PenguiFlow is not running"):
        await waiting
    assert not any(floe.size for floe in flow._graph.floes)
    flow.run()
    await flow.emit(make_message(3), trace_id="t")
    assert (await flow.fetch(trace_id="t")).payload == 3


@pytest.mark.usefixtures("virtual_time")
async def test_a_drain_that_waits_for_results_to_be_fetched_says_so(
    start: Start,
    make_node: MakeNode,
    make_message: MakeMessage,
    until: Until,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("penguiflow.draining.NOTICE_S", 0.001)
    flow = start(create(make_node().to(), queue_maxsize=1))
    for number in range(3):
        await flow.emit(make_message(number))
    with caplog.at_level(logging.WARNING, "penguiflow.core"):
        draining = asyncio.create_task(flow.stop(drain=True))
        await until(lambda: caplog.records)
        (record,) = caplog.records
        assert record.message == "drain_waits"
        assert "1 results were not fetched and 1 wait for room" in record.__dict__["reason"]
        assert not draining.done()
        got = [(await flow.fetch()).payload for _ in range(2)]
        await draining
        got.append((await flow.fetch()).payload)
    assert got == [0, 1, 2]
    assert len(caplog.records) == 1


@pytest.mark.usefixtures("virtual_time")
async def test_a_drain_that_is_not_in_time_says_what_it_waited_for(
    start: Start, make_node: MakeNode, make_message: MakeMessage, caplog: pytest.LogCaptureFixture
) -> None:
    flow = start(create(make_node().to(), queue_maxsize=1))
    for number in range(2):
        await flow.emit(make_message(number))
    with caplog.at_level(logging.WARNING, "penguiflow.core"):
        await flow.stop(drain=True, timeout=0.01)
    (record,) = caplog.records
    assert record.message == "drain_timeout"
    assert "not fetched" in record.__dict__["reason"]


@pytest.mark.parametrize("waits", [True, False])
async def test_a_join_that_a_drain_drops_is_told(
    start: Start,
    make_message: MakeMessage,
    event_log: EventLog,
    recorder: MemoryRecorder,
    until: Until,
    caplog: pytest.LogCaptureFixture,
    waits: bool,
) -> None:
    flow = start(create(join_k("pairs", 2).to(), middlewares=[event_log]), recorder=recorder)
    await flow.emit(make_message(1, trace_id="t"))
    waiting = asyncio.create_task(flow.fetch(trace_id="t")) if waits else None
    await until(lambda: flow._traces["t"].holds)
    with caplog.at_level(logging.WARNING, "penguiflow.core"):
        await flow.stop(drain=True)
    (event,) = event_log.of_type("drain_dropped")
    reason = "node 'pairs' still waits: 1 of 2 messages came"
    assert (event.node_name, event.trace_id, event.extra["reason"]) == ("pairs", "t", reason)
    assert [record.message for record in caplog.records] == ["drain_dropped"]
    assert recorder.of("t").closing["error"]["message"] == reason
    if waiting is not None:
        with pytest.raises(FlowError, match="1 of 2") as failed:
            await waiting
        assert failed.value.code == FlowErrorCode.NODE_EXCEPTION


async def test_a_node_whose_task_is_cancelled_holds_up_no_drain(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    async def gives_up(message: Message, ctx: Context) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    flow = start(create(make_node(gives_up).to()))
    for number in range(3):
        await flow.emit(make_message(number))
    async with asyncio.timeout(120.0):
        await flow.stop(drain=True)
    assert not flow.running
