"""Artifacts in the database, with the limits and the manners of those in memory."""

from __future__ import annotations

import builtins
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, Protocol

from pydantic_core import to_json

from penguiflow.artifacts.models import (
    ArtifactIdentity,
    ArtifactRef,
    ArtifactRetentionConfig,
    ArtifactScope,
    TextsAsBytes,
)
from penguiflow.state.connection import Connection

__all__ = ["DatabaseArtifactStore"]

_ADD = (
    "INSERT INTO artifacts (id, identity, owner, trace_id, size, stored, used, ref, data)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


class Database(Protocol):
    """What it needs of the store that it belongs to."""

    def _transact(self, work: Callable[[Connection], Any]) -> Awaitable[Any]:
        """Run a function in a transaction."""
        ...

    def _rows(self, sql: str, parameters: Sequence[Any]) -> Awaitable[builtins.list[Any]]:
        """What a query finds."""
        ...


class _Group(NamedTuple):
    """Artifacts that share limits: those of an owner, or of one of the owner's traces."""

    where: str
    values: tuple[Any, ...]
    max_bytes: int
    max_count: int


class DatabaseArtifactStore(TextsAsBytes):
    """The artifacts of a store that has a database.

    Equal bytes of one owner and namespace are one artifact; those of two owners are two. Limits hold for each session
    and each trace of it. What is older than its time is not given out and makes room.

    Raises (when storing) `ValueError` for what is too large, and for what does not fit while `cleanup_strategy` is
    `none`.
    """

    def __init__(self, database: Database, retention: ArtifactRetentionConfig | None = None) -> None:
        self._database = database
        self._retention = retention or ArtifactRetentionConfig()

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
        """Keep bytes, committed on return. The same ones again give the ref there is, and begin their time anew."""
        size = len(data)
        _check_size(size, self._retention.max_artifact_bytes)
        data = bytes(data)
        identity = await ArtifactIdentity.hashed(data, namespace, scope)
        ref = ArtifactRef(
            id="",
            mime_type=mime_type,
            size_bytes=size,
            filename=filename,
            sha256=identity.sha256,
            scope=None if scope is None else scope.model_copy(),
            namespace=namespace,
            source=dict(meta or {}),
        )
        stored: ArtifactRef = await self._database._transact(
            lambda connection: self._put(connection, ref, identity, data)
        )
        return stored

    async def get(self, artifact_id: str) -> bytes | None:
        """The content; None when it is not there (any more)."""
        found: bytes | None = await self._find("data", artifact_id)
        if found is not None and self._retention.cleanup_strategy == "lru":
            used = (time.time(), artifact_id)
            await self._database._transact(
                lambda connection: connection.execute("UPDATE artifacts SET used = ? WHERE id = ?", used)
            )
        return found

    async def get_ref(self, artifact_id: str) -> ArtifactRef | None:
        """What is known of it."""
        found = await self._find("ref", artifact_id)
        return None if found is None else ArtifactRef.model_validate_json(found)

    async def delete(self, artifact_id: str) -> bool:
        """Forget it; whether it was there."""
        alive = (artifact_id, self._oldest())

        def remove(connection: Connection) -> int:
            return connection.execute("DELETE FROM artifacts WHERE id = ? AND stored >= ?", alive).rowcount

        return bool(await self._database._transact(remove))

    async def exists(self, artifact_id: str) -> bool:
        """Whether it is there."""
        return await self._find("id", artifact_id) is not None

    async def list(self, *, scope: ArtifactScope | None = None) -> builtins.list[ArtifactRef]:
        """Those whose scope has every field that is set in `scope`, the one stored longest ago first."""
        rows = await self._database._rows(
            "SELECT ref FROM artifacts WHERE stored >= ? ORDER BY stored, rowid", (self._oldest(),)
        )
        refs = [ArtifactRef.model_validate_json(ref) for (ref,) in rows]
        wanted = {} if scope is None else scope.model_dump(exclude_none=True)
        return [ref for ref in refs if all(getattr(ref.scope, name, None) == wanted[name] for name in wanted)]

    def sweep(self, connection: Connection) -> None:
        """Remove what is older than its time; within a transaction."""
        connection.execute("DELETE FROM artifacts WHERE stored < ?", (self._oldest(),))

    def _oldest(self) -> float:
        return time.time() - self._retention.ttl_seconds

    async def _find(self, column: str, artifact_id: str) -> Any:
        sql = " ".join(("SELECT", column, "FROM artifacts WHERE id = ? AND stored >= ?"))
        rows = await self._database._rows(sql, (artifact_id, self._oldest()))
        return rows[0][0] if rows else None

    def _put(self, connection: Connection, ref: ArtifactRef, identity: ArtifactIdentity, data: bytes) -> ArtifactRef:
        self.sweep(connection)
        now = time.time()
        name = to_json(identity).decode()
        known = connection.execute("SELECT id, ref FROM artifacts WHERE identity = ?", (name,)).fetchone()
        if known is not None:
            connection.execute("UPDATE artifacts SET stored = ?, used = ? WHERE id = ?", (now, now, known[0]))
            return ArtifactRef.model_validate_json(known[1])
        owner = to_json(identity.owner).decode()
        trace_id = None if ref.scope is None else ref.scope.trace_id
        for group in self._groups(owner, trace_id):
            self._make_room(connection, group, len(data))
        ref = ref.model_copy(update={"id": _free_id(connection, identity)})
        kept = ref.model_dump_json().encode()
        connection.execute(_ADD, (ref.id, name, owner, trace_id, len(data), now, now, kept, data))
        return ref

    def _groups(self, owner: str, trace_id: str | None) -> builtins.list[_Group]:
        limits = self._retention
        groups = [_Group("owner = ?", (owner,), limits.max_session_bytes, limits.max_artifacts_per_session)]
        if trace_id is not None:
            where, of = "owner = ? AND trace_id = ?", (owner, trace_id)
            groups.append(_Group(where, of, limits.max_trace_bytes, limits.max_artifacts_per_trace))
        return groups

    def _make_room(self, connection: Connection, group: _Group, size: int) -> None:
        """Let older artifacts go until a new one fits."""
        _check_size(size, group.max_bytes)
        count, total = connection.execute(
            " ".join(("SELECT count(*), coalesce(sum(size), 0) FROM artifacts WHERE", group.where)), group.values
        ).fetchone()
        if count < group.max_count and total + size <= group.max_bytes:
            return
        if self._retention.cleanup_strategy == "none" or group.max_count < 1:
            about = f"its session has {count} artifacts, {total} bytes"
            raise ValueError(f"No room for an artifact of {size} bytes: a limit is reached ({about})")
        order = "used, rowid" if self._retention.cleanup_strategy == "lru" else "rowid"
        rows = connection.execute(
            " ".join(("SELECT rowid, size FROM artifacts WHERE", group.where, "ORDER BY", order)), group.values
        ).fetchall()
        for rowid, freed in rows:
            connection.execute("DELETE FROM artifacts WHERE rowid = ?", (rowid,))
            count, total = count - 1, total - freed
            if count < group.max_count and total + size <= group.max_bytes:
                return


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise ValueError(f"Artifact size ({size} bytes) exceeds limit ({limit} bytes)")


def _free_id(connection: Connection, identity: ArtifactIdentity) -> str:
    # 48 bits can collide: whoever comes second gets another id.
    attempt = 0
    while connection.execute("SELECT 1 FROM artifacts WHERE id = ?", (identity.public_id(attempt),)).fetchone():
        attempt += 1
    return identity.public_id(attempt)
