"""Artifacts in memory, within limits of time, size and number."""

from __future__ import annotations

import builtins
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from penguiflow.artifacts.models import (
    ArtifactIdentity,
    ArtifactRef,
    ArtifactRetentionConfig,
    ArtifactScope,
    TextsAsBytes,
)

__all__ = ["MAX_SESSIONS", "InMemoryArtifactStore"]


MAX_SESSIONS = 1000
"""Sessions that a store keeps artifacts of."""

_Key: TypeAlias = tuple[str | None, ...]


@dataclass(slots=True)
class _Entry:
    ref: ArtifactRef
    data: bytes
    identity: ArtifactIdentity
    expires: float
    groups: tuple[_Group, ...]


class _Group:
    """The artifacts of a session, or of a trace in it, in the order in which they make room."""

    __slots__ = ("bytes", "entries", "home", "key", "max_bytes", "max_count")

    def __init__(self, home: OrderedDict[_Key, _Group], key: _Key, max_bytes: int, max_count: int) -> None:
        self.home = home
        """Where it is registered while it has entries."""
        self.key = key
        self.entries: OrderedDict[str, _Entry] = OrderedDict()
        self.bytes = 0
        self.max_bytes = max_bytes
        self.max_count = max_count

    def has_room(self, size: int) -> bool:
        return len(self.entries) < self.max_count and self.bytes + size <= self.max_bytes


class InMemoryArtifactStore(TextsAsBytes):
    """Keeps artifacts while the process lives.

    Equal bytes of one owner and namespace are one artifact; those of two owners are two. With `scope_filter` the
    store belongs to that scope: what is stored gets it, and nothing else is given out. Limits hold for each session
    and each trace of it. Beyond `max_sessions` the session that nobody stored into for the longest time makes room.

    Raises (when storing) `ValueError` for what is too large, for what does not fit while `cleanup_strategy` is `none`,
    and for a scope that contradicts `scope_filter`.
    """

    def __init__(
        self,
        retention: ArtifactRetentionConfig | None = None,
        scope_filter: ArtifactScope | None = None,
        *,
        max_sessions: int = MAX_SESSIONS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_sessions = max_sessions
        self._retention = retention or ArtifactRetentionConfig()
        self._filter = scope_filter
        self._clock = clock
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        """By id, those that expire first in front."""
        self._ids: dict[ArtifactIdentity, str] = {}
        self._sessions: OrderedDict[_Key, _Group] = OrderedDict()
        """By tenant, user and session."""
        self._traces: OrderedDict[_Key, _Group] = OrderedDict()
        """By tenant, user, session and trace."""
        self._bytes = 0

    @property
    def total_bytes(self) -> int:
        """Size of all contents."""
        self._sweep()
        return self._bytes

    @property
    def count(self) -> int:
        """How many artifacts there are."""
        self._sweep()
        return len(self._entries)

    async def put_bytes(
        self,
        data: bytes,
        *,
        mime_type: str | None = None,
        filename: str | None = None,
        namespace: str | None = None,
        scope: ArtifactScope | None = None,
        meta: dict[str, Any] | None = None,
    ) -> ArtifactRef:
        """Keep bytes. The same ones again give the ref that there is, and begin their time anew."""
        scope = self._scope_of(scope)
        size = len(data)
        self._check_size(size, self._retention.max_artifact_bytes)
        data = bytes(data)
        identity = await ArtifactIdentity.hashed(data, namespace, scope)
        self._sweep()
        expires = self._clock() + self._retention.ttl_seconds
        known = self._ids.get(identity)
        if known is not None:
            entry = self._entries[known]
            entry.expires = expires
            self._entries.move_to_end(known)
            self._sessions.move_to_end(entry.groups[0].key)
            self._used(entry)
            return entry.ref.model_copy(deep=True)
        groups = self._make_room(size, scope)
        ref = ArtifactRef(
            id=self._free_id(identity),
            mime_type=mime_type,
            size_bytes=size,
            filename=filename,
            sha256=identity.sha256,
            scope=scope,
            namespace=namespace,
            source=dict(meta or {}),
        )
        self._add(_Entry(ref, data, identity, expires, groups))
        return ref.model_copy(deep=True)

    async def get(self, artifact_id: str) -> bytes | None:
        """The content; None when it is not there (any more)."""
        entry = self._find(artifact_id)
        if entry is None:
            return None
        self._used(entry)
        return entry.data

    async def get_ref(self, artifact_id: str) -> ArtifactRef | None:
        """What is known of it."""
        entry = self._find(artifact_id)
        return None if entry is None else entry.ref.model_copy(deep=True)

    async def delete(self, artifact_id: str) -> bool:
        """Forget it; whether it was there."""
        entry = self._find(artifact_id)
        if entry is not None:
            self._remove(entry)
        return entry is not None

    async def exists(self, artifact_id: str) -> bool:
        """Whether it is there."""
        return self._find(artifact_id) is not None

    async def list(self, *, scope: ArtifactScope | None = None) -> builtins.list[ArtifactRef]:
        """Those whose scope has every field that is set in `scope`, the one stored longest ago first."""
        self._sweep()
        return [
            entry.ref.model_copy(deep=True)
            for entry in self._entries.values()
            if _matches(entry.ref.scope, scope) and _matches(entry.ref.scope, self._filter)
        ]

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._ids.clear()
        self._sessions.clear()
        self._traces.clear()
        self._bytes = 0

    def _scope_of(self, scope: ArtifactScope | None) -> ArtifactScope | None:
        if self._filter is None:
            return None if scope is None else scope.model_copy()
        own = {name: value for name, value in self._filter.model_dump().items() if value is not None}
        wanted = {} if scope is None else {k: v for k, v in scope.model_dump().items() if v is not None}
        if any(wanted.get(name, value) != value for name, value in own.items()):
            raise ValueError("the artifact's scope is not that of the store")
        return ArtifactScope(**{**wanted, **own})

    @staticmethod
    def _check_size(size: int, limit: int) -> None:
        if size > limit:
            raise ValueError(f"Artifact size ({size} bytes) exceeds limit ({limit} bytes)")

    def _make_room(self, size: int, scope: ArtifactScope | None) -> tuple[_Group, ...]:
        """Let older artifacts of the session and the trace go until a new one fits."""
        limits = self._retention
        owner: _Key = (None, None, None) if scope is None else scope.owner
        session = self._sessions.get(owner)
        if session is None:
            session = _Group(self._sessions, owner, limits.max_session_bytes, limits.max_artifacts_per_session)
        groups = [session]
        if scope is not None and scope.trace_id is not None:
            key = (*owner, scope.trace_id)
            trace = self._traces.get(key)
            groups.append(trace or _Group(self._traces, key, limits.max_trace_bytes, limits.max_artifacts_per_trace))
        for group in groups:
            self._check_size(size, group.max_bytes)
        crowded = not session.entries and len(self._sessions) >= self._max_sessions
        full = limits.cleanup_strategy == "none" and (crowded or not all(group.has_room(size) for group in groups))
        if full or any(group.max_count < 1 for group in groups):
            about = f"its session has {len(session.entries)} artifacts, {session.bytes} bytes"
            raise ValueError(f"No room for an artifact of {size} bytes: a limit is reached ({about})")
        if crowded:
            self._clear_group(next(iter(self._sessions.values())))
        for group in groups:
            while not group.has_room(size):
                self._remove(next(iter(group.entries.values())))
        return tuple(groups)

    def _clear_group(self, group: _Group) -> None:
        for entry in list(group.entries.values()):
            self._remove(entry)

    def _free_id(self, identity: ArtifactIdentity) -> str:
        # 48 bits can collide: whoever comes second gets another id.
        attempt = 0
        while (artifact_id := identity.public_id(attempt)) in self._entries:
            attempt += 1
        return artifact_id

    def _add(self, entry: _Entry) -> None:
        self._entries[entry.ref.id] = entry
        self._ids[entry.identity] = entry.ref.id
        self._bytes += len(entry.data)
        for group in entry.groups:
            group.home[group.key] = group
            group.home.move_to_end(group.key)
            group.entries[entry.ref.id] = entry
            group.bytes += len(entry.data)

    def _remove(self, entry: _Entry) -> None:
        del self._entries[entry.ref.id]
        del self._ids[entry.identity]
        self._bytes -= len(entry.data)
        for group in entry.groups:
            del group.entries[entry.ref.id]
            group.bytes -= len(entry.data)
            if not group.entries:
                del group.home[group.key]

    def _used(self, entry: _Entry) -> None:
        if self._retention.cleanup_strategy == "lru":
            for group in entry.groups:
                group.entries.move_to_end(entry.ref.id)

    def _find(self, artifact_id: str) -> _Entry | None:
        self._sweep()
        entry = self._entries.get(artifact_id)
        return entry if entry is not None and _matches(entry.ref.scope, self._filter) else None

    def _sweep(self) -> None:
        # All live equally long, so those that are over stand in front: each is looked at once.
        now = self._clock()
        while self._entries:
            entry = next(iter(self._entries.values()))
            if entry.expires >= now:
                return
            self._remove(entry)


def _matches(scope: ArtifactScope | None, wanted: ArtifactScope | None) -> bool:
    """Whether a scope has every field that is wanted."""
    if wanted is None:
        return True
    own = scope or ArtifactScope()
    fields = ("tenant_id", "user_id", "session_id", "trace_id")
    return all(getattr(wanted, name) in (None, getattr(own, name)) for name in fields)
