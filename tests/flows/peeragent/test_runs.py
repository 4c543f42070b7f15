"""Runs are recorded until there are more of them than anybody will look at."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from peeragent.runs import Flows
from penguiflow.state import SQLiteStateStore

SQL = {"task": "Write a SQL query to find top 10 customers by revenue"}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PENGUIFLOW_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


async def recorded(home: Path, told: Sequence[dict[str, Any]]) -> list[bool]:
    """Of each answer whether its run is in the store."""
    store = SQLiteStateStore(home / "state.db", read_only=True)
    try:
        return [await store.get_trace(each["trace_id"]) is not None for each in told]
    finally:
        await store.close()


async def test_so_many_of_a_second_and_the_others_are_counted(serve: Any, home: Path) -> None:
    # One of a thousand seconds: the first, and then none for as long as this takes.
    async with serve(record_traces=True, record_per_second=0.001) as service:
        first = await service.post("execute", SQL)
        others = await asyncio.gather(*(service.post("execute", SQL) for _ in range(5)))
        assert {each["data"]["language"] for each in others} == {"sql"}
        kept = await asyncio.gather(*(service.get(f"status/{each['task_id']}") for each in others))
        assert {each["status"] for each in kept} == {"completed"}
        assert "peeragent_runs_unrecorded 5.0" in (await service.client.get("/metrics")).text
        async with service.client.stream("POST", "/v1/agent/execute/stream", json=SQL) as told:
            assert [line async for line in told.aiter_lines() if '"content"' in line]
    assert await recorded(home, [first, *others]) == [True] + [False] * 5


async def test_all_where_there_is_no_bound(serve: Any, home: Path) -> None:
    async with serve(record_traces=True, record_per_second=0) as service:
        told = await asyncio.gather(*(service.post("execute", SQL) for _ in range(20)))
    assert await recorded(home, told) == [True] * 20


def test_what_was_not_used_is_there_for_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("peeragent.runs.time.monotonic", lambda: now)
    flow: Any = object()
    other: Any = object()
    flows = Flows(flow, other, per_second=10)
    assert [flows.next() is flow for _ in range(12)] == [True] * 10 + [False] * 2
    now = 100.25
    assert [flows.next() is flow for _ in range(4)] == [True, True, False, False]
    now = 200.0
    assert [flows.next() is flow for _ in range(11)] == [True] * 10 + [False]
    assert flows.unrecorded == 5
    assert Flows(flow, per_second=1).next() is flow
