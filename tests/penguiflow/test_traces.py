"""Cancelling a trace: it stops, others go on, whoever waits is told, nothing is left."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from penguiflow import Context, FlowError, FlowErrorCode, FlowEvent, Message, create
from penguiflow.traces import TraceCancelled

if TYPE_CHECKING:
    from tests.conftest import EventLog, MakeMessage, MakeNode, MemoryRecorder, Start, Until


async def test_a_cancel_reaches_what_runs_and_what_waits(
    start: Start,
    make_node: MakeNode,
    make_message: MakeMessage,
    event_log: EventLog,
    recorder: MemoryRecorder,
    until: Until,
) -> None:
    started: list[str] = []
    ended: list[str] = []

    async def waits(message: Message, ctx: Context) -> None:
        started.append(message.payload)
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(message.payload)

    flow = start(create(make_node(waits).to(), middlewares=[event_log]), recorder=recorder)
    for value in ("running", "waiting"):
        await flow.emit(make_message(value, trace_id="t"))
    await until(lambda: started)
    assert await flow.cancel("t")
    assert not await flow.cancel("t")
    await until(lambda: not flow._traces and event_log.of_type("trace_cancel_finish"))
    assert (started, ended) == (["running"], ["running"])
    (began,) = event_log.of_type("trace_cancel_start")
    (finished,) = event_log.of_type("trace_cancel_finish")
    assert (began.node_name, finished.node_name) == ("OpenSea", "Rookery")
    assert began.trace_pending is not None
    assert began.trace_pending >= 1
    assert (began.trace_inflight, began.trace_cancelled, began.outgoing_edges) == (1, True, 1)
    assert began.extra["pending"] == began.trace_pending
    assert (finished.trace_pending, finished.trace_inflight, finished.trace_cancelled) == (0, 0, False)
    assert len(event_log.of_type("node_trace_cancelled")) == 1
    assert event_log.of_type("node_error") == event_log.of_type("node_failed") == []
    assert recorder.only().status == "cancelled"
    kinds = [event.kind for event in recorder.only().events]
    assert kinds.index("cancel.requested") < kinds.index("cancel.done") == len(kinds) - 2
    recorder.check()


async def test_an_unknown_trace_cannot_be_cancelled(start: Start, make_node: MakeNode, event_log: EventLog) -> None:
    flow = start(create(make_node().to(), middlewares=[event_log]))
    assert not await flow.cancel("nobody")
    await flow.call(1, trace_id="done")
    assert not await flow.cancel("done")
    assert event_log.of_type("trace_cancel_start") == []


async def test_other_traces_keep_everything(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until
) -> None:
    gate = asyncio.Event()

    async def gated(message: Message, ctx: Context) -> Message:
        await gate.wait()
        return message

    flow = start(create(make_node(gated, max_concurrency=2).to(make_node(name="next")), queue_maxsize=4))
    keepers = [asyncio.create_task(flow.emit(make_message(value, trace_id=f"keep{value}"))) for value in range(10)]
    victims = [asyncio.create_task(flow.emit(make_message("no", trace_id="victim"))) for _ in range(5)]
    await until(lambda: "victim" in flow._traces)
    assert await flow.cancel("victim")
    gate.set()
    results = [(await flow.fetch()).payload for _ in range(10)]
    assert results == list(range(10))
    await asyncio.gather(*keepers)
    outcomes = await asyncio.gather(*victims, return_exceptions=True)
    assert all(outcome is None or isinstance(outcome, TraceCancelled | FlowError) for outcome in outcomes)
    await until(lambda: not flow._traces)


async def test_a_cancelled_trace_delivers_nothing(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until
) -> None:
    flow = start(create(make_node().to(), queue_maxsize=2))
    for value in (1, 2):
        await flow.emit(make_message(value, trace_id="t"))
    await flow.emit(make_message("other"))
    await until(lambda: flow._rookery.incoming[0].full())
    assert await flow.cancel("t")
    assert (await flow.fetch()).payload == "other"
    assert not flow._traces
    assert flow._rookery.incoming[0].empty()


async def test_a_trace_id_can_be_used_again_after_a_cancel(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until
) -> None:
    release = asyncio.Event()

    async def slow_to_stop(message: Message, ctx: Context) -> Message:
        if message.payload == "old":
            try:
                await asyncio.Event().wait()
            finally:
                await release.wait()
        return message

    flow = start(create(make_node(slow_to_stop, max_concurrency=2).to()))
    old = asyncio.create_task(flow.call(make_message("old", trace_id="t")))
    await until(lambda: flow._engine is not None and flow._engine.suspended)
    assert await flow.cancel("t")
    new = asyncio.create_task(flow.call(make_message("new", trace_id="t")))
    release.set()
    assert (await new).payload == "new"
    with pytest.raises(FlowError) as cancelled:
        await old
    assert cancelled.value.code == FlowErrorCode.TRACE_CANCELLED
    await until(lambda: not flow._traces)


async def test_cancel_interrupts_a_backoff_sleep(
    start: Start, make_node: MakeNode, make_message: MakeMessage, event_log: EventLog, until: Until
) -> None:
    async def fails(message: Message, ctx: Context) -> None:
        raise ValueError("again")

    flow = start(create(make_node(fails, max_retries=3, backoff_base=3600).to(), middlewares=[event_log]))
    caller = asyncio.create_task(flow.call(make_message(1, trace_id="t")))
    await until(lambda: event_log.of_type("node_retry"))
    assert await flow.cancel("t")
    with pytest.raises(FlowError) as cancelled:
        await caller
    assert cancelled.value.code == FlowErrorCode.TRACE_CANCELLED
    await until(lambda: not flow._traces)
    assert len(event_log.of_type("node_start")) == 1


async def test_cancel_reaches_a_node_that_waits_for_room(
    start: Start, make_node: MakeNode, make_message: MakeMessage, recorder: MemoryRecorder, until: Until
) -> None:
    async def floods(message: Message, ctx: Context) -> None:
        for number in range(100):
            await ctx.emit(make_message(number, trace_id=message.trace_id))

    flow = start(create(make_node(floods).to(), queue_maxsize=1), recorder=recorder)
    await flow.emit(make_message("go", trace_id="t"))
    await until(lambda: flow._rookery.incoming[0].full())
    assert await flow.cancel("t")
    await until(lambda: not flow._traces)
    assert flow._rookery.incoming[0].empty()
    recorder.check()


async def test_a_caller_whose_message_has_not_got_in_is_answered_at_once(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until
) -> None:
    async def forever(message: Message, ctx: Context) -> None:
        await asyncio.Event().wait()

    flow = start(create(make_node(forever).to(), queue_maxsize=1))
    callers = [asyncio.create_task(flow.call(make_message(value, trace_id=f"t{value}"))) for value in range(4)]
    await until(lambda: flow._open_sea.outgoing[0].full() and len(flow._traces) == 4)
    assert await flow.cancel("t3")
    with pytest.raises(FlowError) as cancelled:
        await callers[3]
    assert cancelled.value.code == FlowErrorCode.TRACE_CANCELLED
    await flow.stop()
    outcomes = await asyncio.gather(*callers[:3], return_exceptions=True)
    assert [getattr(outcome, "code", outcome) for outcome in outcomes] == [FlowErrorCode.TRACE_CANCELLED] * 3


async def test_a_node_can_cancel_its_own_trace(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until
) -> None:
    reached: list[str] = []

    async def gives_up(message: Message, ctx: Context) -> Message:
        assert ctx.runtime is not None
        assert ctx.trace_id is not None
        if message.payload == "later":
            await asyncio.sleep(0)
        await ctx.runtime.cancel(ctx.trace_id)
        await asyncio.Event().wait()
        reached.append(message.payload)
        return message

    flow = start(create(make_node(gives_up).to()))
    for when in ("first step", "later"):
        with pytest.raises(FlowError) as cancelled:
            await flow.call(make_message(when))
        assert cancelled.value.code == FlowErrorCode.TRACE_CANCELLED
    await until(lambda: not flow._traces)
    assert reached == []


async def test_a_node_may_clean_up_while_it_is_cancelled(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until
) -> None:
    cleaned: list[str] = []

    async def tidy(message: Message, ctx: Context) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.001)
            cleaned.append(message.payload)

    flow = start(create(make_node(tidy).to()))
    await flow.emit(make_message("x", trace_id="t"))
    await until(lambda: flow._engine is not None and flow._engine.suspended)
    assert await flow.cancel("t")
    await until(lambda: not flow._traces)
    assert cleaned == ["x"]


async def test_a_node_that_shrugs_a_cancel_off_delivers_nothing(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until
) -> None:
    async def stubborn(message: Message, ctx: Context) -> Message:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return message
        return message

    flow = start(create(make_node(stubborn).to(make_node(name="next"))))
    await flow.emit(make_message("x", trace_id="t"))
    await until(lambda: flow._engine is not None and flow._engine.suspended)
    assert await flow.cancel("t")
    await until(lambda: not flow._traces)
    assert not flow._rookery.inbox.items
    # Its carrier is as good as new.
    next_call = asyncio.create_task(flow.call(make_message("y", trace_id="u")))
    await until(lambda: flow._engine is not None and flow._engine.suspended)
    await flow.cancel("u")
    with pytest.raises(FlowError):
        await next_call


async def test_a_slow_middleware_is_not_interrupted_by_a_cancel(
    start: Start, make_node: MakeNode, make_message: MakeMessage, recorder: MemoryRecorder, until: Until
) -> None:
    told: list[str] = []
    gate = asyncio.Event()
    ran: list[str] = []

    async def slow(event: FlowEvent) -> None:
        if event.event_type == "node_start":
            told.append("begun")
            await gate.wait()
            told.append("done")

    async def node(message: Message, ctx: Context) -> Message:
        await asyncio.sleep(0)
        ran.append(message.payload)
        return message

    flow = start(create(make_node(node).to(), middlewares=[slow]), recorder=recorder)
    await flow.emit(make_message("x", trace_id="t"))
    await until(lambda: told)
    assert await flow.cancel("t")
    for _ in range(10):
        await asyncio.sleep(0)
    assert told == ["begun"]
    gate.set()
    await until(lambda: not flow._traces)
    assert told == ["begun", "done"]
    assert ran == []
    recorder.check()


async def test_an_awaiting_middleware_during_a_cancel_loses_nothing_of_others(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until
) -> None:
    async def awaits(event: FlowEvent) -> None:
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def passes(message: Message, ctx: Context) -> Message:
        await asyncio.sleep(0)
        return message

    flow = start(create(make_node(passes).to(make_node(name="next")), queue_maxsize=1, middlewares=[awaits]))

    async def feed() -> None:
        for value in range(20):
            await flow.emit(make_message(value, trace_id=f"keep{value}"))

    async def feed_victims() -> None:
        for _ in range(20):
            try:
                await flow.emit(make_message("victim", trace_id="v"))
            except TraceCancelled:
                return

    feeders = [asyncio.create_task(feed()), asyncio.create_task(feed_victims())]
    received: list[Any] = []
    while len([item for item in received if item != "victim"]) < 20:
        received.append((await flow.fetch()).payload)
        await flow.cancel("v")
    assert [item for item in received if item != "victim"] == list(range(20))
    for feeder in feeders[1:]:
        feeder.cancel()
    await asyncio.gather(*feeders, return_exceptions=True)
    await flow.cancel("v")
    await until(lambda: not flow._traces)


async def test_the_cancel_event_of_a_trace(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until
) -> None:
    async def forever(message: Message, ctx: Context) -> None:
        await asyncio.Event().wait()

    flow = start(create(make_node(forever, max_concurrency=2).to()))
    before = flow.ensure_trace_event("t")
    await flow.emit(make_message(1, trace_id="t"))
    await until(lambda: flow._engine is not None and flow._engine.suspended)
    assert flow.ensure_trace_event("t") is before
    assert not before.is_set()
    other = flow.ensure_trace_event("other")
    await flow.cancel("t")
    assert before.is_set()
    assert not other.is_set()
    await until(lambda: not flow._traces)


async def test_trace_state_lives_as_long_as_its_trace(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    seen: list[tuple[str | None, int]] = []

    async def count(message: Any, ctx: Context) -> Any:
        ctx.trace_state["n"] = ctx.trace_state.get("n", 0) + 1
        seen.append((ctx.trace_id, ctx.trace_state["n"]))
        return message

    first, second = make_node(count, name="first"), make_node(count, name="second")
    flow = start(create(make_node(name="top").to(first, second), first.to(second)))
    for _ in range(2):
        _ = [item async for item in flow.stream(make_message(1, trace_id="t"))]
    assert sorted(seen) == [("t", 1), ("t", 1), ("t", 1), ("t", 1), ("t", 2), ("t", 2)]


def test_trace_cancelled_says_which() -> None:
    error = TraceCancelled("abc")
    assert (error.trace_id, str(error)) == ("abc", "trace cancelled: abc")


async def test_a_node_that_ends_while_its_cancel_is_told(
    start: Start, make_node: MakeNode, make_message: MakeMessage, event_log: EventLog, until: Until
) -> None:
    gate, go = asyncio.Event(), asyncio.Event()

    async def slow(event: FlowEvent) -> None:
        if event.event_type in ("trace_cancel_start", "node_trace_cancelled"):
            await gate.wait()

    async def waits(message: Message, ctx: Context) -> Message:
        await go.wait()
        return message

    flow = start(create(make_node(waits).to(make_node(name="next")), middlewares=[event_log, slow]))
    await flow.emit(make_message("x", trace_id="t"))
    await until(lambda: flow._engine is not None and flow._engine.suspended)
    cancelling = asyncio.create_task(flow.cancel("t"))
    await until(lambda: event_log.of_type("trace_cancel_start"))
    go.set()
    await until(lambda: event_log.of_type("node_trace_cancelled"))
    gate.set()
    assert await cancelling
    await until(lambda: not flow._traces)
    assert (await flow.call(make_message("y"))).payload == "y"


async def test_a_message_passed_over_while_its_cancel_is_told_is_dropped(
    start: Start,
    make_node: MakeNode,
    make_message: MakeMessage,
    event_log: EventLog,
    recorder: MemoryRecorder,
    until: Until,
) -> None:
    gate, go = asyncio.Event(), asyncio.Event()

    async def slow(event: FlowEvent) -> None:
        if event.event_type == "trace_cancel_start":
            await gate.wait()

    async def waits(message: Message, ctx: Context) -> Message:
        await go.wait()
        return message

    flow = start(create(make_node(waits).to(), middlewares=[event_log, slow]), recorder=recorder)
    await flow.emit(make_message("busy", trace_id="other"))
    await flow.emit(make_message("waiting", trace_id="t"))
    cancelling = asyncio.create_task(flow.cancel("t"))
    await until(lambda: event_log.of_type("trace_cancel_start"))
    go.set()
    assert (await flow.fetch()).payload == "busy"
    assert (await flow.call(make_message("after", trace_id="after"))).payload == "after"
    gate.set()
    assert await cancelling
    await until(lambda: not flow._traces)
    assert len(recorder.of("t").of_kind("message.dropped")) == 1
    recorder.check()


async def test_a_sender_whose_trace_was_cancelled_passes_its_turn_on(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until
) -> None:
    gate = asyncio.Event()

    async def gated(message: Message, ctx: Context) -> Message:
        await gate.wait()
        return message

    flow = start(create(make_node(gated).to(), queue_maxsize=1))
    for value in ("running", "waiting"):
        await flow.emit(make_message(value))
        await asyncio.sleep(0)
    victims = [asyncio.create_task(flow.emit(make_message("no", trace_id="victim"))) for _ in range(3)]
    await until(lambda: len(flow._open_sea.outgoing[0].putters) == 3)
    keeper = asyncio.create_task(flow.emit(make_message("kept")))
    await until(lambda: len(flow._open_sea.outgoing[0].putters) == 4)
    gate.set()
    await flow.cancel("victim")
    assert [(await flow.fetch()).payload for _ in range(3)] == ["running", "waiting", "kept"]
    await keeper
    outcomes = await asyncio.gather(*victims, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [TraceCancelled] * 3
    assert not flow._traces
