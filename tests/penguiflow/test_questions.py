"""Questions of one trace after each other: none gets the answers to another one."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from penguiflow import Context, FlowError, Message, PenguiFlow, create, join_k

if TYPE_CHECKING:
    from tests.conftest import MakeMessage, MakeNode, MemoryRecorder, Start, Until

pytestmark = pytest.mark.usefixtures("virtual_time")


class Gates:
    """Messages whose payload begins with "slow" wait until they are let go."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.ran: Counter[str] = Counter()

    async def work(self, message: Message, ctx: Context) -> Message:
        if message.payload.startswith("slow"):
            await self.open.wait()
        self.ran[message.payload] += 1
        return message


async def give_up(flow: PenguiFlow, trace_id: str) -> None:
    """Ask for an answer that is not there yet."""
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(flow.fetch(trace_id=trace_id), 0.002)


@pytest.mark.parametrize("first", ["slow", "fast"])
async def test_a_late_answer_is_none_to_the_next_question(
    start: Start, make_node: MakeNode, make_message: MakeMessage, recorder: MemoryRecorder, until: Until, first: str
) -> None:
    gates = Gates()
    flow = start(create(make_node(gates.work, max_concurrency=2).to(), queue_maxsize=1), recorder=recorder)
    await flow.emit(make_message("slow"), trace_id="t")
    await give_up(flow, "t")
    await flow.emit(make_message("next"), trace_id="t")
    if first == "slow":
        gates.open.set()
        await until(lambda: not flow._table.aside)
    answer = await flow.fetch(trace_id="t")
    gates.open.set()
    await until(lambda: not flow._table.aside and not flow._traces)
    assert answer.payload == "next"
    assert gates.ran == {"slow": 1, "next": 1}
    assert not flow._table.sinks
    assert not flow._rookery.inbox.items
    recorder.check()


async def test_an_answer_that_came_and_was_not_fetched_is_none_either(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until
) -> None:
    gates = Gates()
    flow = start(create(make_node(gates.work, max_concurrency=2).to()))
    await flow.emit(make_message("slow 1"), trace_id="t")
    await give_up(flow, "t")
    # A trace that was begun again by a plain emit is the same question.
    await flow.emit(make_message("plain", trace_id="t"))
    gates.open.set()
    await until(lambda: not flow._traces)
    await flow.emit(make_message("next"), trace_id="t")
    assert (await flow.fetch(trace_id="t")).payload == "next"
    assert not flow._table.sinks


async def test_whoever_still_waits_gets_the_next_answer(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    gates = Gates()
    flow = start(create(make_node(gates.work, max_concurrency=2).to()))
    await flow.emit(make_message("slow"), trace_id="t")
    waiting = asyncio.create_task(flow.fetch(trace_id="t"))
    await give_up(flow, "t")
    await flow.emit(make_message("next"), trace_id="t")
    assert (await waiting).payload == "next"
    gates.open.set()


@pytest.mark.parametrize("when", ["before", "after"])
async def test_further_results_of_a_question_go_to_the_common_queue(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until, when: str
) -> None:
    gate = asyncio.Event()

    async def twice(message: Message, ctx: Context) -> Message:
        await ctx.emit(message)
        if message.payload == "first":
            await gate.wait()
        return message.model_copy(update={"payload": f"{message.payload} again"})

    flow = start(create(make_node(twice, max_concurrency=2).to()))
    await flow.emit(make_message("first"), trace_id="t")
    assert (await flow.fetch(trace_id="t")).payload == "first"
    if when == "before":
        gate.set()
        await until(lambda: flow._rookery.inbox.items)
    await flow.emit(make_message("second"), trace_id="t")
    gate.set()
    await until(lambda: not flow._table.aside)
    assert (await flow.fetch(trace_id="t")).payload == "second"
    assert sorted([(await flow.fetch()).payload for _ in range(2)]) == ["first again", "second again"]
    assert not flow._traces


async def test_a_question_that_was_given_up_is_held_up_by_no_full_queue(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until
) -> None:
    async def many(message: Message, ctx: Context) -> None:
        for number in range(5 if message.payload == "many" else 1):
            await asyncio.sleep(0)
            await ctx.emit(message.model_copy(update={"payload": number}))

    flow = start(create(make_node(many).to(), queue_maxsize=1))
    await flow.emit(make_message("many"), trace_id="t")
    waiting = asyncio.create_task(flow.fetch(trace_id="t"))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    await until(lambda: flow._table.sinks["t"].full)
    await flow.emit(make_message("one"), trace_id="t")
    assert (await flow.fetch(trace_id="t")).payload == 0
    await until(lambda: not flow._traces and not flow._table.aside)
    assert not flow._rookery.inbox.items


@pytest.mark.parametrize("how", ["cancel", "stop"])
async def test_what_goes_on_aside_ends_with_its_name_and_with_the_flow(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until, how: str, recorder: MemoryRecorder
) -> None:
    gates = Gates()
    flow = start(create(make_node(gates.work, max_concurrency=3).to()), recorder=recorder)
    for number in range(3):
        await flow.emit(make_message(f"slow {number}"), trace_id="t")
        await give_up(flow, "t")
    assert len(flow._table.aside) == 2
    waiting = asyncio.create_task(flow.fetch(trace_id="t"))
    await asyncio.sleep(0)
    if how == "cancel":
        assert await flow.cancel("t")
    else:
        await flow.stop()
    with pytest.raises(FlowError, match="TRACE_CANCELLED"):
        await waiting
    await until(lambda: not flow._table.aside and not flow._traces)
    assert not gates.ran
    assert [log.status for log in recorder.logs] == ["cancelled"] * 3
    recorder.check()


async def test_a_cancel_of_an_answered_question_reaches_the_one_before(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until
) -> None:
    gates = Gates()
    flow = start(create(make_node(gates.work, max_concurrency=2).to()))
    await flow.emit(make_message("slow"), trace_id="t")
    watched = flow.ensure_trace_event("t")
    await give_up(flow, "t")
    await flow.emit(make_message("next"), trace_id="t")
    assert (await flow.fetch(trace_id="t")).payload == "next"
    assert await flow.cancel("t")
    assert watched.is_set()
    await until(lambda: not flow._table.aside)
    assert await flow.cancel("t") is False


@pytest.mark.parametrize("how", ["answered", "given up"])
async def test_a_question_beside_a_call_of_the_same_trace(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until, how: str
) -> None:
    gates = Gates()
    flow = start(create(make_node(gates.work, max_concurrency=2).to()))
    calling = asyncio.create_task(flow.call(make_message("slow call", trace_id="t")))
    await until(lambda: flow._traces)
    await flow.emit(make_message("slow question"), trace_id="t")
    asked = asyncio.create_task(flow.fetch(trace_id="t"))
    await asyncio.sleep(0)
    if how == "given up":
        calling.cancel()
        await asyncio.wait([calling])
    gates.open.set()
    assert (await asked).payload == "slow question"
    if how == "answered":
        assert (await calling).payload == "slow call"
    await until(lambda: not flow._traces and not flow._table.aside)


async def test_what_a_join_waits_for_may_come_with_the_next_question(
    start: Start, make_message: MakeMessage, until: Until
) -> None:
    flow = start(create(join_k("pairs", 2).to()))
    await flow.emit(make_message(1), trace_id="t")
    await give_up(flow, "t")
    await until(lambda: flow._traces["t"].holds)
    await flow.emit(make_message(2), trace_id="t")
    assert (await flow.fetch(trace_id="t")).payload == [1, 2]


async def test_a_sender_of_a_question_that_was_given_up_is_turned_away_by_a_stop(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until
) -> None:
    flow = start(create(make_node(Gates().work).to(), queue_maxsize=1))
    for number in range(2):
        await flow.emit(make_message(f"slow {number}", trace_id=f"other{number}"))
    await until(lambda: flow._open_sea.outgoing[0].full())
    sending = asyncio.create_task(flow.emit(make_message("x"), trace_id="t"))
    await until(lambda: flow._open_sea.outgoing[0].putters)
    await give_up(flow, "t")
    again = asyncio.create_task(flow.emit(make_message("y"), trace_id="t"))
    await until(lambda: flow._table.aside)
    await flow.stop()
    outcomes = await asyncio.gather(sending, again, return_exceptions=True)
    assert [type(outcome).__name__ for outcome in outcomes] == ["TraceCancelled", "TraceCancelled"]


async def test_two_who_wait_for_one_trace_are_both_answered(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    async def twice(message: Message, ctx: Context) -> Message:
        await ctx.emit(message)
        return message.model_copy(update={"payload": "second"})

    flow = start(create(make_node(twice).to()))
    waiting = [asyncio.create_task(flow.fetch(trace_id="t")) for _ in range(3)]
    await asyncio.sleep(0)
    await flow.emit(make_message("first"), trace_id="t")
    answers = await asyncio.gather(*waiting)
    assert [None if answer is None else answer.payload for answer in answers] == ["first", "second", None]
    assert not flow._table.sinks
    assert not flow._roundtrips._open


async def test_one_of_two_who_wait_gives_up(start: Start, make_node: MakeNode, make_message: MakeMessage) -> None:
    flow = start(create(make_node().to()))
    waiting = [asyncio.create_task(flow.fetch(trace_id="t")) for _ in range(2)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.wait(waiting[:1])
    await flow.emit(make_message("x"), trace_id="t")
    assert (await waiting[1]).payload == "x"


@pytest.mark.parametrize("waits", [True, False])
async def test_a_question_that_was_sent_to_some_entries_only_holds_nobody_up(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until, waits: bool
) -> None:
    gates = Gates()
    left, right, last = make_node(gates.work, name="left"), make_node(gates.work, name="right"), make_node(name="last")
    flow = start(create(left.to(last), right.to(last), queue_maxsize=1))
    for number in range(2):
        await flow.emit(make_message(f"slow {number}"), to=right)
    await until(lambda: flow._open_sea.floes_to(right)[0].full())
    sending = asyncio.create_task(flow.emit(make_message("x"), trace_id="t"))
    await until(lambda: flow._open_sea.floes_to(right)[0].putters)
    waiting = asyncio.create_task(flow.fetch(trace_id="t")) if waits else None
    sending.cancel()
    await asyncio.wait([sending])
    for _ in range(3):
        assert (await flow.call(make_message("y"), to=left)).payload == "y"
    if waiting is not None:
        assert (await waiting).payload == "x"
    gates.open.set()
    assert sorted([(await flow.fetch()).payload for _ in range(2)]) == ["slow 0", "slow 1"]


async def test_an_answer_can_be_fetched_after_a_drain(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    flow = start(create(make_node().to()))
    await flow.emit(make_message("x"), trace_id="t")
    await flow.stop(drain=True)
    assert (await flow.fetch(trace_id="t")).payload == "x"
    assert not flow._table.sinks


async def test_a_question_that_a_stop_cut_short_is_answered_to_whoever_asks_later(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    flow = start(create(make_node(Gates().work).to()))
    await flow.emit(make_message("slow"), trace_id="t")
    await asyncio.sleep(0)
    await flow.stop()
    with pytest.raises(FlowError, match="the flow was stopped"):
        await flow.fetch(trace_id="t")
    assert not flow._table.sinks


async def test_a_question_that_waits_on_an_edge_goes_on_in_the_next_run(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    flow = start(create(make_node(Gates().work).to()))
    await flow.emit(make_message("slow"), trace_id="other")
    await flow.emit(make_message("x"), trace_id="t")
    await asyncio.sleep(0)
    await flow.stop()
    flow.run()
    assert (await flow.fetch(trace_id="t")).payload == "x"


async def test_results_that_outlast_a_run_leave_no_trace_behind(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until
) -> None:
    flow = start(create(make_node().to()))
    await flow.emit(make_message("x"))
    await until(lambda: flow._rookery.inbox.items)
    await flow.stop()
    flow.run()
    assert (await flow.fetch()).payload == "x"
    assert not flow._traces


async def test_an_old_answer_whose_trace_was_begun_again_holds_the_next_question_up_in_no_way(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until
) -> None:
    gates = Gates()
    flow = start(create(make_node(gates.work).to(), queue_maxsize=1))
    await flow.emit(make_message("slow"), trace_id="t")
    await give_up(flow, "t")
    gates.open.set()
    await until(lambda: not flow._traces)
    # Its answer fills the queue of the trace, and the plain message's has to wait.
    await flow.emit(make_message("plain", trace_id="t"))
    await until(lambda: flow._engine is not None and flow._engine.suspended)
    await flow.emit(make_message("next"), trace_id="t")
    assert (await flow.fetch(trace_id="t")).payload == "plain"
    assert (await flow.fetch(trace_id="t")).payload == "next"
    await until(lambda: not flow._traces)
    assert not flow._table.sinks


async def test_what_is_left_to_the_common_queue_is_written_down_once(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until, recorder: MemoryRecorder
) -> None:
    gate = asyncio.Event()

    async def twice(message: Message, ctx: Context) -> None:
        for number in range(2):
            await ctx.emit(message.model_copy(update={"payload": number}))
        await gate.wait()

    flow = start(create(make_node(twice).to()), recorder=recorder)
    await flow.emit(make_message("x"), trace_id="t")
    await until(lambda: len(flow._table.sinks["t"].results) == 2)
    assert (await flow.fetch(trace_id="t")).payload == 0
    assert (await flow.fetch()).payload == 1
    gate.set()
    await until(lambda: not flow._traces)
    recorder.check()
