"""Look into the values of sessions and change them: for panels, and for a program that puts something right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from penguiflow.sessions.kv_keys import KVAddress
from penguiflow.sessions.kv_store import KVChange, KVStore, SessionKVConflict, lists_kv
from penguiflow.sessions.kv_values import KVEntry, as_json

__all__ = ["SessionKVEditor"]


class SessionKVEditor:
    """Reads and changes the values that a state store keeps, of any session.

    Every change names what it is of by its etag, None for nothing. Whoever comes too late gets `SessionKVConflict`, and
    reads again. All methods raise what the store does.

    Args:
        store: A state store that keeps memories. Raises `SessionKVUnavailable` for another one.
        on_change: Told of each change, with the secrets in it.
    """

    def __init__(self, store: Any, *, on_change: Callable[[KVChange], None] | None = None) -> None:
        self._values = KVStore(store)
        self._on_change = on_change
        self.lists = lists_kv(store)
        """Whether the store can be asked which values there are."""

    async def sessions(self) -> list[str]:
        """`tenant:user:session` of those that have values, sorted."""
        return await self._values.sessions()

    async def addresses(self, session: str) -> list[KVAddress]:
        """Where a session has values, sorted; `get` gives None for those that have expired."""
        return await self._values.addresses(session)

    async def get(self, address: KVAddress) -> KVEntry | None:
        """What is kept there; None for nothing."""
        return await self._values.load(address)

    async def set(self, address: KVAddress, value: Any, *, etag: str | None) -> KVEntry:
        """Keep another value. Raises `SessionKVConflict`; `TypeError` or `ValueError` for what is no JSON."""
        entry = self._values.entry(address, as_json(value))

        async def replaced(before: KVEntry | None) -> KVEntry | None:
            _check(address, before, etag)
            return entry

        self._tell(await self._values.change(address, replaced))
        return entry

    async def delete(self, address: KVAddress, *, etag: str | None) -> None:
        """Forget a value. Raises `SessionKVConflict`, and `LookupError` where there is none."""

        async def forgotten(before: KVEntry | None) -> KVEntry | None:
            if before is None and etag is None:
                raise LookupError(f"{address.session} has no value {address.name!r}")
            _check(address, before, etag)
            return None

        self._tell(await self._values.change(address, forgotten))

    def _tell(self, change: KVChange) -> None:
        if self._on_change is not None:
            self._on_change(change)


def _check(address: KVAddress, found: KVEntry | None, etag: str | None) -> None:
    if etag == (None if found is None else found.etag):
        return
    about = f"the value {address.name!r} of {address.session}"
    if found is None:
        raise SessionKVConflict(f"{about} is not there any more: somebody has deleted it")
    if etag is None:
        raise SessionKVConflict(f"{about} is there already: read it before it is replaced")
    raise SessionKVConflict(f"{about} is another by now: somebody else has changed it; read it again")
