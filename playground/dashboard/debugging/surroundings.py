"""Reads what is around a stopped run, and what planners remember; and changes it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from playground.dashboard.debugging.context import ContextView, Item, heading_of
from playground.dashboard.debugging.values import Values
from playground.dashboard.layout import OUTPUT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from playground.dashboard.app import DashboardApp
    from playground.dashboard.debugging.area import DebuggingArea
    from playground.dashboard.editing.editor import Refusals
    from playground.protocol import Context, ContextPart, MemoryShown
    from playground.sources import RunRefused, Source

Read = TypeVar("Read")
QUIET = ("not_found", "unknown_frame")
"""Why nothing is shown, and nothing is said: there is nothing, or the host is an older one that keeps nothing."""


class Surroundings:
    """Keeps the tab of the context up to date while somebody looks at it."""

    def __init__(self, app: DashboardApp, area: DebuggingArea) -> None:
        self._app = app
        self._area = area
        self.view = ContextView()
        self._seen: tuple[object, ...] = ()
        self._chosen: str | None = None
        """The conversation that was opened."""
        self._context: Context | None = None
        self._memory: MemoryShown | None = None
        self._values = Values(app, self._stop, self._reload)

    def frame(self) -> None:
        """Read again what is looked at, when it may be another."""
        app, stop = self._app, self._area.stop
        wanted, self.view.wants = self.view.wants, None
        if wanted is not None and wanted.kind == "kv_new":
            self._values.edit(wanted)
        elif wanted is not None:
            self._chosen = wanted.name
        if app.panes[OUTPUT].view is not self.view or not app.panes[OUTPUT].display:
            return
        trace = app.workspace.current
        state = (None, None) if trace is None else (trace.trace_id, trace.over)
        seen = (None if stop is None else stop.stop, self._area.stops.revision, self._chosen, *state)
        if seen != self._seen:
            self._seen = seen
            self._read_again()

    def _read_again(self) -> None:
        source = self._app.control.source
        if source is not None:  # who only looks on may look here too
            self._app.control.start(partial(self._load, source), "context")

    # -- reading --------------------------------------------------------------------------------------------------

    async def _load(self, source: Source) -> None:
        from playground.protocol import ContextGet, MemoryGet

        stop = self._area.stop
        name = None if stop is None else stop.stop
        problems: list[str] = []
        context: Context | None = None
        if stop is not None:
            context = await _read(partial(source.context, ContextGet(stop=stop.stop)), problems)
        key = stop.memory if stop is not None else self._chosen
        session = stop.kv if stop is not None else key
        memory = await _read(partial(source.memory, MemoryGet(key=key), stop=name), problems)
        values = await _read(partial(self._values.read, source, session, name), problems)
        keys = {*([] if memory is None else memory.keys), *([] if values is None else values.sessions)}
        if stop is None and key is None and len(keys) == 1:
            [session] = keys
            values = await _read(partial(self._values.read, source, session), problems)
            if memory is not None and memory.keys:
                memory = await _read(partial(source.memory, MemoryGet(key=session)), problems)
        if self._area.stop is not stop and (stop is None or self._area.selected != stop.stop):
            return  # another one is looked at by now, and read
        self._context = context
        self._memory = None if memory is None else memory.memory
        self._values.take(session, values)
        others = [] if stop is not None else sorted(keys - {self._key or "", session or ""})
        subject = ("context", None if stop is None else stop.trace_id, self._key or session)
        heading = [] if stop is None else heading_of(stop)
        self.view.fill(subject, heading, context, self._memory, self._values, others, problems)

    async def _reload(self) -> None:
        if self._app.control.source is not None:
            await self._load(self._app.control.source)

    def _stop(self) -> str | None:
        """The stop that is looked at: its host is asked."""
        return None if self._area.stop is None else self._area.stop.stop

    @property
    def _key(self) -> str | None:
        return None if self._memory is None else self._memory.key

    # -- changing -------------------------------------------------------------------------------------------------

    def edit(self) -> None:
        """Edit what the cursor is on."""
        item = self.view.item
        if item is None or item.kind == "key":
            self._app.say("put the cursor on what is to be edited", "warning")
        elif item.kind == "part":
            self._edit_part(item)
        elif item.kind in ("kv", "kv_new"):
            self._values.edit(item)
        elif self._memory is not None:
            self._edit_memory(item, self._memory)

    def _edit_part(self, item: Item) -> None:
        context = self._context
        part = None if context is None else next((each for each in context.parts if each.name == item.name), None)
        if context is None or part is None:
            return
        if not part.editable or (part.value is None and part.bytes is not None):
            self._app.say(part.why_not or "it is too large to be edited here", "warning")
            return
        from playground.dashboard.editing.editor import EditorScreen, Subject

        subject = Subject(f"edit {item.name}", part.value, part.value_schema, "ctrl+s changes it at once")
        self._app.push_screen(EditorScreen(subject, partial(self._take_part, context.stop, part, [part.version])))

    async def _take_part(self, stop: str, part: ContextPart, version: list[str], value: Any) -> Refusals:
        from playground.dashboard.editing.changes import change
        from playground.protocol import ContextEdit

        edits = change(part.value, value).edits
        if not edits:
            return []
        fields: dict[str, Any] = {"value": value} if "" in edits else {"edits": edits}
        source = self._app.control.source
        if source is None:
            return [{"message": "nobody is there who could be told"}]
        request = ContextEdit.model_validate({"stop": stop, "part": part.name, "version": version[0], **fields})
        refused = await self._asked(source, partial(source.context, request))
        found = next((each for each in self._context.parts if each.name == part.name), part) if self._context else part
        version[0] = found.version
        return refused

    def _edit_memory(self, item: Item, memory: MemoryShown) -> None:
        if not memory.editable:
            self._app.say("this memory cannot be edited", "warning")
            return
        from playground.dashboard.editing.editor import EditorScreen, Subject

        about = "ctrl+s changes it at once; a run under way sees it in its next prompt"
        if item.kind == "summary":
            subject = Subject(f"summary of {memory.key}", memory.summary, None, about, plain=True)
        else:
            turn = next((each for each in [*memory.pending, *memory.turns] if each.get("turn_id") == item.name), None)
            if turn is None:
                return
            subject = Subject(f"a turn of {memory.key}", turn, memory.turn_schema, about)
        self._app.push_screen(EditorScreen(subject, partial(self._take_memory, item, [memory.version])))

    async def _take_memory(self, item: Item, version: list[int], value: Any) -> Refusals:
        refused = await self._change_memory(item.kind, item.name or None, value, version[0])
        version[0] = version[0] if self._memory is None else self._memory.version
        return refused

    def forget(self) -> bool:
        """Forget the turn, or delete the value, that the cursor is on."""
        item = self.view.item
        if item is not None and item.kind == "kv":
            return self._values.delete(item)
        if item is None or item.kind != "turn":
            return False
        self._app.control.start(partial(self._forget, item), "memory")
        return True

    async def _forget(self, item: Item) -> None:
        version = 0 if self._memory is None else self._memory.version
        refused = await self._change_memory("delete_turn", item.name, None, version)
        for each in refused:
            self._app.say(str(each.get("message")), "error")

    async def _change_memory(self, change: str, turn_id: str | None, value: Any, version: int) -> Refusals:
        from playground.protocol import MemoryEdit

        memory, source, stop = self._memory, self._app.control.source, self._area.stop
        if memory is None or source is None:
            return [{"message": "it is not here any more"}]
        fields = {"key": memory.key, "planner": memory.planner, "version": version}
        request = MemoryEdit.model_validate({**fields, "change": change, "turn_id": turn_id, "value": value})
        return await self._asked(source, partial(source.memory, request, stop=None if stop is None else stop.stop))

    async def _asked(self, source: Source, ask: Callable[[], Awaitable[object]]) -> Refusals:
        """Ask for a change; read what there is now, also when it was refused."""
        from playground.sources import RunRefused

        try:
            await ask()
        except RunRefused as refusal:
            if refusal.code == "conflict":
                await self._load(source)
                return [{"message": "it has changed meanwhile, and was read again: ctrl+s puts yours in its place"}]
            return _told(refusal)
        self._read_again()
        return []


async def _read(ask: Callable[[], Awaitable[Read]], problems: list[str]) -> Read | None:
    """What is asked for; None where there is nothing, and where it is refused."""
    from playground.sources import RunRefused

    try:
        return await ask()
    except RunRefused as refusal:
        if refusal.code not in QUIET and str(refusal) not in problems:
            problems.append(str(refusal))
    return None


def _told(refusal: RunRefused) -> Refusals:
    return refusal.details or [{"message": str(refusal)}]
