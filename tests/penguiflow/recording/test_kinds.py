"""Every kind of event that the runtime produces is in the log, as the schema says; every span has its end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import pytest

from penguiflow import (
    WM,
    Context,
    FlowError,
    Headers,
    Message,
    ModelRegistry,
    Node,
    NodePolicy,
    PenguiFlow,
    create,
    join_k,
)
from penguiflow.checkpoints import Checkpoint, Decision
from penguiflow.recording import EventRecord, Recorder, TraceEvent
from penguiflow.recording.schema import DATA, events_schema

FROM_OUTSIDE = {"stall", "host.died", "remote.start", "remote.end"}
"""Kinds that a host, a store or a remote agent is needed for."""


class Keep:
    def __init__(self) -> None:
        self.records: list[EventRecord] = []

    def write(self, record: EventRecord) -> None:
        self.records.append(record)


def message(payload: Any = "x", **fields: Any) -> Message:
    return Message(payload=payload, headers=Headers(tenant="t"), **fields)


async def run(flow: PenguiFlow, given: Message, *, cancel_in: asyncio.Event | None = None) -> list[TraceEvent]:
    sink = Keep()
    flow.run(recorder=Recorder(sink))
    try:
        calling = asyncio.ensure_future(flow.call(given, timeout=60))
        if cancel_in is not None:
            await cancel_in.wait()
            await flow.cancel(given.trace_id)
        with contextlib.suppress(FlowError):
            await calling
    finally:
        await flow.stop()
    return [record.decode() for record in sink.records]


def check(events: list[TraceEvent]) -> set[str]:
    """The kinds of a trace, after a look at each event and each span."""
    assert [event.seq for event in events] == list(range(len(events)))
    open_spans: dict[str, str] = {}
    for event in events:
        model = DATA[event.kind].model_validate(event.data)
        assert not model.model_extra, (event.kind, model.model_extra)
        family, _, phase = event.kind.rpartition(".")
        if phase == "start":
            open_spans[event.span_id] = family
        elif phase == "end":
            assert open_spans.pop(event.span_id) == family
            assert event.data["status"] in ("ok", "error", "timeout", "cancelled", "interrupted")
    assert not open_spans
    assert set(events[0].data["environment"]) == {"python", "penguiflow", "platform"}
    return {event.kind for event in events}


async def busy(ctx_message: Message, ctx: Context) -> Message:
    async def shout(inner: Message, ctx: Context) -> Message:
        return inner.model_copy(update={"payload": inner.payload.upper()})

    def playbook() -> tuple[PenguiFlow, ModelRegistry | None]:
        return create(Node(shout).to()), None

    ctx.trace_state["seen"] = [1]
    await ctx.emit_chunk(parent=ctx_message, text="a", done=True)
    await ctx.record("double", lambda value: value * 2, 2)
    ctx.now()
    answer = await ctx.call_playbook(playbook, ctx_message)
    return ctx_message.model_copy(update={"payload": answer})


async def test_an_ordinary_run() -> None:
    async def edit(checkpoint: Checkpoint) -> Decision | None:
        return Decision.edit(checkpoint.payload) if checkpoint.kind == "after_node" else None

    events = await run(create(Node(busy).to(), interceptors=[edit]), message())
    assert check(events) >= {
        "trace.start", "trace.end", "node.start", "node.end", "attempt.start", "attempt.end", "playbook.start",
        "playbook.end", "message.enqueued", "message.dequeued", "stream.chunk", "record", "context.changed",
        "checkpoint.hit", "checkpoint.resolved", "edit",
    }  # fmt: skip
    edits = [event for event in events if event.kind == "edit"]
    assert len(edits) == 2  # in the playbook, and around it
    for edited in edits:
        assert edited.data["before"] == edited.data["after"]
        assert edited.data["before"]["type"] == "penguiflow.types:Message"


async def test_a_failure_and_a_timeout() -> None:
    tries = 0

    async def flaky(given: Message, ctx: Context) -> Message:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise ValueError("no luck")
        await asyncio.Event().wait()
        return given

    policy = NodePolicy(max_retries=1, backoff_base=0.0, timeout_s=0.02)
    events = await run(create(Node(flaky, policy=policy).to()), message())
    assert "node.retry" in check(events)
    assert [event.data["status"] for event in events if event.kind == "attempt.end"] == ["error", "timeout"]
    assert events[-1].data["status"] == "timeout"


async def test_a_cancellation_drops_what_waits() -> None:
    begun = asyncio.Event()

    async def many(given: Message, ctx: Context) -> None:
        for _ in range(3):
            await ctx.emit(given)

    async def hang(given: Message, ctx: Context) -> None:
        begun.set()
        await asyncio.Event().wait()

    last = Node(hang)
    events = await run(create(Node(many).to(last), last.to()), message(), cancel_in=begun)
    assert check(events) >= {"cancel.requested", "cancel.done", "message.dropped"}
    assert events[-1].data["status"] == "cancelled"


async def test_a_deadline_and_a_budget() -> None:
    async def think(given: Message, ctx: Context) -> Message:
        return given

    late = await run(create(Node(think).to()), message(deadline_s=time.time() - 1))
    assert "deadline.exceeded" in check(late)
    node = Node(think, allow_cycle=True)
    spent = await run(create(node.to(node)), message(WM(query="q", budget_hops=1)))
    assert "budget.exhausted" in check(spent)


async def gathered(k: int, given: Message, **more: Any) -> list[TraceEvent]:
    """The events of a run whose two branches meet in a `join_k`."""

    async def same(inner: Message, ctx: Context) -> Message:
        return inner

    left, right, meet = Node(same, name="left"), Node(same, name="right"), join_k("meet", k)
    return await run(create(Node(same).to(left, right), left.to(meet), right.to(meet), meet.to()), given, **more)


@pytest.mark.parametrize("k", [1, 2])
async def test_a_join_is_a_span_from_the_first_of_its_messages_to_the_last(k: int) -> None:
    events = await gathered(k, message())
    check(events)
    starts = [event for event in events if event.kind == "join.start"]
    ends = [event for event in events if event.kind == "join.end"]
    took = [event.data["message_id"] for event in events if event.kind == "node.start" and event.name == "meet"]
    assert [event.data["parents"] for event in ends] == ([[each] for each in took] if k == 1 else [took])
    assert {event.data["status"] for event in ends} == {"ok"}
    assert {event.parent_id for event in [*starts, *ends]} == {events[0].span_id}
    within = [event.name for event in events[starts[0].seq : ends[0].seq] if event.kind == "node.start"]
    assert within == ([] if k == 1 else ["meet"])


async def test_a_join_that_is_never_complete_ends_with_its_trace() -> None:
    events = await gathered(3, message())
    check(events)
    (end,) = (event for event in events if event.kind == "join.end")
    assert (end.data["status"], end.data["came"], len(end.data["parents"])) == ("error", 2, 2)
    assert "2 of 3 messages" in end.data["error"]["message"]
    assert events[-1].data["status"] == "error"


async def test_a_join_in_a_cancelled_trace_is_cancelled() -> None:
    begun = asyncio.Event()

    async def first(given: Message, ctx: Context) -> None:
        await ctx.emit(given, to=meet)
        await ctx.emit(given, to=last)

    async def hang(given: Message, ctx: Context) -> None:
        begun.set()
        await asyncio.Event().wait()

    meet, last = join_k("meet", 2), Node(hang)
    events = await run(create(Node(first).to(meet, last), meet.to(), last.to()), message(), cancel_in=begun)
    check(events)
    (end,) = (event for event in events if event.kind == "join.end")
    assert (end.data["status"], end.data["came"]) == ("cancelled", 1)


async def test_a_trace_tells_what_cannot_be_forked() -> None:
    async def odd(given: Message, ctx: Context) -> Message:
        return given.model_copy(update={"payload": {"f": [len], "n": float("nan")}})

    events = await run(create(Node(odd).to()), message())
    check(events)
    (found,) = events[-1].data["not_forkable"]
    assert (found["path"], found["type"]) == ("/payload/f/0", "builtins:builtin_function_or_method")
    assert found["message_id"] in {event.data.get("message_id") for event in events}


@pytest.mark.parametrize("kind", sorted(set(DATA) - FROM_OUTSIDE))
def test_the_schema_names_every_kind(kind: str) -> None:
    schema = events_schema()
    named = [part["if"]["properties"]["kind"]["const"] for part in schema["allOf"]]
    assert named.count(kind) == 1
    assert DATA[kind].__name__ in schema["$defs"]
