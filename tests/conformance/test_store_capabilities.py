"""What every store keeps for planners and sessions, whatever is behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import BaseModel

from penguiflow.artifacts import ArtifactScope, ArtifactStore
from penguiflow.state import (
    RemoteBinding,
    StateUpdate,
    SteeringEvent,
    SteeringEventType,
    SupportsArtifacts,
    SupportsConversationBindings,
    SupportsMemoryRemoval,
    SupportsMemoryRevisions,
    SupportsMemoryState,
    SupportsPlannerEvents,
    SupportsPlannerState,
    SupportsSteering,
    SupportsTasks,
    SupportsTrajectories,
    TaskContextSnapshot,
    TaskState,
    TaskStatus,
    TaskType,
    UpdateType,
)

Open = Callable[[], Any]

SESSION = "s"


@dataclass(frozen=True, slots=True)
class Happened:
    """As an event of a planner."""

    event_type: str
    ts: float
    extra: Mapping[str, Any] = field(default_factory=dict)


class Trail(BaseModel):
    """As a trajectory."""

    query: str
    steps: list[str] = []


class Own:
    """Says itself what is kept of it."""

    def __init__(self, steps: list[str]) -> None:
        self.steps = steps

    def serialise(self) -> dict[str, Any]:
        return {"steps": self.steps}

    @classmethod
    def from_serialised(cls, payload: Mapping[str, Any]) -> Own:
        return cls(list(payload["steps"]))


def binding(task_id: str, **fields: Any) -> RemoteBinding:
    about = {"router_session_id": SESSION, "remote_skill": "search", "tenant_id": "A", "user_id": "u", **fields}
    return RemoteBinding("t", about.pop("context_id", "c"), task_id, "url", metadata={"a": [1]}, **about)


def task(task_id: str, status: TaskStatus = TaskStatus.PENDING) -> TaskState:
    snapshot = TaskContextSnapshot(session_id=SESSION, task_id=task_id, llm_context={"a": [1]})
    about: dict[str, Any] = {"trace_id": "t", "result": {"n": [1, None]}, "progress": {"pct": 0.5}}
    return TaskState(task_id, SESSION, status, TaskType.BACKGROUND, 3, snapshot, **about)


def update(update_id: str, task_id: str = "a", content: Any = "x", session: str = SESSION) -> StateUpdate:
    about: dict[str, Any] = {"update_id": update_id, "update_type": UpdateType.PROGRESS, "content": content}
    return StateUpdate(session_id=session, task_id=task_id, **about)


def steering(event_id: str, task_id: str = "a", session: str = SESSION, **payload: Any) -> SteeringEvent:
    kind = SteeringEventType.USER_MESSAGE
    return SteeringEvent(session_id=session, task_id=task_id, event_id=event_id, event_type=kind, payload=payload)


def test_it_can_do_all_that_the_contract_names(store: Any) -> None:
    for capability in (
        SupportsArtifacts,
        SupportsConversationBindings,
        SupportsMemoryRemoval,
        SupportsMemoryRevisions,
        SupportsMemoryState,
        SupportsPlannerEvents,
        SupportsPlannerState,
        SupportsSteering,
        SupportsTasks,
        SupportsTrajectories,
    ):
        assert isinstance(store, capability)
    assert isinstance(store.artifact_store, ArtifactStore)


async def test_nothing_is_no_error(store: Any) -> None:
    assert await store.load_planner_state("x") is None
    assert await store.load_memory_state("x") is None
    assert await store.get_trajectory("t", "x") is None
    about = {"router_session_id": "x", "agent_url": "url", "remote_skill": "search"}
    assert await store.find_binding(**about) is None
    await store.mark_binding_terminal(trace_id="t", context_id=None, task_id="x")
    for found in (
        store.list_bindings(router_session_id="x"),
        store.list_traces("x"),
        store.list_planner_events("x"),
        store.list_tasks("x"),
        store.list_updates("x"),
        store.list_steering("x"),
        store.artifact_store.list(),
    ):
        assert list(await found) == []
    artifacts = store.artifact_store
    assert (await artifacts.get("x"), await artifacts.get_ref("x")) == (None, None)
    assert (await artifacts.exists("x"), await artifacts.delete("x")) == (False, False)


async def test_bindings_are_found_again(store: Any) -> None:
    about: dict[str, Any] = {"router_session_id": SESSION, "agent_url": "url", "remote_skill": "search"}
    saved = [
        binding("1"),
        binding("2"),
        binding("3", tenant_id="B"),
        binding("4", router_session_id="s2"),
        binding("5", context_id=None, tenant_id="C"),
        binding("6", remote_skill="write"),
    ]
    for each in saved:
        await store.save_remote_binding(each)
    assert await store.find_binding(**about, tenant_id="A", user_id="u") == saved[1]
    assert await store.find_binding(**about, tenant_id="C") == saved[4]
    assert await store.find_binding(**about) == saved[4]
    assert await store.find_binding(**about, tenant_id="D") is None
    assert await store.find_binding(**about, user_id="other") is None
    await store.mark_binding_terminal(trace_id="t", context_id="c", task_id="2")
    await store.mark_binding_terminal(trace_id="t", context_id=None, task_id="5")
    assert await store.find_binding(**about) == saved[2]
    assert await store.find_binding(**about, tenant_id="C") is None
    # One that is saved again comes last.
    await store.save_remote_binding(binding("1", last_remote_task_id="r"))
    found = await store.list_bindings(router_session_id=SESSION)
    assert [(each.task_id, each.is_terminal) for each in found] == [
        ("2", True), ("3", False), ("5", True), ("6", False), ("1", False),
    ]  # fmt: skip
    assert found[2].context_id is None
    assert (await store.find_binding(**about)).last_remote_task_id == "r"


async def test_a_planners_state_is_given_out_once(store: Any) -> None:
    state = {"steps": [1], "deep": {"n": None}}
    await store.save_planner_state("token", state)
    state["steps"] = [2]
    first, second = await asyncio.gather(store.load_planner_state("token"), store.load_planner_state("token"))
    assert [each for each in (first, second) if each is not None] == [{"steps": [1], "deep": {"n": None}}]
    await store.save_planner_state("token", {"again": True})
    await store.save_planner_state("token", {"again": 2})
    assert await store.load_planner_state("token") == {"again": 2}


async def test_memory_is_a_copy_and_replaced(store: Any) -> None:
    memory = {"turns": [1], "ü\ud800": "x"}
    await store.save_memory_state("key", {"before": True})
    await store.save_memory_state("key", {"turns": [1]})
    loaded = await store.load_memory_state("key")
    assert loaded == {"turns": [1]}
    loaded["turns"].append(3)
    assert await store.load_memory_state("key") == {"turns": [1]}
    await store.save_memory_state("key\ud800", memory)
    assert (await store.load_memory_state("key\ud800"))["turns"] == [1]


async def test_trajectories_belong_to_a_session(store: Any) -> None:
    for number, trace in enumerate(("t1", "t2", "t3", "t1")):
        await store.save_trajectory(trace, SESSION, Trail(query=trace, steps=[str(number)]))
    await store.save_trajectory("t1", "other", {"plain": [1]})
    assert await store.get_trajectory("t1", SESSION) == Trail(query="t1", steps=["3"])
    assert await store.get_trajectory("t1", "other") == {"plain": [1]}
    assert await store.get_trajectory("t2", "other") is None
    assert await store.list_traces(SESSION) == ["t1", "t3", "t2"]
    assert await store.list_traces(SESSION, limit=1) == ["t1"]
    assert await store.list_traces(SESSION, limit=0) == []
    await store.save_trajectory("t4", SESSION, Own(["a", "b"]))
    own = await store.get_trajectory("t4", SESSION)
    assert isinstance(own, Own)
    assert own.steps == ["a", "b"]


async def test_planner_events_come_back_as_they_were(store: Any) -> None:
    events = [Happened("step_start", 1.5), Trail(query="q"), {"plain": 1}, "text", Happened("end", 2.0, {"n": [1]})]
    for event in events:
        await store.save_planner_event("t", event)
    await store.save_planner_event("u", "other")
    assert await store.list_planner_events("t") == await store.get_events("t") == events


async def test_a_task_is_kept_as_it_was(store: Any) -> None:
    first = task("1")
    await store.save_task(first)
    await store.save_task(task("2", TaskStatus.FAILED))
    kept = await store.list_tasks(SESSION)
    assert kept[0] == first
    first.update_status(TaskStatus.RUNNING)
    assert [each.status for each in await store.list_tasks(SESSION)] == [TaskStatus.PENDING, TaskStatus.FAILED]
    await store.save_task(first)
    found = await store.list_tasks(SESSION)
    assert [(each.task_id, each.status) for each in found] == [("1", TaskStatus.RUNNING), ("2", TaskStatus.FAILED)]
    assert found[0].updated_at == first.updated_at
    assert await store.list_tasks("other") == []


@pytest.mark.parametrize("what", ["update", "steering"])
async def test_lists_after_a_cursor(store: Any, what: str) -> None:
    make: Any = update if what == "update" else steering
    save = store.save_update if what == "update" else store.save_steering
    fetch = store.list_updates if what == "update" else store.list_steering

    async def ids(**options: Any) -> list[str]:
        key = "update_id" if what == "update" else "event_id"
        return [getattr(each, key) for each in await fetch(SESSION, **options)]

    for name, of in [("1", "a"), ("2", "b"), ("3", "a"), ("4", "b"), ("5", "a")]:
        await save(make(name, of))
    await save(make("1", "z", session="other"))
    await save(make("3", "a"))
    assert await ids() == ["1", "2", "3", "4", "5"]
    assert await ids(since_id="2") == ["3", "4", "5"]
    assert await ids(since_id="2", task_id="a") == ["3", "5"]
    assert await ids(since_id="unknown", limit=2) == ["4", "5"]
    assert await ids(task_id="b", limit=1) == ["4"]
    assert await ids(since_id="5") == []
    assert await ids(limit=0) == []
    assert len(await fetch("other")) == 1


async def test_updates_and_steering_come_back_as_they_were(store: Any) -> None:
    told = update("1", content={"any": [1, "ü", None]})
    wish = steering("1", text="go on")
    await store.save_update(told)
    await store.save_steering(wish)
    await store.save_steering(steering("2", text="x" * 100_000))
    assert await store.list_updates(SESSION) == await store.list_task_updates(SESSION) == [told]
    first, second = await store.list_steering(SESSION)
    assert first == wish
    assert len(second.payload["text"]) == 4096
    await store.save_task_update(update("1", content="replaced"))
    assert [each.content for each in await store.list_updates(SESSION)] == ["replaced"]


async def test_artifacts(store: Any) -> None:
    artifacts = store.artifact_store
    mine, yours = ArtifactScope(session_id="a", trace_id="t"), ArtifactScope(session_id="b")
    ref = await artifacts.put_bytes(
        b"\0\xff", mime_type="x/y", filename="f", namespace="ns/1", scope=mine, meta={"a": 1}
    )
    assert (ref.mime_type, ref.filename, ref.size_bytes, ref.namespace) == ("x/y", "f", 2, "ns/1")
    assert ref.id.startswith("ns_1_")
    assert ref.source == {"a": 1}
    other = await artifacts.put_bytes(b"\0\xff", namespace="ns/1", scope=yours)
    assert other.id != ref.id
    assert await artifacts.put_bytes(b"\0\xff", namespace="ns/1", scope=mine) == ref
    text = await artifacts.put_text("grüße")
    assert await artifacts.get(text.id) == "grüße".encode()
    assert await artifacts.get(ref.id) == await artifacts.get(other.id) == b"\0\xff"
    assert await artifacts.get_ref(ref.id) == ref
    assert [each.id for each in await artifacts.list(scope=ArtifactScope(session_id="a"))] == [ref.id]
    assert {each.id for each in await artifacts.list()} == {ref.id, other.id, text.id}
    assert await artifacts.delete(ref.id)
    assert not await artifacts.delete(ref.id)
    assert not await artifacts.exists(ref.id)
    assert await artifacts.exists(other.id)
    with pytest.raises(ValueError, match="exceeds limit"):
        await artifacts.put_bytes(b"x" * (50 * 1024 * 1024 + 1))


async def test_all_of_it_is_there_again(open_store: Open) -> None:
    first = open_store()
    await first.save_remote_binding(binding("1"))
    await first.save_planner_state("token", {"a": 1})
    await first.save_memory_state("key", {"turns": [1]})
    await first.save_trajectory("t", SESSION, Trail(query="q"))
    await first.save_planner_event("t", Happened("e", 1.0))
    kept = task("1")
    await first.save_task(kept)
    await first.save_update(update("1"))
    await first.save_steering(steering("1", text="x"))
    ref = await first.artifact_store.put_text("text", scope=ArtifactScope(session_id=SESSION))
    # Not closed: the one who saved it may have been killed.
    second = open_store()
    assert await second.list_bindings(router_session_id=SESSION) == [binding("1")]
    assert await second.load_planner_state("token") == {"a": 1}
    assert await first.load_planner_state("token") is None
    assert await second.load_memory_state("key") == {"turns": [1]}
    assert await second.get_trajectory("t", SESSION) == Trail(query="q")
    assert await second.list_planner_events("t") == [Happened("e", 1.0)]
    assert await second.list_tasks(SESSION) == [kept]
    assert [each.update_id for each in await second.list_updates(SESSION)] == ["1"]
    assert [each.event_id for each in await second.list_steering(SESSION)] == ["1"]
    assert await second.artifact_store.get(ref.id) == b"text"


async def test_memories_are_listed_by_the_beginning_of_their_keys(store: Any) -> None:
    assert await store.list_memory_states() == []
    for key in ("b:u:s", "a:u:s", "a_:u:s", "a%:u:s", "ä:u:s"):
        await store.save_memory_state(key, {"turns": []})

    assert await store.list_memory_states() == ["a%:u:s", "a:u:s", "a_:u:s", "b:u:s", "ä:u:s"]
    assert await store.list_memory_states("a:") == ["a:u:s"]
    assert await store.list_memory_states("a_") == ["a_:u:s"]
    assert await store.list_memory_states("c") == []
    assert await store.list_memory_states("ä") == ["ä:u:s"]
    await store.save_memory_state("a:\U0010ffff", {"turns": []})
    assert await store.list_memory_states("a:") == ["a:u:s", "a:\U0010ffff"]
    assert await store.list_memory_states("\x7f") == []


async def test_a_memory_is_replaced_only_as_it_is_known(store: Any) -> None:
    assert not await store.swap_memory_state("key", {"revision": 3}, revision=2)
    assert await store.load_memory_state("key") is None
    assert await store.swap_memory_state("key", {"revision": 1}, revision=0)
    assert not await store.swap_memory_state("key", {"revision": 1, "by": "another"}, revision=0)
    assert await store.swap_memory_state("key", {"revision": 2}, revision=1)
    assert await store.load_memory_state("key") == {"revision": 2}
    # What an earlier program saved counts no changes.
    await store.save_memory_state("old", {"turns": [1]})
    assert await store.swap_memory_state("old", {"turns": [1, 2], "revision": 1}, revision=0)


async def test_a_memory_is_removed_only_as_it_is_known(store: Any) -> None:
    assert not await store.remove_memory_state("key", revision=0)
    await store.swap_memory_state("key", {"revision": 7}, revision=0)
    assert not await store.remove_memory_state("key", revision=6)
    assert await store.load_memory_state("key") == {"revision": 7}
    assert await store.remove_memory_state("key", revision=7)
    assert not await store.remove_memory_state("key", revision=7)
    assert (await store.load_memory_state("key"), await store.list_memory_states()) == (None, [])
    await store.save_memory_state("old", {"turns": [1]})
    assert await store.remove_memory_state("old", revision=0)


async def test_of_those_who_replace_a_memory_at_once_one_wins(store: Any) -> None:
    async def swap(number: int) -> bool:
        done: bool = await store.swap_memory_state("key", {"revision": 1, "by": number}, revision=0)
        return done

    won = await asyncio.gather(*(swap(number) for number in range(20)))

    assert won.count(True) == 1
    assert (await store.load_memory_state("key"))["by"] == won.index(True)


async def test_a_paused_planner_can_be_looked_at_and_is_still_there(store: Any) -> None:
    assert await store.peek_planner_state("token") is None
    await store.save_planner_state("token", {"trajectory": {"steps": [1]}})
    for _ in range(2):
        assert await store.peek_planner_state("token") == {"trajectory": {"steps": [1]}}
    assert await store.load_planner_state("token") == {"trajectory": {"steps": [1]}}
    assert await store.peek_planner_state("token") is None
