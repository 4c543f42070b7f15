"""The store in memory: everything it keeps, what it forgets, and that it is bounded."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import pytest

from penguiflow import Headers, Message, Node, NodePolicy, create
from penguiflow.artifacts import ArtifactScope
from penguiflow.state import (
    InMemoryStateStore,
    PlaygroundArtifactStore,
    RemoteBinding,
    StateStore,
    StateUpdate,
    SteeringEvent,
    SteeringEventType,
    StoredEvent,
    SupportsArtifacts,
    SupportsConversationBindings,
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


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store() -> InMemoryStateStore:
    return InMemoryStateStore()


def event(ts: float, trace: str | None = "t", **payload: Any) -> StoredEvent:
    return StoredEvent(trace, ts, "node_start", "n", "id", payload)


def times(events: Sequence[StoredEvent]) -> list[float]:
    return [each.ts for each in events]


def update(name: str, task: str = "t", session: str = "s") -> StateUpdate:
    kind = UpdateType.PROGRESS
    return StateUpdate(session_id=session, task_id=task, update_id=name, update_type=kind, content=name)


def steering(name: str, task: str = "t", session: str = "s", **payload: Any) -> SteeringEvent:
    kind = SteeringEventType.INJECT_CONTEXT
    return SteeringEvent(session_id=session, task_id=task, event_id=name, event_type=kind, payload=payload)


def task(name: str, session: str = "s") -> TaskState:
    snapshot = TaskContextSnapshot(session_id=session, task_id=name)
    return TaskState(name, session, TaskStatus.PENDING, TaskType.BACKGROUND, 0, snapshot)


def binding(name: str, **about: Any) -> RemoteBinding:
    about = {"router_session_id": "s", "remote_skill": "search", "tenant_id": "A", "user_id": "u"} | about
    return RemoteBinding(trace_id="t", context_id="c", task_id=name, agent_url="url", **about)


def test_it_can_do_everything(store: Any) -> None:
    protocols = (
        StateStore, SupportsArtifacts, SupportsConversationBindings, SupportsMemoryState, SupportsPlannerEvents,
        SupportsPlannerState, SupportsSteering, SupportsTasks, SupportsTrajectories,
    )  # fmt: skip
    assert all(isinstance(store, protocol) for protocol in protocols)
    assert isinstance(store.artifact_store, PlaygroundArtifactStore)


async def test_a_history_is_in_order_and_has_each_event_once(store: InMemoryStateStore) -> None:
    events = [event(float(number // 2), number=number) for number in range(40)]
    for each in [*random.Random(1).sample(events, 40), *events]:
        await store.save_event(each)
    history = await store.load_history("t")
    assert times(history) == sorted(times(events))
    assert sorted(each.payload["number"] for each in history) == list(range(40))
    assert await store.load_history("unknown") == []


async def test_events_of_one_time_keep_the_order_in_which_they_came(store: InMemoryStateStore) -> None:
    for number in (2, 0, 1):
        await store.save_event(event(1.0, number=number))
    assert [each.payload["number"] for each in await store.load_history("t")] == [2, 0, 1]


async def test_events_without_a_trace_are_kept_under_one_name(store: InMemoryStateStore) -> None:
    await store.save_event(event(1.0, None))
    assert times(await store.load_history("__global__")) == [1.0]


async def test_events_of_a_trace_are_bounded() -> None:
    store = InMemoryStateStore(max_events_per_trace=8)
    for number in range(1000):
        await store.save_event(event(float(number)))
        assert len(store._events["t"]._events) <= 10
    assert times(await store.load_history("t")) == [float(number) for number in range(992, 1000)]


async def test_traces_are_bounded() -> None:
    store = InMemoryStateStore(max_traces=3)
    for trace in ("t1", "t2", "t3", "t1", "t4"):
        await store.save_event(event(1.0, trace))
        await store.save_planner_event(trace, trace)
    assert list(store._events) == ["t3", "t1", "t4"]
    assert await store.load_history("t2") == []
    assert await store.list_planner_events("t2") == []


async def test_saving_an_event_writes_no_json(store: InMemoryStateStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("too expensive for every event")

    monkeypatch.setattr(json, "dumps", refuse)
    for number in range(10):
        await store.save_event(event(1.0, number=number, unhashable=[{}], no_json=object))
    assert len(await store.load_history("t")) == 10


async def test_a_flow_writes_its_events_here(start: Any, store: InMemoryStateStore) -> None:
    async def step(message: Message, ctx: Any) -> Message:
        return message

    flow = start(create(Node(step, policy=NodePolicy(validate="none")).to(), state_store=store))
    question = Message(payload=1, headers=Headers(tenant="a"))
    await flow.call(question)
    kinds = [each.kind for each in await flow.load_history(question.trace_id)]
    assert kinds == ["node_start", "node_success"]


async def test_finding_a_binding_again(store: InMemoryStateStore) -> None:
    about: dict[str, Any] = {"router_session_id": "s", "agent_url": "url", "remote_skill": "search"}
    for each in (binding("1"), binding("2"), binding("3", tenant_id="B"), binding("4", router_session_id="s2")):
        await store.save_remote_binding(each)
    found = await store.find_binding(**about, tenant_id="A", user_id="u")
    assert found == binding("2")
    assert await store.find_binding(**about, tenant_id="C") is None
    assert await store.find_binding(**about, tenant_id="A", user_id="other") is None
    await store.mark_binding_terminal(trace_id="t", context_id="c", task_id="2")
    await store.mark_binding_terminal(trace_id="t", context_id=None, task_id="unknown")
    assert await store.find_binding(**about, tenant_id="A") == binding("1")
    assert [(each.task_id, each.is_terminal) for each in await store.list_bindings(router_session_id="s")] == [
        ("1", False),
        ("2", True),
        ("3", False),
    ]
    found.is_terminal = True
    assert await store.find_binding(**about, tenant_id="A") == binding("1")


async def test_a_planner_goes_on_once_and_not_after_an_hour() -> None:
    clock = Clock()
    store = InMemoryStateStore(clock=clock)
    state = {"steps": [1]}
    await store.save_planner_state("token", state)
    await store.save_planner_state("late", state)
    state["steps"].append(2)
    assert await store.load_planner_state("token") == {"steps": [1]}
    assert await store.load_planner_state("token") is None
    clock.now += 3601
    assert await store.load_planner_state("late") is None
    assert await store.load_planner_state("unknown") is None


async def test_memory_is_a_copy(store: InMemoryStateStore) -> None:
    memory = {"turns": [1]}
    await store.save_memory_state("key", memory)
    memory["turns"].append(2)
    loaded = await store.load_memory_state("key")
    assert loaded == {"turns": [1]}
    loaded["turns"].append(3)
    assert await store.load_memory_state("key") == {"turns": [1]}
    assert await store.load_memory_state("unknown") is None


async def test_trajectories_belong_to_a_session(store: InMemoryStateStore) -> None:
    for trace in ("t1", "t2", "t3", "t1"):
        await store.save_trajectory(trace, "s", f"trajectory of {trace}")
    assert await store.get_trajectory("t1", "s") == "trajectory of t1"
    assert await store.get_trajectory("t1", "other") is None
    assert await store.list_traces("s") == ["t1", "t3", "t2"]
    assert await store.list_traces("s", limit=1) == ["t1"]
    assert await store.list_traces("other") == []


async def test_planner_events_are_bounded() -> None:
    store = InMemoryStateStore(max_planner_events_per_trace=2)
    for number in range(4):
        await store.save_planner_event("t", number)
    assert await store.list_planner_events("t") == await store.get_events("t") == [2, 3]


async def test_a_task_is_kept_as_it_was(store: InMemoryStateStore) -> None:
    first = task("1")
    await store.save_task(first)
    await store.save_task(task("2"))
    first.update_status(TaskStatus.RUNNING)
    assert [each.status for each in await store.list_tasks("s")] == [TaskStatus.PENDING] * 2
    await store.save_task(first)
    assert [(each.task_id, each.status) for each in await store.list_tasks("s")] == [
        ("1", TaskStatus.RUNNING),
        ("2", TaskStatus.PENDING),
    ]
    assert await store.list_tasks("other") == []


@pytest.mark.parametrize("what", ["update", "steering"])
async def test_lists_after_a_cursor(store: InMemoryStateStore, what: str) -> None:
    make: Any = update if what == "update" else steering
    save: Any = store.save_update if what == "update" else store.save_steering
    fetch: Any = store.list_updates if what == "update" else store.list_steering

    async def names(**options: Any) -> list[str]:
        return [
            getattr(each, f"{'update' if what == 'update' else 'event'}_id") for each in await fetch("s", **options)
        ]

    for name, of in [("1", "a"), ("2", "b"), ("3", "a"), ("4", "b"), ("5", "a")]:
        await save(make(name, of))
    await save(make("3", "a"))
    assert await names() == ["1", "2", "3", "4", "5"]
    assert await names(since_id="2") == ["3", "4", "5"]
    assert await names(since_id="2", task_id="a") == ["3", "5"]
    assert await names(since_id="unknown", limit=2) == ["4", "5"]
    assert await names(task_id="b", limit=1) == ["4"]
    assert await names(limit=0) == []
    assert await fetch("other") == []


async def test_the_names_of_before(store: InMemoryStateStore) -> None:
    await store.save_task_update(update("1"))
    assert await store.list_task_updates("s") == await store.list_updates("s")
    assert [each.update_id for each in await store.list_task_updates("s")] == ["1"]


async def test_sessions_and_what_is_in_them_are_bounded() -> None:
    store = InMemoryStateStore(max_updates_per_session=2, max_steering_events_per_session=2, max_sessions=2)
    for session in ("s1", "s2", "s3"):
        for name in "123":
            await store.save_update(update(name, session=session))
            await store.save_steering(steering(name, session=session))
            await store.save_task(task(name, session))
    for session, names in [("s1", []), ("s3", ["2", "3"])]:
        assert [each.update_id for each in await store.list_updates(session)] == names
        assert [each.event_id for each in await store.list_steering(session)] == names
    assert await store.list_tasks("s1") == []


async def test_steering_is_cut_to_its_limits(store: InMemoryStateStore) -> None:
    await store.save_steering(steering("1", text="x" * 100_000))
    (kept,) = await store.list_steering("s")
    assert len(kept.payload["text"]) == 4096


async def fill(store: InMemoryStateStore, session: str, trace: str) -> None:
    await store.save_event(event(1.0, trace))
    await store.save_remote_binding(binding(trace, router_session_id=session))
    await store.save_trajectory(trace, session, "trajectory")
    await store.save_planner_event(trace, "event")
    await store.save_task(task("1", session))
    await store.save_update(update("1", session=session))
    await store.save_steering(steering("1", session=session))
    await store.artifact_store.put_text("x", scope=ArtifactScope(session_id=session))


async def counts(store: InMemoryStateStore, session: str, trace: str) -> list[int]:
    artifacts = await store.artifact_store.list(scope=ArtifactScope(session_id=session))
    found: list[Sequence[Any]] = [
        await store.list_bindings(router_session_id=session),
        await store.list_traces(session),
        await store.list_planner_events(trace),
        await store.list_tasks(session),
        await store.list_updates(session),
        await store.list_steering(session),
        artifacts,
    ]
    return [len(each) for each in found]


async def test_forgetting_a_session_and_everything(store: InMemoryStateStore) -> None:
    await fill(store, "s1", "t1")
    await fill(store, "s2", "t2")
    await store.save_memory_state("key", {})
    store.clear_session("s1")
    store.clear_session("unknown")
    assert await counts(store, "s1", "t1") == [0] * 7
    assert await counts(store, "s2", "t2") == [1] * 7
    store.clear()
    assert await counts(store, "s2", "t2") == [0] * 7
    assert await store.load_history("t2") == []
    assert await store.load_memory_state("key") is None
