"""Deadlines of messages that wait: they are answered at their deadline, whatever else the flow is at."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from penguiflow import Context, FinalAnswer, Message, ModelRegistry, Node, PenguiFlow, create

if TYPE_CHECKING:
    from tests.conftest import EventLog, MakeMessage, MakeNode, MemoryRecorder, Start, Until

SOON_S = 0.02
LATE = FinalAnswer(text="Deadline exceeded")


def soon() -> float:
    return time.time() + SOON_S


async def hangs(message: Message, ctx: Context) -> Message:
    """Never returns for "hang", at once for everything else."""
    if message.payload == "hang":
        await asyncio.Event().wait()
    return message


async def ask(flow: PenguiFlow, how: str, message: Message) -> list[Any]:
    if how == "call":
        return [(await flow.call(message)).payload]
    if how == "stream":
        return [item.payload async for item in flow.stream(message)]
    if how == "fetch of a trace":
        await flow.emit(message, trace_id=message.trace_id)
        return [(await flow.fetch(trace_id=message.trace_id)).payload]
    await flow.emit(message)
    return [(await flow.fetch()).payload]


@pytest.fixture
async def busy(start: Start, make_node: MakeNode, make_message: MakeMessage, recorder: MemoryRecorder) -> PenguiFlow:
    """A flow whose only node hangs and whose entry has room for one message."""
    flow = start(create(make_node(hangs, name="busy").to(), queue_maxsize=1), recorder=recorder)
    await flow.emit(make_message("hang"))
    return flow


@pytest.mark.parametrize("how", ["call", "stream", "fetch", "fetch of a trace"])
async def test_a_message_behind_a_node_that_hangs_is_answered_at_its_deadline(
    busy: PenguiFlow, make_message: MakeMessage, how: str, recorder: MemoryRecorder
) -> None:
    assert await ask(busy, how, make_message("x", trace_id="t", deadline_s=soon())) == [LATE]
    assert list(busy._traces) == [log.trace_id for log in recorder.logs if log.status is None] != ["t"]
    log = recorder.of("t")
    assert (log.status, log.closing["error"]["code"]) == ("timeout", "DEADLINE_EXCEEDED")
    assert [event.data["node_id"] for event in log.of_kind("node.start")] == [busy.nodes[0].node_id]
    assert not log.of_kind("attempt.start")
    assert log.faults() == []


async def test_a_sender_that_waits_for_room_is_answered_at_its_deadline(
    busy: PenguiFlow, make_message: MakeMessage, until: Until, recorder: MemoryRecorder
) -> None:
    entry = busy._open_sea.outgoing[0]
    await until(lambda: not entry.size)
    await busy.emit(make_message("waits"))
    assert entry.full()
    assert [await ask(busy, "call", make_message(number, deadline_s=soon())) for number in range(3)] == [[LATE]] * 3
    # Whoever has no deadline still waits, and what is on the edge stays there.
    sender = asyncio.create_task(busy.emit(make_message("no deadline")))
    assert (await busy.call(make_message("x", deadline_s=soon()))).payload == LATE
    assert not sender.done()
    assert (entry.size, [item[1].payload for item in entry.inbox.items]) == (1, ["waits"])
    sender.cancel()


async def test_the_next_deadline_is_looked_at_too(busy: PenguiFlow, make_message: MakeMessage) -> None:
    deadlines = [soon() + part for part in (0.03, 0.0, 0.02, 0.0)]

    async def ask_one(deadline_s: float) -> None:
        assert (await busy.call(make_message("x", deadline_s=deadline_s))).payload == LATE
        assert time.time() > deadline_s - SOON_S / 4

    await asyncio.gather(*(ask_one(deadline_s) for deadline_s in deadlines))


async def test_a_clock_that_is_set_back_delays_no_deadline(
    busy: PenguiFlow, make_message: MakeMessage, monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    asked = asyncio.create_task(busy.call(make_message("x", deadline_s=time.time() + 0.2)))
    await until(lambda: asked.done() or busy._table.deadlines._timer is not None)
    monkeypatch.setattr("penguiflow.deadlines.time", lambda: time.time() - 3600)
    assert (await asked).payload == LATE


async def test_what_waits_before_the_flow_runs_is_looked_at_too(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    flow = create(make_node(hangs).to())
    for message in (make_message("hang"), make_message("x", deadline_s=soon())):
        flow.emit_nowait(message)
    start(flow)
    assert (await flow.fetch()).payload == LATE


async def test_no_deadline_no_timer(start: Start, make_node: MakeNode, make_message: MakeMessage) -> None:
    flow = start(create(make_node().to(make_node(name="next"))))
    await flow.call(make_message("x"))
    assert flow._table.deadlines._timer is None


@pytest.mark.parametrize("exits", [True, False])
async def test_a_result_that_waits_for_its_turn_is_answered_at_its_deadline(
    start: Start, make_node: MakeNode, make_message: MakeMessage, exits: bool, event_log: EventLog
) -> None:
    gate = asyncio.Event()

    async def fan(message: Message, ctx: Context) -> None:
        await ctx.emit(message)
        await ctx.emit(message.model_copy(update={"payload": "second", "deadline_s": soon()}))

    async def work(message: Message, ctx: Context) -> Message:
        if message.payload == "first":
            await gate.wait()
        await asyncio.sleep(0)
        return message

    node = make_node(work, name="work", max_concurrency=2)
    further = [] if exits else [node.to(make_node(name="next"))]
    flow = start(create(make_node(fan).to(node), *further, middlewares=[event_log]))
    got: list[Any] = []
    async for item in flow.stream(make_message("first")):
        got.append(item.payload)
        gate.set()
    assert got == [LATE, "first"]
    assert len(event_log.of_type("deadline_skip")) == 1


async def test_a_message_that_is_late_in_the_node_waits_for_no_turn(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    async def fan(message: Message, ctx: Context) -> None:
        await ctx.emit(message)
        await ctx.emit(message.model_copy(update={"deadline_s": soon()}))

    flow = start(create(make_node(fan).to(make_node(hangs, max_concurrency=2))))
    stream = flow.stream(make_message("hang"))
    assert (await anext(stream)).payload == LATE
    await stream.aclose()


@pytest.mark.parametrize("how", ["fetch", "stream"])
async def test_a_result_that_waits_for_room_until_after_its_deadline_is_not_delivered(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until, how: str
) -> None:
    deadline_s = soon()

    async def thrice(message: Message, ctx: Context) -> None:
        for number in range(3):
            late = deadline_s if number == 2 else None
            await ctx.emit(message.model_copy(update={"payload": number, "deadline_s": late}))

    flow = start(create(make_node(thrice).to(make_node(name="last")), queue_maxsize=1))
    if how == "fetch":
        await flow.emit(make_message("go"))
        got = [(await flow.fetch()).payload]
        await until(lambda: time.time() > deadline_s and flow._rookery.incoming[0].putters)
        got += [(await flow.fetch()).payload for _ in range(2)]
    else:
        results = flow.stream(make_message("go"))
        got = [(await anext(results)).payload]
        await until(lambda: time.time() > deadline_s)
        got += [item.payload async for item in results]
    assert got == [0, 1, LATE]


class Question(BaseModel):
    text: str


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize("at", [0, 1])
async def test_a_node_that_sets_the_deadline_in_the_past_ends_the_trace(
    start: Start, make_message: MakeMessage, waits: bool, at: int
) -> None:
    seen: list[str] = []

    def make(index: int) -> Node:
        async def work(question: Question, ctx: Context) -> Question:
            seen.append(str(ctx.owner.name))
            if waits:
                await asyncio.sleep(0)
            if index == at:
                ctx.message.deadline_s = time.time() - 1
            return question

        return Node(work, name=f"n{index}")

    nodes = [make(index) for index in range(4)]
    registry = ModelRegistry()
    for node in nodes:
        registry.register(str(node.name), Question, Question)
    flow = start(create(*(one.to(other) for one, other in itertools.pairwise(nodes))), registry=registry)
    answer = await flow.call(make_message(Question(text="?")))
    assert answer.payload == LATE
    assert seen == [f"n{index}" for index in range(at + 1)]


async def test_a_message_that_is_put_on_an_edge_by_hand_is_answered_at_its_deadline(
    busy: PenguiFlow, make_message: MakeMessage, until: Until
) -> None:
    entry = busy._open_sea.outgoing[0]
    await until(lambda: not entry.size)
    entry.queue.put_nowait(make_message("x", deadline_s=soon()))
    async with asyncio.timeout(60.0):
        assert (await busy.fetch()).payload == LATE
