"""Stopping a flow, and loops that end with a flow still running."""

from __future__ import annotations

import asyncio
import gc
import logging
from typing import TYPE_CHECKING, Any

import pytest

from penguiflow import Context, FlowError, FlowErrorCode, Message, create

if TYPE_CHECKING:
    from tests.conftest import EventLog, MakeMessage, MakeNode, MemoryRecorder, Start, Until


HANG_S = 120.0


def flow_tasks() -> list[asyncio.Task[Any]]:
    return [task for task in asyncio.all_tasks() if task.get_name().startswith("penguiflow")]


async def forever(message: Any, ctx: Context) -> None:
    await asyncio.Event().wait()


async def test_stop_ends_what_runs_and_leaves_no_task(
    start: Start,
    make_node: MakeNode,
    make_message: MakeMessage,
    event_log: EventLog,
    recorder: MemoryRecorder,
    until: Until,
) -> None:
    ended: list[Any] = []

    async def waits(message: Message, ctx: Context) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(message.payload)

    flow = start(create(make_node(waits, max_concurrency=10).to(), middlewares=[event_log]), recorder=recorder)
    for value in range(10):
        await flow.emit(make_message(value))
    await until(lambda: flow._engine is not None and len(flow._engine.suspended) == 10)
    await flow.stop()
    assert sorted(ended) == list(range(10))
    assert not flow.running
    assert flow_tasks() == []
    cancelled = event_log.of_type("node_cancelled")
    assert [(event.trace_id, event.trace_pending, event.trace_inflight) for event in cancelled] == [
        (None, None, 0)
    ] * 10
    assert event_log.of_type("node_error") == []
    assert {log.status for log in recorder.logs} == {"cancelled"}
    recorder.check()
    await flow.stop()


async def test_stop_answers_everybody_who_waits(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until
) -> None:
    flow = start(create(make_node(forever).to(), queue_maxsize=1))

    async def read() -> list[Any]:
        return [item async for item in flow.stream(make_message("streamed"))]

    await flow.emit(make_message("asked"), trace_id="t")
    waiting = [
        asyncio.create_task(flow.fetch(trace_id="t")),
        asyncio.create_task(flow.call(make_message("called"))),
        asyncio.create_task(read()),
        asyncio.create_task(flow.call(make_message("called, not yet in"))),
    ]
    await until(lambda: flow._open_sea.outgoing[0].full() and len(flow._traces) == 4)
    await flow.stop()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [getattr(outcome, "code", outcome) for outcome in outcomes] == [FlowErrorCode.TRACE_CANCELLED] * 4
    assert all(isinstance(outcome, FlowError) for outcome in outcomes)


async def test_what_waits_on_an_edge_is_handled_after_a_later_run(
    start: Start, make_node: MakeNode, make_message: MakeMessage, recorder: MemoryRecorder, until: Until
) -> None:
    gate = asyncio.Event()

    async def gated(message: Any, ctx: Context) -> Any:
        await gate.wait()
        return message

    flow = start(create(make_node(gated).to(make_node(name="next"))), recorder=recorder)
    for value in ("in flight", "second", "third"):
        await flow.emit(make_message(value))
    await flow.emit("bare")
    await until(lambda: flow._engine is not None and flow._engine.suspended)
    await flow.stop()
    gate.set()
    flow.run(recorder=recorder)
    results = [await flow.fetch() for _ in range(3)]
    assert [getattr(result, "payload", result) for result in results] == ["second", "third", "bare"]
    await until(lambda: not flow._traces)
    assert all(log.status is not None for log in recorder.logs)
    assert all(not log.problems for log in recorder.logs)


async def test_results_can_be_fetched_after_stop(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until
) -> None:
    flow = start(create(make_node().to()))
    await flow.emit(make_message("x"))
    await until(lambda: flow._rookery.inbox.items)
    await flow.stop()
    assert (await flow.fetch()).payload == "x"
    assert not flow._traces


async def test_run_and_stop_many_times(start: Start, make_node: MakeNode, make_message: MakeMessage) -> None:
    flow = create(make_node().to(make_node(name="next")))
    for value in range(20):
        flow.run()
        assert (await flow.call(make_message(value))).payload == value
        await flow.stop()
        assert flow_tasks() == []
    assert not flow._traces


async def test_stop_interrupts_backoff_and_full_edges(
    start: Start, make_node: MakeNode, make_message: MakeMessage, event_log: EventLog, until: Until
) -> None:
    async def fails(message: Message, ctx: Context) -> None:
        raise ValueError("again")

    async def floods(message: Message, ctx: Context) -> None:
        for number in range(100):
            await ctx.emit(make_message(number, trace_id=message.trace_id))

    failing = make_node(fails, max_retries=1, backoff_base=3600)
    flow = start(create(failing.to(), make_node(floods).to(), queue_maxsize=1, middlewares=[event_log]))
    await flow.emit(make_message("x"))
    await until(lambda: event_log.of_type("node_retry") and flow._rookery.incoming[1].full())
    await flow.stop()
    assert flow_tasks() == []


async def test_two_stops_at_once_and_a_new_run(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until
) -> None:
    async def waits(message: Message, ctx: Context) -> Message:
        if message.payload == "wait":
            await asyncio.Event().wait()
        return message

    flow = start(create(make_node(waits).to()))
    await flow.emit(make_message("wait"))
    await until(lambda: flow._engine is not None and flow._engine.suspended)

    async def restart() -> None:
        await flow.stop()
        flow.run()

    await asyncio.gather(restart(), flow.stop())
    if not flow.running:
        flow.run()
    assert (await flow.call(make_message("go"))).payload == "go"
    await flow.stop()
    assert flow_tasks() == []


async def test_a_node_can_stop_its_flow(
    start: Start, make_node: MakeNode, make_message: MakeMessage, recorder: MemoryRecorder, until: Until
) -> None:
    after: list[bool] = []

    async def stops(message: Message, ctx: Context) -> Message:
        assert ctx.runtime is not None
        if message.payload == "later":
            await asyncio.sleep(0)
        await ctx.runtime.stop()
        after.append(ctx.runtime.running)
        return message

    flow = create(make_node(stops).to())
    for when in ("first step", "later"):
        flow.run(recorder=recorder)
        with pytest.raises(FlowError) as stopped:
            await flow.call(make_message(when))
        assert stopped.value.code == FlowErrorCode.TRACE_CANCELLED
        await until(lambda: not flow_tasks())
    assert after == [False, False]
    assert not flow._traces
    recorder.check()


@pytest.mark.usefixtures("virtual_time")
async def test_a_cancelled_stop_can_be_repeated(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until
) -> None:
    release = asyncio.Event()

    async def slow_to_stop(message: Message, ctx: Context) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await release.wait()

    flow = start(create(make_node(slow_to_stop).to()))
    caller = asyncio.create_task(flow.call(make_message(1)))
    await until(lambda: flow._engine is not None and flow._engine.suspended)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(flow.stop(), 0.005)
    release.set()
    await flow.stop()
    assert not flow.running
    assert flow_tasks() == []
    with pytest.raises(FlowError):
        await caller


@pytest.mark.parametrize("state", ["called", "emitted to", "full", "idle"])
def test_a_loop_that_ends_takes_a_running_flow_with_it(
    make_node: MakeNode, make_message: MakeMessage, until: Until, caplog: pytest.LogCaptureFixture, state: str
) -> None:
    complaints: list[str] = []
    ended: list[Any] = []
    kept: list[Any] = []

    async def naps(message: Message, ctx: Context) -> Message:
        try:
            await asyncio.sleep(0 if state == "idle" else 3600)
        finally:
            ended.append(message.payload)
        return message

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, about: complaints.append(str(about["message"])))
        flow = create(
            make_node(naps, max_concurrency=2).to(make_node(name="next")), queue_maxsize=1 if state == "full" else 0
        )
        flow.run()
        send = flow.call if state in ("called", "idle") else flow.emit
        kept.extend([flow, *(asyncio.create_task(send(make_message(value))) for value in range(6))])
        await until(lambda: len(ended) == 6 if state == "idle" else flow._engine and len(flow._engine.suspended) == 2)

    with caplog.at_level(logging.ERROR):
        for _ in range(5):
            ended.clear()
            asyncio.run(asyncio.wait_for(main(), HANG_S))
            assert len(ended) == (6 if state == "idle" else 2)
        kept.clear()
        gc.collect()
    assert complaints == []
    assert [record.message for record in caplog.records] == []


def test_a_flow_runs_on_another_loop_after_stop(make_node: MakeNode, make_message: MakeMessage) -> None:
    flow = create(make_node().to())

    async def use(value: int) -> Any:
        flow.run()
        result = await flow.call(make_message(value), timeout=60)
        await flow.stop()
        return result.payload

    assert [asyncio.run(use(value)) for value in range(3)] == [0, 1, 2]


async def test_a_sender_that_had_just_been_let_in_is_answered_too(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until
) -> None:
    gate = asyncio.Event()

    async def gated(message: Message, ctx: Context) -> Message:
        await gate.wait()
        return message

    flow = start(create(make_node(gated).to(), make_node(forever).to(), queue_maxsize=1))
    callers = [asyncio.create_task(flow.call(make_message(value))) for value in range(3)]
    await until(lambda: flow._open_sea.outgoing[0].putters and flow._open_sea.outgoing[1].full())
    # The gate lets the last caller in at its first entry, in the turn of the stop; its second one is full.
    gate.set()
    await asyncio.create_task(flow.stop())
    outcomes = await asyncio.gather(*callers, return_exceptions=True)
    assert [getattr(outcome, "code", outcome) for outcome in outcomes] == [FlowErrorCode.TRACE_CANCELLED] * 3


async def test_a_drain_finishes_what_is_there_and_takes_no_more(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until
) -> None:
    gate = asyncio.Event()
    done: list[Any] = []

    async def work(message: Message, ctx: Context) -> None:
        await gate.wait()
        done.append(message.payload)

    flow = start(create(make_node(work).to(make_node(name="next")), queue_maxsize=2))
    senders = [asyncio.create_task(flow.emit(make_message(number))) for number in range(5)]
    call = asyncio.create_task(flow.call(make_message("called")))
    await until(lambda: flow._engine is not None and bool(flow._engine.suspended))
    stopping = asyncio.create_task(flow.stop(drain=True))
    await asyncio.sleep(0)
    for refused in (flow.emit(make_message("late")), flow.call(make_message("late"))):
        with pytest.raises(RuntimeError, match="takes no more messages"):
            await refused
    with pytest.raises(RuntimeError, match="takes no more messages"):
        flow.emit_nowait(make_message("late"))
    assert not stopping.done()
    gate.set()
    await stopping
    assert done == [0, 1, 2, 3, 4, "called"]
    assert await call is None
    await asyncio.gather(*senders)
    assert not flow.running
    flow.run()
    await flow.emit(make_message("again"))
    await until(lambda: done[-1] == "again")
    await flow.stop()


async def test_results_of_a_drained_flow_can_still_be_fetched(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    flow = start(create(make_node().to()))
    for number in range(3):
        await flow.emit(make_message(number))
    await flow.stop(drain=True)
    assert [(await flow.fetch()).payload for _ in range(3)] == [0, 1, 2]


@pytest.mark.usefixtures("virtual_time")
async def test_a_drain_that_takes_too_long_is_given_up(
    start: Start, make_node: MakeNode, make_message: MakeMessage, caplog: pytest.LogCaptureFixture
) -> None:
    async def never(message: Message, ctx: Context) -> None:
        await asyncio.Event().wait()

    flow = start(create(make_node(never).to()))
    caller = asyncio.create_task(flow.call(make_message("x")))
    await asyncio.sleep(0)
    with caplog.at_level(logging.WARNING, "penguiflow.core"):
        await flow.stop(drain=True, timeout=0.01)
    assert [(record.message, record.__dict__["pending"]) for record in caplog.records] == [("drain_timeout", 1)]
    with pytest.raises(FlowError):
        await caller


@pytest.mark.usefixtures("virtual_time")
async def test_a_drain_whose_caller_gives_up_leaves_the_flow_running(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    gate = asyncio.Event()

    async def work(message: Message, ctx: Context) -> Message:
        await gate.wait()
        return message

    flow = start(create(make_node(work).to()))
    await flow.emit(make_message("x"))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(flow.stop(drain=True), 0.01)
    gate.set()
    assert flow.running
    await flow.emit(make_message("y"))
    assert [(await flow.fetch()).payload for _ in range(2)] == ["x", "y"]


async def test_a_node_cannot_drain_its_own_flow(start: Start, make_node: MakeNode, make_message: MakeMessage) -> None:
    async def stops(message: Message, ctx: Context) -> None:
        assert ctx.runtime is not None
        await ctx.runtime.stop(drain=True)

    flow = start(create(make_node(stops).to()))
    with pytest.raises(FlowError, match="its own flow"):
        await flow.call(make_message("x"))


@pytest.mark.parametrize("sends", [True, False])
@pytest.mark.parametrize("recorded", [True, False])
async def test_who_calls_a_node_that_stops_its_own_flow_is_answered(
    start: Start,
    make_node: MakeNode,
    make_message: MakeMessage,
    recorder: MemoryRecorder,
    *,
    recorded: bool,
    sends: bool,
) -> None:
    stopping = True

    async def splits(message: Message, ctx: Context) -> None:
        for payload in ("first", "second"):
            await ctx.emit(message.model_copy(update={"payload": payload}))

    async def stops(message: Message, ctx: Context) -> Message | None:
        assert ctx.runtime is not None
        if stopping:
            await ctx.runtime.stop()
        return message if sends else None

    splitter, stopper, last = make_node(splits, name="splits"), make_node(stops, name="stops"), make_node(name="last")
    flow = create(splitter.to(stopper), stopper.to(last), last.to())
    start(flow, recorder=recorder if recorded else None)
    with pytest.raises(FlowError, match="the flow was stopped"):
        async with asyncio.timeout(HANG_S):
            await flow.call(make_message("x", trace_id="t"))
    assert not flow.running
    assert [log.status for log in recorder.logs] == (["cancelled"] if recorded else [])

    stopping = False
    start(flow)
    # What the node sent, and what waited for it, is handled now.
    async with asyncio.timeout(HANG_S):
        got = [(await flow.fetch()).payload for _ in range(2 if sends else 0)]
    assert sorted(got) == (["first", "second"] if sends else [])
