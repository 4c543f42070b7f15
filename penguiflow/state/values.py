"""Objects of planners and sessions as JSON, and back: `{"type": "module:Class", "value": …}`."""

from __future__ import annotations

import dataclasses
import sys
from functools import lru_cache
from importlib import import_module
from operator import attrgetter
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from penguiflow.recording.payloads import encode_payload
from penguiflow.recording.text import type_name

__all__ = ["decode_value", "encode_value"]


def encode_value(value: Any) -> bytes:
    """The value as JSON that names its type; never raises.

    A class with `serialise()` and `from_serialised()` decides itself what is kept of its objects.
    """
    if _serialises(type(value)):
        about = from_json(encode_payload(value.serialise()))["value"]
        return to_json({"type": type_name(type(value)), "value": about})
    return encode_payload(value)


def decode_value(data: bytes) -> Any:
    """The value again: models, dataclasses and what JSON has. What cannot be rebuilt comes as its JSON value."""
    stored = from_json(data)
    value = stored["value"]
    if stored.get("repr") is True:
        return value
    return _rebuild(stored["type"], value)


def _rebuild(type_of: str, value: Any) -> Any:
    kind = _class(type_of)
    if kind is None:
        return value
    if _serialises(kind):
        return kind.from_serialised(value)
    try:
        # From JSON, so that dates and bytes are read as they were written.
        return _adapter(kind).validate_json(to_json(value))
    except ValidationError:  # the class has changed since
        return value


def _serialises(kind: Any) -> bool:
    return callable(getattr(kind, "serialise", None)) and callable(getattr(kind, "from_serialised", None))


def _class(type_of: str) -> Any | None:
    """The class of this name if it is one whose objects can be rebuilt."""
    module, _, name = type_of.partition(":")
    if module == "builtins" or "<locals>" in name:
        return {"tuple": tuple, "set": set, "frozenset": frozenset}.get(name)
    try:
        found = attrgetter(name)(sys.modules.get(module) or import_module(module))
    except Exception:  # importing runs the user's code: without the class, its JSON value has to do
        return None
    rebuilds = isinstance(found, type) and (
        issubclass(found, BaseModel) or dataclasses.is_dataclass(found) or _serialises(found)
    )
    return found if rebuilds else None


@lru_cache(maxsize=256)
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
