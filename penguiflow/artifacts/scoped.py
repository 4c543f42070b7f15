"""An artifact store as one tenant, user and session may see it."""

from __future__ import annotations

import builtins
from typing import Any, NoReturn

from penguiflow.artifacts.models import ArtifactRef, ArtifactScope, ArtifactStore

__all__ = ["ScopedArtifacts"]


class ScopedArtifacts:
    """Stores with its scope, and gives out only what belongs to that scope or to nobody. Cannot be changed."""

    __slots__ = ("_scope", "_store")

    _store: ArtifactStore
    _scope: ArtifactScope

    def __init__(
        self,
        store: ArtifactStore,
        *,
        tenant_id: str | None,
        user_id: str | None,
        session_id: str | None,
        trace_id: str | None,
    ) -> None:
        scope = ArtifactScope(tenant_id=tenant_id, user_id=user_id, session_id=session_id, trace_id=trace_id)
        object.__setattr__(self, "_store", store)
        object.__setattr__(self, "_scope", scope)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("ScopedArtifacts is immutable")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("ScopedArtifacts is immutable")

    @property
    def scope(self) -> ArtifactScope:
        """A copy of the scope."""
        return self._scope.model_copy()

    async def upload(
        self,
        data: bytes | str,
        *,
        mime_type: str | None = None,
        filename: str | None = None,
        namespace: str | None = None,
        meta: dict[str, Any] | None = None,
    ) -> ArtifactRef:
        """Keep bytes, or a text. Raises `ValueError` when they are too large."""
        scope = self.scope
        if isinstance(data, str):
            kind = mime_type or "text/plain"
            return await self._store.put_text(
                data, mime_type=kind, filename=filename, namespace=namespace, scope=scope, meta=meta
            )
        return await self._store.put_bytes(
            data, mime_type=mime_type, filename=filename, namespace=namespace, scope=scope, meta=meta
        )

    async def download(self, artifact_id: str) -> bytes | None:
        """The content; None when there is none for this scope."""
        return None if await self.get_metadata(artifact_id) is None else await self._store.get(artifact_id)

    async def get_metadata(self, artifact_id: str) -> ArtifactRef | None:
        """What is known of it; None when there is none for this scope."""
        ref = await self._store.get_ref(artifact_id)
        return ref if ref is not None and self._may_see(ref) else None

    async def list(self) -> builtins.list[ArtifactRef]:
        """The artifacts of tenant, user and session, whatever their trace."""
        refs = await self._store.list(scope=self._scope.model_copy(update={"trace_id": None}))
        return [ref for ref in refs if self._may_see(ref)]

    async def exists(self, artifact_id: str) -> bool:
        """Whether there is one for this scope."""
        return await self.get_metadata(artifact_id) is not None

    async def delete(self, artifact_id: str) -> bool:
        """Forget it; whether there was one for this scope."""
        return await self.exists(artifact_id) and await self._store.delete(artifact_id)

    def _may_see(self, ref: ArtifactRef) -> bool:
        theirs = (None, None, None) if ref.scope is None else ref.scope.owner
        pairs = zip(self._scope.owner, theirs, strict=True)
        return all(mine is None or owner is None or mine == owner for mine, owner in pairs)
