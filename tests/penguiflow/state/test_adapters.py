"""Stores of earlier versions, and stores that cannot do what is asked."""

from __future__ import annotations

from typing import Any

import pytest

from penguiflow.state import InMemoryStateStore, RemoteBinding, adapters

LIST = {"task_id": "t", "since_id": "u", "limit": 3}


class Recording:
    """Has the methods that it is given, and notes how they are called."""

    def __init__(self, *methods: str) -> None:
        self.calls: list[tuple[Any, ...]] = []
        for name in methods:
            setattr(self, name, self._method(name))

    def _method(self, name: str) -> Any:
        async def method(*arguments: Any, **options: Any) -> Any:
            self.calls.append((name, *arguments, *([options] if options else [])))
            return ("result",)

        return method


@pytest.mark.parametrize(
    ("function", "arguments", "options", "methods"),
    [
        ("save_update_compat", ("update",), {}, ["save_update", "save_task_update"]),
        ("list_updates_compat", ("s",), LIST, ["list_updates", "list_task_updates"]),
        ("save_task_compat", ("task",), {}, ["save_task"]),
        ("list_tasks_compat", ("s",), {}, ["list_tasks"]),
        ("save_steering_compat", ("event",), {}, ["save_steering"]),
        ("list_steering_compat", ("s",), LIST, ["list_steering"]),
        ("save_planner_event_compat", ("trace", "event"), {}, ["save_planner_event"]),
        ("list_planner_events_compat", ("trace",), {}, ["list_planner_events", "get_events"]),
    ],
)
async def test_the_first_name_that_there_is(
    function: str, arguments: tuple[Any, ...], options: dict[str, Any], methods: list[str]
) -> None:
    call = getattr(adapters, function)
    expected = ["result"] if function.startswith("list") else None
    for store, called in [(Recording(*methods), methods[0]), (Recording(methods[-1]), methods[-1])]:
        assert await call(store, *arguments, **options) == expected
        assert store.calls == [(called, *arguments, *([options] if options else []))]
    with pytest.raises(TypeError, match=f"^StateStore missing {'/'.join(methods)}$"):
        await call(Recording("other"), *arguments, **options)


async def test_a_binding_is_saved_if_it_can_be() -> None:
    binding = RemoteBinding("t", None, "task", "url", router_session_id="s")
    store = InMemoryStateStore()
    await adapters.maybe_save_remote_binding(store, binding)
    about = {"trace_id": "t2", "context_id": None, "task_id": "b", "agent_url": "url", "router_session_id": "s"}
    await adapters.maybe_save_remote_binding(store, about)
    saved = await store.list_bindings(router_session_id="s")
    assert list(saved) == [binding, RemoteBinding("t2", None, "b", "url", router_session_id="s")]
    await adapters.maybe_save_remote_binding(None, binding)
    without: Any = Recording("other")
    await adapters.maybe_save_remote_binding(without, binding)
    assert without.calls == []


def test_the_artifacts_of_a_store() -> None:
    store = InMemoryStateStore()
    assert adapters.get_artifact_store(store) is store.artifact_store
    assert adapters.get_artifact_store(object()) is None
