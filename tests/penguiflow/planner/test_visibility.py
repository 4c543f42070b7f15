"""A policy decides which tools a run has, and the run keeps to that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from penguiflow.catalog import NodeSpec
from penguiflow.llm.scripted import ScriptedModel
from penguiflow.planner import PlannerFinish, ReactPlanner
from penguiflow.recording import TraceEvent
from penguiflow.recording.cassette import Cassette
from penguiflow.recording.frontier import frontier
from penguiflow.recording.replay import replay


class Number(BaseModel):
    n: int


class OfRole:
    """Lets tools through that the role may use."""

    def visible_tools(self, specs: Sequence[NodeSpec], tool_context: Mapping[str, Any]) -> Sequence[NodeSpec]:
        return [spec for spec in specs if spec.name != "delete" or tool_context.get("role") == "admin"]


class Office:
    def __init__(self, kit: Any) -> None:
        self.kit = kit
        self.deleted = 0
        self.model = ScriptedModel(rules=[(lambda _: True, [kit.call("delete", n=1), kit.answer("done")])])

    def planner(self, **options: Any) -> ReactPlanner:
        async def look(args: Number, ctx: Any) -> Number:
            return args

        async def delete(args: Number, ctx: Any) -> Number:
            self.deleted += 1
            return args

        made: ReactPlanner = self.kit.planner_of(look, delete, model=self.model, **options)
        return made

    async def recorded(self, role: str) -> tuple[PlannerFinish, list[TraceEvent]]:
        log = self.kit.Log()
        planner = self.planner(recorder=log.recorder())
        finish = await planner.run("x", tool_context={"role": role}, tool_visibility=OfRole())
        assert isinstance(finish, PlannerFinish)
        return finish, log.events


async def test_each_run_has_its_tools(kit: Any) -> None:
    office = Office(kit)
    finish, events = await office.recorded("guest")
    assert finish.metadata["steps"][0]["error"] == "there is no tool 'delete'; there are look"
    assert all("delete" not in message.text for message in office.model.requests[0].messages)
    [start] = [event for event in events if event.kind == "planner.start"]
    assert start.data["tools"] == ["look"]

    await office.recorded("admin")
    assert office.deleted == 1


async def test_a_replay_has_no_policy_and_the_same_tools(kit: Any) -> None:
    for role in ("guest", "admin"):
        _, events = await Office(kit).recorded(role)
        office = Office(kit)
        flow, registry = office.planner().as_flow()
        (await replay(flow, Cassette.of(events), registry=registry)).check()
        assert office.deleted == 0


async def test_whoever_goes_on_after_a_crash_has_no_more_tools(kit: Any) -> None:
    finish, events = await Office(kit).recorded("guest")
    known = next(event.seq for event in events if event.kind == "planner.start")
    last = next(event.seq for event in events if event.data.get("target") == "Rookery")
    for seq in range(known, last):
        office = Office(kit)
        flow, registry = office.planner().as_flow()
        flow.run(registry=registry, recorder=kit.Log().recorder())
        try:
            [result] = [each async for each in flow.restore(frontier(events, seq), trace_id="again")]
        finally:
            await flow.stop()
        assert office.deleted == 0
        assert result.metadata["steps"] == finish.metadata["steps"]


async def test_a_paused_run_has_no_more_tools_when_it_is_resumed(kit: Any) -> None:
    deleted: list[int] = []

    async def delete(args: Number, ctx: Any) -> Number:
        deleted.append(args.n)
        return args

    async def wait(args: Number, ctx: Any) -> Number:
        await ctx.pause("approval_required")
        return args

    script = [kit.call("wait", n=1), kit.call("delete", n=1), kit.answer("done")]
    for policy, expected in ((None, []), (OfRole(), [1])):
        planner = kit.planner_of(delete, wait, script=script)
        paused = await planner.run("x", tool_visibility=OfRole())
        finish = await planner.resume(paused.resume_token, tool_context={"role": "admin"}, tool_visibility=policy)
        assert (finish.reason, deleted) == ("answer_complete", expected)
