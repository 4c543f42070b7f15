"""What the planners of a project remember, shown to clients and changed for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from penguiflow.checkpoints import Unfit
from penguiflow.recording.masking import Masker
from penguiflow.state.errors import StoreError
from penguiflow.unfit import made, schema_of
from playground.host.runs import jsonable
from playground.host.stopped_values import refused
from playground.loader.inputs import InputRefused
from playground.protocol import BaseFrame, Error, Memory, MemoryEdit, MemoryGet, MemoryShown

MAX_KEYS = 1000
MAX_ARTIFACTS = 1000

Tell = Callable[[str, dict[str, Any]], None]
"""`(key, data)` of a change, for everyone."""


class Memories:
    """The memories of planners. Everything is called on the loop of the runs."""

    def __init__(self, planners: Callable[[], Iterable[Any]], editors: Callable[[], Iterable[Any]], tell: Tell) -> None:
        """`planners` gives those of the project, `editors` the editors of the memories that stopped runs have."""
        self._planners = planners
        self._editors = editors
        self._tell = tell

    async def do(self, request: MemoryGet | MemoryEdit, by: str, masker: Masker | None) -> BaseFrame:
        """Answer a request. Raises nothing."""
        try:
            memory = await self._edit(request, by) if isinstance(request, MemoryEdit) else await self._get(request)
        except InputRefused as error:
            return Error(code="invalid_input", message=str(error), details=error.details)
        except LookupError as error:
            return Error(code="not_found", message=str(error.args[0]) if error.args else "not found")
        except (StoreError, OSError) as error:
            return Error(code="store", message=str(error))
        except Exception as error:  # a program's own memory or store may raise anything
            code = "conflict" if type(error).__name__ == "MemoryConflict" else "invalid_input"
            return Error.model_validate({"code": code, "message": str(error) or type(error).__name__})
        if masker is not None and memory.memory is not None:
            memory.memory = MemoryShown.model_validate(masker.value(memory.memory.model_dump()))
        return memory

    async def _get(self, request: MemoryGet) -> Memory:
        planners = self._remembering(request.planner)
        keys: dict[str, Any] = {}
        for planner in planners:
            for key in await _editor(planner).keys(request.prefix):
                keys.setdefault(key, planner)
        shown = None
        if request.key is not None:
            shown = await self._shown(keys.get(request.key) or self._planner_of(request.key, planners), request.key)
        return Memory(keys=sorted(keys)[:MAX_KEYS], memory=shown)

    async def _edit(self, request: MemoryEdit, by: str) -> Memory:
        planners = self._remembering(request.planner)
        planner = await self._holder(request.key, planners)
        bank = planner.memories()
        editor = _editor(planner, by)
        before = await editor.get(request.key)
        view = await _changed(editor, request)
        for of_run in self._editors():
            if of_run.key == request.key and of_run.bank is bank:
                of_run.saw(view, before, by)
        about = {"of": request.key, "change": request.change, "by": by, "planner": planner.settings.name}
        self._tell(request.key, {**about, "before": _json(before), "after": _json(view)})
        return await self._get(MemoryGet(key=request.key, planner=planner.settings.name))

    async def _holder(self, key: str, planners: list[Any]) -> Any:
        for planner in planners:
            if key in await _editor(planner).keys(key):
                return planner
        return self._planner_of(key, planners)

    def _planner_of(self, key: str, planners: list[Any]) -> Any:
        """Who has the memory of a stopped run; else the first that could have it."""
        banks = [editor.bank for editor in self._editors() if editor.key == key]
        return next((planner for planner in planners if planner.memories() in banks), planners[0])

    def _remembering(self, name: str | None) -> list[Any]:
        found = [planner for planner in self._planners() if planner.memories() is not None]
        found = [planner for planner in found if name is None or planner.settings.name == name]
        if not found:
            about = "" if name is None else f" and is named {name!r}"
            raise LookupError(f"there is no planner that remembers conversations{about}")
        return found

    async def _shown(self, planner: Any, key: str) -> MemoryShown:
        from penguiflow.planner.memory.turns import ConversationTurn, dump_turn

        try:
            view = await _editor(planner).get(key)
        except TypeError:  # a program's own memory: what a model is shown of it is all there is
            memory = planner.memories().of(key)
            context = {} if memory is None else jsonable(await memory.get_llm_context())
            shown = context.get("conversation_memory") or {}
            turns, summary = shown.get("recent_turns") or [], shown.get("summary") or ""
            return MemoryShown(
                key=key, planner=planner.settings.name, version=0, turns=turns, summary=str(summary), editable=False
            )
        return MemoryShown(
            key=key,
            planner=planner.settings.name,
            version=view.version,
            turns=[dump_turn(turn) for turn in view.turns],
            pending=[dump_turn(turn) for turn in view.pending],
            summary=view.summary,
            health=view.health.value,
            tokens=view.tokens,
            total_max_tokens=view.total_max_tokens,
            artifacts=await _artifacts(planner, key),
            turn_schema=schema_of(ConversationTurn),
        )


def _editor(planner: Any, by: str = "caller") -> Any:
    from penguiflow.planner.memory.editing import MemoryEditor

    return MemoryEditor(planner.memories(), by=by)


async def _changed(editor: Any, request: MemoryEdit) -> Any:
    from penguiflow.planner.memory.turns import ConversationTurn

    key, version, turn_id = request.key, request.version, request.turn_id or ""
    try:
        match request.change:
            case "summary":
                return await editor.edit_summary(key, made(str, request.value), version=version)
            case "turn":
                turn = made(ConversationTurn, request.value)
                return await editor.replace_turn(key, turn_id, turn, version=version)
            case "delete_turn":
                return await editor.delete_turn(key, turn_id, version=version)
        return await editor.clear(key, version=version)
    except Unfit as unfit:
        raise refused(unfit) from None


def _json(view: Any) -> dict[str, Any]:
    from penguiflow.planner.memory.turns import dump_turn

    turns = [dump_turn(turn) for turn in (*view.pending, *view.turns)]
    return {"version": view.version, "summary": view.summary, "turns": turns}


async def _artifacts(planner: Any, key: str) -> list[dict[str, Any]]:
    """Those of the conversation's tenant, user and session."""
    from penguiflow.artifacts import ArtifactScope
    from penguiflow.planner.memory.config import MemoryKey

    store = planner.kept_artifacts
    if store is None:
        return []
    try:
        parsed = MemoryKey.parse(key)
        scope = ArtifactScope(tenant_id=parsed.tenant_id, user_id=parsed.user_id, session_id=parsed.session_id)
        found = await store.list(scope=scope)
    except Exception:  # a program's own store may raise anything: the memory is shown all the same
        return []
    return [ref.model_dump(mode="json", exclude_none=True) for ref in found[:MAX_ARTIFACTS]]
