"""The values of sessions in a state store: read, changed one after the other, listed."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from penguiflow.sessions.kv_keys import KVAddress, KVOwner, SessionKVUnavailable
from penguiflow.sessions.kv_values import GONE, KVEntry, fresh_revision
from penguiflow.state.documents import Document, is_kv_key, join_key

__all__ = ["KVChange", "KVStore", "SessionKVConflict", "keeps_kv", "lists_kv"]

TASK_TTL_S = 3600.0
MAX_SWEPT = 32
"""Values of other tasks that are looked at, and removed when their time is over, for each new one."""

Make = Callable[[KVEntry | None], Awaitable[KVEntry | None]]


class SessionKVConflict(RuntimeError):
    """The value is another than whoever changes it has seen: read it again."""


class KVChange(NamedTuple):
    """One change of a value."""

    address: KVAddress
    before: KVEntry | None
    after: KVEntry | None
    """None: it was deleted."""


def keeps_kv(store: object) -> bool:
    """Whether values can be kept in a store."""
    return all(callable(getattr(store, name, None)) for name in ("save_memory_state", "load_memory_state"))


def lists_kv(store: object) -> bool:
    """Whether it can be asked which there are."""
    return keeps_kv(store) and callable(getattr(store, "list_memory_states", None))


class KVStore:
    """The values in a state store. Raises `SessionKVUnavailable` for one that keeps none."""

    def __init__(self, store: Any, clock: Callable[[], float] = time.time) -> None:
        if not keeps_kv(store):
            told = "there is none" if store is None else f"{type(store).__name__} has no load_memory_state"
            raise SessionKVUnavailable(f"ctx.kv needs a state store that keeps memories: {told}")
        self._store = store
        self._clock = clock

    async def load(self, address: KVAddress) -> KVEntry | None:
        """What is kept there; None for nothing, and for what has expired. Raises what the store does."""
        return KVEntry.load(await Document(self._store, address.composite()).load(), self._clock())

    def entry(self, address: KVAddress, text: str, artifact: dict[str, Any] | None = None) -> KVEntry:
        """What would be kept there from now on."""
        return KVEntry.of(text, self._clock(), TASK_TTL_S if address.scope == "task" else None, artifact)

    async def change(self, address: KVAddress, make: Make) -> KVChange:
        """Change what is kept there: `make` gets it and gives what takes its place, or the same again; None deletes it.

        Nobody else changes it meanwhile, else `make` is asked again. Raises what `make` does: nothing is kept then; and
        `SessionKVConflict` when others get in the way all the time.
        """
        made: list[KVChange] = []
        gone = {"revision": fresh_revision(), GONE: True}

        async def changed(saved: dict[str, Any] | None) -> dict[str, Any] | None:
            before = KVEntry.load(saved, self._clock())
            after = await make(before)
            made[:] = [KVChange(address, before, after)]
            if after is None:
                return None if saved is None or saved.get(GONE) else gone
            return None if after is before else after.dump()

        if not await Document(self._store, address.composite()).change(changed, gone):
            raise SessionKVConflict(f"the value {address.name!r} is being changed all the time")
        change = made[0]
        if change.before is None and change.after is not None and address.scope == "task":
            await self._sweep(address)
        return change

    async def sessions(self) -> list[str]:
        """`tenant:user:session` of those that have values, sorted. Nothing from a store that lists nothing."""
        return sorted({address.session for address in await self._listed("kv:")})

    async def addresses(self, session: str) -> list[KVAddress]:
        """Where a session has values, sorted; some may have expired. Nothing from a store that lists nothing."""
        owner = KVOwner.parse(session)
        found = [
            each for scope in ("session", "task") for each in await self._listed(join_key("kv", scope, *owner, ""))
        ]
        return sorted(found, key=lambda each: (each.scope, each.task_id, each.namespace, each.key))

    async def _listed(self, prefix: str) -> list[KVAddress]:
        if not lists_kv(self._store):
            return []
        return [KVAddress.parse(key) for key in await self._store.list_memory_states(prefix) if is_kv_key(key)]

    async def _sweep(self, address: KVAddress) -> None:
        """Remove what tasks of this session kept, when its time is over: a task that has ended does not come back."""
        if not callable(getattr(self._store, "remove_memory_state", None)):
            return
        others = await self._listed(join_key("kv", "task", *address.owner, ""))
        for other in others[:MAX_SWEPT]:

            async def stay(entry: KVEntry | None) -> KVEntry | None:
                return entry

            if await self.load(other) is None:
                await self.change(other, stay)
