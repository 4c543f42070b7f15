"""What tools keep in a session (`ctx.kv`), in the tab of the context: shown, edited, added, deleted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from playground.dashboard.debugging.context import Item, entry_id, entry_name

if TYPE_CHECKING:
    from playground.dashboard.app import DashboardApp
    from playground.dashboard.editing.editor import Refusals
    from playground.protocol import Kv, KvEntry
    from playground.sources import Source

NEW_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "key": {"type": "string", "minLength": 1},
        "namespace": {"type": "string", "description": "empty: the session's own"},
        "value": {"description": "any JSON"},
    },
    "required": ["key", "value"],
    "additionalProperties": False,
}
ABOUT = "ctrl+s changes it at once; the next tool that reads it has it"
AGAIN = "it has changed meanwhile, and was read again: ctrl+s puts yours in its place"


class Values:
    """Reads the values of a session, and changes them."""

    def __init__(self, app: DashboardApp, stop: Callable[[], str | None], again: Callable[[], Awaitable[None]]) -> None:
        """`stop` names the stopped run whose host has them; `again` reads what the tab shows."""
        self._app = app
        self._stop = stop
        self._again = again
        self.session: str | None = None
        """Whose values are shown."""
        self._kv: Kv | None = None

    @property
    def entries(self) -> list[KvEntry]:
        """Those that are shown."""
        return [] if self._kv is None else self._kv.entries

    @property
    def more(self) -> int:
        """How many there are besides."""
        return 0 if self._kv is None else self._kv.more

    async def read(self, source: Source, session: str | None, stop: str | None = None) -> Kv:
        """The values of a session; without one only which sessions have some. Raises `RunRefused`."""
        from playground.protocol import KvGet

        return await source.kv(KvGet(session=session), stop=stop)

    def take(self, session: str | None, found: Kv | None) -> None:
        """Show what was read."""
        self.session = None if found is None else session
        self._kv = None if session is None else found

    # -- changing -------------------------------------------------------------------------------------------------

    def edit(self, item: Item) -> None:
        """Edit the value that the cursor is on, or write a new one."""
        if item.kind == "kv_new":
            self._add()
        elif (entry := self._entry(item)) is not None:
            self._app.control.start(partial(self._edit, entry), "kv")

    def delete(self, item: Item) -> bool:
        """Delete the value that the cursor is on; False when it is on none."""
        entry = self._entry(item)
        if entry is not None:
            self._app.control.start(partial(self._delete, entry), "kv")
        return entry is not None

    def _entry(self, item: Item) -> KvEntry | None:
        return next((each for each in self.entries if item == Item("kv", entry_id(each))), None)

    async def _edit(self, entry: KvEntry) -> None:
        from playground.dashboard.editing.editor import EditorScreen, Subject
        from playground.protocol import KvGet
        from playground.sources import RunRefused

        source = self._app.control.source
        if entry.cut and source is not None:
            place = entry.model_dump(include={"session", "scope", "task", "namespace", "key"})
            try:
                [entry] = (await source.kv(KvGet.model_validate(place), stop=self._stop())).entries
            except RunRefused as refusal:
                self._app.say(str(refusal), "error")
                return
        if entry.cut:
            self._app.say("it is too large to be edited here", "warning")
            return
        subject = Subject(f"{entry_name(entry)} of {entry.session}", entry.value, None, ABOUT)
        self._app.push_screen(EditorScreen(subject, partial(self._take, entry, [entry.etag])))

    def _add(self) -> None:
        from playground.dashboard.editing.editor import EditorScreen, Subject

        blank = {"key": "", "namespace": "", "value": None}
        subject = Subject(f"a new value of {self.session}", blank, NEW_SCHEMA, ABOUT)
        self._app.push_screen(EditorScreen(subject, self._take_new))

    async def _take_new(self, value: Any) -> Refusals:
        fields = {"session": self.session, "namespace": value.get("namespace") or "", "key": value["key"]}
        return await self._asked({**fields, "value": value["value"]}, "there is such a value already: edit that one")

    async def _take(self, entry: KvEntry, etag: list[str | None], value: Any) -> Refusals:
        from playground.dashboard.editing.changes import change

        edits = change(entry.value, value).edits
        if not edits:
            return []
        # Made of what was read: after a conflict all of it takes the place of what is there.
        whole = "" in edits or etag[0] != entry.etag
        fields: dict[str, Any] = {"value": value} if whole else {"edits": edits}
        refused = await self._asked({**_place(entry), "etag": etag[0], **fields}, AGAIN)
        if refused:
            found = self._entry(Item("kv", entry_id(entry)))
            etag[0] = None if found is None else found.etag
        return refused

    async def _delete(self, entry: KvEntry) -> None:
        change = {**_place(entry), "etag": entry.etag, "change": "delete"}
        refused = await self._asked(change, "it has changed meanwhile, and was read again")
        for each in refused:
            self._app.say(str(each.get("message")), "error")

    async def _asked(self, fields: dict[str, Any], conflict: str) -> Refusals:
        """Ask for a change; read what there is now, also when it was refused."""
        from playground.protocol import KvEdit
        from playground.sources import RunRefused

        source = self._app.control.source
        if source is None:
            return [{"message": "nobody is there who could be told"}]
        try:
            await source.kv(KvEdit.model_validate(fields), stop=self._stop())
        except RunRefused as refusal:
            if refusal.code == "conflict":
                await self._again()
                return [{"message": conflict}]
            return refusal.details or [{"message": str(refusal)}]
        await self._again()
        return []


def _place(entry: KvEntry) -> dict[str, Any]:
    return entry.model_dump(include={"session", "scope", "task", "namespace", "key"})
