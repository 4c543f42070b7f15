"""Values as JSON: any value, without changing it, without raising, and quickly for the ordinary ones.

A payload becomes `{"type": "module:Class", "value": …}`. Where something cannot be rebuilt from its JSON, the object
that stands for it carries `"repr": true` and its type, at whatever depth; `cuts` tells of them. Bytes that are no text
carry `"base64": true`. NaN and infinities are strings (inside a pydantic model what its own configuration says: null by
default).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from operator import is_
from pathlib import PurePath
from typing import Any
from uuid import UUID

import pydantic_core
from pydantic import BaseModel
from pydantic_core import core_schema, from_json, to_json

from penguiflow.observer import Payload
from penguiflow.recording.failures import exception_to_data
from penguiflow.recording.plain import Hide, StandIn, marker, plain
from penguiflow.recording.sets import in_order
from penguiflow.recording.shapes import escape, is_always_plain, is_plain, shapes
from penguiflow.recording.simple import is_simple
from penguiflow.recording.text import clean_text, type_name

__all__ = [
    "MAX_PAYLOAD_BYTES",
    "NO_PARTS",
    "UNKNOWN",
    "Known",
    "Parts",
    "cuts",
    "encode_data",
    "encode_parts",
    "encode_payload",
    "encode_simple",
    "encode_simple_payload",
    "exception_to_data",
    "is_settled",
    "parts_of",
]

MAX_PAYLOAD_BYTES = 16 * 1024 * 1024
"""A payload whose JSON is larger is cut and cannot be rebuilt."""
_CUT_BYTES = 64 * 1024
_SURELY_READABLE_BYTES = 300
_REPR = b'"repr":true'
_LONGEST_INT = 4_300
"""Digits that readers of JSON take."""
_MAX_CLASSES = 4096

# What to look at inside a value before pydantic_core may have it.
_LEAF, _ITEMS, _SET, _MAPPING, _FIELDS, _SLOTS, _CAREFUL = range(1, 8)
# What was found out by looking.
_RISKY, _HARMLESS, _UNORDERED = 0, 1, 3
_MAX_SCAN_DEPTH = 60
_MAX_PARTS = 64
Parts = tuple[tuple[Any, ...], Sequence[tuple[list[Any], tuple[Any, ...]]]]
"""Values of a model's fields; and what is in those that are lists."""
NO_PARTS: Parts = ((), ())

_LEAVES = (
    str, int, float, bool, type(None), bytes, bytearray, date, time, timedelta, Decimal, UUID, PurePath, Enum,
)  # fmt: skip
_scalars = frozenset({str, int, float, bool, type(None)})

_kinds: dict[type, int] = {}
_prefixes: dict[type, bytes] = {}
# Parses all of a JSON object and builds nothing from it: the cheapest test that readers will take it.
_readable = pydantic_core.SchemaValidator(core_schema.typed_dict_schema({}, extra_behavior="ignore")).validate_json


class Known:
    """A payload, and the value that it was made of: None where it is to be made anew each time."""

    __slots__ = ("_parts", "_secrets", "payload", "value")

    def __init__(self, value: Any, parts: Parts, payload: bytes, secrets: Sequence[bytes]) -> None:
        self.value = value
        self.payload = payload
        self._parts = parts
        self._secrets = secrets

    def is_same(self, secrets: Sequence[bytes]) -> bool:
        """Whether the value is still made of the same objects, where these are the secrets: so is its JSON, then."""
        if self.value is None or secrets is not self._secrets:
            return False
        values, lists = self._parts
        items = self.value.__dict__.values()
        if len(items) != len(values) or not all(map(is_, items, values)):
            return False
        # A plain loop: `all(…)` costs twice as much, and this is paid for every message.
        for item, before in lists:
            same = len(item) == len(before) and all(map(is_, item, before))
            if not same:
                return False
        return True


UNKNOWN = Known(None, NO_PARTS, b"", ())


def encode_data(data: Mapping[str, Any] | None, hide: Hide | None = None) -> bytes:
    """An event's data as a JSON object, its `Payload` values (of the top level) first, in their stored form.

    `hide` gives what stands for the text of a `SecretStr`.
    """
    if not data:
        return b"{}"
    for value in data.values():
        if type(value) not in _scalars:
            break
    else:
        return _encode_flat(data)
    parts = []
    rest: dict[str, Any] = {}
    flat = True
    for key, value in data.items():
        kind = type(value)
        if kind is Payload:
            parts.append(b"%b:%b" % (to_json(key), encode_payload(value.value, hide)))
            continue
        rest[key] = value
        if kind not in _scalars and flat:
            flat = kind is dict and _scalars.issuperset(map(type, value.values()))
    encoded = _encode_flat(rest) if flat else b""
    if not encoded or len(encoded) > MAX_PAYLOAD_BYTES:
        encoded = _encode_object(rest, hide)
    if not parts:
        return encoded
    if rest:
        parts.append(encoded[1:-1])
    return b"{%b}" % b",".join(parts)


def _encode_flat(data: Mapping[str, Any]) -> bytes:
    """An object of scalars, and of objects of scalars."""
    try:
        encoded = to_json(data, inf_nan_mode="strings")
    except ValueError:  # text that is no Unicode
        return _encode_object(data)
    return encoded if len(encoded) <= _LONGEST_INT or _is_readable(encoded) else _encode_object(data)


def encode_simple(data: Mapping[str, Any] | None, keys: set[str]) -> bytes | None:
    """As `encode_data`, with all keys put into `keys`; None for data that need care."""
    parts = []
    rest = {}
    for key, value in (data or {}).items():
        if type(value) is Payload:
            keys.add(key)
            encoded = encode_simple_payload(value.value, keys)
            if encoded is None:
                return None
            parts.append(b"%b:%b" % (to_json(key), encoded))
        else:
            rest[key] = value
    if not is_simple(rest, keys):
        return None
    try:
        encoded = to_json(rest)
    except ValueError:  # text that is no Unicode
        return None
    if len(encoded) > MAX_PAYLOAD_BYTES:
        return None
    if not parts:
        return encoded
    if rest:
        parts.append(encoded[1:-1])
    return b"{%b}" % b",".join(parts)


def encode_simple_payload(value: Any, keys: set[str]) -> bytes | None:
    """As `encode_payload`, with all keys of the value put into `keys`; None for a value that needs care."""
    kind = type(value)
    if kind is not dict and kind is not list and (_kinds.get(kind) or _sort_of(kind)) != _FIELDS:
        return None
    if not is_simple(value, keys):
        return None
    try:
        encoded = to_json(value, round_trip=True, inf_nan_mode="strings", serialize_as_any=True)
    except Exception:  # the user's serializers raise what they like: the careful way copes with it
        return None
    if len(encoded) > MAX_PAYLOAD_BYTES:
        return None
    return b"%b%b}" % (_prefixes.get(kind) or _prefix_of(kind), encoded)


def encode_payload(value: Any, hide: Hide | None = None) -> bytes:
    """`{"type": "module:Class", "value": …}` as JSON; never raises."""
    kind = type(value)
    prefix = _prefixes.get(kind)
    if prefix is None:
        prefix = _prefix_of(kind)
    encoded = _encode_quickly(value)
    if encoded is None:
        tree = plain(value, hide)
        encoded = to_json(tree)
        if type(tree) is StandIn:
            return encoded
    if len(encoded) > MAX_PAYLOAD_BYTES:
        return _cut(value, encoded)
    if kind not in _scalars and not is_plain(kind, encoded) and _REPR not in encoded:
        notes = _shapes_of(value, encoded)
        if notes:
            return b"%b%b,%b}" % (prefix, encoded, to_json(notes)[1:-1])
    return prefix + encoded + b"}"


def is_settled(kind: type) -> bool:
    """Whether objects of this class, where they have `parts_of`, are told by `encode_parts`."""
    if (_kinds.get(kind) or _sort_of(kind)) != _FIELDS or not is_always_plain(kind):
        return False
    return bool(kind.model_config.get("extra") != "allow")  # type: ignore[attr-defined]


def parts_of(value: BaseModel) -> Parts | None:
    """What a model of scalars, and of short lists of them, is made of; None for any other."""
    values = (*value.__dict__.values(),)
    lists: tuple[tuple[list[Any], tuple[Any, ...]], ...] = ()
    for item in values:
        kind = type(item)
        if kind in _scalars:
            continue
        if kind is not list or len(item) > _MAX_PARTS or not _scalars.issuperset(map(type, item)):
            return None
        lists = (*lists, (item, (*item,)))
    return values, lists


def encode_parts(value: BaseModel) -> bytes | None:
    """As `encode_payload`, of a model of a settled class that has parts; None when it needs care all the same."""
    try:
        encoded = to_json(value, round_trip=True, inf_nan_mode="strings", fallback=marker, serialize_as_any=True)
    except Exception:  # as in `_encode_quickly`
        return None
    size = len(encoded)
    if size > _SURELY_READABLE_BYTES and (size > MAX_PAYLOAD_BYTES or not _is_readable(encoded)):
        return None
    kind = type(value)
    return b"%b%b}" % (_prefixes.get(kind) or _prefix_of(kind), encoded)


def cuts(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Where a decoded payload cannot be rebuilt: (JSON Pointer, type) of each place that is a repr, or lost a part."""
    if isinstance(value, dict):
        if value.get("repr") is True and isinstance(value.get("type"), str):
            yield path, value["type"]
            return
        for key, item in value.items():
            yield from cuts(item, f"{path}/{escape(key)}")
        if isinstance(value.get("lost"), dict) and "value" in value:
            yield from ((f"{path}/value{place}", str(kind)) for place, kind in value["lost"].items())
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from cuts(item, f"{path}/{index}")


def _shapes_of(value: Any, encoded: bytes) -> dict[str, dict[str, str]]:
    try:
        return shapes(value, encoded)
    except Exception:  # the user's annotations and properties raise what they like
        return {"lost": {"": type_name(type(value))}}


def _encode_quickly(value: Any) -> bytes | None:
    """JSON by way of pydantic_core; None when the value needs care."""
    try:
        found = _look(value, 0)
        if not found:
            return None
        encoded = to_json(value, round_trip=True, inf_nan_mode="strings", fallback=marker, serialize_as_any=True)
    except Exception:  # the user's serializers and properties raise what they like: the careful way copes with it
        return None
    if len(encoded) > _SURELY_READABLE_BYTES and not _is_readable(encoded):
        return None
    return encoded if found == _HARMLESS else to_json(in_order(value, from_json(encoded)))


def _encode_object(data: Mapping[str, Any], hide: Hide | None = None) -> bytes:
    """An event's data; where a value is difficult or huge, the others are as they would be without it."""
    encoded = _encode_quickly(data)
    if encoded is not None and len(encoded) <= MAX_PAYLOAD_BYTES:
        return encoded
    return b"{%b}" % b",".join(b"%b:%b" % (to_json(clean_text(key)), _encode_value(data[key], hide)) for key in data)


def _encode_value(value: Any, hide: Hide | None) -> bytes:
    encoded = _encode_quickly(value)
    if encoded is None:
        encoded = to_json(plain(value, hide))
    return _cut(value, encoded) if len(encoded) > MAX_PAYLOAD_BYTES else encoded


def _cut(value: Any, encoded: bytes) -> bytes:
    text = encoded[:_CUT_BYTES].decode("utf-8", "ignore") + "…"
    return to_json({"type": type_name(type(value)), "value": text, "bytes": len(encoded), "repr": True})


def _prefix_of(kind: type) -> bytes:
    if len(_prefixes) >= _MAX_CLASSES:
        _prefixes.clear()
    prefix = _prefixes[kind] = b'{"type":%b,"value":' % to_json(type_name(kind))
    return prefix


def _is_readable(encoded: bytes) -> bool:
    """Whether readers take it: not too deep (the event is around it), no integer too long."""
    try:
        _readable(b'{"":[[[[[%b]]]]]}' % encoded)
    except ValueError:
        return False
    return True


def _look(value: Any, depth: int) -> int:
    """`_RISKY` where something in it would be used up by being read, or it is deep or cyclic; else `_HARMLESS`.

    `_UNORDERED` where it is harmless and has a set of several items in it.
    """
    kind = type(value)
    if kind in _scalars:
        return _HARMLESS
    sort = _kinds.get(kind) or _sort_of(kind)
    if sort == _LEAF:
        return _HARMLESS
    if sort == _CAREFUL or depth > _MAX_SCAN_DEPTH:
        return _RISKY
    found = _HARMLESS
    if sort == _FIELDS:
        extra = value.__pydantic_extra__
        items = [*value.__dict__.values(), extra] if extra else value.__dict__.values()
    elif sort == _MAPPING:
        items = value.values()
    elif sort == _SLOTS:
        items = [getattr(value, field.name, None) for field in dataclasses.fields(value)]
    else:
        items = value
        if sort == _SET and len(value) > 1:
            found = _UNORDERED
    depth += 1
    for item in items:
        # A plain loop: `all(…)` costs twice as much, and this is paid for every message.
        kind = type(item)
        if kind in _scalars or (kind is list and _scalars.issuperset(map(type, item))):
            continue
        inner = _look(item, depth)
        if not inner:
            return _RISKY
        found |= inner
    return found


def _sort_of(kind: type) -> int:
    if len(_kinds) >= _MAX_CLASSES:
        _kinds.clear()
    if issubclass(kind, BaseModel):
        sort = _FIELDS
    elif issubclass(kind, _LEAVES):
        sort = _LEAF
    elif kind in (set, frozenset):
        sort = _SET
    elif kind in (list, tuple) or (issubclass(kind, tuple) and hasattr(kind, "_fields")):
        sort = _ITEMS
    elif kind is dict:
        sort = _MAPPING
    elif dataclasses.is_dataclass(kind):
        sort = _SLOTS
    else:
        # Anything may happen in there: iterators are used up, files are read. Secrets are not to be seen.
        sort = _CAREFUL
    _kinds[kind] = sort
    return sort
