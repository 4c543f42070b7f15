"""What a run has made that can be referred to: artifacts of tools, files, components."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel

from penguiflow.planner.trajectory import coerce_background_results

if TYPE_CHECKING:
    from penguiflow.artifacts import ArtifactRef

__all__ = [
    "ArtifactKind",
    "ArtifactRecord",
    "ArtifactRegistry",
    "get_artifact_registry",
    "has_artifact_refs",
    "resolve_artifact_refs",
    "resolve_artifact_refs_async",
]

ArtifactKind = Literal["ui_component", "binary", "tool_artifact"]

_KEY = "artifact_registry"
_REF = "artifact_ref"
_INTERNAL = frozenset({"scope_session_id", "metadata"})


@dataclass(slots=True)
class ArtifactRecord:
    """One thing that can be referred to."""

    ref: str
    """`artifact_N`, or the id that its store gave it."""
    kind: ArtifactKind
    source_tool: str | None = None
    step_index: int | None = None
    field_name: str | None = None
    item_index: int | None = None
    component: str | None = None
    title: str | None = None
    summary: str | None = None
    artifact_id: str | None = None
    mime_type: str | None = None
    size_bytes: int | None = None
    scope_session_id: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)

    def to_public(self) -> dict[str, Any]:
        """What is set of it, for a model."""
        return {key: value for key, value in asdict(self).items() if value is not None and key not in _INTERNAL}

    def to_snapshot(self) -> dict[str, Any]:
        """All of it."""
        return asdict(self)


class ArtifactRegistry:
    """The artifacts of one run, in the order in which they were made."""

    def __init__(self) -> None:
        self._records: dict[str, ArtifactRecord] = {}
        self._numbered = 0

    @classmethod
    def from_snapshot(cls, snapshot: Mapping[str, Any] | None) -> ArtifactRegistry:
        """Read it back."""
        registry = cls()
        for data in (snapshot or {}).get("records", ()):
            registry._add(ArtifactRecord(**data))
        registry._numbered = int((snapshot or {}).get("numbered", 0))
        return registry

    def snapshot(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        return {"numbered": self._numbered, "records": [record.to_snapshot() for record in self._records.values()]}

    def write_snapshot(self, metadata: dict[str, Any]) -> None:
        """Keep it in a trajectory's metadata."""
        if self._records:
            metadata[_KEY] = self.snapshot()

    def list_records(
        self, *, kind: str | None = None, source_tool: str | None = None, limit: int | None = None
    ) -> list[dict[str, Any]]:
        """What there is, the latest first."""
        found = [
            record.to_public()
            for record in reversed(self._records.values())
            if (kind is None or record.kind == kind) and (source_tool is None or record.source_tool == source_tool)
        ]
        return found if limit is None else found[:limit]

    def register_tool_artifacts(
        self,
        tool_name: str,
        out_model: type[BaseModel],
        observation: Mapping[str, Any],
        *,
        step_index: int,
        metadata_extra: Mapping[str, Any] | None = None,
    ) -> None:
        """Take in the fields of a result that are marked as artifacts; of a list each item."""
        for name, info in out_model.model_fields.items():
            extra = info.json_schema_extra
            value = observation.get(name)
            if value is None or not isinstance(extra, Mapping) or not extra.get("artifact"):
                continue
            items = list(enumerate(value)) if isinstance(value, list) else [(None, value)]
            for index, item in items:
                self.register_tool_artifact(
                    tool_name, name, item, step_index=step_index, item_index=index, metadata_extra=metadata_extra
                )

    def register_tool_artifact(
        self,
        tool_name: str,
        field_name: str,
        payload: Any,
        *,
        step_index: int,
        item_index: int | None = None,
        metadata_extra: Mapping[str, Any] | None = None,
    ) -> ArtifactRecord:
        """Take in one artifact of a tool. One with `component` and `props` is a component."""
        about = payload if isinstance(payload, Mapping) else {}
        component = about.get("component")
        return self._add(
            ArtifactRecord(
                ref=self._next(),
                kind="tool_artifact" if component is None else "ui_component",
                source_tool=tool_name,
                step_index=step_index,
                field_name=field_name,
                item_index=item_index,
                component=None if component is None else str(component),
                title=_text(about.get("title")),
                summary=_text(about.get("summary")),
                metadata=dict(metadata_extra or {}),
            )
        )

    def ingest_llm_context(self, llm_context: Any, *, step_index: int | None = None) -> None:
        """Take in what the program says under `artifacts`."""
        given = llm_context.get("artifacts") if isinstance(llm_context, Mapping) else None
        self._ingest(given, step_index)

    def ingest_background_results(self, background_results: Any, *, step_index: int | None = None) -> None:
        """Take in what tasks beside the run made."""
        for result in coerce_background_results(background_results).values():
            self._ingest(result.artifacts, step_index)

    def register_binary_artifact(
        self, ref: ArtifactRef, *, source_tool: str | None, step_index: int | None
    ) -> ArtifactRecord:
        """Take in what is kept in an artifact store."""
        return self._add(
            ArtifactRecord(
                ref=ref.id,
                kind="binary",
                source_tool=source_tool,
                step_index=step_index,
                title=ref.filename,
                artifact_id=ref.id,
                mime_type=ref.mime_type,
                size_bytes=ref.size_bytes,
                scope_session_id=None if ref.scope is None else ref.scope.session_id,
            )
        )

    def resolve_ref(
        self, ref: str, *, trajectory: Any | None = None, session_id: str | None = None
    ) -> dict[str, Any] | None:
        """What a reference stands for; None when there is no such thing, or it is another session's.

        Of a tool's artifact the value (`{"value": …}` unless it is an object), of a file what is known of it.
        """
        record = self._records.get(ref)
        if record is None:
            return None
        if record.scope_session_id is not None and session_id is not None and record.scope_session_id != session_id:
            return None
        if record.kind == "binary":
            return record.to_public()
        known = {} if trajectory is None else trajectory.artifacts.get(record.source_tool, {})
        if record.field_name not in known:
            return record.metadata.get("value")
        value = known[record.field_name]
        if record.item_index is not None and isinstance(value, list):
            value = value[record.item_index] if record.item_index < len(value) else None
        if value is None:
            return None
        return dict(value) if isinstance(value, Mapping) else {"value": value}

    async def resolve_ref_async(
        self,
        ref: str,
        *,
        trajectory: Any | None = None,
        session_id: str | None = None,
        artifact_store: Any | None = None,
    ) -> dict[str, Any] | None:
        """As `resolve_ref`, of a file with its content: `text`, or `base64`."""
        found = self.resolve_ref(ref, trajectory=trajectory, session_id=session_id)
        record = self._records.get(ref)
        if found is None or record is None or record.artifact_id is None or artifact_store is None:
            return found
        data = await artifact_store.get(record.artifact_id)
        if data is None:
            return found
        try:
            return {**found, "text": data.decode()}
        except UnicodeDecodeError:
            return {**found, "base64": b64encode(data).decode()}

    def _ingest(self, given: Any, step_index: int | None) -> None:
        for item in given if isinstance(given, list) else []:
            if not isinstance(item, Mapping):
                continue
            known = {key: item[key] for key in ("title", "summary", "component", "mime_type") if _text(item.get(key))}
            artifact_id = _text(item.get("artifact_id") or item.get("id"))
            kind: ArtifactKind = (
                "ui_component" if "component" in known else "binary" if artifact_id else "tool_artifact"
            )
            self._add(
                ArtifactRecord(
                    ref=_text(item.get("ref")) or artifact_id or self._next(),
                    kind=kind,
                    step_index=step_index,
                    artifact_id=artifact_id,
                    metadata={"value": dict(item)},
                    **known,
                )
            )

    def _next(self) -> str:
        ref = f"artifact_{self._numbered}"
        self._numbered += 1
        return ref

    def _add(self, record: ArtifactRecord) -> ArtifactRecord:
        return self._records.setdefault(record.ref, record)


def get_artifact_registry(ctx: Any) -> ArtifactRegistry | None:
    """The registry of the run that calls a tool; None for a context of something else."""
    run = getattr(ctx, "_run", None)
    registry = getattr(run, "artifacts", None)
    return registry if isinstance(registry, ArtifactRegistry) else None


def has_artifact_refs(value: Any) -> bool:
    """Whether there is a `{"artifact_ref": …}` anywhere in it."""
    if isinstance(value, Mapping):
        return isinstance(value.get(_REF), str) or any(has_artifact_refs(each) for each in value.values())
    return isinstance(value, list | tuple) and any(has_artifact_refs(each) for each in value)


def _refs(value: Any) -> set[str]:
    if isinstance(value, Mapping):
        own = {value[_REF]} if isinstance(value.get(_REF), str) else set()
        return own.union(*(_refs(each) for each in value.values()))
    return set().union(*(_refs(each) for each in value)) if isinstance(value, list | tuple) else set()


def resolve_artifact_refs(
    value: Any, *, registry: ArtifactRegistry, trajectory: Any | None, session_id: str | None
) -> Any:
    """The value with what they stand for in the place of all `{"artifact_ref": …}`.

    Raises `ValueError` for one that stands for nothing.
    """
    refs = sorted(_refs(value))
    known = {ref: registry.resolve_ref(ref, trajectory=trajectory, session_id=session_id) for ref in refs}
    return _replaced(value, known)


async def resolve_artifact_refs_async(
    value: Any,
    *,
    registry: ArtifactRegistry,
    trajectory: Any | None,
    session_id: str | None,
    artifact_store: Any | None,
) -> Any:
    """As `resolve_artifact_refs`, of files with their content."""
    about: dict[str, Any] = {"trajectory": trajectory, "session_id": session_id, "artifact_store": artifact_store}
    known = {ref: await registry.resolve_ref_async(ref, **about) for ref in sorted(_refs(value))}
    return _replaced(value, known)


def _replaced(value: Any, known: Mapping[str, Any]) -> Any:
    if isinstance(value, Mapping):
        ref = value.get(_REF)
        if not isinstance(ref, str):
            return {key: _replaced(each, known) for key, each in value.items()}
        if known[ref] is None:
            raise ValueError(f"there is no artifact {ref!r} in this run")
        return known[ref]
    return [_replaced(each, known) for each in value] if isinstance(value, list | tuple) else value


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
