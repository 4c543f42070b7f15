"""Artifacts by session, as a playground shows them."""

from __future__ import annotations

from penguiflow.artifacts.memory import MAX_SESSIONS, InMemoryArtifactStore
from penguiflow.artifacts.models import ArtifactRetentionConfig, ArtifactScope

__all__ = ["PlaygroundArtifactStore"]

_DEFAULT_SESSION = "default"


class PlaygroundArtifactStore(InMemoryArtifactStore):
    """An `InMemoryArtifactStore` that can be asked, and cleared, by session. What has no session is in `default`."""

    def __init__(self, retention: ArtifactRetentionConfig | None = None, *, max_sessions: int = MAX_SESSIONS) -> None:
        super().__init__(retention, max_sessions=max_sessions)

    async def get_with_session_check(self, artifact_id: str, session_id: str) -> bytes | None:
        """The content if it belongs to this session."""
        ref = await self.get_ref(artifact_id)
        return None if ref is None or _session_of(ref.scope) != session_id else await self.get(artifact_id)

    def clear_session(self, session_id: str) -> None:
        """Forget the artifacts of a session."""
        for group in list(self._sessions.values()):
            if (group.key[2] or _DEFAULT_SESSION) == session_id:
                self._clear_group(group)


def _session_of(scope: ArtifactScope | None) -> str:
    return (scope.session_id if scope is not None else None) or _DEFAULT_SESSION
