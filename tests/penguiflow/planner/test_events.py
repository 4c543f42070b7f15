"""The events that programs listen to: their names, their order, what they say."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

import pytest
from pydantic import BaseModel

from penguiflow import NodePolicy
from penguiflow.checkpoints import Checkpoint, Decision
from penguiflow.llm.errors import LLMAuthError
from penguiflow.llm.scripted import ScriptedModel
from penguiflow.llm.wire import dump_request
from penguiflow.planner import PlannerPause
from penguiflow.planner.memory import ShortTermMemoryConfig
from penguiflow.recording.schema import DATA


class Number(BaseModel):
    n: int


class Numbers(BaseModel):
    results: list[Number]


async def double(args: Number, ctx: Any) -> Number:
    return Number(n=2 * args.n)


async def test_events_of_a_run_in_their_order(kit: Any) -> None:
    heard: list[Any] = []
    script = [kit.call("double", n=1), kit.plan(kit.call("double", n=2), kit.call("double", n=3)), kit.answer("x")]
    await kit.planner_of(double, script=script, event_callback=heard.append).run("x")

    call = ["tool_call_start", "tool_call_end", "tool_call_result"]
    names = [event.event_type for event in heard if event.event_type not in ("llm_stream_chunk", "llm_parse_extras")]
    assert names == [
        *["step_start", "llm_call", *call, "step_complete"],
        *["step_start", "llm_call", *call, *call, "step_complete"],
        *["step_start", "llm_call", "finish", "step_complete"],
    ]
    results = [event for event in heard if event.event_type == "tool_call_result"]
    assert [event.extra["tool_call_id"] for event in results] == ["call_1_0", "call_2_parallel_0", "call_2_parallel_1"]
    assert [json.loads(event.extra["result_json"]) for event in results] == [{"n": 2}, {"n": 4}, {"n": 6}]
    assert [event.extra["action_seq"] for event in heard if event.event_type == "step_start"] == [1, 2, 3]
    completed = [event for event in heard if event.event_type == "step_complete"]
    assert [event.node_name for event in completed] == ["double", "parallel", "final_response"]
    assert all(event.latency_ms is not None for event in completed)
    assert [event.trajectory_step for event in heard] == sorted(event.trajectory_step for event in heard)
    assert [event.ts for event in heard] == sorted(event.ts for event in heard)


@pytest.mark.parametrize("recorded", [False, True])
async def test_each_of_many_runs_has_a_listener_of_its_own(kit: Any, recorded: bool) -> None:
    async def ask(args: Number, ctx: Any) -> Number:
        await ctx.emit_chunk("s", 0, str(ctx.tool_context["session_id"]))
        return Number(n=await ctx.ask("how many?", int))

    options: dict[str, Any] = {"recorder": kit.Log().recorder()} if recorded else {}
    all_: list[Any] = []
    model = ScriptedModel(rules=[(lambda _: True, [kit.call("ask", n=1), kit.answer("x")])])
    planner = kit.planner_of(ask, model=model, event_callback=all_.append, **options)
    heard: dict[str, list[Any]] = {str(number): [] for number in range(20)}

    async def one(name: str) -> None:
        about = {"session_id": name}
        paused = await planner.run("x", tool_context=about, event_callback=heard[name].append)
        assert isinstance(paused, PlannerPause)
        await planner.resume(paused.resume_token, "3", event_callback=heard[name].append)

    await asyncio.gather(*(one(name) for name in heard))

    for name, events in heard.items():
        assert {event.extra["text"] for event in events if event.event_type == "stream_chunk"} == {name}
        names = [event.event_type for event in events]
        assert (names.count("pause"), names.count("resume"), names.count("finish")) == (1, 1, 1)
    assert len(all_) == sum(map(len, heard.values()))


async def test_a_call_of_a_model_is_told_whole(kit: Any) -> None:
    heard: list[Any] = []
    await kit.planner_of(double, script=[kit.answer("x")], event_callback=heard.append).run("why")

    [call] = [event for event in heard if event.event_type == "llm_call"]
    assert call.extra["model"] == "scripted/scripted"
    assert call.extra["purpose"] == "decision"
    assert "why" in str(call.extra["messages"])
    assert "final_response" in call.extra["reply"]
    assert call.extra["usage"]["total_tokens"] > 0
    assert (call.extra["cost"], call.extra["attempts"]) == (0.0, 1)
    assert call.token_estimate > 0
    assert call.latency_ms >= 0
    assert call.to_payload()["event"] == "llm_call"


@pytest.mark.parametrize("mode", ["prompted", "native"])
async def test_every_call_of_a_model_tells_the_messages_that_it_had(kit: Any, mode: str) -> None:
    heard: list[Any] = []
    script = [kit.call("double", n=n) for n in range(30)]
    script[3:3] = ["no action", kit.call("nobody"), kit.call("double", m=1)]
    model = ScriptedModel([*script, kit.answer("x")])
    options: dict[str, Any] = {"tool_call_mode": mode, "max_iters": 40, "event_callback": heard.append}
    await kit.planner_of(double, model=model, **options).run("why")

    calls = [event for event in heard if event.event_type == "llm_call"]
    assert len(calls) == len(model.requests) > 3
    for event, request in zip(calls, model.requests, strict=True):
        assert event.extra["messages"] == dump_request(request)["messages"]
        assert event.token_estimate == int(sum(len(each.text) for each in request.messages) / 3.5)


async def test_failures_and_pauses_are_told(kit: Any) -> None:
    async def fail(args: Number, ctx: Any) -> Number:
        raise ValueError("no")

    async def wait(args: Number, ctx: Any) -> Number:
        await ctx.pause("approval_required", {"who": "you"})
        return args

    heard: list[Any] = []
    script = [kit.call("fail", n=1), kit.call("wait", n=1), LLMAuthError("no key")]
    planner = kit.planner_of(fail, wait, script=script, event_callback=heard.append)
    pause = await planner.run("x")
    assert isinstance(pause, PlannerPause)
    with pytest.raises(LLMAuthError):
        await planner.resume(pause.resume_token, "go on")

    counts = Counter(event.event_type for event in heard)
    assert (counts["pause"], counts["resume"], counts["error"]) == (1, 1, 1)
    [paused] = [event for event in heard if event.event_type == "pause"]
    assert (paused.extra["reason"], paused.extra["payload"]) == ("approval_required", {"who": "you"})
    failed = next(event for event in heard if event.event_type == "tool_call_result")
    assert json.loads(failed.extra["result_json"])["error"] == "tool 'fail' raised ValueError: no"
    assert heard[-1].error == "LLMAuthError: no key"


async def test_a_listener_that_fails_does_not_reach_the_run(kit: Any) -> None:
    def listen(event: Any) -> None:
        raise ZeroDivisionError

    finish = await kit.planner_of(double, script=[kit.answer("x")], event_callback=listen).run("x")

    assert finish.payload["raw_answer"] == "x"


async def test_the_log_tells_a_run(kit: Any) -> None:
    log = kit.Log()
    script = [kit.call("double", n=1), kit.plan(kit.call("double", n=2), join={"node": "double"}), kit.answer("x")]
    policies = {"double": NodePolicy(timeout_s=60.0)}
    planner = kit.planner_of(double, script=script, policies=policies, recorder=log.recorder(), name="maths")
    await planner.run("x", tool_context={"session_id": "s"})

    events = log.events
    [start] = [event for event in events if event.kind == "planner.start"]
    assert start.name == "maths"
    assert (start.data["mode"], start.data["tools"], start.data["session"]) == ("prompted", ["double"], "s")
    decisions = [event for event in events if event.kind == "planner.decision"]
    assert [event.data["next_node"] for event in decisions] == ["double", "parallel", "final_response"]
    assert [event.data["source"] for event in decisions] == ["llm"] * 3
    [end] = [event for event in events if event.kind == "planner.end"]
    assert (end.data["status"], end.data["reason"], end.data["steps"]) == ("ok", "answer_complete", 3)
    assert end.data["usage"]["total_tokens"] > 0
    steps = [event for event in events if event.kind == "step.end"]
    assert [(event.data["kind"], event.data["status"]) for event in steps] == [
        ("tool", "ok"),
        ("parallel", "ok"),
        ("finish", "ok"),
    ]
    opened = [event.span_id for event in events if event.kind.endswith(".start")]
    ended = [event.span_id for event in events if event.kind.endswith(".end")]
    assert sorted(opened) == sorted(ended)


async def test_all_that_is_written_is_as_the_schema_says(kit: Any) -> None:
    async def total(args: Numbers, ctx: Any) -> Number:
        return Number(n=sum(each.n for each in args.results))

    async def fail(args: Number, ctx: Any) -> Number:
        raise ValueError("no")

    async def wait(args: Number, ctx: Any) -> Number:
        await ctx.pause("await_input", {"what": "a number"})
        return args

    async def decide(checkpoint: Checkpoint) -> Decision | None:
        return Decision.edit({"n": 7}) if checkpoint.kind == "after_tool" else None

    log = kit.Log()
    script = [
        "no JSON",
        kit.call("fail", n=1),
        kit.plan(kit.call("double", n=2), kit.call("double", n=3), join={"node": "total"}),
        kit.call("wait", n=1),
        kit.answer("x"),
    ]
    options: dict[str, Any] = {
        "recorder": log.recorder(),
        "interceptors": [decide],
        "policies": {"fail": NodePolicy(max_retries=1, backoff_base=0.0)},
        "short_term_memory": ShortTermMemoryConfig(strategy="truncation"),
    }
    planner = kit.planner_of(double, total, fail, wait, script=script, **options)
    about = {"session_id": "s", "tenant_id": "t", "user_id": "u"}
    async with planner.iter("x", tool_context=about) as run:
        run.edit_context(a=1)
        async for _ in run:
            pass
    assert isinstance(run.result, PlannerPause)
    await planner.resume(run.result.resume_token, "seven", tool_context=about)

    seen = set()
    for event in log.events:
        model = DATA[event.kind].model_validate(event.data)
        assert not model.model_extra, (event.kind, model.model_extra)
        seen.add(event.kind)
    families = ("planner", "step", "branch", "join", "llm", "tool")
    spans = {f"{family}.{moment}" for family in families for moment in ("start", "end")}
    assert seen >= spans | {
        "planner.decision",
        "planner.repair",
        "planner.pause",
        "planner.resume",
        "context.changed",
        "memory.changed",
        "checkpoint.hit",
        "checkpoint.resolved",
        "edit",
        "node.retry",
    }
