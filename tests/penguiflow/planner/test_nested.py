"""Tools that run planners, and tasks of their own."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel

from penguiflow import NodePolicy
from penguiflow.llm.scripted import ScriptedModel, ScriptedReply
from penguiflow.llm.types import Cost, LLMRequest, Usage
from penguiflow.planner import PlannerFinish, PlannerPause, ReactPlanner, UsageLimits
from penguiflow.recording.cassette import Cassette
from penguiflow.recording.replay import replay


class Number(BaseModel):
    n: int


class Family:
    """A planner whose tool runs another one; each call of a model uses 10 tokens and costs 1 dollar."""

    def __init__(self, kit: Any) -> None:
        self.kit = kit
        self.asked = 0
        self.under_way = 0

    def planner(self, *script: Any, fails: bool = False, **options: Any) -> ReactPlanner:
        async def leaf(args: Number, ctx: Any) -> Number:
            return args

        steps = [self.kit.call("leaf", n=1), self.kit.answer("inner")]
        inner = self.kit.planner_of(leaf, model=self.model(*steps), name="inner")

        async def delegate(args: Number, ctx: Any) -> Number:
            finish = await inner.run("y", ctx=ctx)
            if fails:
                raise ValueError("after all")
            return Number(n=len(finish.metadata["steps"]))

        made: ReactPlanner = self.kit.planner_of(delegate, model=self.model(*script), name="outer", **options)
        return made

    def model(self, *script: dict[str, Any]) -> ScriptedModel:
        def reply(request: LLMRequest) -> ScriptedReply:
            self.asked += 1
            said = script[min(sum(message.role == "assistant" for message in request.messages), len(script) - 1)]
            text = str(said).replace("'", '"')
            return ScriptedReply(text=text, usage=Usage(8, 2, 10), cost=Cost(0.0, 1.0, 1.0))

        return ScriptedModel(rules=[(lambda _: True, reply)])


@pytest.mark.parametrize(
    ("limits", "limit", "asked"),
    [
        (UsageLimits(requests=5), "requests", 5),
        (UsageLimits(total_tokens=40), "tokens", 4),
        (UsageLimits(cost=6.0), "cost", 6),
        (UsageLimits(requests=8), None, 8),
    ],
)
async def test_limits_hold_for_what_branches_ask(kit: Any, limits: UsageLimits, limit: str | None, asked: int) -> None:
    family = Family(kit)
    branches = kit.plan(*(kit.call("delegate", n=n) for n in range(3)))
    finish = await family.planner(branches, kit.answer("x"), usage_limits=limits).run("x")

    assert isinstance(finish, PlannerFinish)
    assert finish.metadata.get("error") == (None if limit is None else f"limit: {limit}")
    assert family.asked == asked
    cost = finish.metadata["cost"]
    assert (cost["total_cost_usd"], cost["total_tokens"], cost["main_llm_calls"]) == (asked, 10 * asked, asked)


async def test_a_limit_of_calls_holds_for_tools_of_tools(kit: Any) -> None:
    family, log = Family(kit), kit.Log()
    branches = kit.plan(*(kit.call("delegate", n=n) for n in range(3)))
    limits = UsageLimits(tool_calls=5)
    planner = family.planner(branches, kit.answer("x"), usage_limits=limits, recorder=log.recorder())
    finish = await planner.run("x")

    assert isinstance(finish, PlannerFinish)
    starts = [event.name for event in log.events if event.kind == "tool.start"]
    assert sorted(starts) == ["delegate"] * 3 + ["leaf"] * 2
    assert finish.metadata["constraints"]["tool_calls"] == 5

    flow, registry = Family(kit).planner(branches, kit.answer("x"), usage_limits=limits).as_flow()
    outcome = (await replay(flow, Cassette.of(log.events), registry=registry)).check()
    assert outcome.output.metadata["constraints"] == finish.metadata["constraints"]


@pytest.mark.parametrize("fails", [False, True])
async def test_a_replay_counts_what_was_used(kit: Any, fails: bool) -> None:
    family, log = Family(kit), kit.Log()
    script = [kit.call("delegate", n=1), kit.plan(*[kit.call("delegate", n=1)] * 2), kit.answer("x")]
    limits = UsageLimits(total_tokens=80)
    finish = await family.planner(*script, fails=fails, usage_limits=limits, recorder=log.recorder()).run("x")
    assert isinstance(finish, PlannerFinish)
    # The calls of the plan may have been the last ones.
    assert (finish.metadata["error"], family.asked) == ("limit: tokens", 8)

    again = Family(kit)
    flow, registry = again.planner(*script, fails=fails, usage_limits=limits).as_flow()
    outcome = (await replay(flow, Cassette.of(log.events), registry=registry)).check()

    assert again.asked == 0
    assert outcome.output.metadata == {key: value for key, value in finish.metadata.items() if key != "trace_id"}


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("way", ["pause", "ask"])
async def test_a_task_of_a_tool_pauses_the_run(kit: Any, way: str, recorded: bool) -> None:
    ended: list[str] = []

    async def other() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("other")

    async def both(args: Number, ctx: Any) -> Number:
        async with asyncio.TaskGroup() as group:
            group.create_task(other())
            if way == "pause":
                group.create_task(ctx.pause("approval_required", {"n": args.n}))
            else:
                asked = group.create_task(ctx.ask("how many?", int))
                asked.add_done_callback(lambda task: None if task.cancelled() or task.exception() else got.append(1))
        return args

    got: list[int] = []
    options = {"recorder": kit.Log().recorder()} if recorded else {}
    planner = kit.planner_of(both, script=[kit.call("both", n=3), kit.answer("x")], **options)
    outcome = await planner.run("x")

    assert isinstance(outcome, PlannerPause)
    assert outcome.reason == ("approval_required" if way == "pause" else "await_input")
    assert (ended, got) == (["other"], [])


async def test_a_task_of_a_tool_fails(kit: Any) -> None:
    async def fail() -> None:
        raise LookupError("gone")

    async def both(args: Number, ctx: Any) -> Number:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
            group.create_task(ctx.pause("approval_required"))
        return args

    policies = {"both": NodePolicy(max_retries=1, backoff_base=0.0)}
    finish = await kit.planner_of(both, script=[kit.call("both", n=1), kit.answer("x")], policies=policies).run("x")

    assert isinstance(finish, PlannerFinish)
    assert "ExceptionGroup" in finish.metadata["steps"][0]["error"]
