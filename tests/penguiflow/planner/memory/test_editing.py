"""Memories are looked at and changed from outside: between runs, and while one is under way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from penguiflow.llm.types import LLMRequest
from penguiflow.planner.memory import (
    ConversationTurn,
    DefaultShortTermMemory,
    MemoryBank,
    MemoryBudget,
    MemoryChange,
    MemoryConflict,
    MemoryEditor,
    MemoryHealth,
    MemoryView,
    ShortTermMemoryConfig,
)
from penguiflow.recording.cassette import Cassette
from penguiflow.recording.replay import replay
from penguiflow.state import InMemoryStateStore, SQLiteStateStore

OWNER = {"tenant_id": "t", "user_id": "u", "session_id": "s"}
KEY = "t:u:s"


@pytest.fixture(params=["none", "memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    if request.param == "none":
        yield None
        return
    made: Any = InMemoryStateStore() if request.param == "memory" else SQLiteStateStore(tmp_path / "state.db")
    yield made
    await made.close()


async def bank_of(store: Any, *said: str, **config: Any) -> MemoryBank:
    config.setdefault("strategy", "rolling_summary")
    config.setdefault("budget", MemoryBudget(full_zone_turns=2))
    bank = MemoryBank(ShortTermMemoryConfig(**config), store=store)
    memory: Any = bank.of(KEY)
    for name in said:
        await memory.add_turn(ConversationTurn(name, f"re {name}", ts=1.0))
    return bank


def said(view: MemoryView) -> list[str]:
    return [turn.user_message for turn in (*view.pending, *view.turns)]


async def test_what_there_is(store: Any) -> None:
    bank = await bank_of(store, "a", "b", "c")
    editor = MemoryEditor(bank)
    assert await editor.keys() == [KEY]
    assert await editor.keys("t:u:") == [KEY]
    assert await editor.keys("x") == []
    view = await editor.get(KEY)
    assert (said(view), view.version, view.summary, view.health) == (["a", "b", "c"], 3, "", MemoryHealth.HEALTHY)
    assert [turn.user_message for turn in view.pending] == ["a"]
    memory = bank.of(KEY)
    assert isinstance(memory, DefaultShortTermMemory)
    assert (view.tokens, view.total_max_tokens) == (memory.estimate_tokens(), 10000)
    empty = await editor.get("t:u:other")
    assert (said(empty), empty.version) == ([], 0)


async def test_each_change_is_made_told_and_counted(store: Any) -> None:
    changes: list[MemoryChange] = []

    async def changed(change: MemoryChange) -> None:
        changes.append(change)

    summaries: list[tuple[str, str]] = []

    async def summarized(before: str, after: str) -> None:
        summaries.append((before, after))

    bank = await bank_of(store, "a", "b", "c", on_summary_updated=summarized)
    editor = MemoryEditor(bank, on_change=changed, by="mia")
    view = await editor.get(KEY)
    first, second, third = (turn.turn_id for turn in (*view.pending, *view.turns))

    view = await editor.replace_turn(KEY, second, ConversationTurn("B", "better"), version=view.version)
    assert said(view) == ["a", "B", "c"]
    view = await editor.delete_turn(KEY, first, version=view.version)
    assert said(view) == ["B", "c"]
    view = await editor.edit_summary(KEY, "They said a.", version=view.version)
    assert view.summary == "They said a."
    assert view.version == 6
    assert said(await editor.get(KEY)) == ["B", "c"]
    memory: Any = bank.of(KEY)
    assert memory.context()["conversation_memory"]["recent_turns"][0] == {"user": "B", "assistant": "better"}
    view = await editor.clear(KEY, version=6)
    assert (said(view), view.summary, view.version, memory.context()) == ([], "", 7, {})

    assert [change.change for change in changes] == ["turn.replaced", "turn.deleted", "summary.edited", "cleared"]
    assert {(change.of, change.by) for change in changes} == {(KEY, "mia")}
    assert (changes[0].before["user_message"], changes[0].after["user_message"]) == ("b", "B")
    assert (changes[0].after["turn_id"], changes[1].after) == (second, None)
    assert (changes[2].before, changes[2].after) == ("", "They said a.")
    assert [turn["turn_id"] for turn in changes[3].before["turns"]] == [second, third]
    assert [change.version for change in changes] == [4, 5, 6, 7]
    assert summaries == [("", "They said a.")]


async def test_whoever_comes_too_late_changes_nothing(store: Any) -> None:
    bank = await bank_of(store, "a", "b")
    editor = MemoryEditor(bank)
    view = await editor.get(KEY)
    await editor.edit_summary(KEY, "first", version=view.version)
    turn_id = view.turns[0].turn_id
    for late in (
        editor.edit_summary(KEY, "second", version=view.version),
        editor.delete_turn(KEY, turn_id, version=view.version),
        editor.replace_turn(KEY, turn_id, ConversationTurn("x", "y"), version=view.version),
        editor.clear(KEY, version=view.version),
    ):
        with pytest.raises(MemoryConflict, match="has version 3, and not 2"):
            await late
    now = await editor.get(KEY)
    assert (now.summary, said(now), now.version) == ("first", ["a", "b"], 3)


async def test_of_those_who_change_it_at_once_one_wins(store: Any) -> None:
    editor = MemoryEditor(await bank_of(store, "a"))
    outcomes = await asyncio.gather(
        *(editor.edit_summary(KEY, f"s{number}", version=1) for number in range(10)), return_exceptions=True
    )
    won = [outcome for outcome in outcomes if isinstance(outcome, MemoryView)]
    assert len(won) == 1
    assert sum(isinstance(outcome, MemoryConflict) for outcome in outcomes) == 9
    assert (await editor.get(KEY)).summary == won[0].summary


async def test_an_unknown_turn_is_named(store: Any) -> None:
    editor = MemoryEditor(await bank_of(store, "a"))
    with pytest.raises(LookupError, match="no turn 'x' in this memory; there are: turn-1"):
        await editor.delete_turn(KEY, "x", version=1)
    assert (await editor.get(KEY)).version == 1


async def test_what_is_put_in_is_kept_within_the_budget(store: Any) -> None:
    budget = MemoryBudget(full_zone_turns=2, summary_max_tokens=10, total_max_tokens=60)
    editor = MemoryEditor(await bank_of(store, "a", "b", budget=budget))
    view = await editor.edit_summary(KEY, "s" * 1000, version=2)
    assert len(view.summary) == 39
    view = await editor.replace_turn(
        KEY, view.turns[1].turn_id, ConversationTurn("long", "x" * 150), version=view.version
    )
    assert view.tokens <= 60
    assert said(view) == ["long"]


async def test_a_store_is_enough_for_another_program(tmp_path: Path) -> None:
    here, there = (SQLiteStateStore(tmp_path / "state.db") for _ in range(2))
    bank = await bank_of(here, "a", "b")
    editor = MemoryEditor(there)
    assert await editor.keys() == [KEY]
    view = await editor.get(KEY)
    assert view.total_max_tokens is None
    view = await editor.edit_summary(KEY, "s" * 100_000, version=view.version)
    assert len(view.summary) == 100_000
    memory: Any = await bank.refreshed(KEY)
    assert len(memory.state.summary) == 100_000
    for each in (here, there):
        await each.close()


def test_what_keeps_no_memories_is_refused() -> None:
    with pytest.raises(TypeError, match="object keeps no memories"):
        MemoryEditor(object())


async def test_a_listener_that_fails_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def fails(change: MemoryChange) -> None:
        raise RuntimeError("a panel")

    editor = MemoryEditor(await bank_of(None, "a"), on_change=fails)
    assert (await editor.edit_summary(KEY, "kept", version=1)).summary == "kept"
    assert "memory_listener_failed" in caplog.text


async def test_a_run_under_way_sees_the_change_in_its_next_prompt(kit: Any, store: Any) -> None:
    prompts: list[str] = []

    def decide(request: LLMRequest) -> Any:
        prompts.append("\n".join(message.text for message in request.messages))
        return kit.answer("done") if len(prompts) == 3 else kit.call("look", n=len(prompts))

    async def look(args: Any, ctx: Any) -> Any:
        return args

    look.__annotations__ = {"args": kit.Number, "return": kit.Number}
    log = kit.Log()
    config = ShortTermMemoryConfig(strategy="truncation")
    options: dict[str, Any] = {"state_store": store, "short_term_memory": config}
    planner = kit.planner_of(look, script=[decide] * 3, recorder=log.recorder(), **options)
    editor = MemoryEditor(planner.memories())
    memory: Any = planner.memories().of(KEY)
    for name in ("bluish-1", "greenish-1"):
        await memory.add_turn(ConversationTurn(name, "noted"))

    async with planner.iter("what", tool_context=OWNER) as run:
        async for step in run:
            if step.index == 0:
                view = await run.memory.get()
                await run.memory.replace_turn(
                    view.turns[0].turn_id, ConversationTurn("reddish-1", "noted"), version=view.version
                )
            if step.index == 1:
                await run.memory.clear(version=(await run.memory.get()).version)

    assert ["bluish-1" in prompt for prompt in prompts] == [True, False, False]
    assert ["reddish-1" in prompt for prompt in prompts] == [False, True, False]
    assert ["greenish-1" in prompt for prompt in prompts] == [True, True, False]
    assert said(await editor.get(KEY)) == ["what"]
    changed = [event for event in log.events if event.kind == "memory.changed"]
    assert [event.data["by"] for event in changed] == ["caller", "caller", "run"]
    assert "bluish-1" in str(changed[0].data["before"])
    assert "reddish-1" in str(changed[0].data["after"])
    # A replay is shown the same, and changes no memory.
    again = len(prompts)
    flow, registry = planner.as_flow()
    replayed = await replay(flow, Cassette.of(log.events), registry=registry)
    assert replayed.check().output.payload["raw_answer"] == "done"
    assert len(prompts) == again
    assert said(await editor.get(KEY)) == ["what"]
