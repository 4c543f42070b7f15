"""A recorded run is replayed as it was, and goes on from any of its events without asking anything twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from pydantic import BaseModel

from penguiflow import NodePolicy
from penguiflow.checkpoints import Checkpoint, Decision
from penguiflow.llm.errors import LLMServerError
from penguiflow.llm.scripted import ScriptedModel, ScriptedReply
from penguiflow.llm.types import LLMRequest
from penguiflow.planner import PlannerFinish, ReactPlanner
from penguiflow.recording import TraceEvent
from penguiflow.recording.cassette import Cassette
from penguiflow.recording.frontier import frontier
from penguiflow.recording.replay import replay


class Number(BaseModel):
    n: int


class Numbers(BaseModel):
    all: list[int]


class World:
    """Tools and a model, and how often each of them was asked."""

    def __init__(self, kit: Any) -> None:
        self.kit = kit
        self.asked: Counter[str] = Counter()
        self.failed = False

    def planner(self, **options: Any) -> ReactPlanner:
        world = self

        async def double(args: Number, ctx: Any) -> Number:
            world.asked["double"] += 1
            seen = await ctx.record("disk", world.disk, args.n)
            await asyncio.sleep(0)
            return Number(n=seen * 2)

        async def shaky(args: Number, ctx: Any) -> Number:
            world.asked["shaky"] += 1
            if not world.failed:
                world.failed = True
                raise ConnectionError("not now")
            return args

        async def broken(args: Number, ctx: Any) -> Number:
            world.asked["broken"] += 1
            raise ValueError("never")

        async def total(args: Numbers, ctx: Any) -> Number:
            world.asked["total"] += 1
            assert ctx.tool_context["parallel_success_count"] == 2
            return Number(n=sum(args.all))

        tools = [double, shaky, broken, total]
        policies = {"shaky": NodePolicy(max_retries=2, backoff_base=0.0)}
        made: ReactPlanner = self.kit.planner_of(
            *tools, model=ScriptedModel(rules=[(lambda _: True, self.reply)]), policies=policies, **options
        )
        return made

    def disk(self, n: int) -> int:
        self.asked["disk"] += 1
        return n

    def reply(self, request: LLMRequest) -> Any:
        done = sum(message.role == "assistant" for message in request.messages)
        self.asked[f"model {done}"] += 1
        if done == 1 and self.asked["model 1"] == 1:
            raise LLMServerError("down")
        call, plan = self.kit.call, self.kit.plan
        return [
            call("double", n=1),
            call("shaky", n=2),
            call("broken", n=3),
            plan(
                call("double", n=4),
                call("double", n=5),
                join={"node": "total", "args": {}, "inject": {"all": "$results"}},
            ),
            plan(call("double", n=6), call("double", n=7), join={"node": "total", "inject": {"all": "$results"}}),
            "no JSON at all, and yet an answer",
        ][done]


async def ask(checkpoint: Checkpoint) -> Decision:
    """Edits the arguments of the joins, which are lists of objects otherwise."""
    if (
        checkpoint.kind == "after_tool"
        and checkpoint.payload["tool"] == "double"
        and checkpoint.payload["args"]["n"] > 3
    ):
        return Decision.edit(checkpoint.payload["observation"]["n"])
    return Decision.proceed


async def record(world: World, kit: Any, **options: Any) -> tuple[PlannerFinish, list[TraceEvent]]:
    log = kit.Log()
    planner = world.planner(recorder=log.recorder(), interceptors=[ask], llm_max_retries=1, **options)
    finish = await planner.run("count", tool_context={"session_id": "s"}, llm_context={"a": 1})
    assert isinstance(finish, PlannerFinish)
    return finish, log.events


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penguiflow.planner.model_calls.BACKOFF_S", 0.0)


@pytest.mark.parametrize("options", [{}, {"deadline_s": 600.0, "hop_budget": 20}])
async def test_a_replay_has_the_same_trajectory_and_asks_nobody(kit: Any, options: dict[str, Any]) -> None:
    first, second = World(kit), World(kit)
    finish, events = await record(first, kit, **options)
    planner = second.planner(llm_max_retries=1, **options)
    flow, registry = planner.as_flow()

    outcome = await replay(flow, Cassette.of(events), registry=registry)

    assert outcome.check().output.payload == finish.payload
    again = outcome.output.metadata
    assert again == {key: value for key, value in finish.metadata.items() if key != "trace_id"}
    assert [step["observation"]["join"]["observation"] for step in again["steps"][3:5]] == [{"n": 18}, {"n": 26}]
    assert (again["cost"]["main_llm_calls"], again["repair_attempts"]) == (9, 2)
    assert [step["error"] for step in again["steps"]].count(None) == 4
    assert first.asked == {
        **{f"model {number}": 1 for number in (0, 2, 3, 4)},
        "model 1": 2,
        "model 5": 3,
        "double": 5,
        "disk": 5,
        "shaky": 2,
        "broken": 1,
        "total": 2,
    }
    assert second.asked == {}


async def test_it_goes_on_from_any_event(kit: Any) -> None:
    first = World(kit)
    finish, events = await record(first, kit)
    entered = next(event.seq for event in events if event.kind == "node.start")
    left = next(event.seq for event in events if event.data.get("target") == "Rookery")
    for seq in range(entered, left):
        again = World(kit)
        again.failed = True
        flow, registry = again.planner(interceptors=[ask], llm_max_retries=1).as_flow()
        flow.run(registry=registry, recorder=kit.Log().recorder())
        try:
            results = [r async for r in flow.restore(frontier(events, seq), trace_id="0123456789abcdef-fork")]
        finally:
            await flow.stop()
        [result] = results
        assert result.payload == finish.payload, seq
        assert _comparable(result.metadata) == _comparable(finish.metadata), seq
        _asked_nothing_twice(events, seq, again.asked)


def _comparable(metadata: dict[str, Any]) -> dict[str, Any]:
    # How often the model failed before depends on where the run goes on.
    left_out = {"trace_id", "cost", "constraints"}
    return {key: value for key, value in metadata.items() if key not in left_out}


def _asked_nothing_twice(events: list[TraceEvent], seq: int, asked: Counter[str]) -> None:
    """What has an answer in the log is not asked again."""
    before = [event for event in events if event.seq <= seq]
    answered = Counter(event.name for event in before if event.kind == "tool.end")
    totals = Counter(event.name for event in events if event.kind == "tool.end")
    for name, total in totals.items():
        assert asked[name] == total - answered[name], (seq, name)
    models = sum(event.kind == "llm.end" for event in before)
    assert sum(count for name, count in asked.items() if name.startswith("model")) in (8 - models, 9 - models), seq
    disk = sum(event.kind == "record" and event.name == "disk" for event in before)
    assert asked["disk"] == 5 - disk, seq


@pytest.mark.parametrize("decision", [Decision.abort("enough")])
async def test_a_run_that_was_ended_is_replayed_to_its_end(kit: Any, decision: Decision) -> None:
    from penguiflow.planner import RunAborted

    async def stop(checkpoint: Checkpoint) -> Decision:
        return decision if checkpoint.kind == "before_tool" else Decision.proceed

    log = kit.Log()
    planner = World(kit).planner(recorder=log.recorder(), interceptors=[stop])
    with pytest.raises(RunAborted, match="enough"):
        await planner.run("count")
    second = World(kit)
    flow, registry = second.planner().as_flow()

    outcome = await replay(flow, Cassette.of(log.events), registry=registry)

    assert outcome.status == "cancelled"
    assert outcome.diverged is None
    assert second.asked == {}
    ends = {event.kind: event.data["status"] for event in log.events if event.kind in ("planner.end", "trace.end")}
    assert ends == {"planner.end": "cancelled", "trace.end": "cancelled"}


@pytest.mark.parametrize("mode", ["prompted", "native"])
async def test_halves_of_characters_are_mended_before_anybody_has_them(kit: Any, mode: str) -> None:
    half = "krill \ud83d and \udc27"
    text = half if mode == "native" else f'{{"next_node": "final_response", "args": {{"answer": "{half}"}}}}'
    reply = ScriptedReply(text=text, reasoning=half)

    def planner(**options: Any) -> ReactPlanner:
        made: ReactPlanner = kit.planner_of(script=[reply], tool_call_mode=mode, stream_final_response=True, **options)
        return made

    log = kit.Log()
    finish = await planner(recorder=log.recorder()).run("q")
    assert isinstance(finish, PlannerFinish)
    assert finish.payload["raw_answer"] == "krill \ufffd and \ufffd"
    flow, registry = planner().as_flow()
    outcome = await replay(flow, Cassette.of(log.events), registry=registry)
    again = outcome.check().output
    assert again.payload == finish.payload
    assert again.metadata == {key: value for key, value in finish.metadata.items() if key != "trace_id"}
