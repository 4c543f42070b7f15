"""The memory of one conversation."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penguiflow.planner.memory import (
    ConversationTurn,
    DefaultShortTermMemory,
    MemoryBudget,
    MemoryBudgetExceeded,
    MemoryHealth,
    MemoryIsolation,
    MemoryKey,
    ShortTermMemory,
    ShortTermMemoryArtifacts,
    ShortTermMemoryConfig,
    ShortTermMemoryPersistence,
    ShortTermMemorySerializable,
    TrajectoryDigest,
    default_token_estimator,
)
from penguiflow.state import InMemoryStateStore


class Summarizer:
    """Puts the names of turns behind each other; fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.asked: list[Mapping[str, Any]] = []
        self.open = asyncio.Event()
        self.open.set()

    async def __call__(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        self.asked.append(asked)
        await self.open.wait()
        if self.failures > 0:
            self.failures -= 1
            raise ConnectionError("no model")
        said = [asked["previous_summary"], *(turn["user_message"] for turn in asked["turns"])]
        return {"summary": " ".join(text for text in said if text)}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def config_of(strategy: Any = "rolling_summary", **about: Any) -> ShortTermMemoryConfig:
    budget = {name: about.pop(name) for name in list(about) if name in MemoryBudget.__dataclass_fields__}
    about.setdefault("retry_backoff_base_s", 0.0)
    return ShortTermMemoryConfig(strategy=strategy, budget=MemoryBudget(**budget), **about)


def turn(name: str) -> ConversationTurn:
    return ConversationTurn(name, f"answer to {name}")


def names(turns: list[ConversationTurn]) -> list[str]:
    return [each.user_message for each in turns]


def test_it_is_all_that_a_memory_can_be() -> None:
    memory = DefaultShortTermMemory(config=ShortTermMemoryConfig())
    for protocol in (
        ShortTermMemory,
        ShortTermMemoryArtifacts,
        ShortTermMemoryPersistence,
        ShortTermMemorySerializable,
    ):
        assert isinstance(memory, protocol)
    assert memory.get_artifact("art_1") is None


def test_tokens_are_estimated() -> None:
    assert [default_token_estimator("x" * length) for length in (0, 3, 4, 400)] == [1, 1, 2, 101]


@pytest.mark.parametrize(
    "wrong",
    [
        {"full_zone_turns": -1},
        {"summary_max_tokens": -1},
        {"total_max_tokens": -1},
        {"summary_max_tokens": 11, "total_max_tokens": 10},
        {"overflow_policy": "forget"},
    ],
)
def test_a_budget_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        MemoryBudget(**wrong)


def test_a_configuration_that_makes_no_sense_is_refused() -> None:
    MemoryBudget(summary_max_tokens=11, total_max_tokens=0)
    with pytest.raises(ValueError, match="strategy"):
        ShortTermMemoryConfig(strategy="all")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="retry_attempts"):
        ShortTermMemoryConfig(retry_attempts=-1)


async def test_without_a_strategy_nothing_is_remembered() -> None:
    memory = DefaultShortTermMemory(config=ShortTermMemoryConfig())
    await memory.add_turn(turn("a"))
    assert await memory.get_llm_context() == {}
    assert memory.to_dict()["turns"] == []


async def test_truncation_keeps_the_last_turns() -> None:
    memory = DefaultShortTermMemory(config=config_of("truncation", full_zone_turns=2), time_source=Clock())
    for name in "abc":
        await memory.add_turn(turn(name))
    assert await memory.get_llm_context() == {
        "conversation_memory": {
            "recent_turns": [{"user": "b", "assistant": "answer to b"}, {"user": "c", "assistant": "answer to c"}]
        }
    }
    assert memory.to_dict()["turns"][0]["ts"] == 1000.0
    assert memory.estimate_tokens() > 0


async def test_a_digest_is_shown_as_far_as_there_is_any() -> None:
    memory = DefaultShortTermMemory(config=config_of("truncation"))
    digest = TrajectoryDigest(["search"], "search: 3 found")
    await memory.add_turn(ConversationTurn("q", "a", digest, artifacts_hidden_refs=["art_1"]))
    (shown,) = (await memory.get_llm_context())["conversation_memory"]["recent_turns"]
    assert shown["trajectory_digest"] == {"tools_invoked": ["search"], "observations_summary": "search: 3 found"}
    assert shown["artifacts_hidden_refs"] == ["art_1"]


async def test_older_turns_go_into_the_summary() -> None:
    told: list[tuple[str, str]] = []

    async def updated(before: str, after: str) -> None:
        told.append((before, after))

    summarizer = Summarizer()
    memory = DefaultShortTermMemory(
        config=config_of(full_zone_turns=1, on_summary_updated=updated), summarizer=summarizer
    )
    for name in "abcd":
        await memory.add_turn(turn(name))
        await memory.flush()
    assert memory.to_dict()["summary"] == "a b c"
    assert [len(asked["turns"]) for asked in summarizer.asked] == [1, 1, 1]
    assert (await memory.get_llm_context())["conversation_memory"] == {
        "recent_turns": [{"user": "d", "assistant": "answer to d"}],
        "summary": "a b c",
    }
    assert told == [("", "a"), ("a", "a b"), ("a b", "a b c")]


async def test_turns_that_wait_are_shown_and_summarized_together() -> None:
    summarizer = Summarizer()
    summarizer.open.clear()
    memory = DefaultShortTermMemory(config=config_of(full_zone_turns=1), summarizer=summarizer)
    for name in "abcd":
        await memory.add_turn(turn(name))
    shown = (await memory.get_llm_context())["conversation_memory"]
    assert [each["user"] for each in shown["pending_turns"]] == ["a", "b", "c"]
    summarizer.open.set()
    await memory.flush()
    assert memory.to_dict()["summary"] == "a b c"
    assert memory.to_dict()["pending"] == []


async def test_without_a_summarizer_turns_wait_within_the_budget() -> None:
    memory = DefaultShortTermMemory(config=config_of(full_zone_turns=1, total_max_tokens=60, summary_max_tokens=0))
    for name in "abcdefgh":
        await memory.add_turn(turn(name))
    await memory.flush()
    kept = memory.to_dict()
    assert memory.estimate_tokens() <= 60
    assert kept["turns"][0]["user_message"] == "h"
    assert 0 < len(kept["pending"]) < 7


async def test_a_failure_is_retried_and_then_given_up() -> None:
    healths: list[tuple[MemoryHealth, MemoryHealth]] = []

    async def changed(before: MemoryHealth, after: MemoryHealth) -> None:
        healths.append((before, after))

    clock, summarizer = Clock(), Summarizer(failures=4)
    config = config_of(full_zone_turns=0, recovery_backlog_limit=2, on_health_changed=changed)
    memory = DefaultShortTermMemory(config=config, summarizer=summarizer, time_source=clock)

    await memory.add_turn(turn("a"))
    await memory.flush()
    assert len(summarizer.asked) == 4
    assert memory.health is MemoryHealth.DEGRADED
    for name in "bcd":
        await memory.add_turn(turn(name))
        await memory.flush()
    assert len(summarizer.asked) == 4
    assert [each["user_message"] for each in memory.to_dict()["pending"]] == ["c", "d"]

    clock.now += 30.0
    summarizer.failures = 1
    await memory.add_turn(turn("e"))
    await memory.flush()
    assert len(summarizer.asked) == 5
    assert memory.health is MemoryHealth.DEGRADED

    clock.now += 30.0
    await memory.add_turn(turn("f"))
    await memory.flush()
    assert memory.to_dict()["health"] == "healthy"
    assert memory.to_dict()["summary"] == "e f"
    steps = [after.value for _, after in healths]
    assert steps == ["retry", "degraded", "recovering", "degraded", "recovering", "healthy"]
    assert all(healths[place][1] is healths[place + 1][0] for place in range(len(healths) - 1))


async def test_retries_wait_longer_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    sleep = asyncio.sleep

    async def soon(seconds: float) -> None:
        slept.append(seconds)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", soon)
    memory = DefaultShortTermMemory(
        config=config_of(full_zone_turns=0, retry_backoff_base_s=2.0), summarizer=Summarizer(failures=3)
    )
    await memory.add_turn(turn("a"))
    await memory.flush()
    assert slept == [2.0, 4.0, 8.0]
    assert memory.health is MemoryHealth.HEALTHY


@pytest.mark.parametrize("told", [None, {}, {"summary": ""}, {"summary": 3}, "text"])
async def test_a_summary_that_is_none_is_a_failure(told: Any) -> None:
    async def summarize(_: Mapping[str, Any]) -> Any:
        return told

    memory = DefaultShortTermMemory(config=config_of(full_zone_turns=0), summarizer=summarize)
    await memory.add_turn(turn("a"))
    await memory.flush()
    assert memory.health is MemoryHealth.DEGRADED
    assert names(memory.state.pending) == ["a"]


async def test_what_is_too_much_is_refused_where_the_policy_says_so() -> None:
    memory = DefaultShortTermMemory(
        config=config_of("truncation", total_max_tokens=20, summary_max_tokens=0, overflow_policy="error")
    )
    await memory.add_turn(turn("a"))
    before = memory.to_dict()
    with pytest.raises(MemoryBudgetExceeded, match="of 20"):
        await memory.add_turn(turn("b" * 100))
    assert memory.to_dict() == before


async def test_a_summary_makes_room_before_turns_do() -> None:
    async def summarize(_: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"summary": "s" * 400}

    budget: dict[str, Any] = {"full_zone_turns": 1, "summary_max_tokens": 60, "total_max_tokens": 80}
    memory = DefaultShortTermMemory(
        config=config_of(overflow_policy="truncate_summary", **budget), summarizer=summarize
    )
    for name in "abc":
        await memory.add_turn(turn(name))
        await memory.flush()
    assert names(memory.state.turns) == ["c"]
    assert len(memory.state.summary) == 60 * 4 - 1
    await memory.add_turn(ConversationTurn("d" * 150, "d"))
    assert names(memory.state.turns) == ["d" * 150]
    assert names(memory.state.pending) == ["c"]
    assert memory.estimate_tokens() <= 80
    assert 0 < len(memory.state.summary) < 60 * 4 - 1


async def test_hooks_that_fail_or_hang_are_none_of_its_business(monkeypatch: pytest.MonkeyPatch) -> None:
    from penguiflow.planner.memory import short_term

    monkeypatch.setattr(short_term, "HOOK_TIMEOUT_S", 0.01)

    async def fails(_: ConversationTurn) -> None:
        raise RuntimeError("a hook")

    async def hangs(before: str, after: str) -> None:
        await asyncio.Event().wait()

    config = config_of(full_zone_turns=0, on_turn_added=fails, on_summary_updated=hangs)
    memory = DefaultShortTermMemory(config=config, summarizer=Summarizer())
    async with asyncio.timeout(60):
        await memory.add_turn(turn("a"))
        await memory.flush()
    assert memory.state.summary == "a"


async def test_a_summarizer_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    from penguiflow.planner.memory import short_term

    monkeypatch.setattr(short_term, "SUMMARY_TIMEOUT_S", 0.01)
    summarizer = Summarizer()
    summarizer.open.clear()
    memory = DefaultShortTermMemory(config=config_of(full_zone_turns=0, retry_attempts=1), summarizer=summarizer)
    async with asyncio.timeout(60):
        await memory.add_turn(turn("a"))
        await memory.flush()
    assert memory.health is MemoryHealth.DEGRADED


async def test_it_is_kept_and_read_back() -> None:
    store = InMemoryStateStore()
    memory = DefaultShortTermMemory(config=config_of(full_zone_turns=1), summarizer=Summarizer())
    for name in "ab":
        await memory.add_turn(ConversationTurn(name, name, TrajectoryDigest([name], name), {"x": 1}, ["r"], 5.0))
    await memory.flush()
    await memory.persist(store, "t:u:s")
    other = DefaultShortTermMemory(config=config_of())
    await other.hydrate(store, "unknown")
    assert other.state.turns == []
    await other.hydrate(store, "t:u:s")
    assert other.state == memory.state
    assert other.to_dict()["version"] == 1


def test_what_is_no_memory_is_refused() -> None:
    memory = DefaultShortTermMemory(config=config_of())
    with pytest.raises(ValueError, match="version 2"):
        memory.from_dict({"version": 2})
    with pytest.raises(ValueError, match="user_message"):
        memory.from_dict({"turns": [{"user": "a"}]})


@pytest.mark.parametrize(
    ("context", "key"),
    [
        ({"tenant_id": "t", "user_id": 7, "session_id": "s"}, "t:7:s"),
        ({"session_id": "s"}, None),
        ({"tenant_id": "t", "session_id": "s"}, None),
        ({"tenant_id": "t", "user_id": "", "session_id": "s"}, None),
        ({"tenant_id": "t", "user_id": True, "session_id": "s"}, None),
        ({"tenant_id": "t", "user_id": ["u"], "session_id": "s"}, None),
        ({"tenant_id": "a:b", "user_id": "c", "session_id": "s"}, "a%3Ab:c:s"),
        ({"tenant_id": "a", "user_id": "b:c", "session_id": "s%3A"}, "a:b%3Ac:s%253A"),
    ],
)
def test_a_key_needs_all_three(context: dict[str, Any], key: str | None) -> None:
    found = MemoryIsolation().key_of(context)
    assert (None if found is None else found.composite()) == key
    if key is not None:
        assert MemoryKey.parse(key) == found


def test_a_key_is_found_behind_dots() -> None:
    isolation = MemoryIsolation("org.id", "user.id", "chat")
    assert isolation.key_of({"org": {"id": "o"}, "user": {"id": "u"}, "chat": "c"}) == MemoryKey("o", "u", "c")
    assert isolation.key_of({"org": "o", "user": {"id": "u"}, "chat": "c"}) is None
    assert isolation.key_of({"org.id": "o", "user": {"id": "u"}, "chat": "c"}) == MemoryKey("o", "u", "c")


@pytest.mark.parametrize("text", ["", "a", "a:b", "a::c", "a:b:c:d"])
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="tenant:user:session"):
        MemoryKey.parse(text)


MOST_ESTIMATES = 20_000
MOST_TURNS_OF_THE_LOOP = 2_000

budgets = st.builds(
    lambda zone, summary, more, unlimited, policy: MemoryBudget(
        zone, summary, 0 if unlimited else summary + more, policy
    ),
    st.integers(0, 3),
    st.integers(0, 30),
    st.integers(0, 60),
    st.booleans(),
    st.sampled_from(["truncate_summary", "truncate_oldest", "error"]),
)
texts = st.one_of(st.text(max_size=20), st.integers(0, 400).map(lambda length: "x" * length))


class Case:
    """A conversation under some configuration, with a summarizer that says, or fails, what it is told to."""

    def __init__(self, summaries: list[str | None], estimator: str, flushes: bool) -> None:
        self.summaries = summaries
        self.estimator = estimator
        self.flushes = flushes
        self.estimates = 0
        self.calls = 0

    def estimate(self, text: str) -> int:
        self.estimates += 1
        # Raised where a loop would never end: what is raised here ends the test.
        assert self.estimates < MOST_ESTIMATES
        if self.estimator == "default":
            return default_token_estimator(text)
        return 0 if self.estimator == "zero" else 40 - len(text) % 40

    async def summarize(self, _: Mapping[str, Any]) -> Mapping[str, Any]:
        self.calls += 1
        told = self.summaries[self.calls % len(self.summaries)]
        for _turn in range(self.calls % 3):
            await asyncio.sleep(0)
        if told is None:
            raise ConnectionError("no model")
        return {"summary": told}

    async def converse(self, memory: DefaultShortTermMemory, said: list[str]) -> None:
        budget = memory.config.budget
        for text in said:
            try:
                await memory.add_turn(ConversationTurn(text, text))
            except MemoryBudgetExceeded:
                assert budget.overflow_policy == "error"
            if self.flushes:
                await memory.flush()
            if self.estimator == "default" and budget.total_max_tokens:
                assert memory.estimate_tokens() <= budget.total_max_tokens
        await memory.flush()


async def within_turns(work: Coroutine[Any, Any, None]) -> None:
    task, turns = asyncio.ensure_future(work), 0
    while not task.done():
        turns += 1
        assert turns < MOST_TURNS_OF_THE_LOOP
        await asyncio.sleep(0)
    await task


@settings(max_examples=100, deadline=None)
@given(
    strategy=st.sampled_from(["truncation", "rolling_summary"]),
    budget=budgets,
    said=st.lists(texts, min_size=1, max_size=8),
    case=st.builds(
        Case,
        st.lists(st.one_of(texts, st.just(None)), min_size=1, max_size=5),
        st.sampled_from(["default", "zero", "odd"]),
        st.booleans(),
    ),
    backlog=st.integers(0, 3),
    attempts=st.integers(0, 3),
)
def test_no_policy_and_no_summarizer_makes_it_hang(
    strategy: Literal["truncation", "rolling_summary"],
    budget: MemoryBudget,
    said: list[str],
    case: Case,
    backlog: int,
    attempts: int,
) -> None:
    config = ShortTermMemoryConfig(
        strategy=strategy,
        budget=budget,
        recovery_backlog_limit=backlog,
        retry_attempts=attempts,
        retry_backoff_base_s=0.0,
        degraded_retry_interval_s=0.0,
        token_estimator=case.estimate,
    )
    memory = DefaultShortTermMemory(config=config, summarizer=case.summarize)

    asyncio.run(within_turns(case.converse(memory, said)))

    state = memory.state
    assert len(state.turns) <= budget.full_zone_turns
    assert type(state).load(state.dump()) == state
    if strategy == "truncation":
        assert (state.pending, state.summary) == ([], "")
    if state.health is MemoryHealth.DEGRADED:
        assert len(state.pending) <= backlog
    else:
        assert (state.health, state.pending) == (MemoryHealth.HEALTHY, [])
