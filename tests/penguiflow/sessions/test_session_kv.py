"""Values of a session: kept whole, changed one after the other, told of without secrets."""

from __future__ import annotations

import asyncio
import gc
import json
import signal
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from penguiflow.artifacts import ArtifactRetentionConfig, InMemoryArtifactStore, NoOpArtifactStore
from penguiflow.planner.memory import MemoryEditor
from penguiflow.sessions.kv_keys import KVAddress, KVOwner
from penguiflow.sessions.kv_store import KVStore
from penguiflow.sessions.session_kv import (
    SessionKVConfig,
    SessionKVConflict,
    SessionKVFacade,
    SessionKVUnavailable,
)
from penguiflow.state import InMemoryStateStore, Retention, SQLiteStateStore, documents

OWNER = {"tenant_id": "t", "user_id": "u", "session_id": "s", "task_id": "job"}


class Sort(Enum):
    BIG = "big"


@dataclass
class Point:
    x: int


class Profile(BaseModel):
    name: str
    password: SecretStr


class Bare:
    """A store that can do what the contract asks for, and no more."""

    def __init__(self) -> None:
        self.kept: dict[str, dict[str, Any]] = {}

    async def save_memory_state(self, key: str, state: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        self.kept[key] = state

    async def load_memory_state(self, key: str) -> dict[str, Any] | None:
        await asyncio.sleep(0)
        return self.kept.get(key)


@pytest.fixture(params=["bare", "memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    make: dict[str, Callable[[], Any]] = {
        "bare": Bare,
        "memory": InMemoryStateStore,
        "sqlite": lambda: SQLiteStateStore(tmp_path / "state.db"),
    }
    made = make[request.param]()
    yield made
    if hasattr(made, "close"):
        await made.close()


class Told:
    """Keeps what is told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.updates: list[dict[str, Any]] = []


def facade(store: Any, told: Told | None = None, *, artifacts: Any = None, **context: Any) -> SessionKVFacade:
    told = told or Told()
    return SessionKVFacade(
        state_store=store,
        artifacts=artifacts or NoOpArtifactStore(),
        tool_context={**OWNER, **context},
        emit_planner_event=lambda name, data: told.events.append((name, dict(data))),
        emit_checkpoint_update=lambda data: told.updates.append(dict(data)),
    )


async def test_a_value_is_there_until_it_is_deleted(store: Any) -> None:
    kv = facade(store)
    assert await kv.get("a") is None
    assert await kv.set("a", {"n": [1, None, "ä"]}) == {"n": [1, None, "ä"]}
    assert await facade(store).get("a") == {"n": [1, None, "ä"]}
    assert await kv.get_or_init("a", 7) == {"n": [1, None, "ä"]}
    assert await kv.get_or_init("b", 7) == 7
    assert await kv.get("b") == 7
    assert await kv.delete("a")
    assert not await kv.delete("a")
    assert await kv.get("a") is None
    assert await kv.get_or_init("a", False) is False
    assert await kv.get("a") is False


async def test_a_patch_puts_keys_into_an_object(store: Any) -> None:
    kv = facade(store)
    assert await kv.patch("p", {"a": 1, "in": {"x": 1}}) == {"a": 1, "in": {"x": 1}}
    assert await kv.patch("p", {"b": None, "in": {"y": 2}}) == {"a": 1, "in": {"y": 2}, "b": None}
    await kv.set("text", "no object")
    with pytest.raises(TypeError, match="only objects can be patched; 'text' is str"):
        await kv.patch("text", {"a": 1})
    assert await kv.get("text") == "no object"
    wrong: Any = [1]
    with pytest.raises(TypeError, match="a patch is a mapping; got list"):
        await kv.patch("p", wrong)


async def test_what_is_given_out_is_a_copy(store: Any) -> None:
    kv, value = facade(store), {"list": [1]}
    given_back = await kv.set("a", value)
    value["list"].append(2)
    given_back["list"].append(3)
    got: Any = await kv.get("a")
    got["list"].append(4)
    assert await kv.get("a") == {"list": [1]}


async def test_scopes_namespaces_and_sessions_do_not_meet(store: Any) -> None:
    places: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({}, {}),
        ({}, {"namespace": "n"}),
        ({}, {"scope": "task"}),
        ({}, {"scope": "task", "namespace": "n"}),
        ({"task_id": "other"}, {"scope": "task"}),
        ({"session_id": "other"}, {}),
        ({"user_id": "other"}, {}),
        ({"tenant_id": "other"}, {}),
        # However they are cut, none is another.
        ({"tenant_id": "t:u", "user_id": "s"}, {}),
        ({"session_id": "s:n"}, {}),
        ({}, {"namespace": "n:k"}),
        ({}, {"namespace": "n%3Ak"}),
    ]
    for number, (context, where) in enumerate(places):
        await facade(store, **context).set("k", number, **where)
    for number, (context, where) in enumerate(places):
        assert await facade(store, **context).get("k", **where) == number
    assert await facade(store, task_id="another").get("k") == 0  # of the session, whatever the task


@pytest.mark.parametrize("missing", ["tenant_id", "user_id", "session_id"])
async def test_whose_values_they_are_must_be_known(missing: str) -> None:
    kv = facade(InMemoryStateStore(), **{missing: None})
    for call in (kv.get("a"), kv.set("a", 1), kv.patch("a", {}), kv.get_or_init("a", 1), kv.delete("a")):
        with pytest.raises(SessionKVUnavailable, match=f"tool_context has no {missing}"):
            await call


async def test_a_task_is_asked_for_where_it_is_needed() -> None:
    kv = facade(InMemoryStateStore(), task_id="")
    assert await kv.set("a", 1) == 1
    with pytest.raises(SessionKVUnavailable, match="no task_id"):
        await kv.get("a", scope="task")


@pytest.mark.parametrize("store_of", [None, object()])
async def test_without_a_store_there_are_no_values(store_of: Any) -> None:
    with pytest.raises(SessionKVUnavailable, match="needs a state store that keeps memories"):
        await facade(store_of).set("a", 1)


async def test_places_that_are_none(store: Any) -> None:
    kv = facade(store)
    wrong: Any
    for wrong, kind in (("", ValueError), (3, TypeError), ("x" * 513, ValueError), ("\ud800", ValueError)):
        with pytest.raises(kind):
            await kv.set(wrong, 1)
    with pytest.raises(ValueError, match="scope is 'session' or 'task'; got 'world'"):
        await kv.get("a", scope="world")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a namespace is text"):
        await kv.get("a", namespace=3)  # type: ignore[arg-type]


async def test_models_and_secrets_are_kept_whole(store: Any) -> None:
    kv, when = facade(store), datetime(2026, 1, 31, tzinfo=UTC)
    told = {"p": Profile(name="Pip", password=SecretStr("hunter22")), "at": when, "s": Sort.BIG, "d": Point(1)}
    await kv.set("token", told)
    assert await kv.get("token") == {
        "p": {"name": "Pip", "password": "hunter22"},
        "at": "2026-01-31T00:00:00Z",
        "s": "big",
        "d": {"x": 1},
    }
    await kv.set("password", "hunter22")
    assert await kv.patch("login", {"api_key": "k-123456789"}) == {"api_key": "k-123456789"}
    assert await kv.get("password") == "hunter22"


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), object(), {1: 2}, "\ud800", {"a": {3.5: 1}}, b"\xff", [[object()]], "x" * 9_000_000],
    ids=lambda value: f"{type(value).__name__}-{str(value)[:12]!r}",
)
async def test_what_would_not_come_back_is_refused(value: Any) -> None:
    store = InMemoryStateStore()
    kv = facade(store)
    with pytest.raises((TypeError, ValueError)):
        await kv.set("a", value)
    with pytest.raises((TypeError, ValueError)):
        await kv.get_or_init("a", value)
    assert await store.list_memory_states() == []


async def test_a_value_that_contains_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(ValueError, match="nested too deeply, or contains itself"):
        await facade(InMemoryStateStore()).set("a", value)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(value=values, key=st.text(min_size=1, max_size=40), namespace=st.none() | st.text(max_size=20))
async def test_any_value_comes_back_as_it_was(value: Any, key: str, namespace: str | None) -> None:
    store = InMemoryStateStore()
    kv = facade(store)
    await kv.set(key, value, namespace=namespace)
    assert json.dumps(await kv.get(key, namespace=namespace)) == json.dumps(value)
    [kept] = await store.list_memory_states("kv:")
    assert KVAddress.parse(kept) == KVAddress(KVOwner("t", "u", "s"), "session", "", namespace or "", key)


# -- changes at once ---------------------------------------------------------------------------------------------------

fields = st.dictionaries(st.sampled_from("abcdef"), st.integers(), min_size=1, max_size=3)


@given(patches=st.lists(fields, min_size=1, max_size=12), bare=st.booleans())
async def test_of_patches_at_once_none_is_lost(patches: list[dict[str, int]], bare: bool) -> None:
    store: Any = Bare() if bare else InMemoryStateStore()
    # Each key once, with who wrote it: whatever the order, all of them are there.
    named = [{f"{number}-{name}": value for name, value in each.items()} for number, each in enumerate(patches)]
    results = await asyncio.gather(*(facade(store).patch("p", each) for each in named))
    everything = {name: value for each in named for name, value in each.items()}
    assert await facade(store).get("p") == everything
    assert [len(each) for each in results].count(len(everything)) >= 1
    for mine, result in zip(named, results, strict=True):
        assert mine.items() <= result.items()


async def test_patches_through_several_connections(tmp_path: Path) -> None:
    stores = [SQLiteStateStore(tmp_path / "state.db") for _ in range(3)]
    try:
        await asyncio.gather(*(facade(stores[n % 3]).patch("p", {f"k{n}": n}) for n in range(60)))
        assert await facade(stores[0]).get("p") == {f"k{n}": n for n in range(60)}
    finally:
        for store in stores:
            await store.close()


async def test_one_of_those_who_begin_at_once_is_first(store: Any) -> None:
    told = Told()
    found = await asyncio.gather(*(facade(store, told).get_or_init("a", n) for n in range(20)))
    assert len(set(found)) == 1
    assert [name for name, _ in told.events] == ["kv_init"]


async def test_what_is_deleted_and_made_again_is_not_what_it_was(store: Any) -> None:
    """Somebody who has seen the first value does not replace the second one."""
    kv, values = facade(store), KVStore(store)
    address = kv.address("a", "session", None)
    await kv.set("a", "first")
    seen = await values.load(address)
    assert seen is not None
    await kv.delete("a")
    await kv.set("a", "first")
    again = await values.load(address)
    assert again is not None
    assert again.etag != seen.etag
    if not isinstance(store, Bare):
        swapped = await store.swap_memory_state(address.composite(), {"revision": 5}, revision=seen.revision)
        assert not swapped


async def test_locks_go_when_nobody_has_them() -> None:
    store = Bare()
    kv = facade(store)
    for number in range(200):
        await kv.set(f"key {number}", number)
    gc.collect()
    mine = [key for key in documents._locks[asyncio.get_running_loop()] if key[0] == id(store)]
    assert len(mine) <= 1


class Busy(InMemoryStateStore):
    """Somebody else is always faster."""

    async def swap_memory_state(self, key: str, state: dict[str, Any], *, revision: int) -> bool:
        return False


async def test_who_is_never_fast_enough_is_told_so() -> None:
    with pytest.raises(SessionKVConflict, match="'a' is being changed all the time"):
        await facade(Busy()).set("a", 1)


class Broken(InMemoryStateStore):
    async def load_memory_state(self, key: str) -> dict[str, Any] | None:
        raise ConnectionError("the store is away")


async def test_what_the_store_raises_is_raised() -> None:
    with pytest.raises(ConnectionError, match="the store is away"):
        await facade(Broken()).get("a")


# -- what is told ------------------------------------------------------------------------------------------------------


async def test_changes_are_told_with_what_was_before(store: Any) -> None:
    told = Told()
    kv = facade(store, told, trace_id="run", _current_tool_name="note", _current_tool_call_id="call_1_0")
    await kv.get_or_init("a", {"n": 1}, namespace="prefs")
    await kv.get_or_init("a", {"n": 9}, namespace="prefs")
    await kv.set("a", {"n": 2}, namespace="prefs", emit_update=False)
    await kv.patch("a", {"m": 3}, namespace="prefs")
    await kv.delete("a", namespace="prefs")
    await kv.delete("a", namespace="prefs")
    assert await kv.get("a") is None

    assert [name for name, _ in told.events] == ["kv_init", "kv_set", "kv_patch", "kv_delete"]
    changes = [(data["prev"], data["next"]) for _, data in told.events]
    assert changes == [(None, {"n": 1}), ({"n": 1}, {"n": 2}), ({"n": 2}, {"n": 2, "m": 3}), ({"n": 2, "m": 3}, None)]
    etags = [data["etags"] for _, data in told.events]
    assert (etags[0]["prev"], etags[-1]["next"]) == (None, None)
    assert [each["next"] for each in etags[:-1]] == [each["prev"] for each in etags[1:]]
    assert len({each["next"] for each in etags}) == 4
    first = told.events[0][1]
    assert (first["scope"], first["namespace"], first["key"]) == ("session", "prefs", "a")
    assert first["composite_key"] == "kv:session:t:u:s:prefs:a"
    assert first["actor"] == {"type": "tool", "name": "note", "call_id": "call_1_0"}
    assert first["context"] == {**OWNER, "trace_id": "run"}
    assert [each["event"] for each in told.updates] == ["kv_init", "kv_patch", "kv_delete"]
    assert told.updates[0] == {"kind": "kv", "event": "kv_init", **first}


async def test_what_is_told_has_no_secrets(store: Any) -> None:
    told = Told()
    kv = facade(store, told)
    await kv.set("api_token", "s3cr3t-value")
    await kv.set("api_token", {"deep": ["s3cr3t-value", 12]})
    await kv.patch("login", {"user": "Pip", "password": "s3cr3t-value"})
    await kv.set("github", "s3cr3t-value", namespace="credentials")
    await kv.delete("login")

    assert "s3cr3t-value" not in json.dumps([told.events, told.updates])
    assert "s3cr3t-value" not in repr(told.events)
    assert told.events[2][1]["next"]["user"] == "Pip"
    assert await kv.get("api_token") == {"deep": ["s3cr3t-value", 12]}
    assert await kv.get("github", namespace="credentials") == "s3cr3t-value"


async def test_a_program_says_what_is_a_secret() -> None:
    told, store = Told(), InMemoryStateStore()
    kv = facade(store, told)
    kv.config = SessionKVConfig(redact_keys=frozenset({"diagnosis"}))
    await kv.set("diagnosis", "a cold")
    await kv.set("token", "the beginning of a chapter")
    assert "a cold" not in json.dumps(told.events)
    assert told.events[1][1]["next"] == "the beginning of a chapter"
    assert await kv.get("diagnosis") == "a cold"


# -- large values ------------------------------------------------------------------------------------------------------


async def test_a_large_value_has_a_copy_among_the_artifacts(store: Any) -> None:
    artifacts, told = InMemoryArtifactStore(), Told()
    kv = facade(store, told, artifacts=artifacts)
    await kv.set("small", "x" * (8192 - 2))
    assert await artifacts.list() == []
    await kv.set("a", "x" * 8191)
    [ref] = await artifacts.list()
    assert await artifacts.get(ref.id) == json.dumps("x" * 8191).encode()
    assert ref.scope is not None
    assert ref.scope.owner == ("t", "u", "s")
    assert told.events[-1][1]["next"] == {"artifact": ref.id, "bytes": 8193}

    await kv.set("b", "x" * 8191)  # equal contents are two, so that one can go
    await kv.set("a", "y" * 9000)
    assert len(await artifacts.list()) == 2
    assert ref.id not in {each.id for each in await artifacts.list()}
    assert await kv.delete("a")
    assert await kv.set("b", 1) == 1
    assert await artifacts.list() == []


async def test_a_large_value_outlives_its_copy(store: Any) -> None:
    """Artifacts are kept for an hour, and not beyond their limits; a value is kept until it is deleted."""
    for retention in (ArtifactRetentionConfig(ttl_seconds=-1), ArtifactRetentionConfig(max_artifact_bytes=10)):
        kv = facade(store, artifacts=InMemoryArtifactStore(retention))
        await kv.set("a", "x" * 10_000)
        assert await kv.get("a") == "x" * 10_000
        assert len((await kv.patch("p", {"long": "y" * 10_000}))["long"]) == 10_000


# -- time, and the end -------------------------------------------------------------------------------------------------


async def test_what_a_task_keeps_lives_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    store, now = InMemoryStateStore(), [1_000_000.0]
    monkeypatch.setattr("penguiflow.sessions.session_kv.KVStore", lambda kept: KVStore(kept, lambda: now[0]))
    kv = facade(store)
    await kv.set("old", 1, scope="task")
    await kv.set("a", 1, scope="task")
    await kv.set("a", 1)
    now[0] += 3599
    await kv.set("a", 2, scope="task")
    now[0] += 2
    assert await kv.get("old", scope="task") is None
    assert await kv.get("a", scope="task") == 2
    assert not await kv.delete("old", scope="task")
    await kv.set("old", 1, scope="task")
    now[0] += 3600
    assert await kv.get("a", scope="task") is None
    assert await kv.get("a") == 1
    # A new one of the session makes room.
    await facade(store, task_id="next").set("b", 1, scope="task")
    assert await store.list_memory_states() == ["kv:session:t:u:s::a", "kv:task:t:u:s:next::b"]
    assert await kv.get_or_init("a", 5, scope="task") == 5


async def test_what_tasks_kept_is_pruned(tmp_path: Path) -> None:
    store = SQLiteStateStore(tmp_path / "state.db")
    try:
        kv = facade(store)
        await kv.set("a", 1, scope="task")
        await kv.set("a", 1)
        await store.prune(Retention(max_age_s=0.0))
        assert len(await store.list_memory_states()) == 2  # its hour is not over
        await store._execute("UPDATE memory_states SET updated = updated - 3700", ())
        await store.prune(Retention(max_age_s=0.0))
        assert await store.list_memory_states() == ["kv:session:t:u:s::a"]
    finally:
        await store.close()


async def test_values_are_no_conversations(tmp_path: Path) -> None:
    store = SQLiteStateStore(tmp_path / "state.db")
    try:
        await facade(store).set("a", 1)
        await facade(store).set("a", 1, scope="task")
        await store.save_memory_state("kv:u:s", {"turns": []})  # of a tenant called kv
        assert await MemoryEditor(store).keys() == ["kv:u:s"]
        assert [each.session for each in await store.sessions()] == ["kv:u:s"]
    finally:
        await store.close()


PROGRAM = """
import asyncio, os, signal, sys
from pathlib import Path
from penguiflow.artifacts import NoOpArtifactStore
from penguiflow.sessions.session_kv import SessionKVFacade
from penguiflow.state import SQLiteStateStore

async def main():
    kv = SessionKVFacade(
        state_store=SQLiteStateStore(Path(sys.argv[1])), artifacts=NoOpArtifactStore(),
        tool_context={"tenant_id": "t", "user_id": "u", "session_id": "s"},
    )
    for number in range(int(sys.argv[2])):
        await kv.patch("seen", {f"{sys.argv[3]}{number}": number})
    await kv.set("token", "whole-s3cr3t")
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_what_was_kept_is_there_after_a_kill(tmp_path: Path) -> None:
    """Two processes patch one value at once, and are killed."""
    database = tmp_path / "state.db"
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, str(tmp_path / "program.py"), str(database), "25"]
    running = [await asyncio.create_subprocess_exec(*command, name) for name in "ab"]
    async with asyncio.timeout(120):
        assert [await process.wait() for process in running] == [-signal.SIGKILL] * 2

    store = SQLiteStateStore(database)
    try:
        kv = facade(store)
        assert await kv.get("seen") == {f"{name}{number}": number for name in "ab" for number in range(25)}
        assert await kv.get("token") == "whole-s3cr3t"
    finally:
        await store.close()
