"""What a tool gets as its second argument, for one call."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, MutableMapping
from random import Random
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pydantic_core import to_jsonable_python

from penguiflow.artifacts import ArtifactRef, ArtifactStore, NoOpArtifactStore
from penguiflow.artifacts.scoped import ScopedArtifacts
from penguiflow.callsite import CallSite
from penguiflow.planner.asking import Journal, ask_human
from penguiflow.planner.outcomes import PlannerPauseReason
from penguiflow.planner.signals import PauseSignal
from penguiflow.planner.streams import ToolStreams

if TYPE_CHECKING:
    from penguiflow.planner.budgets import Budgets
    from penguiflow.planner.run import PlannerRun
    from penguiflow.planner.tool_kv import ToolKV

__all__ = ["RunToolContext", "owner_of"]

_NOTHING: Mapping[str, Any] = MappingProxyType({})


def owner_of(run: PlannerRun) -> dict[str, str | None]:
    """Whose artifacts a run's are: tenant, user, session and trace, as `tool_context` says."""
    about: dict[str, str | None] = {}
    for key in ("tenant_id", "user_id", "session_id"):
        value = run.tool_context.get(key)
        about[key] = None if value is None else str(value)
    about["trace_id"] = run.trace_id
    return about


class RunToolContext:
    """See `penguiflow.planner.context.ToolContext`."""

    __slots__ = (
        "_artifacts",
        "_budgets",
        "_journal",
        "_kv",
        "_meta",
        "_name",
        "_run",
        "_stored",
        "_told",
        "_tool_context",
        "_trace_streams",
        "site",
        "streams",
    )

    def __init__(
        self,
        run: PlannerRun,
        name: str,
        call_id: str,
        site: CallSite,
        extra: Mapping[str, Any] | None = None,
        journal: Mapping[str, Any] | None = None,
    ) -> None:
        self._run = run
        self._name = name
        self.site = site
        """Within the tool's call."""
        about = {"_current_tool_name": name, "_current_tool_call_id": call_id}
        self._tool_context: dict[str, Any] = {**run.tool_context, **(extra or {}), **about}
        self._told = journal
        self._journal: Journal | None = None
        self.streams: dict[str, list[dict[str, Any]]] = {}
        """What was emitted, by stream."""
        self._trace_streams = None if run.streams is None else ToolStreams(run.streams, site, name, call_id)
        self._stored: list[ArtifactRef] = []
        self._meta: dict[str, Any] | None = None
        self._artifacts: ScopedArtifacts | None = None
        self._kv: ToolKV | None = None
        self._budgets: Budgets | None = None

    def made(self) -> dict[str, Any]:
        """What the call has put out besides its result: `streams`, `stored` artifacts; what it `spent` on models."""
        stored = [ref.model_dump(mode="json") for ref in self._stored]
        told = (("streams", self.streams), ("stored", stored), ("spent", self.spent))
        return {key: value for key, value in told if value}

    @property
    def budgets(self) -> Budgets:
        """What runs of planners use that the tool makes with this context: it counts as the calling run's."""
        if self._budgets is None:
            self._budgets = self._run.budgets.within()
        return self._budgets

    @property
    def spent(self) -> dict[str, Any] | None:
        """What they have used, as `Budgets.count` takes it; None when there were none."""
        return None if self._budgets is None else self._budgets.spent()

    @property
    def journal(self) -> Journal:
        """What the call has asked, and what it was told when it was made before."""
        if self._journal is None:
            self._journal = Journal(self._told)
        return self._journal

    def try_again(self) -> None:
        """The tool is tried once more."""
        if self._journal is not None:
            self._journal.try_again()
        if self._trace_streams is not None:
            self._trace_streams.void()

    def close(self) -> None:
        """The call is over."""
        if self._trace_streams is not None:
            self._trace_streams.close()

    @property
    def llm_context(self) -> Mapping[str, Any]:
        """What the model is told besides the query. Read-only."""
        context = self._run.trajectory.llm_context
        return _NOTHING if context is None else MappingProxyType(dict(context))

    @property
    def tool_context(self) -> dict[str, Any]:
        """What tools are told and the model is not. This call's own copy."""
        return self._tool_context

    @property
    def meta(self) -> MutableMapping[str, Any]:
        """Both contexts in one; use these instead."""
        if self._meta is None:
            self._meta = {**self.llm_context, **self._tool_context}
        return self._meta

    @property
    def artifacts(self) -> ScopedArtifacts:
        """Where to keep what is too large for the model."""
        if self._artifacts is None:
            store = _Telling(self._run.artifact_store or NoOpArtifactStore(), self._run, self._stored)
            self._artifacts = ScopedArtifacts(store, **owner_of(self._run))
        return self._artifacts

    @property
    def kv(self) -> ToolKV:
        """What the tools of the session keep and share."""
        if self._kv is None:
            from penguiflow.planner.tool_kv import ToolKV

            self._kv = ToolKV(self._run, self)
        return self._kv

    async def pause(self, reason: PlannerPauseReason, payload: Mapping[str, Any] | None = None) -> Any:
        """Pause the run. The tool does not go on: when the run is resumed, the model decides again."""
        if not self._run.settings.pause_enabled:
            raise RuntimeError("pausing is off: this planner was made with pause_enabled=False")
        raise PauseSignal(reason, to_jsonable_python(dict(payload or {}), fallback=str))

    async def ask(self, prompt: str, schema: Any = str) -> Any:
        """Ask a human, and go on here with the answer."""
        return await ask_human(self._run, self.site, self.journal, prompt, schema, name=self._name)

    async def emit_chunk(
        self, stream_id: str, seq: int, text: str, *, done: bool = False, meta: Mapping[str, Any] | None = None
    ) -> None:
        """Give a piece of a stream to whoever listens."""
        about = {"channel": "thinking", **_plain(meta or {})}
        self.streams.setdefault(stream_id, []).append({"seq": seq, "text": text, "done": done, "meta": about})
        if self._trace_streams is not None:
            self._trace_streams.put(stream_id, text, done=done, meta=about)
            await self._trace_streams.settle()
        self._run.events.emit(
            "stream_chunk",
            node_name=self._name,
            stream_id=stream_id,
            seq=seq,
            text=text,
            done=done,
            meta=about,
        )

    async def emit_artifact(
        self,
        stream_id: str,
        chunk: Any,
        *,
        done: bool = False,
        artifact_type: str | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        """Give a piece of an artifact to whoever listens."""
        about = {"stream_id": stream_id, "chunk": _plain(chunk), "done": done, "artifact_type": artifact_type}
        sent = self.streams.setdefault(stream_id, [])
        self._run.events.emit("artifact_chunk", node_name=self._name, seq=len(sent), meta=dict(meta or {}), **about)
        sent.append({**about, "seq": len(sent), "meta": _plain(meta or {})})

    async def record(self, name: str, fn: Callable[..., Any], *args: Any) -> Any:
        """`fn(*args)`, written down: a replay answers it, and a tool that goes on after a pause does not repeat it."""
        return await self.journal.record(self.site, name, fn, *args)

    def now(self) -> float:
        """Unix seconds; a replay sees the recorded ones."""
        return self.journal.now(self.site)

    def random(self) -> Random:
        """The call's own generator; in a replay it draws the same numbers."""
        return self.journal.random(self.site)


class _Telling:
    """An artifact store that tells the run what is put into it."""

    def __init__(self, store: ArtifactStore, run: PlannerRun, stored: list[ArtifactRef]) -> None:
        self._store = store
        self._run = run
        self._stored = stored

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def put_bytes(self, data: bytes, **about: Any) -> ArtifactRef:
        return self._tell(await self._store.put_bytes(data, **about))

    async def put_text(self, text: str, **about: Any) -> ArtifactRef:
        return self._tell(await self._store.put_text(text, **about))

    def _tell(self, ref: ArtifactRef) -> ArtifactRef:
        self._stored.append(ref)
        self._run.events.emit(
            "artifact_stored",
            artifact_id=ref.id,
            mime_type=ref.mime_type,
            size_bytes=ref.size_bytes,
            artifact_filename=ref.filename,
            source={"namespace": ref.namespace},
        )
        return ref


def _plain(value: Any) -> Any:
    """As JSON has it: what is told is data, whatever a tool gives."""
    return json.loads(json.dumps(to_jsonable_python(value, fallback=str)))
