"""`ctx.kv` of a tool: reads and changes are recorded, so that a call that is made again sees and does the same."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from penguiflow.observer import Payload
from penguiflow.sessions.kv_keys import KVAddress, KVOwner, KVScope, SessionKVUnavailable
from penguiflow.sessions.kv_store import KVChange, keeps_kv
from penguiflow.sessions.kv_values import as_json, nested, plain_json, unnested
from penguiflow.sessions.session_kv import SessionKVFacade

if TYPE_CHECKING:
    from penguiflow.planner.run import PlannerRun
    from penguiflow.planner.tool_context import RunToolContext

__all__ = ["RunKV", "ToolKV", "kv_store_of", "run_kv", "told_change"]

_CHANGES = {"kv_init": "kv.init", "kv_set": "kv.set", "kv_patch": "kv.patch", "kv_delete": "kv.delete"}


def kv_store_of(run: PlannerRun) -> Any:
    """Who keeps the values of a run's session: the planner's own store, else the one that the run is recorded in."""
    own = run.settings.state_store
    return run.site.store if keeps_kv(run.site.store) and not keeps_kv(own) else own


class RunKV:
    """Whose values the tools of a run keep, and where: for whoever looks at the run while it has stopped."""

    def __init__(self, run: PlannerRun, session: str, store: Any) -> None:
        self._run = run
        self.session = session
        """`tenant:user:session`."""
        self.store = store

    def saw(self, change: KVChange, by: str) -> None:
        """Somebody has changed a value of the session: the run's log says so. The next tool that reads it has it."""
        told = told_change("edit", change, by)
        self._run.site.event("edit", change.address.composite(), {**told, "of": "kv"})


def run_kv(run: PlannerRun) -> RunKV | None:
    """None where there is no store, or it is not known whose run it is."""
    store = kv_store_of(run)
    try:
        session = KVOwner.of(run.tool_context).session
    except SessionKVUnavailable:
        return None
    return RunKV(run, session, store) if keeps_kv(store) else None


class ToolKV:
    """See `penguiflow.planner.context.SessionKV`.

    Each call is written down as `ctx.record` would: a tool that goes on after a pause or a crash is given again what it
    was given, and does not change a value twice. A replay does not come here: it has the answer of the tool.
    """

    def __init__(self, run: PlannerRun, context: RunToolContext) -> None:
        from penguiflow.artifacts import NoOpArtifactStore

        self._run = run
        self._context = context
        self._name = str(context.tool_context.get("_current_tool_name", ""))
        self._facade = SessionKVFacade(
            state_store=kv_store_of(run),
            artifacts=run.artifact_store or NoOpArtifactStore(),
            tool_context=ChainMap(context.tool_context, {"trace_id": run.trace_id}),
            emit_planner_event=self._emit if run.events.listening else None,
        )
        self._facade.on_change = self._changed

    async def get(self, key: str, *, scope: KVScope = "session", namespace: str | None = None) -> Any | None:
        """The value; None when there is none."""
        address = self._facade.address(key, scope, namespace)

        async def read(_: Any) -> Any:
            return _named(address, await self._facade.get(key, scope=scope, namespace=namespace))

        told = await self._context.record("kv.get", read, self._asked(address))
        return await self._whole(address, _value(address, told))

    async def get_or_init(
        self,
        key: str,
        default: Any,
        *,
        scope: KVScope = "session",
        namespace: str | None = None,
        emit_update: bool = True,
    ) -> Any:
        """The value; `default`, which is kept from then on, when there is none."""
        address, given = self._facade.address(key, scope, namespace), plain_json(default)

        async def init(_: Any) -> Any:
            about: dict[str, Any] = {"scope": scope, "namespace": namespace, "emit_update": emit_update}
            return _named(address, await self._facade.get_or_init(key, given, **about))

        told = await self._context.record("kv.init", init, self._asked(address, given))
        return await self._whole(address, _value(address, told))

    async def set(
        self,
        key: str,
        value: Any,
        *,
        scope: KVScope = "session",
        namespace: str | None = None,
        emit_update: bool = True,
    ) -> Any:
        """Keep a value; gives it as it will come back."""
        address, given = self._facade.address(key, scope, namespace), plain_json(value)

        async def keep(_: Any) -> None:
            await self._facade.set(key, given, scope=scope, namespace=namespace, emit_update=emit_update)

        await self._context.record("kv.set", keep, self._asked(address, given))
        return given

    async def patch(
        self,
        key: str,
        patch: Mapping[str, Any],
        *,
        scope: KVScope = "session",
        namespace: str | None = None,
        emit_update: bool = True,
    ) -> Any:
        """Put these keys into an object; gives all of it."""
        address, given = self._facade.address(key, scope, namespace), plain_json(patch)

        async def put(_: Any) -> Any:
            about: dict[str, Any] = {"scope": scope, "namespace": namespace, "emit_update": emit_update}
            return _named(address, await self._facade.patch(key, given, **about))

        told = await self._context.record("kv.patch", put, self._asked(address, given))
        return await self._whole(address, _value(address, told))

    async def delete(
        self, key: str, *, scope: KVScope = "session", namespace: str | None = None, emit_update: bool = True
    ) -> bool:
        """Forget a value; whether there was one."""
        address = self._facade.address(key, scope, namespace)

        async def forget(_: Any) -> bool:
            return await self._facade.delete(key, scope=scope, namespace=namespace, emit_update=emit_update)

        return bool(await self._context.record("kv.delete", forget, self._asked(address)))

    # -- within -------------------------------------------------------------------------------------------------------

    def _asked(self, address: KVAddress, *given: Any) -> dict[str, Any]:
        asked: dict[str, Any] = {"scope": address.scope, "namespace": address.namespace or None, "key": address.key}
        for value in given:
            asked["value"] = _named(address, value)
        return asked

    async def _whole(self, address: KVAddress, value: Any) -> Any:
        """A value with its secrets: a recording has none, and they are of no use to a tool unless they are whole."""
        if not self._context.site.recorded:
            return value
        from penguiflow.recording.masking import HIDDEN

        if HIDDEN not in as_json(value):
            return value
        return await self._facade.get(address.key, scope=address.scope, namespace=address.namespace)

    def _emit(self, event: str, told: Mapping[str, Any]) -> None:
        self._run.events.emit(event, node_name=self._name, **told)

    def _changed(self, event: str, change: KVChange) -> None:
        """Write it into the log of the run."""
        site, address = self._context.site, change.address
        if site.recorded:
            site.event(
                "memory.changed", address.composite(), told_change(_CHANGES[event], change, f"tool:{self._name}")
            )


def told_change(name: str, change: KVChange, by: str) -> dict[str, Any]:
    """What an event of a trace says of a change."""
    address = change.address
    before, after = (
        None if entry is None else nested(address.namespace, address.key, entry.shown())
        for entry in (change.before, change.after)
    )
    about = {"of": address.composite(), "change": name, "by": by, "scope": address.scope}
    return {**about, "before": Payload(before), "after": Payload(after)}


def _named(address: KVAddress, value: Any) -> dict[str, Any]:
    """A value as it is recorded: under its own name, so that secrets are masked."""
    return nested(address.namespace, address.key, value)


def _value(address: KVAddress, told: Any) -> Any:
    return unnested(told, address.namespace, address.key)
