"""Artifacts: files and texts too large for a message, kept aside and referred to."""

from __future__ import annotations

from penguiflow.artifacts.memory import InMemoryArtifactStore
from penguiflow.artifacts.models import (
    ArtifactRef,
    ArtifactRetentionConfig,
    ArtifactScope,
    ArtifactStore,
    discover_artifact_store,
    sanitize_artifact_namespace,
)
from penguiflow.artifacts.noop import NoOpArtifactStore
from penguiflow.artifacts.scoped import ScopedArtifacts

__all__ = [
    "ArtifactRef",
    "ArtifactRetentionConfig",
    "ArtifactScope",
    "ArtifactStore",
    "InMemoryArtifactStore",
    "NoOpArtifactStore",
    "ScopedArtifacts",
    "discover_artifact_store",
    "sanitize_artifact_namespace",
]
