"""Several calls at once, and their join."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel

from penguiflow import NodePolicy
from penguiflow.checkpoints import Checkpoint, Decision
from penguiflow.errors import FlowError
from penguiflow.planner import PlannerRequest, RunAborted
from penguiflow.planner.models import PlannerFinish


class Number(BaseModel):
    n: int


class Numbers(BaseModel):
    results: list[Number]
    expect: int = 0
    label: str = ""


class Desk:
    """Tools that tell what they were called with."""

    def __init__(self) -> None:
        self.called: list[str] = []
        self.seen: dict[str, Any] = {}
        desk = self

        async def double(args: Number, ctx: Any) -> Number:
            desk.called.append(f"double {args.n}")
            return Number(n=2 * args.n)

        async def broken(args: Number, ctx: Any) -> Number:
            desk.called.append("broken")
            raise ValueError("never")

        async def total(args: Numbers, ctx: Any) -> Number:
            desk.called.append(f"total {args.expect}{args.label}")
            desk.seen = dict(ctx.tool_context)
            return Number(n=sum(each.n for each in args.results))

        self.tools = (double, broken, total)


async def one_plan(kit: Any, plan: Any, **options: Any) -> tuple[dict[str, Any], Desk, PlannerFinish]:
    """The step of a plan."""
    desk = Desk()
    finish = await kit.planner_of(*desk.tools, script=[plan, kit.answer("x")], **options).run("x")
    return finish.metadata["steps"][0], desk, finish


async def test_branches_run_at_once_and_are_joined(kit: Any) -> None:
    join = {"node": "total", "args": {"label": "!"}, "inject": {"results": "$results", "expect": "$expect"}}
    plan = kit.plan(kit.call("double", n=1), kit.call("double", n=2), join=join)

    step, desk, finish = await one_plan(kit, plan)

    assert step["observation"]["branches"] == [
        {"node": "double", "args": {"n": 1}, "observation": {"n": 2}},
        {"node": "double", "args": {"n": 2}, "observation": {"n": 4}},
    ]
    assert step["observation"]["stats"] == {"success": 2, "failed": 0}
    assert step["observation"]["join"]["observation"] == {"n": 6}
    assert desk.called == ["double 1", "double 2", "total 2!"]
    assert desk.seen["parallel_results"] == [{"n": 2}, {"n": 4}]
    assert desk.seen["parallel_input"] == {"label": "!"}
    assert desk.seen["_current_tool_call_id"] == "call_1_parallel_join"
    assert finish.metadata["constraints"]["hops_used"] == 3


async def test_branches_do_not_wait_for_each_other(kit: Any) -> None:
    both = asyncio.Barrier(2)

    async def meet(args: Number, ctx: Any) -> Number:
        await both.wait()
        return args

    planner = kit.planner_of(meet, script=[kit.plan(kit.call("meet", n=1), kit.call("meet", n=2)), kit.answer("x")])
    async with asyncio.timeout(60):
        finish = await planner.run("x")
    assert finish.metadata["steps"][0]["observation"]["stats"] == {"success": 2, "failed": 0}


@pytest.mark.parametrize(("bound", "most"), [(None, 6), (1, 1), (2, 2)])
async def test_a_tool_bounds_how_many_of_its_calls_are_made_at_once(kit: Any, bound: int | None, most: int) -> None:
    running = peak = 0

    async def slow(args: Number, ctx: Any) -> Number:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        for _ in range(10):
            await asyncio.sleep(0)
        running -= 1
        return args

    policy = NodePolicy() if bound is None else NodePolicy(max_concurrency=bound)
    planner = kit.planner_of(
        slow,
        script=[kit.plan(*(kit.call("slow", n=n) for n in range(6))), kit.answer("done")],
        policies={"slow": policy},
    )
    finish = await planner.run("q")
    branches = finish.metadata["steps"][0]["observation"]["branches"]
    assert [branch["observation"]["n"] for branch in branches] == list(range(6))
    assert peak == most


async def test_fields_of_a_join_are_filled_by_their_names(kit: Any) -> None:
    step, desk, _ = await one_plan(kit, kit.plan(kit.call("double", n=1), join={"node": "total"}))
    assert (step["observation"]["join"]["observation"], desk.called[-1]) == ({"n": 2}, "total 1")

    step, desk, _ = await one_plan(kit, kit.plan(kit.call("double", n=1), join={"node": "total", "inject": {}}))
    assert "results: Field required" in step["observation"]["join"]["error"]
    assert desk.called == ["double 1"]


async def test_a_join_is_left_out_where_a_branch_failed(kit: Any) -> None:
    plan = kit.plan(kit.call("double", n=1), kit.call("broken", n=2), join={"node": "total"})

    step, desk, finish = await one_plan(kit, plan)

    join = step["observation"]["join"]
    assert (join["status"], join["reason"]) == ("skipped", "branch_failures")
    assert [failure["error"] for failure in join["failures"]] == ["tool 'broken' raised ValueError: never"]
    assert step["observation"]["stats"] == {"success": 1, "failed": 1}
    assert desk.called == ["double 1", "broken"]
    assert finish.metadata["constraints"]["hops_used"] == 2


@pytest.mark.parametrize(
    ("steps", "join", "problem"),
    [
        ([("treble", {"n": 1}), ("double", {"n": 1})], None, "step 0: there is no tool 'treble'"),
        ([("double", {"n": "x"}), ("double", {"n": 1})], None, "step 0: n: Input should be a valid integer"),
        ([("double", {"n": 1})], {"node": "nobody"}, "join: there is no tool 'nobody'"),
        ([("double", {"n": 1})], {"node": "total", "inject": {"results": "$all"}}, "which is none of"),
        ([], None, "at least one call"),
    ],
)
async def test_a_plan_with_a_mistake_is_not_begun(kit: Any, steps: Any, join: Any, problem: str) -> None:
    plan = kit.plan(*(kit.call(node, **args) for node, args in steps), join=join)

    step, desk, _ = await one_plan(kit, plan)

    assert problem in step["error"]
    assert desk.called == []


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"absolute_max_parallel": 1}, "may have 1 calls at most"),
        ({"planning_hints": {"max_parallel": 1}}, "may have 1 calls at most"),
        ({"planning_hints": {"budget_hints": {"max_parallel": 1}}}, "may have 1 calls at most"),
        ({"planning_hints": {"sequential_only": ["double"]}}, "not to be called in a parallel plan: double"),
        ({"planning_hints": {"disallow_nodes": ["double"]}}, "not allowed here: double"),
        ({"planning_hints": {"disallow_nodes": ["total"]}}, "not allowed here: total"),
        ({"planning_hints": {"ordering_hints": ["broken", "double"]}}, "meant to come after broken"),
    ],
)
async def test_a_plan_that_is_not_allowed_is_not_begun(kit: Any, options: Any, problem: str) -> None:
    plan = kit.plan(kit.call("double", n=1), kit.call("double", n=2), join={"node": "total"})

    step, desk, _ = await one_plan(kit, plan, **options)

    assert problem in step["error"]
    assert desk.called == []


async def test_branches_have_spans_of_their_own(kit: Any) -> None:
    log = kit.Log()
    plan = kit.plan(kit.call("double", n=1), kit.call("broken", n=2), join={"node": "total"})
    await one_plan(kit, plan, recorder=log.recorder())

    spans = {event.span_id: event for event in log.events if event.kind.endswith(".start")}
    branches = [event for event in spans.values() if event.kind == "branch.start"]
    tools = [event for event in spans.values() if event.kind == "tool.start"]
    assert [(event.name, event.data["ordinal"]) for event in branches] == [("double", 0), ("broken", 1)]
    assert [event.parent_id for event in tools] == [event.span_id for event in branches]
    assert {spans[event.parent_id or ""].kind for event in branches} == {"step.start"}
    ends = [event.data["status"] for event in log.events if event.kind == "branch.end"]
    assert sorted(ends) == ["error", "ok"]


async def test_what_ends_the_run_ends_all_branches(kit: Any) -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def hang(args: Number, ctx: Any) -> Number:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return args

    async def stop(checkpoint: Checkpoint) -> Decision | None:
        if checkpoint.kind == "before_tool" and checkpoint.payload["args"]["n"] == 2:
            await started.wait()
            return Decision.abort("enough")
        return None

    plan = kit.plan(kit.call("hang", n=1), kit.call("hang", n=2))
    planner = kit.planner_of(hang, script=[plan], interceptors=[stop])
    before = asyncio.all_tasks()
    async with asyncio.timeout(60):
        with pytest.raises(RunAborted):
            await planner.run("x")
    assert ended.is_set()
    assert asyncio.all_tasks() == before


async def test_cancelling_the_trace_cancels_all_branches(kit: Any) -> None:
    both, ended = asyncio.Barrier(3), list[int]()

    async def hang(args: Number, ctx: Any) -> Number:
        try:
            await both.wait()
            await asyncio.Event().wait()
        finally:
            ended.append(args.n)
        return args

    log = kit.Log()
    flow, registry = kit.planner_of(hang, script=[kit.plan(kit.call("hang", n=1), kit.call("hang", n=2))]).as_flow()
    flow.run(registry=registry, recorder=log.recorder())
    try:
        async with asyncio.timeout(60):
            running = asyncio.create_task(flow.call(PlannerRequest(query="x"), trace_id="mine"))
            await both.wait()
            assert await flow.cancel("mine")
            with pytest.raises(FlowError, match="TRACE_CANCELLED"):
                await running
    finally:
        await flow.stop()

    assert sorted(ended) == [1, 2]
    ends = {event.kind: event.data["status"] for event in log.events if event.kind.endswith(".end")}
    assert {ends[f"{family}.end"] for family in ("planner", "step", "branch", "tool")} == {"cancelled"}


async def test_the_name_of_a_join_is_a_join(kit: Any) -> None:
    plan = kit.plan(kit.call("double", n=1), kit.call("double", n=2))
    plan["args"]["join"] = "total"
    step, _, _ = await one_plan(kit, plan)
    assert step["observation"]["join"]["observation"] == {"n": 6}


@pytest.mark.parametrize("join", [["total"], 5, {"node": "total", "args": [1]}, {"node": "total", "args": "x"}])
async def test_a_plan_does_not_go_without_a_join_that_cannot_be_read(kit: Any, join: Any) -> None:
    plan = kit.plan(kit.call("double", n=1), kit.call("double", n=2))
    plan["args"]["join"] = join
    desk = Desk()
    finish = await kit.planner_of(*desk.tools, script=[plan, kit.answer("x")]).run("x")
    assert (finish.payload["raw_answer"], desk.called) == ("x", [])
    assert finish.metadata["repair_attempts"] == 1
