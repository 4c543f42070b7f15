"""A node asks somebody: code, a recording, or nobody."""

from __future__ import annotations

import asyncio
from datetime import date
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from penguiflow import Context, Message, ModelRegistry, Node, NodePolicy, PenguiFlow, create
from penguiflow.asking import NobodyAnswers, Question
from penguiflow.errors import FlowError
from penguiflow.llm.scripted import ScriptedModel
from penguiflow.planner import PlannerFinish, PlannerPause, PlannerRequest, ReactPlanner
from penguiflow.recording import EventRecord, Recorder, TraceEvent
from penguiflow.recording.cassette import Cassette
from penguiflow.recording.frontier import frontier
from penguiflow.recording.replay import replay


class Day(BaseModel):
    when: date
    mood: Literal["good", "bad"]


class Sink(list[EventRecord]):
    def write(self, record: EventRecord) -> None:
        self.append(record)

    @property
    def events(self) -> list[TraceEvent]:
        return [record.decode() for record in self]


def asking(*questions: tuple[str, Any], **policy: Any) -> PenguiFlow:
    async def ask(message: Message, ctx: Context) -> Any:
        return [await ctx.ask(prompt, schema) for prompt, schema in questions]

    return create(Node(ask, name="ask", policy=NodePolicy(validate="none", **policy)).to())


class Desk:
    """Somebody who gives the same answer to everything, or goes away when asked."""

    there = True

    def __init__(self, given: Any = None, *, leaves: bool = False) -> None:
        self.asked: list[Question] = []
        self.given = given
        self.leaves = leaves

    async def answer(self, question: Question) -> Any:
        self.asked.append(question)
        if self.leaves:
            raise NobodyAnswers("gone")
        return self.given


async def result_of(flow: PenguiFlow, message: Any, recorder: Any = None) -> Any:
    flow.run(recorder=recorder)
    try:
        result = await flow.call(message)
        return result.payload if isinstance(result, Message) else result
    finally:
        await flow.stop()


async def test_code_answers_each_in_its_type(make_message: Any) -> None:
    flow = asking(("How many?", int), ("Really?", bool), ("Which day?", Day), ("Name?", str))
    asked: list[Any] = []

    async def answer(prompt: str, schema: Any) -> Any:
        asked.append((prompt, schema))
        return {
            "How many?": "3",
            "Really?": True,
            "Which day?": '{"when": "2026-01-02", "mood": "good"}',
            "Name?": "3",
        }[prompt]

    flow.answer_with(answer)
    given = await result_of(flow, make_message("q"))
    assert given == [3, True, Day(when=date(2026, 1, 2), mood="good"), "3"]
    assert [schema for _, schema in asked] == [int, bool, Day, str]


async def test_an_answer_that_does_not_fit_is_asked_for_again(make_message: Any) -> None:
    flow, prompts = asking(("How many?", int)), []

    def answer(prompt: str, schema: Any) -> Any:
        prompts.append(prompt)
        return 4 if len(prompts) == 3 else "many"

    flow.answer_with(answer)
    assert await result_of(flow, make_message("q")) == [4]
    assert prompts[0] == "How many?"
    assert prompts[2].startswith('How many?\n(the answer "many" does not fit: Input should be a valid integer')

    flow = asking(("How many?", int))
    flow.answer_with(lambda prompt, schema: "many")
    with pytest.raises(FlowError, match="no answer to 'How many\\?' that fits, 10 times"):
        await result_of(flow, make_message("q"))


async def test_without_anybody_the_node_is_told(make_message: Any) -> None:
    flow = asking(("How many?", int))
    with pytest.raises(FlowError) as caught:
        await result_of(flow, make_message("q"))
    cause = caught.value.unwrap()
    assert isinstance(cause, NobodyAnswers)
    assert "nobody is there to answer 'How many?'" in str(cause)


async def test_who_answers_knows_where_it_is_asked(make_message: Any) -> None:
    flow, desk, sink = asking(("How many?", int)), Desk(1), Sink()
    flow.answer_with(desk)
    message = make_message("q")
    await result_of(flow, message, Recorder(sink))
    [question] = desk.asked
    assert (question.trace_id, question.asker, question.json_schema) == (message.trace_id, "ask", {"type": "integer"})
    assert question.span_id == next(event.span_id for event in sink.events if event.kind == "node.start")
    assert question.problem("7") is None
    assert str(question.problem("x")).startswith('the answer "x" does not fit: Input should be a valid integer')


async def test_answers_are_recorded_and_asked_for_once(make_message: Any) -> None:
    questions = (("How many?", int), ("Which day?", Day))
    flow, sink = asking(*questions), Sink()
    flow.answer_with(lambda prompt, schema: 3 if schema is int else {"when": "2026-01-02", "mood": "bad"})
    given = await result_of(flow, make_message("q"), Recorder(sink))

    outcome = await replay(asking(*questions), Cassette.of(sink.events))
    assert outcome.check().output == given

    first = next(event.seq for event in sink.events if event.kind == "record")
    again, asked = asking(*questions), []

    def answer(prompt: str, schema: Any) -> Any:
        asked.append(prompt)
        return {"when": "2026-01-02", "mood": "bad"}

    again.answer_with(answer)
    again.run(recorder=Recorder(Sink()))
    results = [r async for r in again.restore(frontier(sink.events, first), trace_id="0123456789abcdef-fork")]
    await again.stop()
    assert results == [given]
    assert asked == ["Which day?"]


async def test_a_replay_asks_nobody(make_message: Any) -> None:
    flow, sink = asking(("How many?", int)), Sink()
    with pytest.raises(FlowError):
        await result_of(flow, make_message("q"), Recorder(sink))
    again = asking(("How many?", int))
    again.answer_with(lambda prompt, schema: 3)
    outcome = await replay(again, Cassette.of(sink.events))
    assert outcome.same
    assert outcome.status == "error"


async def test_who_is_cancelled_asks_no_more(make_message: Any) -> None:
    begun, gone = asyncio.Event(), asyncio.Event()

    async def answer(prompt: str, schema: Any) -> Any:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            gone.set()

    flow, message = asking(("How many?", int)), make_message("q")
    flow.answer_with(answer)
    flow.run()
    call = asyncio.create_task(flow.call(message))
    async with asyncio.timeout(60):
        await begun.wait()
        assert await flow.cancel(message.trace_id)
        await gone.wait()
    with pytest.raises(FlowError):
        await call
    await flow.stop()


async def test_a_playbook_asks_who_answers_its_caller(make_message: Any) -> None:
    def playbook() -> tuple[PenguiFlow, None]:
        return asking(("How many?", int)), None

    async def call(message: Message, ctx: Context) -> Any:
        return await ctx.call_playbook(playbook, message)

    flow, desk, sink = create(Node(call, name="call", policy=NodePolicy(validate="none")).to()), Desk(5), Sink()
    flow.answer_with(desk)
    assert await result_of(flow, make_message("q"), Recorder(sink)) == [5]
    assert [question.asker for question in desk.asked] == ["ask"]
    again = create(Node(call, name="call", policy=NodePolicy(validate="none")).to())
    assert (await replay(again, Cassette.of(sink.events))).check().output == [5]


class Amount(BaseModel):
    n: int


def planner() -> ReactPlanner:
    async def count(args: Amount, ctx: Any) -> Amount:
        return Amount(n=await ctx.ask("How many?", int))

    registry = ModelRegistry()
    registry.register("count", Amount, Amount)
    script = [
        {"next_node": "count", "args": {"n": 0}},
        {"next_node": "final_response", "args": {"answer": "So many."}},
    ]
    return ReactPlanner(ScriptedModel(script), nodes=[Node(count, name="count")], registry=registry)


async def run(desk: Desk | None, sink: Sink) -> Any:
    flow, registry = planner().as_flow()
    flow.answer_with(desk)
    flow.run(registry=registry, recorder=Recorder(sink))
    try:
        return await flow.call(PlannerRequest(query="Count"))
    finally:
        await flow.stop()


async def test_a_tool_asks_who_answers_the_flow_and_else_pauses() -> None:
    sink = Sink()
    finish = await run(Desk(7), sink)
    assert isinstance(finish, PlannerFinish)
    assert finish.metadata["steps"][0]["observation"] == {"n": 7}

    for desk in (None, Desk(leaves=True)):
        pause = await run(desk, Sink())
        assert isinstance(pause, PlannerPause)
        assert pause.payload == {"prompt": "How many?", "schema": {"type": "integer"}}


@pytest.mark.parametrize("desk", [Desk(7), Desk(leaves=True), None])
async def test_a_replay_of_a_planner_goes_the_way_that_was_recorded(desk: Desk | None) -> None:
    sink = Sink()
    result = await run(desk, sink)
    for other in (None, Desk(8)):
        flow, registry = planner().as_flow()
        flow.answer_with(other)
        outcome = await replay(flow, Cassette.of(sink.events), registry=registry)
        assert outcome.check().output.model_dump() == result.model_dump()
        assert other is None or other.asked == []


def looking(*, then_ask: bool = True) -> PenguiFlow:
    async def look(message: Message, ctx: Context) -> Any:
        there = ctx.may_ask("How many?", int)
        return [there, await ctx.ask("How many?", int) if there and then_ask else None]

    return create(Node(look, name="look", policy=NodePolicy(validate="none")).to())


async def test_a_node_may_know_whether_somebody_would_answer(make_message: Any) -> None:
    assert await result_of(looking(), make_message("x")) == [False, None]
    flow = looking()
    flow.answer_with(Desk(3))
    assert await result_of(flow, make_message("x")) == [True, 3]


@pytest.mark.parametrize("there", [True, False])
async def test_a_replay_knows_it_too(make_message: Any, there: bool) -> None:
    """What was answered is answered again where nobody is; where nobody was, nobody is asked."""
    sink, flow = Sink(), looking()
    flow.answer_with(Desk(3) if there else None)
    first = await result_of(flow, make_message("x"), Recorder(sink))

    again = looking()
    again.answer_with(None if there else Desk(4))
    outcome = (await replay(again, Cassette.of(sink.events))).check()
    assert outcome.output == first == ([True, 3] if there else [False, None])
