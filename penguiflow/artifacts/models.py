"""What an artifact store keeps, and what it offers."""

from __future__ import annotations

import asyncio
import builtins
import re
from hashlib import sha256
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "ArtifactIdentity",
    "ArtifactRef",
    "ArtifactRetentionConfig",
    "ArtifactScope",
    "ArtifactStore",
    "TextsAsBytes",
    "discover_artifact_store",
    "sanitize_artifact_namespace",
]

_ID_DIGITS = 12
_NAMESPACE_CHARS = 64
_NOT_IN_NAMESPACE = re.compile(r"[^0-9A-Za-z_-]+")
_INLINE_HASH_BYTES = 1024 * 1024
_METHODS = ("put_bytes", "put_text", "get", "get_ref", "delete", "exists", "list")


class _Model(BaseModel):
    # Built when first used: importing the module costs little.
    model_config = ConfigDict(defer_build=True)


class ArtifactScope(_Model):
    """Whose an artifact is. Tenant, user and session decide who may have it; the trace only says where it is from."""

    tenant_id: str | None = None
    user_id: str | None = None
    session_id: str | None = None
    trace_id: str | None = None

    @property
    def owner(self) -> tuple[str | None, str | None, str | None]:
        """Tenant, user and session."""
        return self.tenant_id, self.user_id, self.session_id


class ArtifactRef(_Model):
    """A kept artifact, without its content."""

    id: str
    mime_type: str | None = None
    size_bytes: int | None = None
    filename: str | None = None
    sha256: str | None = None
    """Of the whole content, in hex."""
    scope: ArtifactScope | None = None
    namespace: str | None = None
    source: dict[str, Any] = Field(default_factory=dict)
    """Where it is from, as the one who stored it says."""


class ArtifactRetentionConfig(_Model):
    """How long and how much a store keeps."""

    ttl_seconds: int = 3600
    """Since it was last stored."""
    max_artifact_bytes: int = 50 * 1024 * 1024
    max_session_bytes: int = 500 * 1024 * 1024
    max_trace_bytes: int = 100 * 1024 * 1024
    max_artifacts_per_trace: int = 100
    max_artifacts_per_session: int = 1000
    cleanup_strategy: Literal["lru", "fifo", "none"] = "lru"
    """What makes room for a new artifact: the least recently used, the oldest, or nothing (it is refused)."""


@runtime_checkable
class ArtifactStore(Protocol):
    """Keeps artifacts. What is not there is None or False, never an error."""

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
        """Keep bytes. Raises `ValueError` when they are too large."""
        ...

    async def put_text(
        self,
        text: str,
        *,
        mime_type: str = "text/plain",
        filename: str | None = None,
        namespace: str | None = None,
        scope: ArtifactScope | None = None,
        meta: dict[str, Any] | None = None,
    ) -> ArtifactRef:
        """Keep a text, as UTF-8. Raises `ValueError` when it is too large."""
        ...

    async def get(self, artifact_id: str) -> bytes | None:
        """The content."""
        ...

    async def get_ref(self, artifact_id: str) -> ArtifactRef | None:
        """What is known of it."""
        ...

    async def delete(self, artifact_id: str) -> bool:
        """Forget it; whether it was there."""
        ...

    async def exists(self, artifact_id: str) -> bool:
        """Whether it is there."""
        ...

    async def list(self, *, scope: ArtifactScope | None = None) -> builtins.list[ArtifactRef]:
        """Those whose scope has every field that is set in `scope`, oldest first."""
        ...


class TextsAsBytes:
    """What stores have in common that keep texts as bytes."""

    async def put_text(
        self: ArtifactStore,
        text: str,
        *,
        mime_type: str = "text/plain",
        filename: str | None = None,
        namespace: str | None = None,
        scope: ArtifactScope | None = None,
        meta: dict[str, Any] | None = None,
    ) -> ArtifactRef:
        """Keep a text, as UTF-8."""
        data = text.encode("utf-8", "surrogatepass")
        return await self.put_bytes(
            data, mime_type=mime_type, filename=filename, namespace=namespace, scope=scope, meta=meta
        )


class ArtifactIdentity(NamedTuple):
    """What makes an artifact the same one: whose it is, its namespace, and every bit of its content."""

    owner: tuple[str | None, str | None, str | None]
    namespace: str | None
    sha256: str

    @classmethod
    def of(cls, data: bytes, namespace: str | None, scope: ArtifactScope | None) -> ArtifactIdentity:
        """The identity of these bytes."""
        owner = (None, None, None) if scope is None else scope.owner
        return cls(owner, namespace, sha256(data).hexdigest())

    @classmethod
    async def hashed(cls, data: bytes, namespace: str | None, scope: ArtifactScope | None) -> ArtifactIdentity:
        """As `of`; large contents are hashed in a thread, so that the event loop goes on."""
        if len(data) > _INLINE_HASH_BYTES:
            return await asyncio.to_thread(cls.of, data, namespace, scope)
        return cls.of(data, namespace, scope)

    def public_id(self, attempt: int = 0) -> str:
        """`<namespace>_<12 hex digits>`; another one for each `attempt`.

        Without a scope the digits are the first of the content's hash. With one they are those of a hash of scope and
        content: equal contents of two owners have different ids, and an id tells nobody what others have stored.
        """
        digits = self.sha256
        if attempt or any(part is not None for part in self.owner):
            digits = sha256(repr((self.owner, self.namespace, self.sha256, attempt)).encode()).hexdigest()
        return f"{sanitize_artifact_namespace(self.namespace) or 'art'}_{digits[:_ID_DIGITS]}"


def sanitize_artifact_namespace(namespace: str | None) -> str | None:
    """The namespace as it may stand in an id: letters, digits, `_` and `-`. None when nothing is left of it."""
    if namespace is None:
        return None
    return _NOT_IN_NAMESPACE.sub("_", namespace).strip("_-")[:_NAMESPACE_CHARS] or None


def discover_artifact_store(state_store: Any) -> ArtifactStore | None:
    """The `artifact_store` of a state store, or the object itself if it is one; else None."""
    for candidate in (getattr(state_store, "artifact_store", None), state_store):
        if candidate is not None and all(callable(getattr(candidate, method, None)) for method in _METHODS):
            store: ArtifactStore = candidate
            return store
    return None
