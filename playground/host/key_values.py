"""What tools keep in sessions (`ctx.kv`), shown to clients and changed for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from penguiflow.recording.masking import Masker
from penguiflow.sessions.kv_editing import SessionKVEditor
from penguiflow.sessions.kv_keys import KVAddress, KVOwner, SessionKVUnavailable
from penguiflow.sessions.kv_store import KVChange, SessionKVConflict, keeps_kv, lists_kv
from penguiflow.sessions.kv_values import KVEntry, nested, unnested
from penguiflow.state.errors import StoreError
from playground.host.stopped_values import edited
from playground.loader.inputs import InputRefused
from playground.protocol import BaseFrame, Error, Kv, KvEdit, KvEntry, KvGet

MAX_SESSIONS = 1000
MAX_ENTRIES = 500
MAX_LISTED_BYTES = 64 * 1024
"""A larger value is shown when it is asked for alone."""
MAX_ALL_BYTES = 4 * 1024 * 1024
"""Of the values in one list; those after them are shown when they are asked for."""
MAX_SHOWN_BYTES = 4 * 1024 * 1024

Tell = Callable[[str, dict[str, Any]], None]
"""`(key, data)` of a change, for everyone."""


class KeyValues:
    """The values of sessions. Everything is called on the loop of the runs."""

    def __init__(
        self,
        planners: Callable[[], Iterable[Any]],
        runs: Callable[[], Iterable[Any]],
        project: Callable[[], Any],
        tell: Tell,
    ) -> None:
        """`planners` gives those of the project, `runs` the `RunKV` of stopped runs, `project` the project's store."""
        self._planners = planners
        self._runs = runs
        self._project = project
        self._tell = tell

    async def do(self, request: KvGet | KvEdit, by: str, masker: Masker | None) -> BaseFrame:
        """Answer a request. Raises nothing."""
        try:
            return await (
                self._edit(request, by, masker) if isinstance(request, KvEdit) else self._get(request, masker)
            )
        except InputRefused as error:
            return Error(code="invalid_input", message=str(error), details=error.details)
        except SessionKVConflict as error:
            return Error(code="conflict", message=str(error))
        except (LookupError, SessionKVUnavailable) as error:
            return Error(code="not_found", message=str(error.args[0]) if error.args else "not found")
        except (StoreError, OSError) as error:
            return Error(code="store", message=str(error))
        except Exception as error:  # a program's own store may raise anything
            return Error(code="invalid_input", message=str(error) or type(error).__name__)

    async def _get(self, request: KvGet, masker: Masker | None) -> Kv:
        sessions = await self._sessions()
        if request.session is None:
            return Kv(sessions=sessions)
        editor = await self._editor(request.session)
        if request.key is not None:
            address = _address(request, request.key)
            return Kv(sessions=sessions, entries=[_shown(address, await editor.get(address), masker, MAX_SHOWN_BYTES)])
        addresses = await editor.addresses(request.session)
        entries: list[KvEntry] = []
        room = MAX_ALL_BYTES
        for address in addresses[:MAX_ENTRIES]:
            entry = await editor.get(address)
            if entry is not None:
                shown = _shown(address, entry, masker, min(MAX_LISTED_BYTES, room))
                room -= 0 if shown.cut else shown.bytes
                entries.append(shown)
        return Kv(sessions=sessions, entries=entries, more=max(0, len(addresses) - MAX_ENTRIES))

    async def _edit(self, request: KvEdit, by: str, masker: Masker | None) -> Kv:
        address = _address(request, request.key)
        editor = await self._editor(request.session, lambda change: self._told(change, by))
        if request.change == "delete":
            await editor.delete(address, etag=request.etag)
            return Kv(sessions=await self._sessions(), entries=[_shown(address, None, masker, 0)])
        found = await editor.get(address)
        plain = None if found is None else found.value
        try:
            value = edited(request.value, request.edits, plain, _masked(address, plain, masker))
            entry = await editor.set(address, value, etag=request.etag)
        except (TypeError, ValueError) as error:
            raise InputRefused([{"path": "", "message": str(error)}]) from None
        return Kv(sessions=await self._sessions(), entries=[_shown(address, entry, masker, MAX_SHOWN_BYTES)])

    def _told(self, change: KVChange, by: str) -> None:
        """Everyone hears of it; runs of the session that have stopped have it in their logs."""
        address = change.address
        for run in self._runs():
            if run.session == address.session:
                run.saw(change, by)
        before, after = (
            None if entry is None else nested(address.namespace, address.key, entry.shown())
            for entry in (change.before, change.after)
        )
        name = "kv.delete" if change.after is None else "kv.set"
        about = {"of": address.composite(), "change": name, "by": by, "scope": address.scope}
        self._tell(address.composite(), {**about, "before": before, "after": after})

    def _stores(self, session: str | None = None) -> Iterator[Any]:
        """Those that keep values: of runs that have stopped (in this session), of planners, of the project."""
        seen: set[int] = set()
        runs = [run.store for run in self._runs() if session in (None, run.session)]
        own = [planner.settings.state_store for planner in self._planners()]
        for store in (*runs, *own, self._project()):
            if keeps_kv(store) and id(store) not in seen:
                seen.add(id(store))
                yield store

    async def _sessions(self) -> list[str]:
        found: set[str] = set()
        for store in self._stores():
            if lists_kv(store):
                found.update(await SessionKVEditor(store).sessions())
        return sorted(found)[:MAX_SESSIONS]

    async def _editor(self, session: str, told: Callable[[KVChange], None] | None = None) -> SessionKVEditor:
        """Of the store that has the session's values; of the first one where none has any."""
        KVOwner.parse(session)
        editors = [SessionKVEditor(store, on_change=told) for store in self._stores(session)]
        if not editors:
            raise LookupError("there is no store here that keeps values")
        if any(run.session == session for run in self._runs()):
            return editors[0]
        for editor in editors:
            if await editor.addresses(session):
                return editor
        return editors[0]


def _address(request: KvGet | KvEdit, key: str) -> KVAddress:
    owner = KVOwner.parse(request.session or "")
    return KVAddress.checked(owner, key, request.scope, request.namespace, request.task)


def _masked(address: KVAddress, value: Any, masker: Masker | None) -> Any:
    if masker is None:
        return value
    return unnested(masker.value(nested(address.namespace, address.key, value)), address.namespace, address.key)


def _shown(address: KVAddress, entry: KVEntry | None, masker: Masker | None, room: int) -> KvEntry:
    shown = KvEntry(
        session=address.session,
        scope=address.scope,
        task=address.task_id,
        namespace=address.namespace,
        key=address.key,
    )
    if entry is None:
        return shown
    shown.bytes, shown.etag, shown.updated, shown.expires = entry.bytes, entry.etag, entry.updated, entry.expires
    shown.artifact = None if entry.artifact is None else str(entry.artifact.get("id"))
    shown.cut = shown.bytes > room
    shown.value = None if shown.cut else _masked(address, entry.value, masker)
    return shown
