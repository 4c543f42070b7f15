"""What a run says is a stream of its trace: answers, thoughts and tools apart, what is not used taken back."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_core import to_json

from penguiflow import Context, Headers, Message, ModelRegistry, Node, NodePolicy, StreamChunk, create
from penguiflow.checkpoints import Checkpoint, Decision
from penguiflow.llm.errors import LLMServerError
from penguiflow.llm.scripted import ScriptedModel, ScriptedReply
from penguiflow.llm.types import ToolCallPart
from penguiflow.planner import PlannerFinish, ReactPlanner
from penguiflow.planner.config import ReflectionConfig
from penguiflow.planner.requests import PlannerRequest
from penguiflow.recording import EventRecord, TraceEvent
from penguiflow.recording.cassette import Cassette
from penguiflow.recording.diff import diff_traces
from penguiflow.recording.frontier import frontier, read_frontier
from penguiflow.recording.replay import replay
from penguiflow.state import SQLiteStateStore
from penguiflow.streaming import format_sse_event, stream_flow

ASKED = Message(payload=PlannerRequest(query="How many?"), headers=Headers(tenant="t"))
LONG = "Three of them, as far as I can see from here."


class Number(BaseModel):
    n: int


@dataclass
class Said:
    """One stream, put together."""

    text: str = ""
    meta: dict[str, Any] = field(default_factory=dict)
    numbers: list[int] = field(default_factory=list)
    over: bool = False

    @property
    def void(self) -> bool:
        return bool(self.meta.get("superseded"))


def streams(chunks: list[StreamChunk]) -> dict[str, Said]:
    """Streams by their names. A piece after the last one is a fault."""
    found: defaultdict[str, Said] = defaultdict(Said)
    for chunk in chunks:
        said = found[chunk.stream_id]
        assert not said.over, chunk
        said.text += chunk.text
        said.numbers.append(chunk.seq)
        said.meta, said.over = chunk.meta, chunk.done
    for said in found.values():
        assert said.numbers == list(range(len(said.numbers)))
    return dict(found)


def logged(events: list[TraceEvent]) -> list[StreamChunk]:
    """The pieces that a log has."""
    return [
        StreamChunk(seq=event.data["chunk_seq"], **{k: event.data[k] for k in ("stream_id", "text", "done", "meta")})
        for event in events
        if event.kind == "stream.chunk"
    ]


def answers(found: dict[str, Said]) -> list[str]:
    """The texts of the answers that were not taken back."""
    return [said.text for said in found.values() if said.meta["channel"] == "answer" and said.over and not said.void]


async def heard(planner: ReactPlanner, log: Any = None, **about: Any) -> tuple[list[StreamChunk], Any]:
    """The pieces that a caller gets of a run, and its result."""
    flow, registry = planner.as_flow()
    flow.run(registry=registry, recorder=None if log is None else log.recorder(), **about)
    chunks, result = [], None
    try:
        async for item in flow.stream(ASKED):
            if isinstance(item.payload, StreamChunk):
                chunks.append(item.payload)
            else:
                result = item.payload
    finally:
        await flow.stop()
    return chunks, result


def streaming(kit: Any, *tools: Any, script: Any = (), **options: Any) -> ReactPlanner:
    made: ReactPlanner = kit.planner_of(*tools, script=script, stream_final_response=True, **options)
    return made


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penguiflow.planner.model_calls.BACKOFF_S", 0.0)


@pytest.mark.parametrize("recorded", [True, False])
async def test_an_answer_comes_in_pieces(kit: Any, recorded: bool) -> None:
    log = kit.Log()
    chunks, result = await heard(streaming(kit, script=[kit.answer(LONG)]), log if recorded else None)
    assert isinstance(result, PlannerFinish)
    [said] = streams(chunks).values()
    assert said.text == result.payload["raw_answer"] == LONG
    assert said.over
    assert said.meta["channel"] == "answer"
    assert len(said.numbers) > 3
    if recorded:
        assert logged(log.events) == [StreamChunk(**chunk.model_dump()) for chunk in chunks]


async def test_without_streaming_there_is_none(kit: Any) -> None:
    log = kit.Log()
    chunks, result = await heard(kit.planner_of(script=[kit.answer(LONG)]), log)
    assert result.payload["raw_answer"] == LONG
    assert chunks == logged(log.events) == []


async def test_a_model_that_does_not_stream_gives_one_piece(kit: Any) -> None:
    class Whole:
        async def complete(self, *, messages: Any, **about: Any) -> str:
            return '{"next_node": "final_response", "args": {"answer": "Three."}}'

    planner = streaming(kit, model=None, llm_client=Whole())
    chunks, _ = await heard(planner)
    assert [(chunk.text, chunk.done) for chunk in chunks] == [("Three.", False), ("", True)]


async def test_thoughts_are_a_stream_of_their_own(kit: Any) -> None:
    reply = ScriptedReply(text=json.dumps(kit.answer("Three.")), reasoning="One, two, three.")
    chunks, _ = await heard(streaming(kit, script=[reply]))
    by_channel = {said.meta["channel"]: said for said in streams(chunks).values()}
    assert {channel: said.text for channel, said in by_channel.items()} == {
        "thinking": "One, two, three.",
        "answer": "Three.",
    }
    assert all(said.over and not said.void for said in by_channel.values())


async def test_an_attempt_that_broke_off_is_taken_back(kit: Any) -> None:
    begun = '{"next_node": "final_response", "args": {"answer": "Thirteen peng'
    broken = ScriptedReply(text=begun, reasoning="Hm.", error=LLMServerError("gone"))
    log = kit.Log()
    chunks, _ = await heard(streaming(kit, script=[broken, kit.answer(LONG)]), log)
    found = streams(chunks)
    assert answers(found) == [LONG]
    assert {said.meta["channel"]: said.text for said in found.values() if said.void} == {
        "answer": "Thirteen peng",
        "thinking": "Hm.",
    }
    assert all(said.over for said in found.values())


@pytest.mark.parametrize(
    "decision", [Decision.retry, Decision.skip(json.dumps({"next_node": "final_response", "args": {"answer": "Two."}}))]
)
async def test_what_a_failed_call_said_is_taken_back_by_who_decides_upon_it(kit: Any, decision: Decision) -> None:
    async def decide(at: Checkpoint) -> Decision | None:
        return decision if at.kind == "on_error" else None

    begun = '{"next_node": "final_response", "args": {"answer": "Thir'
    script = [ScriptedReply(text=begun, error=LLMServerError("gone")), kit.answer("Two.")]
    chunks, _ = await heard(streaming(kit, script=script, interceptors=[decide], llm_max_retries=0))
    assert [(said.text, said.void) for said in streams(chunks).values()] == [("Thir", True), ("Two.", False)]


async def test_a_text_beside_a_tool_call_is_taken_back(kit: Any) -> None:
    async def double(args: Number, ctx: Any) -> Number:
        return Number(n=2 * args.n)

    calls = ScriptedReply(text="Let me see.", tool_calls=[ToolCallPart("double", '{"n": 2}', "c1")])
    planner = streaming(kit, double, script=[calls, ScriptedReply(text="Four.")], tool_call_mode="native")
    found = streams((await heard(planner))[0])
    assert [(said.text, said.void) for said in found.values()] == [("Let me see.", True), ("Four.", False)]


async def test_an_answer_that_somebody_edits_is_said_in_its_place(kit: Any) -> None:
    async def edit(at: Checkpoint) -> Decision | None:
        return Decision.edit("Four.") if at.kind == "before_finish" else None

    planner = streaming(kit, script=[kit.answer("Three.")], interceptors=[edit])
    found = streams((await heard(planner))[0])
    assert [(said.text, said.void) for said in found.values()] == [("Three.", True), ("Four.", False)]


async def test_a_revised_answer_is_the_one_that_counts(kit: Any) -> None:
    poor, good = '{"score": 0.1, "passed": false, "feedback": "no"}', '{"score": 1.0, "passed": true, "feedback": ""}'
    planner = streaming(
        kit,
        script=[kit.answer("Three."), poor, kit.answer("Four."), good],
        reflection_config=ReflectionConfig(enabled=True, max_revisions=1),
    )
    chunks, result = await heard(planner)
    found = streams(chunks)
    assert answers(found) == [result.payload["raw_answer"]] == ["Four."]
    assert [said.text for said in found.values() if said.void] == ["Three."]


async def test_tools_have_streams_of_their_own(kit: Any) -> None:
    tried = 0

    async def count(args: Number, ctx: Any) -> Number:
        nonlocal tried
        tried += 1
        await ctx.emit_chunk("log", 0, f"{args.n} ")
        if args.n == 2 and tried <= 2:
            raise ConnectionError("not now")
        await ctx.emit_chunk("log", 1, "done", done=args.n == 1, meta={"level": "info"})
        return args

    planner = streaming(
        kit,
        count,
        script=[kit.plan(kit.call("count", n=1), kit.call("count", n=2)), kit.answer("Two.")],
        policies={"count": NodePolicy(max_retries=3, backoff_base=0.0)},
    )
    log = kit.Log()
    found = streams((await heard(planner, log))[0])
    assert answers(found) == ["Two."]
    tools = [said for said in found.values() if said.meta["channel"] == "tool"]
    assert sorted((said.text, said.void, said.over) for said in tools) == [
        ("1 done", False, True),
        ("2 ", True, True),
        ("2 done", False, True),
    ]
    assert {said.meta["tool"] for said in tools} == {"count"}
    assert next(said.meta["meta"] for said in tools if said.text == "1 done") == {
        "channel": "thinking",
        "level": "info",
    }
    calls = {event.span_id: event.name for event in log.events if event.kind == "tool.start"}
    chunks = [event for event in log.events if event.kind == "stream.chunk" and event.data["meta"]["channel"] == "tool"]
    assert {calls[event.data["of"]] for event in chunks} == {"count"}


async def test_a_planner_within_a_node_is_heard_in_the_log_alone(kit: Any) -> None:
    inner = streaming(kit, script=[kit.answer(LONG)])

    async def advise(number: Number, ctx: Context) -> Number:
        await inner.run("How many?", ctx=ctx)
        return Number(n=number.n + 1)

    async def add(number: Number, ctx: Context) -> Number:
        return Number(n=number.n + 1)

    first, second = Node(advise), Node(add)
    flow, registry, log = create(first.to(second), second.to()), ModelRegistry(), kit.Log()
    registry.register("advise", Number, Number)
    registry.register("add", Number, Number)
    flow.run(registry=registry, recorder=log.recorder())
    assert [item async for item in flow.stream(Number(n=1))] == [Number(n=3)]
    await flow.stop()
    assert answers(streams(logged(log.events))) == [LONG]


async def test_a_slow_reader_gets_larger_pieces(kit: Any) -> None:
    text = "word " * 400
    flow, registry = streaming(kit, script=[kit.answer(text)]).as_flow()
    flow._results_maxsize = 2
    flow.run(registry=registry)
    chunks = []
    async for item in flow.stream(ASKED):
        for _ in range(20):
            await asyncio.sleep(0)  # the model goes on
        if isinstance(item.payload, StreamChunk):
            chunks.append(item.payload)
    await flow.stop()
    assert len(chunks) < 60
    assert answers(streams(chunks)) == [text]


async def test_helpers_end_with_the_answer(kit: Any) -> None:
    broken = ScriptedReply(
        text='{"next_node": "final_response", "args": {"answer": "No', error=LLMServerError("gone"), reasoning="Hm."
    )
    reply = ScriptedReply(text='{"next_node": "final_response", "args": {"answer": "Three."}}', reasoning="So.")
    flow, registry = streaming(kit, script=[broken, reply]).as_flow()
    flow.run(registry=registry)
    chunks = [item async for item in stream_flow(flow, ASKED)]
    await flow.stop()
    names = [format_sse_event(chunk).partition("event: meta")[2].split("event: ")[1].split("\n")[0] for chunk in chunks]
    assert answers(streams(chunks)) == ["Three."]
    assert names == ["chunk"] * (len(chunks) - 1) + ["done"]


class World:
    """A run that says much: tools, an attempt that breaks off, a repair, thoughts."""

    def __init__(self, kit: Any) -> None:
        self.kit = kit

    def planner(self, **options: Any) -> ReactPlanner:
        kit = self.kit

        async def count(args: Number, ctx: Any) -> Number:
            for number in range(3):
                await ctx.emit_chunk("log", number, f"<{args.n}.{number}>")
            return args

        def reply(request: Any) -> Any:
            done = sum(message.role == "assistant" for message in request.messages)
            if done == 0:
                return kit.plan(kit.call("count", n=1), kit.call("count", n=2))
            return ScriptedReply(text=json.dumps(kit.answer(LONG)), reasoning="Hm")

        model = ScriptedModel(rules=[(lambda _: True, reply)])
        return streaming(kit, count, model=model, **options)


async def recorded(kit: Any) -> tuple[Any, Any]:
    log = kit.Log()
    _, result = await heard(World(kit).planner(), log)
    return result, log


async def test_a_replay_says_the_same_and_nothing_differs(kit: Any, tmp_path: Path) -> None:
    finish, origin = await recorded(kit)
    flow, registry = World(kit).planner().as_flow()
    log = kit.Log()
    outcome = await replay(flow, Cassette.of(origin.events), registry=registry, recorder=log.recorder())
    assert outcome.check().same
    assert outcome.output.payload == finish.payload
    assert answers(streams(logged(log.events))) == [LONG]
    store = SQLiteStateStore(tmp_path / "state.db")
    for record in (*origin.records, *log.records):
        store.sink.write(record)
    await store.flush()
    compared = await diff_traces((store, origin.events[0].trace_id), (store, log.events[0].trace_id))
    await store.close()
    assert compared.differences == []


async def test_a_fork_at_any_event_says_all_of_its_answer(kit: Any) -> None:
    finish, origin = await recorded(kit)
    events = origin.events
    for seq in points(events):
        flow, registry = World(kit).planner().as_flow()
        log = kit.Log()
        flow.run(registry=registry, recorder=log.recorder())
        results = [item async for item in flow.restore(frontier(events, seq), trace_id="0123456789abcdef-fork")]
        await flow.stop()
        chunks = [item.payload for item in results if isinstance(item.payload, StreamChunk)]
        assert results[-1].payload.payload == finish.payload, seq
        assert answers(streams(chunks)) == [LONG], seq


async def test_a_resumed_run_does_not_say_again_what_was_said(kit: Any, tmp_path: Path) -> None:
    finish, origin = await recorded(kit)
    for seq in points(origin.events)[::2]:
        events = await resumed(kit, origin.records[: seq + 1], tmp_path / f"{seq}.db", finish)
        check(events, seq)
        if seq % 5 == 2:
            # It is interrupted once more, in the middle of what was left.
            cut = [_record(event) for event in events[: (seq + len(events)) // 2]]
            check(await resumed(kit, cut, tmp_path / f"{seq}-again.db", finish), seq)


async def test_a_resumed_run_does_not_say_a_revised_answer_again(kit: Any, tmp_path: Path) -> None:
    def reply(request: Any) -> Any:
        said = [message.text for message in request.messages if message.role == "assistant"]
        if request.structured_output is not None and "passed" in json.dumps(request.structured_output.json_schema):
            passed = LONG in request.messages[-1].text
            return json.dumps({"score": float(passed), "passed": passed, "feedback": "longer"})
        return kit.answer(LONG if said else "Three of them.")

    def planner() -> ReactPlanner:
        model = ScriptedModel(rules=[(lambda _: True, reply)])
        return streaming(kit, model=model, reflection_config=ReflectionConfig(enabled=True, max_revisions=1))

    log = kit.Log()
    _, finish = await heard(planner(), log)
    said_all = max(event.seq for event in log.events if event.kind == "stream.chunk")
    for seq in points(log.events):
        events = await resumed(kit, log.records[: seq + 1], tmp_path / f"{seq}.db", finish, planner)
        found = streams(logged(events))
        assert answers(found) == [LONG], seq
        assert all(said.over for said in found.values()), seq
        if seq >= said_all:
            assert logged(events) == logged(log.events), seq


async def resumed(kit: Any, records: list[EventRecord], file: Path, finish: Any, make: Any = None) -> list[TraceEvent]:
    """All events of a run that is taken up where `records` end."""
    store, trace_id = SQLiteStateStore(file), records[0].trace_id
    for record in records:
        store.sink.write(record)
    await store.flush()
    flow, registry = (make or World(kit).planner)().as_flow()
    flow.run(registry=registry, recorder=store.recorder())
    results = [item async for item in flow.restore(await read_frontier(store, trace_id))]
    await flow.stop()
    await store.flush()
    events = await store.load_events(trace_id)
    await store.close()
    assert results[-1].payload.payload == finish.payload
    delivered = [item.payload for item in results if isinstance(item.payload, StreamChunk)]
    assert [chunk.model_dump() for chunk in delivered] == [c.model_dump() for c in logged(events[len(records) :])]
    return events


def check(events: list[TraceEvent], seq: int) -> None:
    """Every stream was said once, in order and to its end."""
    found = streams(logged(events))
    assert answers(found) == [LONG], seq
    assert all(said.over for said in found.values()), seq
    tools = sorted(said.text for said in found.values() if said.meta["channel"] == "tool" and not said.void)
    assert tools == ["<1.0><1.1><1.2>", "<2.0><2.1><2.2>"], seq


def _record(event: TraceEvent) -> EventRecord:
    return EventRecord(*event[:9], to_json(event.data))


def points(events: list[TraceEvent]) -> range:
    """From the beginning of the run to before its result."""
    begun = next(event.seq for event in events if event.kind == "node.start")
    return range(begun, next(event.seq for event in events if event.data.get("target") == "Rookery"))
