"""Messages through graphs: chains, branches, fan-out, fan-in, edges that fill up."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from penguiflow import Context, CycleError, FinalAnswer, Message, ModelRegistry, Node, NodePolicy, create
from penguiflow.core import DEFAULT_QUEUE_MAXSIZE, OPEN_SEA, ROOKERY, PenguiFlow

if TYPE_CHECKING:
    from tests.conftest import MakeMessage, MakeNode, MemoryRecorder, Start, Until


class Question(BaseModel):
    text: str


class Prompt(BaseModel):
    prompt: str


class Answer(BaseModel):
    answer: str


async def test_quickstart_runs_as_written(make_message: MakeMessage) -> None:
    async def triage(message: Question, ctx: Context) -> Question:
        return Question(text=message.text.strip())

    async def pack(message: Question, ctx: Context) -> Prompt:
        return Prompt(prompt=f"Answer: {message.text}")

    first = Node(triage, name="triage", policy=NodePolicy(validate="both"))
    second = Node(pack, name="pack", policy=NodePolicy(validate="both"))
    registry = ModelRegistry()
    registry.register("triage", Question, Question)
    registry.register("pack", Question, Prompt)
    flow = create(first.to(second), second.to())
    await flow.run(registry=registry)

    sent = make_message(Question(text=" why? "), meta={"origin": "web"})
    await flow.emit(sent)
    out = await flow.fetch()
    await flow.stop()

    assert isinstance(out, Message)
    assert out.payload.prompt == "Answer: why?"
    assert out.trace_id == sent.trace_id
    assert out.headers == sent.headers
    assert out.meta == {"origin": "web"}


async def test_bare_payloads_travel_a_typed_chain(start: Start) -> None:
    async def ask(question: Question, ctx: Context) -> Prompt:
        return Prompt(prompt=question.text)

    async def answer(prompt: Prompt, ctx: Context) -> Answer:
        return Answer(answer=prompt.prompt.upper())

    asking, answering = Node(ask), Node(answer)
    registry = ModelRegistry()
    registry.register("ask", Question, Prompt)
    registry.register("answer", Prompt, Answer)
    flow = start(create(asking.to(answering)), registry=registry)
    await flow.emit(Question(text="yes"))
    assert await flow.fetch() == Answer(answer="YES")


async def test_fan_out_reaches_every_successor_in_order(start: Start, make_node: MakeNode) -> None:
    source = make_node(name="source")
    targets = [make_node(name=f"target{i}") for i in range(5)]
    flow = start(create(source.to(*targets)))
    for value in range(10):
        await flow.emit(value)
    for target in targets:
        assert [await flow.fetch(from_=target) for _ in range(10)] == list(range(10))


async def test_fan_in_takes_from_every_edge(start: Start, make_node: MakeNode) -> None:
    parents = [make_node(name=f"parent{i}") for i in range(4)]
    sink = make_node(name="sink")
    flow = start(create(*(parent.to(sink) for parent in parents)))
    for value, parent in enumerate(parents):
        await flow.emit(value, to=parent)
    assert sorted([await flow.fetch() for _ in parents]) == [0, 1, 2, 3]


async def test_a_diamond_delivers_once_per_path(start: Start, make_node: MakeNode, make_message: MakeMessage) -> None:
    top, left, right, bottom = (make_node(name=name) for name in ("top", "left", "right", "bottom"))
    flow = start(create(top.to(left, right), left.to(bottom), right.to(bottom)))
    results = [item async for item in flow.stream(make_message("x"))]
    assert [item.payload for item in results] == ["x", "x"]


async def test_a_branch_gets_only_what_is_emitted_to_it(start: Start, make_node: MakeNode) -> None:
    even, odd, unused = make_node(name="even"), make_node(name="odd"), make_node(name="unused")

    async def split(value: int, ctx: Context) -> None:
        await ctx.emit(value, to=odd if value % 2 else [even])

    flow = start(create(make_node(split).to(even, odd, unused)))
    for value in range(6):
        await flow.emit(value)
    assert [await flow.fetch(from_=even) for _ in range(3)] == [0, 2, 4]
    assert [await flow.fetch(from_=odd) for _ in range(3)] == [1, 3, 5]
    assert all(floe.empty() for floe in flow._rookery.incoming)


async def test_emit_in_a_node_keeps_envelope_and_order(start: Start, make_message: MakeMessage) -> None:
    async def spread(question: Question, ctx: Context) -> Answer:
        await ctx.emit(Answer(answer="first"))
        ctx.emit_nowait(Answer(answer="second"))
        return Answer(answer=question.text)

    registry = ModelRegistry()
    registry.register("spread", Question, Answer)
    flow = start(create(Node(spread).to()), registry=registry)
    sent = make_message(Question(text="last"), meta={"k": 1}, deadline_s=4e9)
    results = [item async for item in flow.stream(sent)]
    assert [item.payload.answer for item in results] == ["first", "second", "last"]
    assert all(isinstance(item, Message) and item.trace_id == sent.trace_id for item in results)
    assert all(item.meta == {"k": 1} and item.deadline_s == 4e9 for item in results)


async def test_unknown_targets_are_refused(start: Start, make_node: MakeNode) -> None:
    stranger = make_node(name="stranger")
    seen: list[str] = []

    async def asks(message: Any, ctx: Context) -> None:
        for emit in (ctx.emit_nowait, ctx.emit):
            try:
                done = emit(message, to=stranger)
                if done is not None:
                    await done
            except KeyError as error:
                seen.append(error.args[0])

    flow = start(create(make_node(asks).to(make_node(name="next"))))
    await flow.call(1)
    assert seen == ["Unknown target stranger for asks"] * 2
    with pytest.raises(KeyError, match="Unknown target stranger for OpenSea"):
        await flow.emit(1, to=stranger)
    with pytest.raises(KeyError, match="Unknown target stranger for OpenSea"):
        flow.emit_nowait(1, to=stranger)
    with pytest.raises(KeyError, match="Unknown source stranger for Rookery"):
        await flow.fetch(from_=stranger)


async def test_an_unknown_target_sends_nothing_at_all(start: Start, make_node: MakeNode) -> None:
    stranger, known = make_node(name="stranger"), make_node(name="known")
    flow = start(create(known.to()))
    with pytest.raises(KeyError):
        await flow.emit(1, to=[known, stranger])
    await flow.emit(2)
    assert await flow.fetch() == 2


async def test_a_node_that_returns_none_sends_nothing(start: Start, make_node: MakeNode) -> None:
    async def picky(value: int, ctx: Context) -> int | None:
        return value or None

    flow = start(create(make_node(picky).to(make_node())))
    await flow.emit(0)
    await flow.emit(7)
    assert await flow.fetch() == 7
    assert await flow.call(0) is None


@pytest.mark.parametrize("value", [0, False, "", [], {}])
async def test_falsy_results_are_results(start: Start, make_node: MakeNode, value: Any) -> None:
    flow = start(create(make_node().to(make_node(name="next"))))
    await flow.emit(value)
    assert await flow.fetch() == value


async def test_queue_of_one_lets_two_in_and_holds_the_third(start: Start, make_node: MakeNode, until: Until) -> None:
    gate = asyncio.Event()
    order: list[int] = []

    async def slow(value: int, ctx: Context) -> int:
        order.append(value)
        await gate.wait()
        return value

    flow = start(create(make_node(slow).to(), queue_maxsize=1))
    await flow.emit(1)
    await asyncio.sleep(0)
    second = asyncio.create_task(flow.emit(2))
    third = asyncio.create_task(flow.emit(3))
    await asyncio.sleep(0)
    assert second.done()
    for _ in range(10):
        await asyncio.sleep(0)
    assert not third.done()
    gate.set()
    await third
    assert [await flow.fetch() for _ in range(3)] == [1, 2, 3]
    assert order == [1, 2, 3]


async def test_many_waiting_senders_keep_their_order(start: Start, make_node: MakeNode) -> None:
    flow = start(create(make_node().to(make_node(name="next")), queue_maxsize=1))
    senders = [asyncio.create_task(flow.emit(value)) for value in range(50)]
    assert [await flow.fetch() for _ in range(50)] == list(range(50))
    await asyncio.gather(*senders)


async def test_a_sender_that_gives_up_passes_its_turn_on(start: Start, make_node: MakeNode, until: Until) -> None:
    gate = asyncio.Event()

    async def gated(value: int, ctx: Context) -> int:
        await gate.wait()
        return value

    flow = start(create(make_node(gated).to(), queue_maxsize=1))
    entry = flow._open_sea.outgoing[0]
    for value in (1, 2):
        await flow.emit(value)
        await asyncio.sleep(0)
    quitter = asyncio.create_task(flow.emit(3))
    await until(lambda: len(entry.putters) == 1)
    stayer = asyncio.create_task(flow.emit(4))
    await until(lambda: len(entry.putters) == 2)
    turn = entry.putters[0]
    gate.set()
    await until(turn.done)
    quitter.cancel()
    assert [await flow.fetch() for _ in range(3)] == [1, 2, 4]
    await stayer
    assert quitter.cancelled()


async def test_emit_nowait_needs_room(start: Start, make_node: MakeNode) -> None:
    flow = start(create(make_node().to(), queue_maxsize=1))
    flow.emit_nowait(1)
    with pytest.raises(asyncio.QueueFull):
        flow.emit_nowait(2)
    assert await flow.fetch() == 1
    flow.emit_nowait(3)
    assert await flow.fetch() == 3
    with pytest.raises(RuntimeError, match=r"emit_nowait\(trace_id=...\) is not supported"):
        flow.emit_nowait(4, trace_id="t")


async def test_emit_nowait_sends_to_all_or_to_none(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    left, right = make_node(name="left"), make_node(name="right")
    flow = create(left.to(), right.to(), queue_maxsize=1)
    flow.emit_nowait(1, to=left)
    with pytest.raises(asyncio.QueueFull):
        flow.emit_nowait(make_message(2))
    assert not flow._traces
    start(flow)
    assert await flow.fetch() == 1
    assert all(floe.empty() for floe in flow._graph.floes)


async def test_emit_before_run_waits_for_run(
    start: Start, make_node: MakeNode, make_message: MakeMessage, recorder: MemoryRecorder
) -> None:
    flow = create(make_node().to(make_node(name="next")))
    await flow.emit(1)
    await flow.emit(make_message(2, trace_id="early"))
    start(flow, recorder=recorder)
    assert await flow.fetch() == 1
    assert (await flow.fetch()).payload == 2
    assert not flow._traces
    recorder.check()
    assert recorder.of("early").status == "ok"


async def test_an_empty_flow_swallows_what_is_emitted(start: Start, make_message: MakeMessage) -> None:
    flow = start(create())
    await flow.emit(make_message(1))
    flow.emit_nowait(2)
    assert await flow.call(make_message(3)) is None
    assert [item async for item in flow.stream(4)] == []
    assert not flow._traces


async def test_a_flow_without_an_entry_says_so(start: Start, make_node: MakeNode, make_message: MakeMessage) -> None:
    a, b = make_node(name="a"), make_node(name="b")
    flow = start(create(a.to(b), b.to(a), allow_cycles=True))
    assert flow.ingress == ()
    with pytest.raises(RuntimeError, match="no entry"):
        await flow.emit(make_message(1))
    with pytest.raises(RuntimeError, match="no entry"):
        flow.emit_nowait(1)
    with pytest.raises(RuntimeError, match="no entry"):
        await flow.call(1)
    assert not flow._traces


def test_cycles_are_refused_unless_allowed(make_node: MakeNode) -> None:
    a, b, c = (make_node(name=name) for name in "abc")
    with pytest.raises(CycleError, match="Flow contains a cycle; enable allow_cycles to bypass"):
        create(a.to(b), b.to(c), c.to(b))
    with pytest.raises(CycleError):
        create(a.to(a))
    loop = make_node(name="loop", allow_cycle=True)
    flow = create(loop.to(loop))
    assert flow.ingress == (loop,)
    assert set(flow.edges) == {("OpenSea", "loop"), ("loop", "loop"), ("loop", "Rookery")}
    assert issubclass(CycleError, RuntimeError)


async def test_run_is_refused_twice_and_possible_after_a_failure(start: Start, make_node: MakeNode) -> None:
    flow = create(
        Node(make_node().func, name="zeta").to(Node(make_node().func, name="alpha")), make_node(name="free").to()
    )
    with pytest.raises(RuntimeError) as missing:
        flow.run(registry=ModelRegistry())
    assert str(missing.value) == "ModelRegistry is missing entries for nodes requiring validation: alpha, zeta"
    start(flow)
    assert flow.running
    with pytest.raises(RuntimeError, match="PenguiFlow already running"):
        flow.run()


def test_run_needs_a_loop(make_node: MakeNode) -> None:
    flow = create(make_node().to())
    with pytest.raises(RuntimeError, match="no running event loop"):
        flow.run()
    assert not flow.running


def test_the_graph_can_be_looked_at(make_node: MakeNode) -> None:
    a, b, c = (make_node(name=name) for name in "abc")
    flow = create(a.to(b, c), b.to(c))
    assert isinstance(flow, PenguiFlow)
    assert flow.nodes == (a, b, c)
    assert flow.ingress == (a,)
    assert set(flow.edges) == {("OpenSea", "a"), ("a", "b"), ("a", "c"), ("b", "c"), ("c", "Rookery")}
    assert flow.registry is None
    assert (OPEN_SEA.name, ROOKERY.name, DEFAULT_QUEUE_MAXSIZE) == ("OpenSea", "Rookery", 64)


async def test_a_context_outside_a_flow_says_so(make_node: MakeNode) -> None:
    context = Context(make_node())
    with pytest.raises(RuntimeError, match="Context is not attached to a running flow"):
        await context.emit(1)
    with pytest.raises(RuntimeError, match="context has no incoming floes to fetch from"):
        await context.fetch()
    with pytest.raises(asyncio.QueueEmpty, match="no messages available"):
        context.fetch_nowait()


async def test_an_unbounded_edge_never_blocks(start: Start, make_node: MakeNode) -> None:
    flow = create(make_node().to(), queue_maxsize=0)
    for value in range(500):
        flow.emit_nowait(value)
    start(flow)
    assert [await flow.fetch() for _ in range(500)] == list(range(500))


async def test_objects_that_carry_a_trace_id_are_traced(start: Start, make_node: MakeNode) -> None:
    class Job(BaseModel):
        trace_id: str
        size: int

    seen: list[str | None] = []

    async def look(job: Job, ctx: Context) -> int:
        seen.append(ctx.trace_id)
        return job.size

    flow = start(create(make_node(look).to()))
    await flow.emit(Job(trace_id="job-1", size=3))
    assert await flow.fetch() == 3
    assert seen == ["job-1"]


async def test_a_final_answer_leaves_past_the_successors(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    ran: list[str] = []

    async def answers(message: Message, ctx: Context) -> Message:
        ran.append("answers")
        return message.model_copy(update={"payload": FinalAnswer(text=message.payload)})

    async def after(message: Message, ctx: Context) -> Message:
        ran.append("after")
        return message

    flow = start(create(make_node(answers).to(make_node(after))))
    for text in ("one", "two", "three"):
        await flow.emit(make_message(text))
        assert (await flow.fetch()).payload == FinalAnswer(text=text)
    assert (await flow.call(make_message("four"))).payload == FinalAnswer(text="four")
    assert ran == ["answers"] * 4
    assert not flow._traces
