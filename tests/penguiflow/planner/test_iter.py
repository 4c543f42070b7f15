"""A run that is gone through step by step, changed on its way, left early."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel

from penguiflow import Context, Node, NodePolicy, create
from penguiflow.errors import FlowError
from penguiflow.llm.errors import LLMAuthError
from penguiflow.llm.scripted import ScriptedModel
from penguiflow.planner import PlannerRequest, RunAborted
from penguiflow.recording.cassette import Cassette
from penguiflow.recording.replay import replay


class Number(BaseModel):
    n: int


async def double(args: Number, ctx: Any) -> Number:
    return Number(n=2 * args.n)


@pytest.fixture(params=["unrecorded", "recorded"])
def options(request: pytest.FixtureRequest, kit: Any) -> dict[str, Any]:
    return {"recorder": kit.Log().recorder()} if request.param == "recorded" else {}


async def test_steps_come_one_by_one(kit: Any, options: dict[str, Any]) -> None:
    script = [kit.call("double", n=1), kit.call("treble", n=1), kit.plan(kit.call("double", n=2)), kit.answer("x")]
    model = ScriptedModel(script)
    steps = []
    async with kit.planner_of(double, model=model, **options).iter("x") as run:
        async for step in run:
            steps.append(step)
            assert len(model.requests) == step.index + 1
            assert len(run.trajectory.steps) == min(step.index + 1, 3)

    assert [step.kind for step in steps] == ["tool", "error", "parallel", "finish"]
    assert steps[0].step is not None
    assert steps[0].step.observation == {"n": 2}
    assert run.result is not None
    assert steps[-1].result == run.result
    assert run.result.payload["raw_answer"] == "x"
    assert all(step.usage.total_tokens > 0 and step.cost is not None for step in steps)
    assert all(bool(step.span_id) == bool(options) for step in steps)
    assert ("trace_id" in run.result.metadata) is bool(options)


@pytest.mark.parametrize("mode", ["prompted", "native"])
async def test_earlier_steps_are_told_as_they_are_now(kit: Any, mode: str) -> None:
    """Also where what a step holds was changed in place, after a prompt had it."""
    model = ScriptedModel([kit.call("double", n=1), kit.call("double", n=2), kit.call("double", n=3), kit.answer("x")])
    async with kit.planner_of(double, model=model, tool_call_mode=mode).iter("x") as run:
        async for step in run:
            if step.index == 1:
                run.trajectory.steps[0].observation["n"] = 711
            if step.index == 2:
                run.trajectory.steps[0].action.args["n"] = 712
                run.trajectory.steps[1].observation = {"n": 713}

    asked = [str(request.messages) for request in model.requests]
    assert ["711" in each for each in asked] == [False, False, True, True]
    assert ["712" in each for each in asked] == [False, False, False, True]
    assert ["713" in each for each in asked] == [False, False, False, True]


async def test_the_context_is_edited_on_the_way(kit: Any, options: dict[str, Any]) -> None:
    model = ScriptedModel([kit.call("double", n=1), kit.call("double", n=2), kit.answer("x")])
    async with kit.planner_of(double, model=model, **options).iter("x", llm_context={"a": 1, "b": 2}) as run:
        run.edit_context(first="yes")
        async for step in run:
            if step.index == 0:
                run.edit_context(a=None, b=3)
                with pytest.raises(TypeError, match="JSON"):
                    run.edit_context(c=object())

    assert run.result is not None
    assert run.result.metadata["llm_context"] == {"b": 3, "first": "yes"}
    assert ['"first"' in str(request.messages).replace("\\", "") for request in model.requests] == [True] * 3
    assert ['"a"' in str(request.messages).replace("\\", "") for request in model.requests] == [True, False, False]


async def test_a_replay_makes_the_same_edits(kit: Any) -> None:
    log = kit.Log()
    script = [kit.call("double", n=1), kit.answer("x")]
    async with kit.planner_of(double, script=script, recorder=log.recorder()).iter("x") as run:
        async for step in run:
            if step.index == 0:
                run.edit_context(a=[1])
    [changed] = [event for event in log.events if event.kind == "context.changed"]
    assert changed.data["of"] == "llm_context"
    assert (changed.data["before"]["value"], changed.data["after"]["value"]) == ({}, {"a": [1]})

    flow, registry = kit.planner_of(double).as_flow()
    outcome = await replay(flow, Cassette.of(log.events), registry=registry)

    assert outcome.check().output.metadata["llm_context"] == {"a": [1]}


async def test_who_leaves_early_cancels_the_run(kit: Any, options: dict[str, Any]) -> None:
    called = 0

    async def count(args: Number, ctx: Any) -> Number:
        nonlocal called
        called += 1
        return args

    before = asyncio.all_tasks()
    planner = kit.planner_of(count, script=[kit.call("count", n=1)] * 5, **options)
    async with planner.iter("x") as run:
        async for _ in run:
            break

    assert (called, run.result) == (1, None)
    assert asyncio.all_tasks() == before


async def test_a_run_is_cancelled_from_elsewhere(kit: Any, options: dict[str, Any]) -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def hang(args: Number, ctx: Any) -> Number:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return args

    planner = kit.planner_of(hang, script=[kit.call("hang", n=1)], **options)
    async with asyncio.timeout(60), planner.iter("x") as run:

        async def cancel() -> None:
            await started.wait()
            await run.cancel("enough")

        other = asyncio.create_task(cancel())
        assert [step async for step in run] == []
        await other
    assert ended.is_set()
    assert run.result is None


async def test_what_the_run_raises_comes_out(kit: Any, options: dict[str, Any]) -> None:
    async def go_through(error: Exception) -> None:
        async with kit.planner_of(double, script=[LLMAuthError("no key")], **options).iter("x") as run:
            if isinstance(error, KeyError):
                raise error
            async for _ in run:
                raise AssertionError("there is no step")

    with pytest.raises(LLMAuthError, match="no key"):
        await go_through(LLMAuthError(""))
    with pytest.raises(KeyError):
        await go_through(KeyError("of the caller"))
    with pytest.raises(RuntimeError, match="async with"):
        _ = kit.planner_of(double).iter("x").trajectory


async def test_a_node_goes_through_a_run(kit: Any) -> None:
    planner = kit.planner_of(double, script=[kit.call("double", n=1), kit.answer("x")])
    kinds: list[str] = []

    async def work(request: PlannerRequest, ctx: Context) -> str:
        async with planner.iter(request.query, ctx=ctx) as run:
            async for step in run:
                kinds.append(step.kind)
        assert run.result is not None
        assert "trace_id" not in run.result.metadata
        return str(run.result.payload["raw_answer"])

    log = kit.Log()
    flow = create(Node(work, name="work", policy=NodePolicy(validate="none")).to())
    flow.run(recorder=log.recorder())
    try:
        assert await flow.call(PlannerRequest(query="x"), timeout=60) == "x"
    finally:
        await flow.stop()

    assert kinds == ["tool", "finish"]
    spans = {event.span_id: event for event in log.events if event.kind.endswith(".start")}
    [planned] = [event for event in spans.values() if event.kind == "planner.start"]
    assert (planned.name, spans[planned.parent_id or ""].kind) == ("planner", "attempt.start")


async def test_a_tool_runs_another_planner_in_the_same_trace(kit: Any) -> None:
    inner = kit.planner_of(double, script=[kit.call("double", n=1), kit.answer("inner")], name="inner")

    async def delegate(args: Number, ctx: Any) -> Number:
        finish = await inner.run("y", ctx=ctx)
        return Number(n=len(finish.payload["raw_answer"]))

    log = kit.Log()
    script = [kit.call("delegate", n=1), kit.answer("outer")]
    outer = kit.planner_of(delegate, script=script, recorder=log.recorder(), name="outer")
    finish = await outer.run("x")

    assert finish.metadata["steps"][0]["observation"] == {"n": 5}
    spans = {event.span_id: event for event in log.events if event.kind.endswith(".start")}
    planned = [event for event in spans.values() if event.kind == "planner.start"]
    assert [event.name for event in planned] == ["outer", "inner"]
    assert (spans[planned[1].parent_id or ""].kind, spans[planned[1].parent_id or ""].name) == (
        "tool.start",
        "delegate",
    )


async def test_an_abort_in_a_flow_cancels_its_trace(kit: Any) -> None:
    from penguiflow.checkpoints import Decision

    async def stop(checkpoint: Any) -> Decision:
        return Decision.abort("no")

    planner = kit.planner_of(double, script=[kit.answer("x")], interceptors=[stop])
    seen: list[BaseException] = []

    async def work(request: PlannerRequest, ctx: Context) -> str:
        try:
            await planner.run(request.query, ctx=ctx)
        except RunAborted as error:
            seen.append(error)
            raise
        return "x"

    log = kit.Log()
    flow = create(Node(work, name="work", policy=NodePolicy(validate="none", max_retries=3)).to())
    flow.run(recorder=log.recorder())
    try:
        with pytest.raises(FlowError, match="TRACE_CANCELLED"):
            await flow.call(PlannerRequest(query="x"), timeout=60)
    finally:
        await flow.stop()
    assert [str(error) for error in seen] == ["aborted at before_llm: no"]
    with pytest.raises(TypeError, match="ctx must be"):
        await planner.run("x", ctx=object())
