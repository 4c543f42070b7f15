"""Where a memory's state is kept: changes of it are made one after the other, in one process or in several."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from penguiflow.planner.memory.config import MemoryConflict
from penguiflow.planner.memory.state import MemoryState
from penguiflow.state.documents import STORE_TIMEOUT_S, Document

__all__ = ["STORE_TIMEOUT_S", "Kept"]

T = TypeVar("T")


class Kept:
    """The state under one key of a store: see `penguiflow.state.documents.Document`."""

    def __init__(self, store: Any, key: str) -> None:
        self._document = Document(store, key)
        self._key = key

    async def load(self) -> MemoryState:
        """What is kept; an empty memory if there is none. Raises what the store does, `ValueError`, `TimeoutError`."""
        return _state(await self._document.load())

    async def change(self, change: Callable[[MemoryState], T]) -> tuple[T, MemoryState]:
        """Change what is kept; gives what `change` gave, and the state after it. `change` may be called repeatedly.

        Raises `MemoryConflict` when others get in the way all the time, and what `change` raises: nothing is kept then.
        """
        made: list[tuple[T, MemoryState]] = []

        def changed(saved: dict[str, Any] | None) -> dict[str, Any] | None:
            state = _state(saved)
            before = state.copy()
            made[:] = [(change(state), state)]
            if state == before:
                return None
            state.revision = before.revision + 1
            return state.dump()

        if not await self._document.change(changed):
            raise MemoryConflict(f"the memory {self._key!r} is being changed all the time")
        return made[0]


def _state(saved: dict[str, Any] | None) -> MemoryState:
    return MemoryState() if saved is None else MemoryState.load(saved)
