"""What a tool gave, as the model is shown it: without artifacts, not too long; and what is taken from it besides."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import NoneType
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from pydantic import BaseModel
from pydantic_core import to_json

from penguiflow.planner.outcomes import Source

if TYPE_CHECKING:
    from penguiflow.planner.config import ObservationGuardrailConfig
    from penguiflow.planner.tool_context import RunToolContext

__all__ = ["Observed", "observe"]

_MAX_ITEMS = 20
"""Of a list that is cut."""
_SOURCE_FIELDS = frozenset(Source.model_fields)
_LEAF = (str, int, float, bytes, NoneType)


@dataclass(slots=True)
class Observed:
    """The parts of one observation, all of them JSON."""

    observation: Any
    for_llm: Any = None
    """None: the same."""
    artifacts: dict[str, Any] = field(default_factory=dict)
    """By field."""
    sources: list[dict[str, Any]] = field(default_factory=list)
    clamped: dict[str, Any] | None = None
    """`{original_size, clamped_size, method, reduction_pct}`."""


class _Markers:
    """What a model's fields say of themselves."""

    __slots__ = ("artifacts", "nested", "plain", "sources")

    def __init__(self, model: type[BaseModel]) -> None:
        self.artifacts: dict[str, str] = {}
        """Field, and the type of its artifact."""
        self.sources: dict[str, str] | None = None
        """Field of the source by field of the model; None where it makes none."""
        about = model.model_config.get("json_schema_extra")
        produces = isinstance(about, Mapping) and bool(about.get("produces_sources"))
        self.sources = {} if produces else None
        for name, info in model.model_fields.items():
            extra = info.json_schema_extra
            if not isinstance(extra, Mapping):
                extra = {}
            if extra.get("artifact"):
                self.artifacts[name] = str(extra.get("artifact_type") or extra.get("type") or name)
            if self.sources is not None:
                wanted = extra.get("source_field")
                if isinstance(wanted, str) and wanted in _SOURCE_FIELDS:
                    self.sources[name] = wanted
                elif name in _SOURCE_FIELDS and wanted is not False:
                    self.sources.setdefault(name, name)
        self.nested = any(_holds_models(info.annotation) for info in model.model_fields.values())
        self.plain = not self.artifacts and self.sources is None and not self.nested


_known: WeakKeyDictionary[type[BaseModel], _Markers] = WeakKeyDictionary()


def _markers(model: type[BaseModel]) -> _Markers:
    found = _known.get(model)
    if found is None:
        found = _known[model] = _Markers(model)
    return found


def _holds_models(annotation: Any) -> bool:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return True
    return any(_holds_models(each) for each in getattr(annotation, "__args__", ()))


async def observe(
    result: BaseModel, limits: ObservationGuardrailConfig, ctx: RunToolContext, *, keeps: bool
) -> Observed:
    """Take a tool's result apart. `keeps` when there is an artifact store that keeps what is too long."""
    data = result.model_dump(mode="json")
    observed = Observed(data)
    markers = _markers(type(result))
    shown = data
    if not markers.plain:
        _sources_of(result, observed.sources)
        if markers.artifacts and isinstance(data, dict):
            shown = dict(data)
            for name, kind in markers.artifacts.items():
                if data.get(name) is not None:
                    observed.artifacts[name] = data[name]
                    shown[name] = f"<artifact:{kind} size={_size(data[name])}>"
    shown = await _clamp(shown, observed, limits, ctx, keeps=keeps)
    if shown is not data:
        observed.for_llm = shown
    return observed


def _size(value: Any) -> int:
    return len(value) if isinstance(value, str) else len(to_json(value, fallback=str))


def _sources_of(value: Any, found: list[dict[str, Any]]) -> None:
    if isinstance(value, BaseModel):
        markers = _markers(type(value))
        if markers.sources is not None:
            source = {
                target: getattr(value, name)
                for name, target in markers.sources.items()
                if getattr(value, name) is not None
            }
            if source.get("title") or source.get("url"):
                source.setdefault("title", str(source.get("url")))
                found.append(Source.model_validate(source, strict=False).model_dump(mode="json", exclude_none=True))
        if markers.nested:
            for each in vars(value).values():
                if not isinstance(each, _LEAF):
                    _sources_of(each, found)
    elif isinstance(value, (list, tuple, dict)):
        for each in value.values() if isinstance(value, dict) else value:
            if not isinstance(each, _LEAF):
                _sources_of(each, found)


async def _clamp(
    shown: Any, observed: Observed, limits: ObservationGuardrailConfig, ctx: RunToolContext, *, keeps: bool
) -> Any:
    size = len(to_json(shown))
    # Bytes are at least as many as characters: most observations are looked at once.
    smallest = min(limits.max_observation_chars, limits.max_field_chars)
    if keeps and limits.auto_artifact_threshold:
        smallest = min(smallest, limits.auto_artifact_threshold)
    if size <= smallest:
        return shown
    text = json.dumps(shown, ensure_ascii=False)
    size = len(text)
    small: Any = None
    method = "artifact"
    if keeps and 0 < limits.auto_artifact_threshold < size:
        small = await _kept(text, limits, ctx)
    if small is None:
        if size <= limits.max_observation_chars and not _has_long_text(shown, limits.max_field_chars):
            return shown
        small = _cut(shown, limits) if limits.preserve_structure else text
        if len(json.dumps(small, ensure_ascii=False)) > limits.max_observation_chars:
            small = {"truncated": _cut_text(text, limits.max_observation_chars, limits.truncation_suffix)}
        method = "truncate"
    after = len(json.dumps(small, ensure_ascii=False))
    observed.clamped = {
        "original_size": size,
        "clamped_size": after,
        "method": method,
        "reduction_pct": round(100 * (1 - after / size), 1),
    }
    return small


async def _kept(text: str, limits: ObservationGuardrailConfig, ctx: RunToolContext) -> dict[str, Any] | None:
    """What stands for a result that is kept as an artifact; None where it is too large for that."""
    try:
        ref = await ctx.artifacts.upload(text, mime_type="application/json", namespace="observation")
    except ValueError:
        return None
    return {
        "artifact": ref.model_dump(mode="json", include={"id", "mime_type", "size_bytes"}),
        "summary": f"The result has {len(text)} characters and is kept as an artifact.",
        "preview": text[: limits.preview_length],
    }


def _has_long_text(value: Any, longest: int) -> bool:
    if isinstance(value, str):
        return len(value) > longest
    if isinstance(value, dict):
        return any(_has_long_text(each, longest) for each in value.values())
    return isinstance(value, list) and any(_has_long_text(each, longest) for each in value)


def _cut(value: Any, limits: ObservationGuardrailConfig) -> Any:
    if isinstance(value, str):
        return _cut_text(value, limits.max_field_chars, limits.truncation_suffix)
    if isinstance(value, dict):
        return {key: _cut(each, limits) for key, each in value.items()}
    if isinstance(value, list):
        kept = [_cut(each, limits) for each in value[:_MAX_ITEMS]]
        return kept if len(value) <= _MAX_ITEMS else [*kept, f"… and {len(value) - _MAX_ITEMS} more"]
    return value


def _cut_text(text: str, longest: int, suffix: str) -> str:
    if len(text) <= longest:
        return text
    return text[:longest] + suffix.replace("{truncated_chars}", str(len(text) - longest))
