"""Artifacts: whose they are, how long they stay, and what makes room for what."""

from __future__ import annotations

import logging
from collections import OrderedDict
from hashlib import sha256
from typing import Any

import pytest

from penguiflow.artifacts import (
    ArtifactRetentionConfig,
    ArtifactScope,
    ArtifactStore,
    InMemoryArtifactStore,
    NoOpArtifactStore,
    ScopedArtifacts,
    discover_artifact_store,
    sanitize_artifact_namespace,
)
from penguiflow.artifacts.sessions import PlaygroundArtifactStore

# Two texts whose SHA-256 begins with the same 48 bits.
COLLIDING = (b"093fd17ac563", b"4312b7a9a9ef")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def scope(tenant: str | None = None, session: str | None = None, trace: str | None = None) -> ArtifactScope:
    return ArtifactScope(tenant_id=tenant, session_id=session, trace_id=trace)


def limited(**limits: Any) -> InMemoryArtifactStore:
    return InMemoryArtifactStore(ArtifactRetentionConfig(**limits))


def view(store: ArtifactStore, tenant: str | None, session: str | None = None, trace: str = "t") -> ScopedArtifacts:
    return ScopedArtifacts(store, tenant_id=tenant, user_id=None, session_id=session, trace_id=trace)


async def contents(store: ArtifactStore, **wanted: Any) -> list[bytes | None]:
    return [await store.get(ref.id) for ref in await store.list(**wanted)]


async def test_what_is_stored_can_be_had_again() -> None:
    store = InMemoryArtifactStore()
    ref = await store.put_bytes(b"abc", mime_type="x/y", filename="f", namespace="my tool", meta={"from": "test"})
    digest = sha256(b"abc").hexdigest()
    assert (ref.id, ref.sha256, ref.size_bytes) == (f"my_tool_{digest[:12]}", digest, 3)
    assert (ref.mime_type, ref.filename, ref.namespace, ref.source) == ("x/y", "f", "my tool", {"from": "test"})
    assert await store.get(ref.id) == b"abc"
    assert await store.get_ref(ref.id) == ref
    assert await store.exists(ref.id)
    assert (store.count, store.total_bytes) == (1, 3)
    assert await store.delete(ref.id)
    assert not await store.delete(ref.id)
    assert await store.get(ref.id) is None
    assert await store.get_ref(ref.id) is None
    assert (store.count, store.total_bytes) == (0, 0)


async def test_a_text_is_utf_8() -> None:
    store = InMemoryArtifactStore()
    ref = await store.put_text("año")
    assert (ref.mime_type, ref.size_bytes) == ("text/plain", 4)
    assert ref.id.startswith("art_")
    assert await store.get(ref.id) == "año".encode()
    store.clear()
    assert (store.count, store.total_bytes) == (0, 0)


async def test_equal_bytes_of_one_owner_are_one_artifact() -> None:
    store = InMemoryArtifactStore()
    first = await store.put_bytes(b"abc", scope=scope("A", "s", "t1"))
    assert await store.put_bytes(b"abc", scope=scope("A", "s", "t2")) == first
    assert (await store.put_bytes(b"abc", namespace="n", scope=scope("A", "s"))).id != first.id
    assert store.count == 2


async def test_a_ref_is_the_callers_to_change() -> None:
    store = InMemoryArtifactStore()
    ref = await store.put_bytes(b"abc", scope=scope("A"))
    assert ref.scope is not None
    ref.scope.tenant_id = "B"
    ref.source["x"] = 1
    kept = await store.get_ref(ref.id)
    assert kept is not None
    assert kept.scope == scope("A")
    assert kept.source == {}


async def test_equal_bytes_of_two_tenants_are_two_artifacts() -> None:
    store = InMemoryArtifactStore()
    a, b = view(store, "A"), view(store, "B")
    ref_a, ref_b = await a.upload(b"abc"), await b.upload(b"abc")
    assert ref_a.id != ref_b.id
    assert ref_a.sha256 == ref_b.sha256
    assert ref_b.scope is not None
    assert ref_b.scope.tenant_id == "B"
    assert await b.download(ref_b.id) == b"abc"
    assert await b.download(ref_a.id) is None
    assert not await b.delete(ref_a.id)
    assert await b.delete(ref_b.id)
    assert await a.download(ref_a.id) == b"abc"


async def test_an_id_does_not_tell_what_others_have_stored() -> None:
    alone, shared = InMemoryArtifactStore(), InMemoryArtifactStore()
    await shared.put_bytes(b"abc", scope=scope("A"))
    assert await alone.put_bytes(b"abc", scope=scope("B")) == await shared.put_bytes(b"abc", scope=scope("B"))


async def test_ids_that_collide_are_kept_apart() -> None:
    store = InMemoryArtifactStore()
    first, second = [await store.put_bytes(data) for data in COLLIDING]
    assert first.sha256 is not None
    assert second.sha256 is not None
    assert first.sha256[:12] == second.sha256[:12]
    assert first.id != second.id
    assert [await store.get(ref.id) for ref in (first, second)] == list(COLLIDING)
    assert await store.put_bytes(COLLIDING[1]) == second


async def test_large_contents_are_stored_too() -> None:
    data = bytes(1024 * 1024 + 1)
    ref = await InMemoryArtifactStore().put_bytes(data)
    assert ref.sha256 == sha256(data).hexdigest()


async def test_time_ends_an_artifact_and_storing_it_again_begins_it_anew() -> None:
    clock = Clock()
    store = InMemoryArtifactStore(ArtifactRetentionConfig(ttl_seconds=10), clock=clock)
    old = await store.put_bytes(b"old")
    clock.now += 6
    young = await store.put_bytes(b"young")
    clock.now += 4
    await store.put_bytes(b"old")
    clock.now += 6.5
    assert not await store.exists(young.id)
    assert await store.get(old.id) == b"old"
    clock.now += 4
    assert (await store.list(), store.count, store.total_bytes) == ([], 0, 0)


async def test_a_look_up_does_not_look_at_every_artifact() -> None:
    class Counting(Clock):
        calls = 0

        def __call__(self) -> float:
            self.calls += 1
            return self.now

    clock = Counting()
    store = InMemoryArtifactStore(clock=clock)
    refs = [await store.put_bytes(b"%d" % number) for number in range(200)]
    looked_at: list[str] = []

    class Watched(OrderedDict[str, Any]):
        def values(self) -> Any:
            for value in super().values():
                looked_at.append(value.ref.id)
                yield value

    store._entries = Watched(store._entries)
    await store.get(refs[150].id)
    assert len(looked_at) == 1


@pytest.mark.parametrize(("strategy", "left"), [("lru", [b"a", b"c", b"d"]), ("fifo", [b"b", b"c", b"d"])])
async def test_what_makes_room(strategy: str, left: list[bytes]) -> None:
    store = limited(max_artifacts_per_session=3, cleanup_strategy=strategy)
    refs = [await store.put_bytes(data) for data in (b"a", b"b", b"c")]
    await store.get(refs[0].id)
    await store.put_bytes(b"d")
    assert await contents(store) == left


@pytest.mark.parametrize("limit", [{"max_artifacts_per_session": 2}, {"max_session_bytes": 2}])
async def test_without_a_cleanup_what_does_not_fit_is_refused(limit: dict[str, int]) -> None:
    store = limited(cleanup_strategy="none", **limit)
    await store.put_bytes(b"a")
    await store.put_bytes(b"b")
    with pytest.raises(ValueError, match="No room for an artifact of 1 bytes"):
        await store.put_bytes(b"c")
    await store.put_bytes(b"a")
    assert await contents(store) == [b"b", b"a"]


async def test_limits_of_a_trace_hold() -> None:
    store = limited(max_artifacts_per_trace=2, max_trace_bytes=5)
    for data in (b"1", b"2", b"3"):
        await store.put_bytes(data, scope=scope("A", "s", "t1"))
    await store.put_bytes(b"other", scope=scope("A", "s", "t2"))
    assert await contents(store, scope=scope(trace="t1")) == [b"2", b"3"]
    await store.put_bytes(b"4444", scope=scope("A", "s", "t1"))
    assert await contents(store, scope=scope(trace="t1")) == [b"3", b"4444"]
    with pytest.raises(ValueError, match=r"Artifact size \(6 bytes\) exceeds limit \(5 bytes\)"):
        await store.put_bytes(b"666666", scope=scope("A", "s", "t1"))
    assert store.count == 3


async def test_limits_of_a_session_are_its_own() -> None:
    store = limited(max_session_bytes=4)
    await store.put_bytes(b"11", scope=scope("A", "s1"))
    await store.put_bytes(b"2222", scope=scope("A", "s2"))
    await store.put_bytes(b"333", scope=scope("A", "s1"))
    assert await contents(store) == [b"2222", b"333"]
    assert store.total_bytes == 7


async def test_an_artifact_that_is_too_large() -> None:
    store = limited(max_artifact_bytes=2)
    with pytest.raises(ValueError, match=r"^Artifact size \(3 bytes\) exceeds limit \(2 bytes\)$"):
        await store.put_text("abc")
    with pytest.raises(ValueError, match="No room"):
        await limited(max_artifacts_per_session=0).put_bytes(b"")


async def test_the_number_of_sessions_is_bounded() -> None:
    store = InMemoryArtifactStore(max_sessions=2)
    for session in ("s1", "s2", "s1", "s3"):
        await store.put_bytes(session.encode(), scope=scope("A", session, "t"))
    assert await contents(store) == [b"s1", b"s3"]
    assert (len(store._sessions), len(store._traces)) == (2, 2)


async def test_a_store_for_one_scope() -> None:
    store = InMemoryArtifactStore(scope_filter=scope("A"))
    ref = await store.put_bytes(b"1", scope=scope(session="s"))
    assert ref.scope == scope("A", "s")
    assert (await store.put_bytes(b"2")).scope == scope("A")
    assert len(await store.list()) == 2
    with pytest.raises(ValueError, match="scope"):
        await store.put_bytes(b"3", scope=scope("B"))


async def test_a_list_is_of_a_scope() -> None:
    store = InMemoryArtifactStore()
    await store.put_bytes(b"nobody's")
    await store.put_bytes(b"A1", scope=scope("A", "s1"))
    await store.put_bytes(b"A2", scope=scope("A", "s2"))
    await store.put_bytes(b"B1", scope=scope("B", "s1"))
    assert await contents(store, scope=scope("A")) == [b"A1", b"A2"]
    assert await contents(store, scope=scope(session="s1")) == [b"A1", b"B1"]
    assert len(await contents(store)) == 4


async def test_a_view_sees_its_own_and_what_is_nobodys() -> None:
    store = InMemoryArtifactStore()
    free = await store.put_bytes(b"free")
    one, two = view(store, "A", "s1"), view(store, "A", "s2", trace="t2")
    ref = await one.upload("text", filename="f.txt")
    assert ref.mime_type == "text/plain"
    assert await one.download(free.id) == b"free"
    assert await two.download(ref.id) is None
    assert await two.get_metadata(ref.id) is None
    assert not await two.exists(ref.id)
    assert await view(store, "A", None).exists(ref.id)
    assert [each.id for each in await view(store, "A", "s1", trace="t9").list()] == [ref.id]
    assert await two.list() == []


def test_a_view_cannot_be_changed() -> None:
    mine = view(InMemoryArtifactStore(), "A")
    with pytest.raises(AttributeError, match="ScopedArtifacts is immutable"):
        mine._scope = scope("B")
    with pytest.raises(AttributeError, match="ScopedArtifacts is immutable"):
        del mine._scope
    mine.scope.tenant_id = "B"
    assert mine.scope.tenant_id == "A"


async def test_sessions_keep_their_own() -> None:
    store = PlaygroundArtifactStore()
    one = await store.put_bytes(b"abc", scope=scope(session="s1"))
    two = await store.put_text("abc", scope=scope(session="s2"))
    free = await store.put_bytes(b"free")
    assert await store.get_with_session_check(one.id, "s1") == b"abc"
    assert await store.get_with_session_check(two.id, "s2") == b"abc"
    assert await store.get_with_session_check(one.id, "s2") is None
    assert await store.get_with_session_check(free.id, "default") == b"free"
    assert await store.get_with_session_check("art_0", "s1") is None
    store.clear_session("s1")
    assert await contents(store) == [b"abc", b"free"]
    store.clear_session("default")
    assert await store.get(two.id) == b"abc"
    store.clear()
    assert await store.list() == []


async def test_nothing_is_kept_without_a_store(caplog: pytest.LogCaptureFixture) -> None:
    store = NoOpArtifactStore(max_inline_preview=3)
    with caplog.at_level(logging.WARNING, "penguiflow.artifacts"):
        ref = await store.put_text("abcdef", namespace="n", meta={"a": 1})
        data = await store.put_bytes(b"xyz", scope=scope("A"))
    assert len(caplog.records) == 1
    assert ref.id == f"n_{sha256(b'abcdef').hexdigest()[:12]}"
    about = {"a": 1, "truncated": True, "original_size": 6, "preview": "abc"}
    assert {key: value for key, value in ref.source.items() if key != "warning"} == about
    assert "not kept" in ref.source["warning"]
    assert "preview" not in data.source
    assert [await store.get(ref.id), await store.get_ref(ref.id), await store.list()] == [None, None, []]
    assert not await store.exists(ref.id)
    assert not await store.delete(ref.id)
    assert "preview" not in (await NoOpArtifactStore(0).put_text("abc")).source


def test_finding_a_store() -> None:
    store = InMemoryArtifactStore()

    class Holder:
        artifact_store: Any = store

    class Wrong:
        artifact_store = "none"

    assert discover_artifact_store(Holder()) is store
    assert discover_artifact_store(store) is store
    assert discover_artifact_store(Wrong()) is None
    assert discover_artifact_store(None) is None
    assert isinstance(store, ArtifactStore)


@pytest.mark.parametrize(
    ("namespace", "sanitized"),
    [(None, None), ("", None), ("//", None), ("a.b-c_d", "a_b-c_d"), ("-../a b/ñ", "a_b"), ("x" * 99, "x" * 64)],
)
def test_namespaces_are_safe_in_ids(namespace: str | None, sanitized: str | None) -> None:
    assert sanitize_artifact_namespace(namespace) == sanitized
