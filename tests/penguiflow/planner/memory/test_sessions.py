"""Conversations: what a run remembers of those before, and that nobody else does."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from penguiflow.llm.scripted import ScriptedModel
from penguiflow.llm.types import LLMRequest
from penguiflow.planner.memory import (
    ConversationTurn,
    DefaultShortTermMemory,
    MemoryBank,
    MemoryBudget,
    MemoryHealth,
    MemoryIsolation,
    MemoryKey,
    ShortTermMemoryConfig,
)
from penguiflow.planner.memory.state import MemoryState
from penguiflow.recording.cassette import Cassette
from penguiflow.recording.frontier import frontier
from penguiflow.recording.replay import replay
from penguiflow.state import InMemoryStateStore, SQLiteStateStore


class Plain:
    """A store that keeps memories, and can do nothing else."""

    def __init__(self) -> None:
        self.kept: dict[str, dict[str, Any]] = {}

    async def save_memory_state(self, key: str, state: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        self.kept[key] = state

    async def load_memory_state(self, key: str) -> dict[str, Any] | None:
        await asyncio.sleep(0)
        return self.kept.get(key)


class Talk:
    """A planner that repeats the last thing said and tells what it was shown."""

    def __init__(self, kit: Any, **options: Any) -> None:
        self.shown: dict[str, str] = {}
        options.setdefault("short_term_memory", ShortTermMemoryConfig(strategy="truncation"))

        async def look(args: Any, ctx: Any) -> Any:
            return args

        look.__annotations__ = {"args": kit.Number, "return": kit.Number}
        model = options.pop("model", None) or ScriptedModel([self.say] * 1000)
        self.kit = kit
        self.planner: Any = kit.planner_of(look, model=model, **options)

    def say(self, request: LLMRequest) -> Any:
        text = "\n".join(message.text for message in request.messages)
        query = re.findall(r"ask-[\w-]+", text)[-1]
        self.shown[query] = text
        return self.kit.answer(f"told-{query[4:]}")

    async def run(self, name: str, session: str = "s", user: str = "u", **options: Any) -> Any:
        options.setdefault("tool_context", {"tenant_id": "t", "user_id": user, "session_id": session})
        return await self.planner.run(f"ask-{name}", **options)


@pytest.fixture(params=["none", "memory", "sqlite", "plain"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    if request.param == "none":
        yield None
        return
    if request.param == "plain":
        yield Plain()
        return
    made: Any = InMemoryStateStore() if request.param == "memory" else SQLiteStateStore(tmp_path / "state.db")
    yield made
    await made.close()


def names(state: MemoryState) -> list[str]:
    return [turn.user_message for turn in (*state.pending, *state.turns)]


async def kept(store: Any, key: str = "t:u:s") -> MemoryState:
    saved = await store.load_memory_state(key)
    return MemoryState() if saved is None else MemoryState.load(saved)


async def test_a_run_sees_those_before(kit: Any, store: Any) -> None:
    talk = Talk(kit, state_store=store)
    await talk.run("a")
    await talk.run("b")
    assert "told-a" not in talk.shown["ask-a"]
    assert "told-a" in talk.shown["ask-b"]
    if store is not None:
        # It is there when the run returns, not some time later.
        assert names(await kept(store)) == ["ask-a", "ask-b"]
        other = Talk(kit, state_store=store)
        await other.run("c")
        assert "told-a" in other.shown["ask-c"]
        assert "told-b" in other.shown["ask-c"]


async def test_a_key_may_be_given(kit: Any, store: Any) -> None:
    talk = Talk(kit, state_store=store)
    for name in "ab":
        await talk.run(name, tool_context={}, memory_key=MemoryKey("t", "u:x", "s"))
    assert "told-a" in talk.shown["ask-b"]
    await talk.run("c", tool_context={"tenant_id": "t", "user_id": "u", "session_id": "x:s"})
    assert "told-a" not in talk.shown["ask-c"]


@pytest.mark.parametrize("missing", ["tenant_id", "user_id", "session_id"])
async def test_without_tenant_user_or_session_nothing_is_remembered(kit: Any, store: Any, missing: str) -> None:
    talk = Talk(kit, state_store=store)
    context = {"tenant_id": "t", "user_id": "u", "session_id": "s"}
    del context[missing]
    for name in "ab":
        await talk.run(name, tool_context=context)
    assert "told-a" not in talk.shown["ask-b"]
    if isinstance(store, InMemoryStateStore | SQLiteStateStore):
        assert await store.list_memory_states() == []


async def test_where_no_key_is_asked_for_a_memory_ends_with_its_run(kit: Any, store: Any) -> None:
    isolation = MemoryIsolation(require_explicit_key=False)
    config = ShortTermMemoryConfig(strategy="truncation", isolation=isolation)
    talk = Talk(kit, state_store=store, short_term_memory=config)
    for name in "ab":
        await talk.run(name, tool_context={"session_id": "s"})
    assert "told-a" not in talk.shown["ask-b"]
    for name in "cd":
        await talk.run(name)
    assert "told-c" in talk.shown["ask-d"]


async def test_a_run_that_did_not_finish_is_no_turn(kit: Any) -> None:
    async def approve(args: Any, ctx: Any) -> Any:
        await ctx.pause("approval_required")

    approve.__annotations__ = {"args": kit.Number, "return": kit.Number}
    store = InMemoryStateStore()
    config = ShortTermMemoryConfig(strategy="truncation")
    script = [kit.call("approve", n=1), kit.answer("done")]
    planner = kit.planner_of(approve, script=script, state_store=store, short_term_memory=config)
    context = {"tenant_id": "t", "user_id": "u", "session_id": "s"}
    pause = await planner.run("what", tool_context=context)
    assert await store.list_memory_states() == []
    await planner.resume(pause.resume_token, "yes")
    (turn,) = (await kept(store)).turns
    assert (turn.user_message, turn.assistant_response) == ("what", "done")
    assert turn.trajectory_digest is not None
    assert turn.trajectory_digest.tools_invoked == ["approve"]


async def test_runs_of_one_conversation_at_once_lose_no_turn(kit: Any, store: Any) -> None:
    config = ShortTermMemoryConfig(strategy="truncation", budget=MemoryBudget(full_zone_turns=100))
    talk = Talk(kit, state_store=store, short_term_memory=config)
    said = [f"q{number}" for number in range(25)]
    await asyncio.gather(*(talk.run(name) for name in said))
    await talk.run("last")
    assert all(f"told-{name}" in talk.shown["ask-last"] for name in said)


async def test_nor_do_those_of_two_programs(kit: Any, tmp_path: Path) -> None:
    stores = [SQLiteStateStore(tmp_path / "state.db") for _ in range(2)]
    config = ShortTermMemoryConfig(strategy="truncation", budget=MemoryBudget(full_zone_turns=100))
    talks = [Talk(kit, state_store=store, short_term_memory=config) for store in stores]
    await asyncio.gather(*(talks[number % 2].run(f"q{number}") for number in range(20)))
    state = await kept(stores[0])
    assert sorted(names(state)) == sorted(f"ask-q{number}" for number in range(20))
    assert (state.revision, state.count) == (20, 20)
    for store in stores:
        await store.close()


async def test_no_conversation_sees_another(kit: Any, store: Any) -> None:
    talk = Talk(kit, state_store=store)
    users = [f"u{number}" for number in range(40)]
    for turn in range(3):
        await asyncio.gather(*(talk.run(f"{user}-{turn}-", user=user) for user in users))
    for user in users:
        text = talk.shown[f"ask-{user}-2-"]
        assert set(re.findall(r"told-[\w-]+", text)) == {f"told-{user}-0-", f"told-{user}-1-"}


async def test_runs_of_different_conversations_do_not_wait_for_each_other(kit: Any) -> None:
    class Slow(Plain):
        def __init__(self) -> None:
            super().__init__()
            self.open = asyncio.Event()

        async def save_memory_state(self, key: str, state: dict[str, Any]) -> None:
            if key == "t:slow:s":
                await self.open.wait()
            await super().save_memory_state(key, state)

    store = Slow()
    talk = Talk(kit, state_store=store)
    slow = asyncio.ensure_future(talk.run("a", user="slow"))
    async with asyncio.timeout(60):
        await talk.run("b", user="quick")
        assert not slow.done()
        store.open.set()
        await slow
    assert sorted(store.kept) == ["t:quick:s", "t:slow:s"]


async def test_few_are_held_and_none_is_lost(kit: Any) -> None:
    store, config = InMemoryStateStore(), ShortTermMemoryConfig(strategy="truncation")
    bank = MemoryBank(config, store=store, limit=3)
    for round_ in range(2):
        for number in range(10):
            memory: Any = bank.of(f"t:u:{number}")
            await memory.add_turn(ConversationTurn(f"{number}-{round_}", "a"))
    assert len(bank.held()) == 3
    for number in range(10):
        memory = await bank.refreshed(f"t:u:{number}")
        assert names(memory.state) == [f"{number}-0", f"{number}-1"]
    without = MemoryBank(config, limit=3)
    for number in range(10):
        memory = without.of(f"t:u:{number}")
        await memory.add_turn(ConversationTurn(f"{number}", "a"))
    assert without.held() == ["t:u:7", "t:u:8", "t:u:9"]


async def test_the_planner_s_model_summarizes_in_the_background(kit: Any) -> None:
    asked: list[str] = []
    may_go = asyncio.Event()

    class Model(ScriptedModel):
        async def complete(self, request: LLMRequest, **options: Any) -> Any:
            asked.append(request.messages[1].text)
            await may_go.wait()
            return await super().complete(request, **options)

    store = InMemoryStateStore()
    summarizer = Model([" They said a. "])
    budget = MemoryBudget(full_zone_turns=1)
    config = ShortTermMemoryConfig(strategy="rolling_summary", budget=budget)
    talk = Talk(kit, state_store=store, short_term_memory=config, summarizer_llm=summarizer)
    await talk.run("a")
    await talk.run("b")
    assert names(await kept(store)) == ["ask-a", "ask-b"]
    may_go.set()
    await talk.planner.memories().flush()
    state = await kept(store)
    assert (state.summary, names(state)) == ("They said a.", ["ask-b"])
    assert "told-a" in asked[0]
    await talk.run("c")
    assert "They said a." in talk.shown["ask-c"]


async def test_turns_that_come_while_it_summarizes_are_not_lost() -> None:
    may_go, asked = asyncio.Event(), asyncio.Event()

    async def summarize(told: Mapping[str, Any]) -> Mapping[str, Any]:
        asked.set()
        await may_go.wait()
        said = [told["previous_summary"], *(turn["user_message"] for turn in told["turns"])]
        return {"summary": " ".join(text for text in said if text)}

    store = InMemoryStateStore()
    config = ShortTermMemoryConfig(strategy="rolling_summary", budget=MemoryBudget(full_zone_turns=0))
    here, there = (DefaultShortTermMemory(config=config, summarizer=summarize) for _ in range(2))
    for memory in (here, there):
        memory.keep_in(store, "k")
    await here.add_turn(ConversationTurn("a", "x"))
    await asked.wait()
    await there.add_turn(ConversationTurn("b", "x"))
    may_go.set()
    async with asyncio.timeout(60):
        await here.flush()
        await there.flush()
    state = await kept(store, "k")
    assert sorted(state.summary.split()) == ["a", "b"]
    assert state.pending == []


async def test_a_store_that_fails_costs_the_memory_and_not_the_answer(
    kit: Any, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Plain):
        broken = "load"

        async def load_memory_state(self, key: str) -> dict[str, Any] | None:
            if self.broken == "load":
                raise OSError("no disk")
            return await super().load_memory_state(key)

        async def save_memory_state(self, key: str, state: dict[str, Any]) -> None:
            raise OSError("disk full")

    store = Broken()
    talk = Talk(kit, state_store=store)
    with caplog.at_level(logging.ERROR, logger="penguiflow.planner"):
        assert (await talk.run("a")).payload["raw_answer"] == "told-a"
        assert "memory_not_read" in caplog.text
        store.broken = "save"
        assert (await talk.run("b")).payload["raw_answer"] == "told-b"
        assert "memory_turn_not_kept" in caplog.text


async def test_a_turn_that_does_not_fit_is_left_out_with_a_warning(kit: Any, caplog: pytest.LogCaptureFixture) -> None:
    budget = MemoryBudget(total_max_tokens=20, summary_max_tokens=0, overflow_policy="error")
    talk = Talk(kit, short_term_memory=ShortTermMemoryConfig(strategy="truncation", budget=budget))
    with caplog.at_level(logging.WARNING, logger="penguiflow.planner"):
        assert (await talk.run("a" * 100)).payload["raw_answer"] == "told-" + "a" * 100
    [told] = [record for record in caplog.records if record.message.startswith("memory_turn_not_kept")]
    assert "of 20" in told.message
    assert told.exc_info is None


async def test_a_memory_that_cannot_be_read_is_left_as_it_is(kit: Any) -> None:
    store = InMemoryStateStore()
    await store.save_memory_state("t:u:s", {"version": 99, "turns": []})
    await Talk(kit, state_store=store).run("a")
    assert await store.load_memory_state("t:u:s") == {"version": 99, "turns": []}


async def test_a_program_s_own_memory_is_of_one_conversation(kit: Any, caplog: pytest.LogCaptureFixture) -> None:
    class Own:
        health = MemoryHealth.HEALTHY

        def __init__(self) -> None:
            self.turns: list[ConversationTurn] = []

        async def add_turn(self, turn: ConversationTurn) -> None:
            self.turns.append(turn)

        async def get_llm_context(self) -> Mapping[str, Any]:
            return {"conversation_memory": {"mine": [turn.assistant_response for turn in self.turns]}}

        def estimate_tokens(self) -> int:
            return 0

        async def flush(self) -> None:
            pass

    own = Own()
    talk = Talk(kit, short_term_memory=own)
    await talk.run("a")
    await talk.run("b")
    assert '"mine"' in talk.shown["ask-b"].replace("\\", "")
    assert "told-a" in talk.shown["ask-b"]
    with caplog.at_level(logging.WARNING, logger="penguiflow.planner"):
        await talk.run("c", user="other")
    assert "told-a" not in talk.shown["ask-c"]
    assert [turn.user_message for turn in own.turns] == ["ask-a", "ask-b"]
    assert "memory_of_another_conversation" in caplog.text


async def test_a_memory_that_is_given_is_that_of_the_first_conversation(kit: Any) -> None:
    given = DefaultShortTermMemory(config=ShortTermMemoryConfig(strategy="truncation"))
    talk = Talk(kit, short_term_memory=given)
    await talk.run("a")
    await talk.run("b", user="other")
    assert names(given.state) == ["ask-a"]
    assert "told-a" not in talk.shown["ask-b"]


def test_what_is_no_memory_is_refused(kit: Any) -> None:
    with pytest.raises(TypeError, match="short_term_memory must be a ShortTermMemoryConfig"):
        Talk(kit, short_term_memory="rolling_summary")


async def test_a_replay_sees_what_was_remembered_then(kit: Any) -> None:
    store, log = InMemoryStateStore(), kit.Log()
    talk = Talk(kit, state_store=store, recorder=log.recorder())
    await talk.run("a")
    first = len(log.events)
    await talk.run("b")
    events = log.events[first:]
    # Whatever has become of it since.
    await store.save_memory_state("t:u:s", MemoryState(summary="other").dump())
    flow, registry = talk.planner.as_flow()
    replayed = await replay(flow, Cassette.of(events), registry=registry)
    assert replayed.check().output.payload["raw_answer"] == "told-b"
    assert (await kept(store)).summary == "other"
    changed = [event for event in events if event.kind == "memory.changed"]
    assert [(event.data["of"], event.data["by"]) for event in changed] == [("t:u:s", "run")]
    assert changed[0].data["after"]["value"]["user_message"] == "ask-b"
    (read,) = [event for event in events if event.kind == "record" and event.name == "memory"]
    assert "told-a" in str(read.data["response"])


async def test_a_turn_is_not_added_twice_when_a_run_goes_on_after_a_crash(kit: Any) -> None:
    store, log = InMemoryStateStore(), kit.Log()
    talk = Talk(kit, state_store=store, recorder=log.recorder())
    await talk.run("a")
    before = await store.load_memory_state("t:u:s")
    assert before is not None
    wrote = next(event.seq for event in log.events if event.kind == "record" and event.name == "memory.turn")
    flow, registry = talk.planner.as_flow()
    flow.run(registry=registry, recorder=kit.Log().recorder())
    try:
        # The store had it, and the log did not say so yet: in the same trace it is the same turn.
        resumed = frontier(log.events, wrote - 1)
        results = [result async for result in flow.restore(resumed, trace_id=log.events[0].trace_id)]
    finally:
        await flow.stop()
    assert results[0].payload["raw_answer"] == "told-a"
    assert names(await kept(store)) == ["ask-a"]


def test_conversations_go_on_in_one_loop_after_the_other() -> None:
    store = Plain()
    bank = MemoryBank(ShortTermMemoryConfig("truncation", MemoryBudget(full_zone_turns=1000)), store=store)

    async def talk(round_: int) -> None:
        memory: Any = bank.of("t:u:s")
        await asyncio.gather(*(memory.add_turn(ConversationTurn(f"{round_}-{number}", "a")) for number in range(5)))

    for round_ in range(20):
        asyncio.run(talk(round_))
    assert len(store.kept["t:u:s"]["turns"]) == 100


def test_a_planner_outlives_its_event_loop(kit: Any) -> None:
    talk = Talk(kit, short_term_memory=ShortTermMemoryConfig("rolling_summary", MemoryBudget(full_zone_turns=0)))
    asyncio.run(talk.run("a"))
    asyncio.run(talk.run("b"))
    assert talk.shown.keys() == {"ask-a", "ask-b"}
    assert talk.planner.memories().held() == ["t:u:s"]
