"""An artifact store that keeps nothing, for programs that have none."""

from __future__ import annotations

import builtins
import logging
from typing import Any

from penguiflow.artifacts.models import ArtifactIdentity, ArtifactRef, ArtifactScope

__all__ = ["NoOpArtifactStore"]

logger = logging.getLogger("penguiflow.artifacts")

_WARNING = "no artifact store is configured: the content was not kept"


class NoOpArtifactStore:
    """Gives out refs whose `source` says that nothing was kept, with the beginning of a text as `preview`."""

    def __init__(self, max_inline_preview: int = 500) -> None:
        self._max_preview = max(0, max_inline_preview)
        self._warned = False

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
        """A ref of what is not kept."""
        if not self._warned:
            self._warned = True
            logger.warning(_WARNING)
        identity = ArtifactIdentity.of(data, namespace, scope)
        return ArtifactRef(
            id=identity.public_id(),
            mime_type=mime_type,
            size_bytes=len(data),
            filename=filename,
            sha256=identity.sha256,
            scope=scope,
            namespace=namespace,
            source={**(meta or {}), "warning": _WARNING, "truncated": True, "original_size": len(data)},
        )

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
        """A ref of what is not kept, with a preview."""
        data = text.encode("utf-8", "surrogatepass")
        ref = await self.put_bytes(
            data, mime_type=mime_type, filename=filename, namespace=namespace, scope=scope, meta=meta
        )
        if self._max_preview:
            ref.source["preview"] = text[: self._max_preview]
        return ref

    async def get(self, artifact_id: str) -> bytes | None:
        """None."""
        return None

    async def get_ref(self, artifact_id: str) -> ArtifactRef | None:
        """None."""
        return None

    async def delete(self, artifact_id: str) -> bool:
        """False."""
        return False

    async def exists(self, artifact_id: str) -> bool:
        """False."""
        return False

    async def list(self, *, scope: ArtifactScope | None = None) -> builtins.list[ArtifactRef]:
        """Nothing."""
        return []
