"""One call of a tool: its policy, its failures, what is kept of its result, and what the model is shown."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field

from penguiflow import InMemoryArtifactStore, NodePolicy
from penguiflow.llm.scripted import ScriptedModel
from penguiflow.planner import PlannerPause
from penguiflow.planner.models import ObservationGuardrailConfig


class Number(BaseModel):
    n: int


class Page(BaseModel):
    text: str
    numbers: list[int] = []


class Chart(BaseModel):
    title: str
    picture: str = Field(json_schema_extra={"artifact": True, "artifact_type": "png"})


class Hit(BaseModel):
    model_config = ConfigDict(json_schema_extra={"produces_sources": True})

    headline: str = Field(json_schema_extra={"source_field": "title"})
    url: str | None = None


class Hits(BaseModel):
    hits: list[Hit]


async def one_step(kit: Any, func: Any, **options: Any) -> Any:
    """The first step of a run that calls a tool once."""
    run: dict[str, Any] = {key: options.pop(key) for key in ("tool_context", "llm_context") if key in options}
    planner = kit.planner_of(func, script=[kit.call(func.__name__, n=1), kit.answer("x")], **options)
    finish = await planner.run("x", **run)
    return finish.metadata["steps"][0]


async def test_a_tool_that_holds_up_the_event_loop_is_told_of(
    kit: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penguiflow.planner.blocking.LONG_S", 0.05)

    async def compute(args: Number, ctx: Any) -> Number:
        await asyncio.sleep(0)
        ended = time.perf_counter() + 0.06
        while time.perf_counter() < ended:
            pass
        return args

    step = await one_step(kit, compute, policies={"compute": NodePolicy(timeout_s=60.0)})

    assert step["observation"] == {"n": 1}
    (told,) = [record for record in caplog.records if "held up the event loop" in record.getMessage()]
    assert told.levelname == "WARNING"
    assert told.getMessage().startswith("tool 'compute' held up")
    assert "asyncio.to_thread" in told.getMessage()


async def test_a_policy_says_how_often_a_tool_is_tried(kit: Any) -> None:
    tries: list[int] = []

    async def shaky(args: Number, ctx: Any) -> Number:
        tries.append(args.n)
        if len(tries) < 3:
            raise ConnectionError("not now")
        return args

    log = kit.Log()
    policies = {"shaky": NodePolicy(max_retries=2, backoff_base=0.0)}
    step = await one_step(kit, shaky, policies=policies, recorder=log.recorder())

    assert (step["observation"], len(tries)) == ({"n": 1}, 3)
    retries = [event for event in log.events if event.kind == "node.retry"]
    [tool] = {event.span_id for event in log.events if event.kind == "tool.start"}
    assert [(event.span_id, event.data["attempt"], event.data["error"]) for event in retries] == [
        (tool, 1, "ConnectionError('not now')"),
        (tool, 2, "ConnectionError('not now')"),
    ]


async def test_a_failure_is_an_observation(kit: Any) -> None:
    class Closed(Exception):
        suggestion = "come back tomorrow"

    tries: list[int] = []

    async def shop(args: Number, ctx: Any) -> Number:
        tries.append(1)
        raise Closed("no milk")

    log = kit.Log()
    policies = {"shop": NodePolicy(max_retries=3, backoff_base=0.0, retry_on=(ConnectionError,))}
    step = await one_step(kit, shop, policies=policies, recorder=log.recorder())

    assert step["error"] == "tool 'shop' raised Closed: no milk"
    assert step["failure"] == {
        "node": "shop",
        "args": {"n": 1},
        "error_code": "Closed",
        "message": "no milk",
        "suggestion": "come back tomorrow",
    }
    assert len(tries) == 1
    [end] = [event for event in log.events if event.kind == "tool.end"]
    assert end.data["status"] == "error"
    assert end.data["error"]["type"].endswith("Closed")
    assert end.data["error"]["file"] == __file__


@pytest.mark.usefixtures("virtual_time")
async def test_a_tool_that_hangs_is_cancelled_at_its_timeout(kit: Any) -> None:
    ended = asyncio.Event()

    async def hang(args: Number, ctx: Any) -> Number:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return args

    async with asyncio.timeout(60):
        step = await one_step(kit, hang, policies={"hang": NodePolicy(timeout_s=0.01)})

    assert step["failure"]["error_code"] == "TimeoutError"
    assert ended.is_set()


@pytest.mark.usefixtures("virtual_time")
async def test_a_tool_that_ignores_its_cancellation_is_left_behind(
    kit: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("penguiflow.planner.bounds.GRACE_S", 0.01)
    may_end = asyncio.Event()

    async def stubborn(args: Number, ctx: Any) -> Number:
        while not may_end.is_set():
            try:
                await may_end.wait()
            except asyncio.CancelledError:
                continue
        return args

    async with asyncio.timeout(60):
        with caplog.at_level(logging.ERROR, "penguiflow.planner"):
            step = await one_step(kit, stubborn, policies={"stubborn": NodePolicy(timeout_s=0.01)})
        assert step["failure"]["error_code"] == "TimeoutError"
        assert "planner_work_ignores_cancellation" in caplog.text
        may_end.set()
        [left] = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        await asyncio.wait([left])


async def test_a_cancellation_of_the_tools_own_making_is_a_failure(kit: Any) -> None:
    async def odd(args: Number, ctx: Any) -> Number:
        raise asyncio.CancelledError

    step = await one_step(kit, odd)

    assert step["failure"]["error_code"] == "CancelledError"


async def test_a_result_must_fit(kit: Any) -> None:
    async def wrong(args: Number, ctx: Any) -> Number:
        return {"n": "many"}  # type: ignore[return-value]

    async def plain(args: Number, ctx: Any) -> Number:
        return {"n": "7"}  # type: ignore[return-value]

    error = (await one_step(kit, wrong))["error"]
    assert error.startswith("tool 'wrong' gave what is not a Number: n: Input should be a valid integer")
    assert "https://" not in error
    assert (await one_step(kit, plain))["observation"] == {"n": 7}


async def test_streams_are_told_and_kept(kit: Any) -> None:
    async def speak(args: Number, ctx: Any) -> Number:
        await ctx.emit_chunk("words", 0, "one ")
        await ctx.emit_chunk("words", 1, "two", done=True, meta={"channel": "answer"})
        await ctx.emit_artifact("files", {"a": 1}, artifact_type="json", done=True)
        return args

    heard: list[Any] = []
    step = await one_step(kit, speak, event_callback=heard.append)

    told = [event.extra for event in heard if event.event_type == "stream_chunk"]
    assert [(each["text"], each["done"], each["meta"]["channel"]) for each in told] == [
        ("one ", False, "thinking"),
        ("two", True, "answer"),
    ]
    [artifact] = [event.extra for event in heard if event.event_type == "artifact_chunk"]
    assert (artifact["chunk"], artifact["artifact_type"]) == ({"a": 1}, "json")
    assert [piece["text"] for piece in step["streams"]["words"]] == ["one ", "two"]


async def test_artifacts_are_kept_from_the_model(kit: Any) -> None:
    async def draw(args: Number, ctx: Any) -> Chart:
        return Chart(title="sales", picture="x" * 50)

    model = ScriptedModel([kit.call("draw", n=1), kit.answer("x")])
    finish = await kit.planner_of(draw, model=model).run("x")

    assert finish.metadata["artifacts"] == {"draw": {"picture": "x" * 50}}
    assert "xxxx" not in str(model.requests[1].messages)
    assert "<artifact:png size=50>" in str(model.requests[1].messages)


async def test_sources_are_collected_once(kit: Any) -> None:
    async def search(args: Number, ctx: Any) -> Hits:
        return Hits(hits=[Hit(headline="a", url="u"), Hit(headline="b"), Hit(headline="a", url="u")])

    finish = await kit.planner_of(search, script=[kit.call("search", n=1), kit.answer("x")]).run("x")

    assert finish.metadata["sources"] == [{"title": "a", "url": "u"}, {"title": "b"}]


async def test_what_is_too_long_is_cut_where_nothing_is_kept(kit: Any) -> None:
    async def read(args: Number, ctx: Any) -> Page:
        return Page(text="y" * 30_000, numbers=list(range(100)))

    heard: list[Any] = []
    limits = ObservationGuardrailConfig(max_observation_chars=5000, max_field_chars=1000)
    step = await one_step(kit, read, observation_guardrail=limits, event_callback=heard.append)

    shown = step["llm_observation"]
    assert shown["text"] == "y" * 1000 + "\n... [truncated, 29000 chars omitted]"
    assert (len(shown["numbers"]), shown["numbers"][-1]) == (21, "… and 80 more")
    assert len(step["observation"]["text"]) == 30_000
    [clamped] = [event.extra for event in heard if event.event_type == "observation_clamped"]
    assert (clamped["method"], clamped["original_size"] > clamped["clamped_size"]) == ("truncate", True)


async def test_what_is_too_long_is_an_artifact_where_it_is_kept(kit: Any) -> None:
    async def read(args: Number, ctx: Any) -> Page:
        return Page(text="y" * 30_000)

    store, heard = InMemoryArtifactStore(), list[Any]()
    options = {"artifact_store": store, "event_callback": heard.append}
    step = await one_step(kit, read, tool_context={"session_id": "s", "tenant_id": "t", "user_id": "u"}, **options)

    shown = step["llm_observation"]
    assert len(shown["preview"]) == 500
    kept = await store.get(shown["artifact"]["id"])
    assert kept is not None
    assert kept.decode().count("y") == 30_000
    [ref] = await store.list()
    assert ref.scope is not None
    assert ref.scope.owner == ("t", "u", "s")
    assert [event.extra["artifact_id"] for event in heard if event.event_type == "artifact_stored"] == [ref.id]


async def test_equal_artifacts_of_two_sessions_are_two(kit: Any) -> None:
    seen: dict[str, Any] = {}

    async def keep(args: Number, ctx: Any) -> Number:
        ref = await ctx.artifacts.upload("the same")
        seen[ctx.tool_context["session_id"]] = await ctx.artifacts.download(ref.id)
        return args

    model = ScriptedModel(rules=[(lambda _: True, [kit.call("keep", n=1), kit.answer("x")])])
    planner = kit.planner_of(keep, model=model, artifact_store=InMemoryArtifactStore())
    for session in ("a", "b"):
        await planner.run("x", tool_context={"session_id": session})

    assert seen == {"a": b"the same", "b": b"the same"}


async def test_a_tool_with_a_timeout_may_pause(kit: Any) -> None:
    async def wait(args: Number, ctx: Any) -> Number:
        await asyncio.sleep(0)
        await ctx.pause("approval_required", {"n": args.n})
        return args

    policies = {"wait": NodePolicy(timeout_s=60.0, max_retries=3)}
    script = [kit.call("wait", n=1), kit.answer("x")]
    pause = await kit.planner_of(wait, script=script, policies=policies).run("x")

    assert isinstance(pause, PlannerPause)
    assert (pause.reason, pause.payload) == ("approval_required", {"n": 1})
    off = await kit.planner_of(wait, script=script, pause_enabled=False).run("x")
    assert "pausing is off" in off.metadata["steps"][0]["error"]
