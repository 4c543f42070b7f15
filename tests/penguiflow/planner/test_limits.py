"""Limits hold for every call of a run, those of parallel plans included."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel

from penguiflow import NodePolicy
from penguiflow.llm.scripted import ScriptedModel, ScriptedReply
from penguiflow.llm.types import Cost, LLMRequest, Usage
from penguiflow.planner import UsageLimits
from penguiflow.recording.cassette import Cassette
from penguiflow.recording.replay import replay


class Number(BaseModel):
    n: int


class Till:
    """A tool, and how often it was called."""

    def __init__(self) -> None:
        self.called = 0
        till = self

        async def ring(args: Number, ctx: Any) -> Number:
            till.called += 1
            return args

        self.ring = ring


@pytest.mark.parametrize("budget", [1, 2, 3])
async def test_a_plan_takes_its_hops_or_none(kit: Any, budget: int) -> None:
    till = Till()
    plan = kit.plan(*(kit.call("ring", n=n) for n in range(2)), join={"node": "ring", "args": {"n": 1}, "inject": {}})
    planner = kit.planner_of(till.ring, script=[plan, kit.answer("x")], hop_budget=budget)

    finish = await planner.run("x")

    if budget == 3:
        assert (till.called, finish.metadata["constraints"]["hops_used"]) == (3, 3)
    else:
        assert till.called == 0
        assert f"needs 3 hops, and {budget} are left" in finish.metadata["steps"][0]["error"]


async def test_hops_of_single_calls_are_counted_too(kit: Any) -> None:
    till = Till()
    script = [kit.plan(kit.call("ring", n=1), kit.call("ring", n=2)), *[kit.call("ring", n=3)] * 3]
    finish = await kit.planner_of(till.ring, script=script, hop_budget=3, max_iters=4).run("x")

    assert till.called == 3
    assert finish.reason == "budget_exhausted"
    assert finish.metadata["constraints"]["hop_exhausted"] is True
    assert finish.payload == {"n": 3}


async def test_calls_of_tools_are_limited(kit: Any) -> None:
    till = Till()
    script = [kit.call("ring", n=1), kit.plan(kit.call("ring", n=1), kit.call("ring", n=2)), kit.answer("x")]
    finish = await kit.planner_of(till.ring, script=script, usage_limits=UsageLimits(tool_calls=2)).run("x")

    assert till.called == 1
    assert "calls of tools" in finish.metadata["steps"][1]["error"]
    assert finish.reason == "answer_complete"


@pytest.mark.parametrize(
    ("limits", "limit", "asked"),
    [
        (UsageLimits(requests=2), "requests", 2),
        (UsageLimits(total_tokens=25), "tokens", 3),
        (UsageLimits(input_tokens=14), "tokens", 3),
        (UsageLimits(output_tokens=1), "tokens", 1),
        (UsageLimits(cost=0.5), "cost", 2),
    ],
)
async def test_a_run_ends_at_a_limit_of_its_model(kit: Any, limits: UsageLimits, limit: str, asked: int) -> None:
    till = Till()

    def reply(request: LLMRequest) -> ScriptedReply:
        text = '{"next_node": "ring", "args": {"n": 1}}'
        return ScriptedReply(text=text, usage=Usage(5, 5, 10), cost=Cost(0.0, 0.25, 0.25))

    model = ScriptedModel(rules=[(lambda _: True, reply)])
    finish = await kit.planner_of(till.ring, model=model, usage_limits=limits).run("x")

    assert (finish.reason, finish.metadata["error"]) == ("budget_exhausted", f"limit: {limit}")
    assert (len(model.requests), finish.payload) == (asked, {"n": 1})
    assert finish.metadata["cost"]["total_cost_usd"] == 0.25 * asked


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_a_run_ends_at_its_deadline(kit: Any) -> None:
    clock = Clock()

    async def wait(args: Number, ctx: Any) -> Number:
        clock.now += args.n
        return args

    script = [kit.call("wait", n=4), kit.call("wait", n=7), kit.call("wait", n=1)]
    finish = await kit.planner_of(wait, script=script, deadline_s=10.0, time_source=clock).run("x")

    assert (finish.reason, finish.payload) == ("budget_exhausted", {"n": 7})
    assert finish.metadata["constraints"]["deadline_triggered"] is True
    assert finish.metadata["constraints"]["deadline_remaining_s"] == 0.0


@pytest.mark.parametrize("together", [False, True])
async def test_a_deadline_bounds_tools_that_hang(kit: Any, together: bool) -> None:
    ended: list[int] = []
    clock = Clock()

    async def hang(args: Number, ctx: Any) -> Number:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(args.n)
        return args

    calls = [kit.call("hang", n=1), kit.call("hang", n=2)] if together else [kit.call("hang", n=1)]

    def reply(request: LLMRequest) -> Any:
        clock.now += 999.99
        return kit.plan(*calls) if together else calls[0]

    policies = {"hang": NodePolicy(timeout_s=3000.0, max_retries=5)}
    planner = kit.planner_of(hang, script=[reply], deadline_s=1000.0, policies=policies, time_source=clock)
    async with asyncio.timeout(60):
        finish = await planner.run("x")

    assert (finish.reason, finish.metadata["error"]) == ("budget_exhausted", "limit: deadline")
    assert sorted(ended) == ([1, 2] if together else [1])


async def test_a_deadline_bounds_a_model_that_hangs(kit: Any) -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def hang(request: LLMRequest) -> str:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return ""

    planner = kit.planner_of(Till().ring, script=[hang], deadline_s=0.01, time_source=Clock())
    async with asyncio.timeout(60):
        finish = await planner.run("x")

    assert (finish.reason, finish.metadata["error"]) == ("budget_exhausted", "limit: deadline")
    assert ended.is_set() == started.is_set()


async def test_a_replay_ends_at_the_same_limit(kit: Any) -> None:
    clock, log = Clock(), kit.Log()

    async def wait(args: Number, ctx: Any) -> Number:
        clock.now += args.n
        return args

    script = [kit.call("wait", n=4), kit.call("wait", n=7), kit.call("wait", n=1)]
    options: dict[str, Any] = {"deadline_s": 10.0, "usage_limits": UsageLimits(requests=5)}
    planner = kit.planner_of(wait, script=script, time_source=clock, recorder=log.recorder(), **options)
    finish = await planner.run("x")
    flow, registry = kit.planner_of(wait, time_source=Clock(), **options).as_flow()

    outcome = await replay(flow, Cassette.of(log.events), registry=registry)

    assert finish.metadata["error"] == "limit: deadline"
    assert outcome.check().output.payload == finish.payload


async def test_an_order_is_asked_for_once(kit: Any) -> None:
    till = Till()

    async def first(args: Number, ctx: Any) -> Number:
        return args

    hints = {"ordering_hints": ["first", "ring"], "disallow_nodes": []}
    script = [kit.call("ring", n=1), kit.call("ring", n=2), kit.answer("x")]
    finish = await kit.planner_of(first, till.ring, script=script, planning_hints=hints).run("x")
    assert "meant to come after first" in finish.metadata["steps"][0]["error"]
    assert (finish.metadata["steps"][1]["observation"], till.called) == ({"n": 2}, 1)

    script = [kit.call("first", n=1), kit.call("ring", n=2), kit.answer("x")]
    finish = await kit.planner_of(first, till.ring, script=script, planning_hints=hints).run("x")
    assert [step["error"] for step in finish.metadata["steps"]] == [None, None]


async def test_a_tool_that_is_not_allowed_is_not_called(kit: Any) -> None:
    till = Till()
    script = [kit.call("ring", n=1), kit.answer("x")]
    finish = await kit.planner_of(till.ring, script=script, planning_hints={"disallow_nodes": ["ring"]}).run("x")

    assert (finish.metadata["steps"][0]["error"], till.called) == ("not allowed here: ring", 0)
