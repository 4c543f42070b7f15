"""JSON documents under the keys of a store: changed one after the other, by one process or by several."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

__all__ = ["STORE_TIMEOUT_S", "Document", "is_kv_key", "join_key", "revision_of", "split_key"]

STORE_TIMEOUT_S = 30.0
"""For one reading or writing."""
MAX_TRIES = 1000
"""Of a change that others get in the way of; each time one of them was made."""
KV_PREFIX = "kv:"
_KV_COLONS = {"session": 6, "task": 7}

Json = dict[str, Any]
Locks = WeakValueDictionary[tuple[int, str], asyncio.Lock]
_locks: WeakKeyDictionary[asyncio.AbstractEventLoop, Locks] = WeakKeyDictionary()
"""By loop, then by store and key: a lock that was waited for belongs to its loop, and goes when nobody has it."""


def is_kv_key(key: str) -> bool:
    """Whether a value of a session is kept under a key; conversations have keys with two colons."""
    scope = key.removeprefix(KV_PREFIX).partition(":")[0]
    return key.startswith(KV_PREFIX) and key.count(":") == _KV_COLONS.get(scope)


def join_key(*parts: str) -> str:
    """Parts with colons between them. A colon or percent sign of a part is escaped: no two keys look the same."""
    return ":".join(part.replace("%", "%25").replace(":", "%3A") for part in parts)


def split_key(key: str) -> list[str]:
    """The parts that `join_key` joined."""
    return [part.replace("%3A", ":").replace("%25", "%") for part in key.split(":")]


def revision_of(document: Json | None) -> int:
    """What `swap_memory_state` compares; 0 where there is none."""
    return 0 if document is None else int(document.get("revision", 0))


class Document:
    """The document under one key of a store with `load_memory_state` and `save_memory_state`.

    A store with `swap_memory_state` takes a change only when the document is the one that was changed; then it is made
    again on what is there now. For other stores only those of this process wait for each other.
    """

    def __init__(self, store: Any, key: str) -> None:
        self._store = store
        self._key = key
        self._swap = getattr(store, "swap_memory_state", None)
        self._remove = getattr(store, "remove_memory_state", None)
        self._held: asyncio.Lock | None = None

    async def load(self) -> Json | None:
        """What is kept; None without one. Raises what the store does, and `TimeoutError`."""
        async with asyncio.timeout(STORE_TIMEOUT_S):
            saved: Json | None = await self._store.load_memory_state(self._key)
        return saved

    async def change(
        self, change: Callable[[Json | None], Json | Awaitable[Json | None] | None], gone: Json | None = None
    ) -> bool:
        """Change what is kept; False when others get in the way all the time.

        `change` gets what is kept and gives what takes its place, with another `revision`; None leaves it as it is. It
        may be called repeatedly. When it gives `gone`, the document is removed, from a store that can do that.
        """
        async with self._lock():
            for _ in range(MAX_TRIES):
                before = await self.load()
                made = change(before)
                after = await made if inspect.isawaitable(made) else made
                if after is None or await self._save(after, revision_of(before), removed=after is gone):
                    return True
        return False

    async def _save(self, document: Json, revision: int, *, removed: bool) -> bool:
        async with asyncio.timeout(STORE_TIMEOUT_S):
            if removed and callable(self._remove):
                return bool(await self._remove(self._key, revision=revision))
            if callable(self._swap):
                return bool(await self._swap(self._key, document, revision=revision))
            await self._store.save_memory_state(self._key, document)
            return True

    def _lock(self) -> asyncio.Lock:
        locks = _locks.setdefault(asyncio.get_running_loop(), WeakValueDictionary())
        lock = self._held = locks.setdefault((id(self._store), self._key), asyncio.Lock())
        return lock
