"""Summaries that are written in the background: what their traces tell, and who does not see them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from penguiflow.llm.errors import LLMServerError
from penguiflow.llm.scripted import ScriptedModel
from penguiflow.llm.types import LLMRequest
from penguiflow.planner.memory import MemoryBudget, MemoryKey, ShortTermMemoryConfig
from penguiflow.recording import Recorder, TraceEvent
from penguiflow.recording.cassette import Cassette
from penguiflow.recording.replay import replay
from penguiflow.state import InMemoryStateStore, SQLiteStateStore
from penguiflow.state.traces import TraceQuery, TraceSummary

KEY = MemoryKey("t", "u", "s")
FLOW = "planner.memory"


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    made: Any = InMemoryStateStore() if request.param == "memory" else SQLiteStateStore(tmp_path / "state.db")
    yield made
    await made.close()


def recorder_of(store: Any) -> Recorder:
    return Recorder(store=store, name="planner")


class Talk:
    """A planner that answers, and summarizes every turn."""

    def __init__(self, kit: Any, summarizer: Any, store: Any, recorder: Any = None, **memory: Any) -> None:
        async def look(args: Any, ctx: Any) -> Any:
            return args

        look.__annotations__ = {"args": kit.Number, "return": kit.Number}
        budget = MemoryBudget(full_zone_turns=0)
        config = ShortTermMemoryConfig("rolling_summary", budget, retry_backoff_base_s=0.0, **memory)
        model = ScriptedModel([kit.answer("told")] * 20)
        self.store = store
        self.planner: Any = kit.planner_of(
            look,
            model=model,
            name="planner",
            state_store=store,
            recorder=recorder or recorder_of(store),
            short_term_memory=config,
            summarizer_llm=summarizer,
        )

    async def run(self, query: str, *, settle: bool = True) -> str:
        context = {"tenant_id": "t", "user_id": "u", "session_id": "s"}
        finish = await self.planner.run(query, tool_context=context)
        if settle:
            await self.settle()
        return str(finish.metadata["trace_id"])

    async def settle(self) -> None:
        await self.planner.memories().flush()
        await self.store.flush()

    async def summaries(self) -> list[TraceSummary]:
        """Oldest first."""
        found: list[TraceSummary] = await self.store.find_traces(TraceQuery(flow=FLOW))
        return found[::-1]


def kinds(events: Sequence[TraceEvent]) -> list[str]:
    return [event.kind for event in events]


async def test_a_summary_is_a_trace_of_its_own(kit: Any, store: Any) -> None:
    summarizer = ScriptedModel([" They said hello. "])
    talk = Talk(kit, summarizer, store)
    run = await talk.run("hello")
    [told] = await talk.summaries()
    assert (told.status, told.session, told.llm_calls) == ("ok", "s", 1)
    assert told.origin == {"trace_id": run, "mode": "background"}
    assert told.tokens > 0
    events = await store.load_events(told.trace_id)
    assert kinds(events) == ["trace.start", "llm.start", "llm.end", "memory.changed", "trace.end"]
    asked, replied, changed = events[1].data["request"]["value"], events[2].data, events[3].data
    assert [each["content"] for each in asked["messages"]] == [each.text for each in summarizer.requests[0].messages]
    assert asked["purpose"] == "memory"
    assert replied["response"]["value"]["message"]["content"] == " They said hello. "
    assert replied["usage"]
    assert replied["latency_ms"] >= 0
    assert (changed["of"], changed["by"], changed["change"]) == (KEY.composite(), "summarizer", "summary.written")
    assert (changed["before"]["value"], changed["after"]["value"]) == ("", "They said hello.")
    assert (await store.get_trace(run)).llm_calls == 1


async def test_it_is_no_run(kit: Any, store: Any) -> None:
    talk = Talk(kit, ScriptedModel(["one", "two"]), store)
    first, second = await talk.run("a"), await talk.run("b")
    summaries = [each.trace_id for each in await talk.summaries()]
    assert len(summaries) == 2
    assert await store.resolve_trace("last") == second
    assert [each.trace_id for each in await store.find_traces()] == [second, first]
    assert [each.trace_id for each in await store.find_traces(TraceQuery(flow="planner"))] == [second, first]
    assert [each.trace_id for each in await store.find_traces(TraceQuery(session="s"))] == [second, first]
    everything = await store.find_traces(TraceQuery(session="s", background=True))
    assert {each.trace_id for each in everything} == {first, second, *summaries}
    assert await store.resolve_trace(summaries[0]) == summaries[0]
    if isinstance(store, SQLiteStateStore):
        assert {flow.flow: flow.runs for flow in await store.statistics()} == {"planner": 2, FLOW: 2}
        [session] = await store.sessions()
        assert (session.session, session.runs, session.flows) == ("s", 2, ["planner"])


async def test_a_store_of_nothing_but_summaries_has_no_last(kit: Any, store: Any) -> None:
    recorder_of(store).open("m", {"origin": {"trace_id": "gone"}, "mode": "background"}).close("ok")
    await store.flush()
    with pytest.raises(LookupError):
        await store.resolve_trace("last")


async def test_no_answer_waits_for_it(kit: Any, store: Any) -> None:
    may_go = asyncio.Event()

    class Model(ScriptedModel):
        async def complete(self, request: LLMRequest, **options: Any) -> Any:
            await may_go.wait()
            return await super().complete(request, **options)

    talk = Talk(kit, Model(["both"] * 2), store)
    first = await talk.run("a", settle=False)
    await talk.run("b", settle=False)
    assert (await store.load_memory_state(KEY.composite()))["summary"] == ""
    may_go.set()
    await talk.settle()
    # One task, one trace: also of what came while it was at work.
    [told] = await talk.summaries()
    assert told.origin == {"trace_id": first, "mode": "background"}


async def test_a_summarizer_that_fails_is_an_error(kit: Any, store: Any) -> None:
    failure = LLMServerError("overloaded", provider="scripted", status_code=503)
    talk = Talk(kit, ScriptedModel([failure] * 20), store, retry_attempts=2, degraded_retry_interval_s=3600.0)
    await talk.run("a")
    for name in "bcd":  # given up until later: these begin no further trace
        await talk.run(name)
    [told] = await talk.summaries()
    assert (told.status, told.llm_calls) == ("error", 3)
    assert "overloaded" in (told.error or "")
    ends = [event for event in await store.load_events(told.trace_id) if event.kind == "llm.end"]
    assert [event.data["status"] for event in ends] == ["error"] * 3
    assert all("overloaded" in event.data["error"]["message"] for event in ends)


async def test_a_summary_after_a_failure_is_none(kit: Any, store: Any) -> None:
    failure = LLMServerError("overloaded", provider="scripted", status_code=503)
    talk = Talk(kit, ScriptedModel([failure, "at last"]), store, retry_attempts=2)
    await talk.run("a")
    [told] = await talk.summaries()
    assert (told.status, told.error, told.llm_calls) == ("ok", None, 2)
    assert kinds(await store.load_events(told.trace_id))[-2:] == ["memory.changed", "trace.end"]


async def test_one_that_is_cancelled_has_an_end(kit: Any, store: Any) -> None:
    asked = asyncio.Event()

    class Model(ScriptedModel):
        async def complete(self, request: LLMRequest, **options: Any) -> Any:
            asked.set()
            await asyncio.Event().wait()

    talk = Talk(kit, Model([]), store)
    await talk.run("a", settle=False)
    async with asyncio.timeout(60):
        await asked.wait()
    memory = talk.planner.memories().of(KEY.composite())
    memory._task.cancel()
    await talk.settle()
    [told] = await talk.summaries()
    assert told.status == "cancelled"
    assert [event.data.get("status") for event in await store.load_events(told.trace_id)][-2:] == ["cancelled"] * 2


async def test_a_replay_writes_no_summary(kit: Any, store: Any) -> None:
    summarizer = ScriptedModel(["one", "two"])
    talk = Talk(kit, summarizer, store)
    trace_id = await talk.run("a")
    flow, registry = talk.planner.as_flow()
    cassette = Cassette.of(await store.load_events(trace_id))
    report = await replay(flow, cassette, registry=registry, recorder=recorder_of(store))
    await talk.settle()
    assert report.check().output.payload["raw_answer"] == "told"
    assert len(summarizer.requests) == len(await talk.summaries()) == 1


async def test_without_a_store_for_traces_there_is_none(kit: Any) -> None:
    log = kit.Log()
    summarizer = ScriptedModel(["one"])
    talk = Talk(kit, summarizer, None, recorder=log.recorder())
    await talk.planner.run("a", memory_key=KEY)
    await talk.planner.memories().flush()
    assert len(summarizer.requests) == 1
    assert kinds(log.events).count("trace.start") == 1


async def test_it_cannot_be_replayed_itself(kit: Any, store: Any) -> None:
    talk = Talk(kit, ScriptedModel(["one"]), store)
    await talk.run("a")
    [told] = await talk.summaries()
    cassette = Cassette.of(await store.load_events(told.trace_id))
    assert "in the background" in (cassette.problem or "")
