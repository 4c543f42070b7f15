"""Traces that begin in others, come again after they ended, or are cancelled with something left."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from pydantic import BaseModel, ConfigDict, model_validator

from penguiflow import WM, Context, FlowError, Message, ModelRegistry, Node, NodePolicy, call_playbook, create

if TYPE_CHECKING:
    from tests.conftest import EventLog, MakeMessage, MakeNode, MemoryRecorder, Start, Until


async def answers_anew(message: Message, ctx: Context) -> Message:
    return Message(payload=f"{message.payload}!", headers=message.headers)


async def test_a_call_gets_the_answer_that_goes_by_another_name(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    flow = start(create(make_node(answers_anew).to(make_node(name="next")), queue_maxsize=2))
    for number in range(10):
        assert (await flow.call(make_message(number), timeout=60)).payload == f"{number}!"
    assert [item.payload async for item in flow.stream(make_message("x"))] == ["x!"]
    assert not flow._traces


async def test_the_last_node_may_answer_by_another_name(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    flow = start(create(make_node(answers_anew).to(), queue_maxsize=2))
    for number in range(5):
        assert (await flow.call(make_message(number), timeout=60)).payload == f"{number}!"
    assert [item.payload async for item in flow.stream(make_message("x"))] == ["x!"]
    await flow.emit(make_message("y"))
    assert (await flow.fetch()).payload == "y!"
    assert not flow._traces
    chain = start(create(make_node(answers_anew).to(make_node(answers_anew, name="again"))))
    assert (await chain.call(make_message("x"), timeout=60)).payload == "x!!"
    assert not chain._traces


async def test_what_is_sent_at_once_may_begin_a_trace(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    async def sends(message: Message, ctx: Context) -> None:
        ctx.emit_nowait(make_message("other"))

    flow = start(create(make_node(sends).to()))
    assert (await flow.call(make_message("x"), timeout=60)).payload == "other"
    assert not flow._traces


async def test_a_call_gets_the_error_of_a_trace_made_in_it(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    async def fails(message: Message, ctx: Context) -> None:
        raise ValueError("no luck")

    flow = start(create(make_node(answers_anew).to(make_node(fails, name="fails"))))
    with pytest.raises(FlowError, match="no luck"):
        await flow.call(make_message("x"), timeout=60)


@pytest.mark.usefixtures("virtual_time")
async def test_giving_up_a_call_ends_the_traces_made_in_it(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until
) -> None:
    ended: list[Any] = []

    async def naps(message: Message, ctx: Context) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append(message.payload)

    flow = start(create(make_node(answers_anew).to(make_node(naps, name="naps"))))
    with pytest.raises(TimeoutError):
        await flow.call(make_message("x"), timeout=0.01)
    await until(lambda: ended == ["x!"] and not flow._traces)


async def test_a_playbook_may_answer_in_a_new_trace(make_node: MakeNode, make_message: MakeMessage) -> None:
    assert await call_playbook(lambda: (create(make_node(answers_anew).to()), None), make_message("q"), 2) == "q!"


async def test_a_context_that_is_kept_may_send_later(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    kept: list[Context] = []

    async def keeps(message: Message, ctx: Context) -> Message:
        kept.append(ctx)
        return message

    flow = start(create(make_node(keeps).to()))
    await flow.emit(make_message("first", trace_id="t"))
    assert (await flow.fetch()).payload == "first"
    await kept[0].emit(make_message("later", trace_id="t"))
    assert (await flow.fetch()).payload == "later"
    assert not flow._traces


async def test_cancel_ends_the_roundtrip(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until
) -> None:
    async def work(message: Message, ctx: Context) -> Message:
        if message.payload == "slow":
            await asyncio.sleep(3600)
        return message

    flow = start(create(make_node(work).to()))
    await flow.emit(make_message("slow"), trace_id="job")
    await until(lambda: flow._engine and flow._engine.suspended)
    assert await flow.cancel("job")
    async with asyncio.timeout(60):
        await flow.emit(make_message("again"), trace_id="job")
        assert (await flow.fetch(trace_id="job")).payload == "again"


async def test_cancel_drops_a_result_that_nobody_fetched(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until
) -> None:
    flow = start(create(make_node().to()))
    await flow.emit(make_message("old"), trace_id="job")
    await until(lambda: not flow._traces)
    assert await flow.cancel("job")
    async with asyncio.timeout(60):
        await flow.emit(make_message("new"), trace_id="job")
        assert (await flow.fetch(trace_id="job")).payload == "new"


@pytest.mark.usefixtures("virtual_time")
async def test_a_call_may_be_repeated_under_its_name_at_once(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    async def work(message: Message, ctx: Context) -> Message:
        if message.payload == "slow":
            await asyncio.sleep(3600)
        return message

    flow = start(create(make_node(work).to()))
    with pytest.raises(TimeoutError):
        await flow.call(make_message("slow", trace_id="t"), timeout=0.01)
    assert (await flow.call(make_message("quick", trace_id="t"), timeout=60)).payload == "quick"


async def test_the_backlog_of_a_cancelled_trace_takes_no_room(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until, event_log: EventLog
) -> None:
    gate = asyncio.Event()

    async def work(message: Message, ctx: Context) -> Message:
        await gate.wait()
        return message

    flow = start(create(make_node(work).to(), queue_maxsize=2, middlewares=[event_log]))
    await flow.emit(make_message("busy", trace_id="busy"))
    await until(lambda: flow._engine and flow._engine.suspended)
    for number in range(2):
        await flow.emit(make_message(number, trace_id="t"))
    blocked = asyncio.create_task(flow.emit(make_message("blocked", trace_id="other")))
    await asyncio.sleep(0)
    assert await flow.cancel("t")
    await asyncio.wait_for(blocked, 60)
    flow.emit_nowait(make_message("now", trace_id="other"))
    gate.set()
    assert [(await flow.fetch()).payload for _ in range(3)] == ["busy", "blocked", "now"]


async def test_a_message_of_a_cancelled_trace_is_told_when_it_is_met(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until, event_log: EventLog
) -> None:
    gate = asyncio.Event()

    async def work(message: Message, ctx: Context) -> None:
        await gate.wait()

    flow = start(create(make_node(work).to(), middlewares=[event_log]))
    await flow.emit(make_message("busy", trace_id="busy"))
    await until(lambda: flow._engine and flow._engine.suspended)
    await flow.emit(make_message("x", trace_id="t"))
    assert await flow.cancel("t")
    gate.set()
    await until(lambda: event_log.of_type("trace_cancel_drop"))
    assert [event.trace_id for event in event_log.of_type("trace_cancel_drop")] == ["t"]


async def test_an_event_of_a_cancelled_trace_is_not_that_of_the_next(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until
) -> None:
    async def work(message: Message, ctx: Context) -> Message:
        if message.payload == "slow":
            await asyncio.sleep(3600)
        return message

    flow = start(create(make_node(work).to()))
    await flow.emit(make_message("slow", trace_id="t"))
    old = flow.ensure_trace_event("t")
    await until(lambda: flow._engine and flow._engine.suspended)
    assert await flow.cancel("t")
    assert old.is_set()
    await until(lambda: not flow._traces)
    assert not flow.ensure_trace_event("t").is_set()
    assert (await flow.call(make_message("quick", trace_id="t"))).payload == "quick"


async def test_another_question_is_no_round_of_the_loop_before(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    async def think(message: Message, ctx: Context) -> Message | None:
        return message if message.payload.hops < 2 else None

    node = make_node(think, allow_cycle=True)
    flow = start(create(node.to(node)))

    def question(text: str) -> Message:
        return make_message(WM(query=text, budget_hops=None), trace_id="t")

    await flow.emit(question("one?"))
    assert [(await flow.fetch()).payload.hops for _ in range(2)] == [1, 2]
    await flow.emit(question("two?"))
    assert [(await flow.fetch()).payload.query for _ in range(2)] == ["two?", "two?"]


@pytest.mark.parametrize("kind", ["dict", "str", "extra"])
async def test_whatever_can_carry_a_trace_id_does(start: Start, make_node: MakeNode, kind: str) -> None:
    class Keys(dict[str, Any]):
        """A dict with attributes."""

    class Text(str):
        """A text with attributes."""

    class Open(BaseModel):
        model_config = ConfigDict(extra="allow")

    value = {"dict": Keys, "str": Text, "extra": Open}[kind]()
    flow = start(create(make_node().to()))
    async with asyncio.timeout(60):
        await flow.emit(value, trace_id="t")
        assert await flow.fetch(trace_id="t") is value


@pytest.mark.parametrize("recorded", [False, True])
async def test_a_trace_id_need_not_be_a_string(
    start: Start, make_node: MakeNode, recorder: MemoryRecorder, recorded: bool
) -> None:
    class Job:
        trace_id: Any = None

    flow = start(create(make_node().to()), **({"recorder": recorder} if recorded else {}))
    async with asyncio.timeout(60):
        names: list[Any] = [7, UUID(int=7)]
        for name in names:
            job = Job()
            await flow.emit(job, trace_id=name)
            assert await flow.fetch(trace_id=name) is job
    odd = Job()
    odd.trace_id = ["cannot", "name", "anything"]
    await flow.emit(odd)
    assert await flow.fetch() is odd
    if recorded:
        assert [log.trace_id for log in recorder.logs][:2] == ["7", str(UUID(int=7))]
        recorder.check()


async def test_validators_of_a_model_run_at_each_hop(start: Start, make_message: MakeMessage) -> None:
    class Amount(BaseModel):
        x: int

        @model_validator(mode="after")
        def positive(self) -> Amount:
            if self.x < 0:
                raise ValueError("negative")
            return self

    async def spoils(amount: Amount, ctx: Context) -> Amount:
        amount.x = -5
        return amount

    registry = ModelRegistry()
    registry.register("spoils", Amount, Amount)
    flow = start(create(Node(spoils).to()), registry=registry)
    with pytest.raises(FlowError, match="negative"):
        await flow.call(make_message(Amount(x=1)))


async def test_interceptors_of_a_run_are_gone_with_it(make_node: MakeNode, make_message: MakeMessage) -> None:
    asked: list[str] = []

    async def ask(checkpoint: Any) -> Any:
        from penguiflow.checkpoints import Decision

        asked.append(checkpoint.kind)
        return Decision.proceed()

    flow = create(make_node().to())
    for _ in range(3):
        flow.run(interceptors=[ask])
        await flow.call(make_message("x"))
        await flow.stop()
    assert asked == ["before_node", "after_node"] * 3
    flow.run()
    await flow.call(make_message("x"))
    await flow.stop()
    assert len(asked) == 6


async def test_a_node_class_may_call_its_function_in_a_way_of_its_own(start: Start, make_message: MakeMessage) -> None:
    class Loud(Node):
        async def invoke(self, message: Any, ctx: Context, *, registry: ModelRegistry | None) -> Any:
            result = await super().invoke(message, ctx, registry=registry)
            return result.model_copy(update={"payload": result.payload.upper()})

    async def same(message: Message, ctx: Context) -> Message:
        return message

    registry = ModelRegistry()
    registry.register("same", Message, Message)
    flow = start(create(Loud(same, policy=NodePolicy(validate="both")).to()), registry=registry)
    assert (await flow.call(make_message("x"))).payload == "X"
