"""What a planner asks of a memory; `DefaultShortTermMemory` is one, a program may bring its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from penguiflow.planner.memory.config import MemoryHealth
from penguiflow.planner.memory.turns import ConversationTurn

__all__ = [
    "ShortTermMemory",
    "ShortTermMemoryArtifacts",
    "ShortTermMemoryPersistence",
    "ShortTermMemorySerializable",
]


@runtime_checkable
class ShortTermMemory(Protocol):
    """Remembers one conversation."""

    @property
    def health(self) -> MemoryHealth:
        """How it goes."""
        ...

    async def add_turn(self, turn: ConversationTurn) -> None:
        """Remember a turn."""
        ...

    async def get_llm_context(self) -> Mapping[str, Any]:
        """What the model is shown: `{"conversation_memory": …}`, or nothing."""
        ...

    def estimate_tokens(self) -> int:
        """How many tokens that has, about."""
        ...

    async def flush(self) -> None:
        """Return when nothing is done in the background any more."""
        ...


@runtime_checkable
class ShortTermMemoryPersistence(Protocol):
    """Can be kept in a store."""

    async def persist(self, store: Any, key: str) -> None:
        """Keep it."""
        ...

    async def hydrate(self, store: Any, key: str) -> None:
        """Take what is kept, if there is any."""
        ...


@runtime_checkable
class ShortTermMemorySerializable(Protocol):
    """Can be written as JSON."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        ...

    def from_dict(self, state: Mapping[str, Any]) -> None:
        """Read it back."""
        ...


@runtime_checkable
class ShortTermMemoryArtifacts(Protocol):
    """Keeps artifacts too."""

    def get_artifact(self, ref: str) -> Any | None:
        """What was hidden from the model under this reference."""
        ...
