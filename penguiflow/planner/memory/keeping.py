"""Where a memory's state is kept: changes of it are made one after the other, in one process or in several."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary, WeakValueDictionary

from penguiflow.planner.memory.config import MemoryConflict
from penguiflow.planner.memory.state import MemoryState

__all__ = ["STORE_TIMEOUT_S", "Kept"]

STORE_TIMEOUT_S = 30.0
"""For one reading or writing."""
MAX_TRIES = 1000
"""Of a change that others get in the way of; each time one of them was made."""

T = TypeVar("T")

Locks = WeakValueDictionary[tuple[int, str], asyncio.Lock]
_locks: WeakKeyDictionary[asyncio.AbstractEventLoop, Locks] = WeakKeyDictionary()
"""By loop, then by store and key: a lock that was waited for belongs to its loop."""


class Kept:
    """The state under one key of a store.

    A store with `swap_memory_state` takes a change only when the state is the one that was changed; then it is made
    again on what is there now. For other stores only those of this process wait for each other.
    """

    def __init__(self, store: Any, key: str) -> None:
        self._store = store
        self._key = key
        self._swap = getattr(store, "swap_memory_state", None)
        self._held: asyncio.Lock | None = None

    async def load(self) -> MemoryState:
        """What is kept; an empty memory if there is none. Raises what the store does, `ValueError`, `TimeoutError`."""
        async with asyncio.timeout(STORE_TIMEOUT_S):
            saved = await self._store.load_memory_state(self._key)
        return MemoryState() if saved is None else MemoryState.load(saved)

    async def change(self, change: Callable[[MemoryState], T]) -> tuple[T, MemoryState]:
        """Change what is kept; gives what `change` gave, and the state after it. `change` may be called repeatedly.

        Raises `MemoryConflict` when others get in the way all the time, and what `change` raises: nothing is kept then.
        """
        async with self._lock():
            for _ in range(MAX_TRIES):
                state = await self.load()
                before = state.copy()
                result = change(state)
                if state == before:
                    return result, state
                state.revision = before.revision + 1
                if await self._save(state, before.revision):
                    return result, state
        raise MemoryConflict(f"the memory {self._key!r} is being changed all the time")

    async def _save(self, state: MemoryState, revision: int) -> bool:
        async with asyncio.timeout(STORE_TIMEOUT_S):
            if callable(self._swap):
                return bool(await self._swap(self._key, state.dump(), revision=revision))
            await self._store.save_memory_state(self._key, state.dump())
            return True

    def _lock(self) -> asyncio.Lock:
        locks = _locks.setdefault(asyncio.get_running_loop(), WeakValueDictionary())
        lock = self._held = locks.setdefault((id(self._store), self._key), asyncio.Lock())
        return lock
