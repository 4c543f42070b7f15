"""What a store has of a run when its result is there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from penguiflow.planner import PlannerPause, Trajectory, persistence
from penguiflow.recording.cassette import Cassette
from penguiflow.recording.replay import replay
from penguiflow.state import InMemoryStateStore, SQLiteStateStore

OWNER = {"session_id": "s", "trace_id": "t1"}


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    made: Any = InMemoryStateStore() if request.param == "memory" else SQLiteStateStore(tmp_path / "state.db")
    yield made
    await made.close()


def planner_of(kit: Any, store: Any, **options: Any) -> Any:
    async def double(args: Any, ctx: Any) -> Any:
        return kit.Number(n=args.n * 2)

    async def approve(args: Any, ctx: Any) -> Any:
        await ctx.pause("approval_required")

    for tool in (double, approve):
        tool.__annotations__ = {"args": kit.Number, "return": kit.Number}
    options.setdefault("script", [kit.call("double", n=2), kit.answer("done")])
    return kit.planner_of(double, approve, state_store=store, **options)


async def test_all_of_it_is_there_when_the_result_is(kit: Any, store: Any) -> None:
    heard: list[Any] = []
    planner = planner_of(kit, store, event_callback=heard.append)
    live = object()
    await planner.run("what", tool_context={**OWNER, "live": live})

    assert await store.list_traces("s") == ["t1"]
    trajectory = await store.get_trajectory("t1", "s")
    assert isinstance(trajectory, Trajectory)
    assert trajectory.query == "what"
    assert [step.action.next_node for step in trajectory.steps] == ["double"]
    assert trajectory.steps[0].observation == {"n": 4}
    assert trajectory.tool_context == OWNER
    events = await store.list_planner_events("t1")
    assert [event.event_type for event in events] == [event.event_type for event in heard]
    assert [event.ts for event in events] == sorted(event.ts for event in events)
    assert {"step_start", "tool_call_start", "finish"} <= {event.event_type for event in events}


async def test_of_a_run_that_pauses_too(kit: Any, store: Any) -> None:
    planner = planner_of(kit, store, script=[kit.call("approve", n=1), kit.answer("done")])
    pause = await planner.run("what", tool_context=OWNER)
    assert isinstance(pause, PlannerPause)
    assert (await store.list_planner_events("t1"))[-1].event_type in ("pause", "step_complete")
    await planner.resume(pause.resume_token, tool_context={**OWNER, "trace_id": "t2"})
    assert await store.list_traces("s") == ["t2", "t1"]
    assert [len((await store.get_trajectory(trace, "s")).steps) for trace in ("t1", "t2")] == [1, 1]


async def test_of_many_runs_at_once_each_has_its_own(kit: Any, store: Any) -> None:
    planner = planner_of(kit, store, script=[kit.answer("done")] * 30)
    await asyncio.gather(
        *(
            planner.run(f"q{number}", tool_context={"session_id": f"s{number % 3}", "trace_id": f"t{number}"})
            for number in range(30)
        )
    )
    for number in range(30):
        trajectory = await store.get_trajectory(f"t{number}", f"s{number % 3}")
        assert trajectory.query == f"q{number}"
        assert sum(event.event_type == "finish" for event in await store.list_planner_events(f"t{number}")) == 1
    assert len(await store.list_traces("s0")) == 10


async def test_a_store_that_fails_is_logged(kit: Any, caplog: pytest.LogCaptureFixture) -> None:
    class Full(InMemoryStateStore):
        async def save_trajectory(self, trace_id: str, session_id: str, trajectory: Any) -> None:
            raise OSError("disk full")

    with caplog.at_level(logging.ERROR, logger="penguiflow.planner"):
        outcome = await planner_of(kit, Full()).run("what", tool_context=OWNER)
    assert outcome.reason == "answer_complete"
    assert "planner_run_not_kept" in caplog.text
    assert "disk full" in caplog.text


async def test_a_store_that_hangs_does_not_keep_the_answer(kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Hangs(InMemoryStateStore):
        async def save_planner_event(self, trace_id: str, event: Any) -> None:
            await asyncio.Event().wait()

    monkeypatch.setattr(persistence, "PERSIST_TIMEOUT_S", 0.01)
    async with asyncio.timeout(60):
        outcome = await planner_of(kit, Hangs()).run("what", tool_context=OWNER)
    assert outcome.reason == "answer_complete"


async def test_a_store_that_takes_nothing_is_left_alone(kit: Any) -> None:
    class Events:
        def __init__(self) -> None:
            self.saved: list[Any] = []

        async def save_planner_event(self, trace_id: str, event: Any) -> None:
            self.saved.append((trace_id, event.event_type))

    outcome = await planner_of(kit, object()).run("what", tool_context=OWNER)
    assert outcome.reason == "answer_complete"
    events = Events()
    await planner_of(kit, events).run("what", tool_context=OWNER)
    assert {trace for trace, _ in events.saved} == {"t1"}
    events.saved.clear()
    await planner_of(kit, events).run("what")
    assert events.saved == []


async def test_a_replay_writes_nothing(kit: Any, store: Any) -> None:
    log = kit.Log()
    planner = planner_of(kit, store, recorder=log.recorder())
    await planner.run("what", tool_context=OWNER)
    trace_id = log.events[0].trace_id
    before = len(await store.list_planner_events(trace_id))
    assert before
    flow, registry = planner.as_flow()
    (await replay(flow, Cassette.of(log.events), registry=registry)).check()
    assert len(await store.list_planner_events(trace_id)) == before
    assert await store.list_traces("s") == ["t1"]
