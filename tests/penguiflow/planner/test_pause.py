"""Runs that pause, and go on under a token that is good once."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from penguiflow.llm.types import ImagePart, LLMRequest
from penguiflow.planner import PlannerFinish, PlannerPause
from penguiflow.planner.pauses import NoPausedRun, PauseStore
from penguiflow.planner.protocols import PauseRecord
from penguiflow.recording import Recorder
from penguiflow.state import InMemoryStateStore, SQLiteStateStore


@pytest.fixture(params=["none", "memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    if request.param == "none":
        yield None
        return
    made: Any = InMemoryStateStore() if request.param == "memory" else SQLiteStateStore(tmp_path / "state.db")
    yield made
    await made.close()


def tools(kit: Any, seen: list[Any]) -> list[Any]:
    async def approve(args: Any, ctx: Any) -> Any:
        seen.append(dict(ctx.tool_context))
        await ctx.pause("approval_required", {"amount": args.n, "by": Path("x")})
        raise AssertionError("a tool that paused does not go on")

    async def look(args: Any, ctx: Any) -> Any:
        seen.append(dict(ctx.tool_context))
        return args

    for tool in (approve, look):
        tool.__annotations__ = {"args": kit.Number, "return": kit.Number}
    return [approve, look]


def paused(outcome: Any) -> PlannerPause:
    assert isinstance(outcome, PlannerPause)
    return outcome


def finished(outcome: Any) -> PlannerFinish:
    assert isinstance(outcome, PlannerFinish)
    return outcome


@pytest.mark.parametrize("session", [True, False])
@pytest.mark.parametrize("fresh", [True, False])
async def test_the_model_decides_again_when_it_is_resumed(kit: Any, store: Any, session: bool, fresh: bool) -> None:
    if fresh and store is None:
        pytest.skip("without a store a paused run is only in its own planner")
    seen: list[Any] = []
    prompts: list[str] = []

    def decide(request: LLMRequest) -> Any:
        prompts.append("\n".join(message.text for message in request.messages))
        return kit.call("approve", n=5) if len(prompts) == 1 else kit.answer("done")

    def planner() -> Any:
        return kit.planner_of(*tools(kit, seen), script=[decide] * 2, state_store=store, hop_budget=7)

    first = planner()
    context: dict[str, Any] = {"session_id": "s"} if session else {}
    pause = paused(await first.run("what", tool_context={**context, "live": object()}, llm_context={"a": 1}))
    assert (pause.reason, pause.payload) == ("approval_required", {"amount": 5, "by": "x"})

    outcome = finished(await (planner() if fresh else first).resume(pause.resume_token, "go on"))

    (step,) = outcome.metadata["steps"]
    assert step["observation"] == {"pause": "approval_required", "payload": {"amount": 5, "by": "x"}}
    assert "go on" in prompts[1]
    assert '"a"' in prompts[1]
    assert outcome.metadata["constraints"]["hops_used"] == 1
    assert outcome.metadata["cost"]["main_llm_calls"] == 2
    assert (outcome.metadata["tool_context"] or {}).get("session_id") == context.get("session_id")


async def test_another_tool_context_takes_the_place_of_the_one_it_had(kit: Any, store: Any) -> None:
    seen: list[Any] = []
    script = [kit.call("approve", n=1), kit.call("look", n=2), kit.answer("done")]
    planner = kit.planner_of(*tools(kit, seen), script=script, state_store=store)
    pause = paused(await planner.run("what", tool_context={"session_id": "s", "old": True}))
    live = object()
    await planner.resume(pause.resume_token, tool_context={"session_id": "s", "live": live})
    assert seen[0]["old"] is True
    assert "old" not in seen[1]
    assert seen[1]["live"] is live


async def test_pictures_are_there_when_it_goes_on(kit: Any, store: Any) -> None:
    pictures: list[Any] = []

    def decide(request: LLMRequest) -> Any:
        parts = [part for message in request.messages for part in message.parts]
        pictures.append([part.data for part in parts if isinstance(part, ImagePart)])
        return kit.call("approve", n=1) if len(pictures) == 1 else kit.answer("done")

    planner = kit.planner_of(*tools(kit, []), script=[decide] * 2, state_store=store)
    pause = paused(await planner.run("what", input_parts=[ImagePart(b"\x89png", "image/png")]))
    await planner.resume(pause.resume_token)
    assert pictures == [[b"\x89png"]] * 2


async def test_a_token_is_good_once(kit: Any, store: Any) -> None:
    planner = kit.planner_of(*tools(kit, []), script=[kit.call("approve", n=1), kit.answer("done")], state_store=store)
    pause = paused(await planner.run("what"))
    outcomes = await asyncio.gather(
        *(planner.resume(pause.resume_token, str(number)) for number in range(5)), return_exceptions=True
    )
    won = [outcome for outcome in outcomes if isinstance(outcome, PlannerFinish)]
    lost = [outcome for outcome in outcomes if isinstance(outcome, KeyError)]
    assert (len(won), len(lost)) == (1, 4)
    assert "is unknown, was used already, or is older than 60 minutes" in str(lost[0])
    assert pause.resume_token not in str(lost[0])
    with pytest.raises(KeyError, match="no run waits"):
        await planner.resume("no such token")


async def test_a_token_is_good_for_an_hour(kit: Any, store: Any) -> None:
    now = [1000.0]
    pauses = PauseStore(store, clock=lambda: now[0])
    record = PauseRecord("await_input", {}, {"query": "q"}, {}, None)
    run: Any = None
    first, second = await pauses.save(run, record), await pauses.save(run, record)
    now[0] += 3599.0
    assert (await pauses.peek(first)).reason == "await_input"
    assert (await pauses.take(first)).restored().query == "q"
    now[0] += 2.0
    with pytest.raises(NoPausedRun, match="expired: the run waited for more than 60 minutes"):
        await pauses.peek(second)
    with pytest.raises(NoPausedRun, match="expired"):
        await pauses.take(second)
    with pytest.raises(NoPausedRun, match="unknown"):
        await pauses.take(second)


async def test_without_a_store_a_token_is_good_in_its_process_alone() -> None:
    pauses = PauseStore()
    with pytest.raises(NoPausedRun, match="without a `state_store` paused runs end with the process"):
        await pauses.take("elsewhere")


async def test_to_look_at_it_leaves_it_where_it_is(kit: Any, store: Any) -> None:
    planner = kit.planner_of(*tools(kit, []), script=[kit.call("approve", n=1), kit.answer("done")], state_store=store)
    pause = paused(await planner.run("what", tool_context={"session_id": "s"}))
    for _ in range(2):
        record = await planner.pauses().peek(pause.resume_token)
        assert (record.reason, record.tool_context) == ("approval_required", {"session_id": "s"})
        assert record.restored().query == "what"
    finished(await planner.resume(pause.resume_token))
    with pytest.raises(NoPausedRun):
        await planner.pauses().peek(pause.resume_token)


async def test_a_store_that_cannot_show_is_not_asked_to_give_out() -> None:
    class Once:
        def __init__(self) -> None:
            self.kept: dict[str, Any] = {}

        async def save_planner_state(self, token: str, payload: dict[str, Any]) -> None:
            self.kept[token] = payload

        async def load_planner_state(self, token: str) -> dict[str, Any] | None:
            found: dict[str, Any] | None = self.kept.pop(token, None)
            return found

    run: Any = None
    pauses = PauseStore(Once())
    token = await pauses.save(run, PauseRecord("await_input", {}, {"query": "q"}, {}, None))
    with pytest.raises(TypeError, match="Once cannot show"):
        await pauses.peek(token)
    assert (await pauses.take(token)).restored().query == "q"


async def test_what_is_kept_under_a_token_may_be_something_else() -> None:
    store = InMemoryStateStore()
    await store.save_planner_state("mine", {"other": 1})
    with pytest.raises(NoPausedRun, match="no paused run"):
        await PauseStore(store).take("mine")


async def test_a_store_that_fails_fails_the_run(kit: Any) -> None:
    class Full(InMemoryStateStore):
        async def save_planner_state(self, token: str, payload: dict[str, Any]) -> None:
            raise OSError("disk full")

    planner = kit.planner_of(*tools(kit, []), script=[kit.call("approve", n=1)], state_store=Full())
    with pytest.raises(OSError, match="disk full"):
        await planner.run("what")


async def test_without_pausing_a_tool_that_pauses_fails(kit: Any) -> None:
    script = [kit.call("approve", n=1), kit.answer("done")]
    outcome = finished(await kit.planner_of(*tools(kit, []), script=script, pause_enabled=False).run("what"))
    assert "pausing is off" in outcome.metadata["steps"][0]["error"]


async def test_it_is_told_of(kit: Any) -> None:
    log = kit.Log()
    events: list[Any] = []
    script = [kit.call("approve", n=1), kit.answer("done")]
    planner = kit.planner_of(*tools(kit, []), script=script, recorder=log.recorder(), event_callback=events.append)
    pause = paused(await planner.run("what"))
    await planner.resume(pause.resume_token, "go on")
    told = {event.event_type: event.extra for event in events if event.event_type in ("pause", "resume")}
    assert told["pause"]["payload"] == {"amount": 1, "by": "x"}
    assert told["resume"]["user_input"] == "go on"
    of_trace = {event.kind: event for event in log.events if event.kind in ("planner.pause", "planner.resume")}
    assert of_trace["planner.pause"].data["reason"] == "approval_required"
    assert of_trace["planner.resume"].data["trace_id"] == of_trace["planner.pause"].trace_id
    ends = [event for event in log.events if event.kind == "planner.end"]
    assert [event.data["reason"] for event in ends] == ["approval_required", "answer_complete"]


PROGRAM = """
    import asyncio, sys
    from pydantic import BaseModel
    from penguiflow import ModelRegistry, Node
    from penguiflow.llm.scripted import ScriptedModel
    from penguiflow.planner import ReactPlanner
    from penguiflow.state import SQLiteStateStore

    class Number(BaseModel):
        n: int

    async def approve(args: Number, ctx) -> Number:
        await ctx.pause("approval_required", {"amount": args.n})
        return args

    async def main(path, token=None):
        registry = ModelRegistry()
        registry.register("approve", Number, Number)
        script = [{"next_node": "approve", "args": {"n": 5}}] * (token is None)
        script.append({"next_node": "final_response", "args": {"answer": "done"}})
        planner = ReactPlanner(
            ScriptedModel(script), nodes=[Node(approve, name="approve")], registry=registry,
            state_store=SQLiteStateStore(path),
        )
        if token is None:
            print((await planner.run("what", tool_context={"session_id": "s"})).resume_token, flush=True)
            await asyncio.Event().wait()
        outcome = await planner.resume(token, "yes")
        print(outcome.payload["raw_answer"], outcome.metadata["steps"][0]["observation"]["payload"]["amount"])

    asyncio.run(main(*sys.argv[1:]))
"""


def test_it_goes_on_when_its_process_was_killed(tmp_path: Path) -> None:
    program, path = tmp_path / "program.py", str(tmp_path / "state.db")
    program.write_text("from __future__ import annotations\n" + dedent(PROGRAM))
    with subprocess.Popen([sys.executable, program, path], stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        token = first.stdout.readline().strip()
        os.kill(first.pid, signal.SIGKILL)
        first.wait(timeout=60)
    assert len(token) == 32
    second = subprocess.run([sys.executable, program, path, token], capture_output=True, text=True, timeout=120)
    assert second.stdout.split() == ["done", "5"], second.stderr
    third = subprocess.run([sys.executable, program, path, token], capture_output=True, text=True, timeout=120)
    assert "was used already" in third.stderr


async def test_what_was_counted_before_the_pause_counts(kit: Any, store: Any) -> None:
    script = ["no action", kit.call("approve", n=1), "no action", kit.answer("done")]
    planner = kit.planner_of(*tools(kit, []), script=script, state_store=store)
    finish = finished(await planner.resume(paused(await planner.run("x")).resume_token, "yes"))

    assert finish.metadata["repair_attempts"] == finish.metadata["validation_failures_count"] == 2


async def test_a_used_token_is_told_without_a_traceback(kit: Any, caplog: pytest.LogCaptureFixture) -> None:
    planner = kit.planner_of(script=[kit.answer("done")], recorder=kit.Log().recorder())
    with pytest.raises(NoPausedRun, match="no run waits under the token"):
        await planner.resume("0123456789")
    told = [record for record in caplog.records if record.name == "penguiflow.core"]
    assert told
    assert [record.exc_info for record in told] == [None] * len(told)


async def test_a_trace_is_paused_until_it_is_gone_on_with(kit: Any, store: Any) -> None:
    if store is None:
        return
    tool = tools(kit, [])[0]
    script = [kit.call("approve", n=3), kit.answer("done")]
    planner = kit.planner_of(tool, script=script, recorder=Recorder(store=store), state_store=store)
    pause = paused(await planner.run("pay"))
    await store.flush()
    [trace] = await store.find_traces()
    assert (trace.status, trace.ended is not None) == ("paused", True)
    events = [event async for event in store.follow(trace.trace_id)]
    assert (events[-1].kind, events[-1].data["status"], events[-1].data["paused"]) == (
        "trace.end",
        "ok",
        "approval_required",
    )
    finished(await planner.resume(pause.resume_token))
    await store.flush()
    assert [each.status for each in await store.find_traces()] == ["ok", "ok"]
