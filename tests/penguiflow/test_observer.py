"""What the runtime tells a recorder: whole traces, and the same ids for the same run."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from penguiflow import Context, FlowError, Message, PenguiFlow, create, join_k
from penguiflow.observer import Payload

if TYPE_CHECKING:
    from tests.conftest import MakeMessage, MakeNode, MemoryRecorder, Start, Until


def diamond(make_node: MakeNode, *, delays: tuple[int, int] = (0, 0)) -> PenguiFlow:
    """Top, two branches that wait a little, a join, a node that streams and answers."""

    def branch(turns: int) -> Any:
        async def wait(message: Message, ctx: Context) -> Message:
            for _ in range(turns):
                await asyncio.sleep(0)
            return message

        return wait

    async def answer(message: Message, ctx: Context) -> Message:
        await ctx.emit_chunk(parent=message, text="a")
        await ctx.emit_chunk(parent=message, text="b", done=True)
        return message

    left, right = make_node(branch(delays[0]), name="left"), make_node(branch(delays[1]), name="right")
    join, last = join_k("join", 2), make_node(answer, name="answer")
    return create(make_node(name="top").to(left, right), left.to(join), right.to(join), join.to(last))


async def test_the_log_of_one_trace(
    start: Start, make_node: MakeNode, make_message: MakeMessage, recorder: MemoryRecorder
) -> None:
    node = make_node(name="node")
    flow = start(create(node.to()), recorder=recorder)
    sent = make_message("x", trace_id="t", deadline_s=4e9, meta={"k": 1})
    await flow.call(sent)
    log = recorder.only()
    assert [(event.kind, event.name) for event in log.events] == [
        ("message.enqueued", "OpenSea->node"),
        ("message.dequeued", "OpenSea->node"),
        ("node.start", "node"),
        ("attempt.start", "node"),
        ("attempt.end", "node"),
        ("message.enqueued", "node->Rookery"),
        ("message.dequeued", "node->Rookery"),
        ("node.end", "node"),
        ("trace.end", ""),
    ]
    came, taken, began, tried, _, left, *_ = log.events
    assert came.span == taken.span == began.parent == log.root
    assert (tried.parent, left.span) == (began.span, began.span)
    message_id = came.data["message_id"]
    assert dict(came.data) == {
        "message_id": message_id,
        "source": "OpenSea",
        "target": "node",
        "payload": Payload("x"),
        "headers": sent.headers.model_dump(),
        "meta": {"k": 1},
        "deadline_s": 4e9,
    }
    assert dict(taken.data) == {"message_id": message_id}
    assert dict(began.data) == {"message_id": message_id, "node_id": node.node_id}
    assert dict(tried.data) == {"attempt": 0}
    assert log.status == "ok"
    recorder.check()


async def test_a_payload_is_told_once_for_all_its_edges(
    start: Start, make_node: MakeNode, make_message: MakeMessage, recorder: MemoryRecorder
) -> None:
    flow = start(create(make_node(name="top").to(*(make_node(name=name) for name in "abc"))), recorder=recorder)
    await flow.call(make_message("x"))
    out = [event for event in recorder.only().of_kind("message.enqueued") if event.data["source"] == "top"]
    first, second, third = (event.data for event in out)
    assert first["payload"] == Payload("x")
    assert second["same_as"] == third["same_as"] == first["message_id"]
    assert "payload" not in second
    assert len({event.data["message_id"] for event in out}) == 3
    recorder.check()


async def test_the_same_run_has_the_same_message_ids(
    start: Start, make_node: MakeNode, make_message: MakeMessage, recorder: MemoryRecorder
) -> None:
    """Also where branches overtake each other, and in a trace of another name."""
    ids: list[dict[str, list[str]]] = []
    for trace_id, delays in (("t", (0, 0)), ("t", (0, 0)), ("t", (3, 0)), ("t", (0, 3)), ("other", (0, 0))):
        recorder.logs.clear()
        flow = start(diamond(make_node, delays=delays), recorder=recorder)
        _ = [item async for item in flow.stream(make_message("x", trace_id=trace_id))]
        await flow.stop()
        recorder.check()
        by_edge: dict[str, list[str]] = {}
        for event in recorder.only().of_kind("message.enqueued"):
            by_edge.setdefault(event.name, []).append(event.data["message_id"])
        ids.append(by_edge)
    assert ids[0] == ids[1]
    # What follows the join depends on which branch came last; before it nothing does.
    before = [edge for edge in ids[0] if not edge.startswith(("join", "answer"))]
    assert len(before) == 5
    for again in ids[2:]:
        assert {edge: again[edge] for edge in before} == {edge: ids[0][edge] for edge in before}


async def test_message_ids_differ_within_a_trace(
    start: Start, make_node: MakeNode, make_message: MakeMessage, recorder: MemoryRecorder
) -> None:
    async def repeats(message: Message, ctx: Context) -> Message:
        for _ in range(3):
            await ctx.emit(message)
        return message

    flow = start(create(make_node(repeats).to(make_node(repeats, name="again"))), recorder=recorder)
    for _ in range(2):
        await flow.emit(make_message("same", trace_id="t"))
    for _ in range(32):
        await flow.fetch()
    assert len(recorder.of("t").of_kind("message.enqueued")) == 2 + 8 + 32
    recorder.check()


async def test_a_bare_payload_gets_a_trace_of_its_own(
    start: Start, make_node: MakeNode, recorder: MemoryRecorder
) -> None:
    flow = start(create(make_node().to(make_node(name="next"))), recorder=recorder)
    for value in range(3):
        await flow.emit(value)
        assert await flow.fetch() == value
    assert len({log.trace_id for log in recorder.logs}) == 3
    assert not flow._traces
    recorder.check()


async def test_what_leaves_unfetched_is_parked(
    start: Start, make_node: MakeNode, make_message: MakeMessage, recorder: MemoryRecorder, until: Until
) -> None:
    flow = start(create(make_node().to()), recorder=recorder)
    await flow.emit(make_message("x", trace_id="t"))
    await until(lambda: recorder.logs and recorder.only().status == "ok")
    recorder.check()
    assert list(flow._traces) == ["t"]
    await flow.fetch()
    assert not flow._traces
    assert recorder.only().problems == []


@pytest.mark.parametrize("outcome", ["error", "timeout", "retry", "cancelled"])
async def test_every_outcome_closes_what_it_opened(
    start: Start,
    make_node: MakeNode,
    make_message: MakeMessage,
    recorder: MemoryRecorder,
    until: Until,
    outcome: str,
) -> None:
    tries: list[int] = []

    async def node(message: Message, ctx: Context) -> Message:
        tries.append(1)
        await asyncio.sleep(0)
        if outcome == "error" or (outcome == "retry" and len(tries) < 3):
            raise ValueError("no luck")
        if outcome in ("timeout", "cancelled"):
            await asyncio.Event().wait()
        return message

    policy: dict[str, Any] = {"timeout_s": 0.005} if outcome == "timeout" else {"max_retries": 2, "backoff_base": 0}
    if outcome == "error":
        policy["max_retries"] = 0
    slow = make_node(node, **policy)
    flow = start(create(make_node(name="top").to(slow, make_node(name="other"))), recorder=recorder)
    caller = asyncio.create_task(flow.call(make_message("x", trace_id="t")))
    if outcome == "cancelled":
        await until(lambda: tries)
        await flow.cancel("t")
    await asyncio.wait([caller])
    await until(lambda: not flow._traces)
    log = recorder.only()
    failure = caller.exception()
    assert failure is None if outcome == "retry" else isinstance(failure, FlowError)
    assert log.status == ("ok" if outcome == "retry" else outcome)
    ends = [event.status for event in log.of_kind("node.end") if event.name == "node"]
    assert ends == [log.status]
    attempts = [event.status for event in log.of_kind("attempt.end") if event.name == "node"]
    assert attempts == (["error", "error", "ok"] if outcome == "retry" else [outcome])
    if isinstance(failure, FlowError):
        assert log.closing["error"] == failure.to_payload()
    recorder.check()


async def test_a_congested_recorder_holds_new_messages_back(
    start: Start, make_node: MakeNode, make_message: MakeMessage, recorder: MemoryRecorder
) -> None:
    flow = start(create(make_node().to()), recorder=recorder)
    recorder.ready.clear()
    caller = asyncio.create_task(flow.call(make_message("called")))
    sender = asyncio.create_task(flow.emit(make_message("sent")))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not caller.done()
    assert not sender.done()
    recorder.ready.set()
    assert (await caller).payload == "called"
    await sender
    assert (await flow.fetch()).payload == "sent"
    recorder.check()


async def test_giving_up_on_a_congested_recorder_leaves_nothing(
    start: Start, make_node: MakeNode, make_message: MakeMessage, recorder: MemoryRecorder
) -> None:
    flow = start(create(make_node().to()), recorder=recorder)
    recorder.ready.clear()
    for attempt in (
        flow.emit(make_message("sent")),
        flow.emit(make_message("asked"), trace_id="t"),
        flow.call(make_message("called")),
    ):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(attempt, 0.002)
    assert not flow._traces
    assert not flow._table.sinks
    recorder.ready.set()
    recorder.check()


async def test_a_trace_goes_on_under_its_id(
    start: Start, make_node: MakeNode, make_message: MakeMessage, recorder: MemoryRecorder
) -> None:
    flow = start(create(make_node().to()), recorder=recorder)
    for value in range(3):
        assert (await flow.call(make_message(value, trace_id="t"))).payload == value
    assert [log.trace_id for log in recorder.logs] == ["t"] * 3
    ids = [event.data["message_id"] for log in recorder.logs for event in log.of_kind("message.enqueued")]
    assert len(set(ids)) == len(ids) == 6
    recorder.check()
