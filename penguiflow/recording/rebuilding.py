"""Objects again from what the log has of them."""

from __future__ import annotations

import base64
import sys
from collections.abc import Mapping
from enum import Enum
from functools import lru_cache
from importlib import import_module
from operator import attrgetter
from typing import Any

from pydantic import BaseModel, PydanticSchemaGenerationError, TypeAdapter, ValidationError
from pydantic_core import to_json

from penguiflow.recording.shapes import escape

__all__ = ["NotRebuildable", "rebuild"]

_BYTES = {"type", "value", "base64"}
_KINDS: dict[str, type] = {
    kind.__name__: kind for kind in (str, int, float, bool, bytes, bytearray, list, tuple, set, frozenset, dict)
}


class NotRebuildable(Exception):
    """A stored payload has a place from which the object cannot be built again."""

    def __init__(self, path: str, type: str, reason: str = "it was stored as its repr") -> None:
        super().__init__(f"{path or 'the payload'} is a {type} and cannot be rebuilt: {reason}")
        self.path = path
        """JSON Pointer within the payload's value, behind what the caller put in front."""
        self.type = type
        """`module:Class`."""
        self.reason = reason


def rebuild(payload: Mapping[str, Any], *, at: str = "") -> Any:
    """The object that `{"type": "module:Class", "value": …}` stands for.

    Models, dataclasses, named tuples, enums, dates, bytes and the builtins, at any depth, with the classes as they are
    now. `at` stands in front of the path that an error names. Raises `NotRebuildable`.
    """
    kind = str(payload.get("type", ""))
    if payload.get("repr") is True:
        raise NotRebuildable(at, kind)
    for place, lost in (payload.get("lost") or {}).items():
        raise NotRebuildable(at + place, lost, "its JSON does not hold all of it")
    if payload.get("base64") is True:
        return base64.b64decode(payload["value"])
    if "value" not in payload:
        raise NotRebuildable(at, kind, "its value is kept elsewhere" if "$artifact" in payload else "it has no value")
    types = payload.get("types") or {}
    return _Builder(types).build(payload["value"], types.get("", kind), "", at)


class _Builder:
    """Builds one payload."""

    def __init__(self, types: Mapping[str, str]) -> None:
        self._types = types
        self._built = 0
        """Objects so far."""

    def build(self, value: Any, kind: str | None, place: str, at: str) -> Any:
        """The object at a place; `kind` is its type where that is known."""
        before = self._built
        if isinstance(value, dict):
            if value.get("repr") is True and isinstance(value.get("type"), str):
                raise NotRebuildable(at, value["type"])
            if value.get("base64") is True and value.keys() == _BYTES:
                self._built += 1
                return base64.b64decode(value["value"])
            value = {
                key: self.build(item, self._types.get(f"{place}/{part}"), f"{place}/{part}", f"{at}/{part}")
                for key, item in value.items()
                for part in [escape(key)]
            }
        elif isinstance(value, list):
            of_each = self._types.get(f"{place}/*")
            value = [
                self.build(item, of_each or self._types.get(f"{place}/{index}"), f"{place}/{index}", f"{at}/{index}")
                for index, item in enumerate(value)
            ]
        if kind is None:
            return value
        # As long as it is all JSON it is read as that, which is how it was written.
        as_json = self._built == before
        self._built += 1
        return _construct(kind, value, at, as_json=as_json)


def _construct(kind: str, value: Any, at: str, *, as_json: bool) -> Any:
    module, _, name = kind.partition(":")
    if module == "builtins":
        return _builtin(name, value, kind, at)
    try:
        found: Any = _class(module, name)
    except Exception as error:  # importing runs the user's code: whatever goes wrong, the class is not there
        raise NotRebuildable(at, kind, f"its class is not there ({type(error).__name__}: {error})") from error
    try:
        if issubclass(found, BaseModel):
            return _model(found, value, as_json)
        return _other(found, value, as_json)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = "".join(f"/{escape(part)}" for part in first["loc"])
        raise NotRebuildable(at + where, kind, f"{first['msg']}; has the class changed?") from error
    except (PydanticSchemaGenerationError, TypeError, ValueError) as error:
        raise NotRebuildable(at, kind, f"{type(error).__name__}: {error}") from error


def _model(kind: type[BaseModel], value: Any, as_json: bool) -> Any:
    if isinstance(value, dict):
        renamed = _names(kind)
        if renamed and not renamed.keys().isdisjoint(value):
            value = {renamed.get(key, key): item for key, item in value.items()}
    if as_json:
        try:
            return kind.model_validate_json(to_json(value))
        except ValidationError:
            return kind.model_validate(value, strict=False)
    return kind.model_validate(value, strict=False)


def _other(kind: Any, value: Any, as_json: bool) -> Any:
    if kind.__module__ == "collections" or (issubclass(kind, str | int | float) and not issubclass(kind, Enum)):
        made: Any = kind
        return made(value)
    adapter = _adapter(kind)
    return adapter.validate_json(to_json(value)) if as_json else adapter.validate_python(value, strict=False)


def _builtin(name: str, value: Any, kind: str, at: str) -> Any:
    if name == "NoneType":
        return None
    if name.startswith("dict[") and isinstance(value, dict):
        of_keys = name[5:-1]
        return {_construct(of_keys, _spelled(of_keys, key), at, as_json=False): item for key, item in value.items()}
    wanted: Any = _KINDS.get(name)
    if wanted is None:
        raise NotRebuildable(at, kind, "nothing says how")
    if type(value) is wanted:
        return value
    try:
        return wanted(value.encode()) if issubclass(wanted, bytes | bytearray) else wanted(value)
    except (TypeError, ValueError, AttributeError) as error:
        raise NotRebuildable(at, kind, str(error)) from error


def _spelled(kind: str, key: str) -> Any:
    """A key as it was before it became the key of a JSON object."""
    return key == "true" if kind == "builtins:bool" else key


@lru_cache(maxsize=1024)
def _class(module: str, name: str) -> Any:
    if "<locals>" in name:
        raise AttributeError("it was made inside a function")
    found: Any = attrgetter(name)(sys.modules.get(module) or import_module(module))
    if not isinstance(found, type):
        raise TypeError(f"{module}:{name} is no class any more")
    return found


@lru_cache(maxsize=256)
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


@lru_cache(maxsize=1024)
def _names(kind: type[BaseModel]) -> dict[str, str]:
    """Names under which fields are written, with those under which they are read, where they differ."""
    names = {}
    for name, field in kind.model_fields.items():
        written = field.serialization_alias or field.alias or name
        alias = field.validation_alias
        read = alias if isinstance(alias, str) else name
        if written != read:
            names[written] = read
        if name != read:
            names.setdefault(name, read)  # values that needed care are written under the fields' own names
    return names
