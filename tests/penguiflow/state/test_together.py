"""Commits of many callers as few."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from penguiflow.state import together
from penguiflow.state.errors import StoreError
from penguiflow.state.shared import SharedChange, SharedOutcome
from penguiflow.state.together import Together


class Store:
    """Commits when it is let; tells which changes came together."""

    def __init__(self) -> None:
        self.commits: list[list[str]] = []
        self.go = asyncio.Event()
        self.failing: list[Exception] = []

    async def commit(self, changes: Sequence[SharedChange]) -> list[SharedOutcome]:
        self.commits.append([change.trace_id for change in changes])
        await self.go.wait()
        if self.failing:
            raise self.failing.pop(0)
        return [SharedOutcome(True, False, (), {change.trace_id: 1}, False) for change in changes]


def change(name: str) -> SharedChange:
    return SharedChange(trace_id=name)


async def begin(line: Together, *names: str) -> asyncio.Task[list[SharedOutcome]]:
    task = asyncio.create_task(line.make([change(name) for name in names]))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return task


async def test_what_comes_meanwhile_is_committed_together_and_everybody_gets_his_own() -> None:
    store = Store()
    line = Together(store.commit)
    tasks = [await begin(line, "a"), await begin(line, "b", "c"), await begin(line, "d")]
    store.go.set()
    outcomes = [[dict(each.counters) for each in await task] for task in tasks]

    assert store.commits == [["a"], ["b", "c", "d"]]
    assert outcomes == [[{"a": 1}], [{"b": 1}, {"c": 1}], [{"d": 1}]]
    assert await line.make([]) == []


async def test_not_more_than_fit_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "MAX_CHANGES", 3)
    store = Store()
    line = Together(store.commit)
    tasks = [await begin(line, "a"), await begin(line, "b", "c"), await begin(line, "d", "e"), await begin(line, "f")]
    tasks.append(await begin(line, *"ghijk"))
    store.go.set()
    await asyncio.gather(*tasks)

    assert store.commits == [["a"], ["b", "c"], ["d", "e", "f"], list("ghijk")]


async def test_a_failure_is_told_to_those_it_is_about() -> None:
    store = Store()
    store.failing.append(StoreError("away", path="x"))
    line = Together(store.commit)
    first, second = await begin(line, "a"), await begin(line, "b")
    store.go.set()

    with pytest.raises(StoreError, match="away"):
        await first
    assert len(await second) == 1


async def test_who_gives_up_stops_nobody() -> None:
    store = Store()
    line = Together(store.commit)
    first, second, third = await begin(line, "a"), await begin(line, "b"), await begin(line, "c")
    second.cancel()
    first.cancel()
    await asyncio.sleep(0)
    store.go.set()

    assert len(await third) == 1
    assert first.cancelled()
    assert store.commits == [["a"], ["b", "c"]]


def test_each_loop_has_its_own_line() -> None:
    async def once(line: Together, store: Store) -> int:
        store.go = asyncio.Event()
        store.go.set()
        return len(await line.make([change("a")]))

    store = Store()
    line = Together(store.commit)

    assert [asyncio.run(once(line, store)) for _ in range(2)] == [1, 1]
