"""What the JSON of a value does not tell of it, so that it can be built again exactly.

A model's fields say what they hold. Where nothing says it (a model in a list, a date in a field that takes anything, an
instance of a subclass, keys that are numbers) the type stands beside the value, under the JSON Pointer of the place:
`{"type": "builtins:list", "value": […], "types": {"/*": "shop:Item"}}`. What JSON has lost stands in `lost`.
"""

from __future__ import annotations

import dataclasses
import math
import types
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence, Set
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints
from uuid import UUID

from pydantic import BaseModel, RootModel, SecretBytes, SecretStr
from pydantic_core import to_json

from penguiflow.recording.sets import ordered
from penguiflow.recording.text import clean_text, type_name

__all__ = ["bare", "escape", "is_always_plain", "is_custom", "is_odd", "is_plain", "keys_of", "shapes"]

_SCALARS = (str, int, bool, type(None))
_EXACT: frozenset[type] = frozenset(_SCALARS)
_EXACT_OR_FLOAT: frozenset[type] = frozenset({*_SCALARS, float})
_TEXT = frozenset({str})
_PLAIN_CONTAINERS = frozenset({list, dict})
_LEAVES = (
    bytes, bytearray, date, time, timedelta, Decimal, UUID, PurePath, Enum, SecretStr, SecretBytes,
)  # fmt: skip
_SEQUENCES = (list, tuple, set, frozenset, deque)
_MAPPINGS = (OrderedDict, Counter)
_OPEN: Any = object()
"""Stands for an annotation that says nothing."""
_MAX_CLASSES = 4096
_MAX_NOTES = 10_000
_MAX_DEPTH = 100

_OWN_FORMS = ("ser_json_bytes", "ser_json_timedelta", "ser_json_temporal", "ser_json_inf_nan")

_settled: dict[type, bool] = {}
_floats: dict[type, bool] = {}
_customs: dict[type, bool] = {}
_odds: dict[type, bool] = {}
_annotations: dict[type, dict[str, Any]] = {}
_fields: dict[type, dict[str, tuple[str, Any, Any]]] = {}


def escape(key: object) -> str:
    """A key as a part of a JSON Pointer."""
    return str(key).replace("~", "~0").replace("/", "~1")


def is_plain(kind: type, encoded: bytes) -> bool:
    """Whether the name of this class is enough to build the object from its JSON, so that `shapes` finds nothing."""
    return _says_all(kind) and not (_has_floats(kind) and _may_hold_odd_floats(encoded))


def is_always_plain(kind: type) -> bool:
    """Whether `is_plain` holds whatever the JSON."""
    return _says_all(kind) and not _has_floats(kind)


def keys_of(kind: type) -> frozenset[str] | None:
    """All keys in the JSON of objects of this class; None where they may be anything."""
    if kind in _SCALARS or kind is float:
        return frozenset()
    if not _says_all(kind) or not issubclass(kind, BaseModel):
        return None
    found: set[str] = set()
    return frozenset(found) if _gather_keys(kind, found, set()) else None


def _gather_keys(annotation: Any, found: set[str], seen: set[type]) -> bool:
    arguments = get_args(annotation)
    if arguments:
        if get_origin(annotation) is dict:
            return False
        return get_origin(annotation) is Literal or all(_gather_keys(each, found, seen) for each in arguments)
    if not isinstance(annotation, type) or annotation in seen:
        return True
    if issubclass(annotation, SecretStr | SecretBytes) or dataclasses.is_dataclass(annotation):
        return False
    if not issubclass(annotation, BaseModel):
        return True
    seen.add(annotation)
    for name, field in annotation.model_fields.items():
        found.add(field.serialization_alias or field.alias or name)
        if not _gather_keys(field.annotation, found, seen):
            return False
    return True


def _may_hold_odd_floats(encoded: bytes) -> bool:
    # A float that is no number has no JSON of its own.
    return b"null" in encoded or b"NaN" in encoded or b"Infinity" in encoded


def _says_all(kind: type) -> bool:
    """Whether a class says of all its fields what they hold."""
    known = _settled.get(kind)
    if known is None:
        if len(_settled) >= _MAX_CLASSES:
            _settled.clear()
        _settled[kind] = True  # a class that holds itself
        known = _settled[kind] = _looks_settled(kind)
    return known


def shapes(value: Any, encoded: bytes) -> dict[str, dict[str, str]]:
    """`types` and `lost` of a value with this JSON, where there are any: the type of each place, by JSON Pointer."""
    odd_floats = _may_hold_odd_floats(encoded)
    if _is_json(value, _EXACT if odd_floats else _EXACT_OR_FLOAT):
        return {}
    found = _Shapes(odd_floats)
    found.visit(value, type(value), "", 0)
    tables = {"types": found.types, "lost": found.lost}
    return {name: table for name, table in tables.items() if table}


def _is_json(value: Any, exact: frozenset[type]) -> bool:
    """Whether it is made of what JSON has, and nothing derived from it: most of what models are asked."""
    kind = type(value)
    if kind is dict:
        if not _TEXT.issuperset(map(type, value)):
            return False
        items: Iterable[Any] = value.values()
    elif kind is list:
        items = value
    else:
        return kind in exact
    return exact.issuperset(map(type, items)) or all(type(item) in exact or _is_json(item, exact) for item in items)


class _Shapes:
    """One walk over one value."""

    def __init__(self, odd_floats: bool) -> None:
        self._odd_floats = odd_floats
        self._models = 0
        """Within how many models."""
        self.types: dict[str, str] = {}
        self.lost: dict[str, str] = {}

    def visit(self, value: Any, declared: Any, place: str, depth: int) -> None:  # noqa: C901 - one case for each kind
        """Note what `declared` does not say of the value at this place."""
        kind = type(value)
        if kind in _SCALARS or (kind is float and not self._odd_floats):
            return
        if kind is dict and _EXACT.issuperset(map(type, value.values())) and _TEXT.issuperset(map(type, value)):
            return
        if kind is list and _EXACT.issuperset(map(type, value)):
            return
        if depth > _MAX_DEPTH or len(self.types) + len(self.lost) > _MAX_NOTES:
            self.lost[place] = type_name(kind)
            return
        declared = bare(declared)
        if kind is float:
            if not math.isfinite(value):
                # Models write null for them, whatever the field takes.
                (self.lost if self._models or declared is not _OPEN else self.types)[place] = "builtins:float"
            return
        said = declared is kind or (_is_leaf(declared) and isinstance(value, declared))
        if kind in _SEQUENCES:
            self._items(value, declared, place, depth)
        elif kind is dict or kind in _MAPPINGS:
            self._mapping(value, declared, place, depth)
        elif isinstance(value, BaseModel):
            if not said or is_odd(kind):
                self.types[place] = type_name(kind)
            if not self._is_settled(kind):
                self._models += 1
                self._model(value, kind, place, depth)
                self._models -= 1
        elif hasattr(kind, "__dataclass_fields__"):
            if not said:
                self.types[place] = type_name(kind)
            if not self._is_settled(kind):
                hints = _hints(kind)
                for field in dataclasses.fields(kind):
                    item = getattr(value, field.name, None)
                    self.visit(item, hints.get(field.name, _OPEN), f"{place}/{escape(field.name)}", depth + 1)
        elif isinstance(value, tuple) and hasattr(kind, "_fields"):
            if not said:
                self.types[place] = type_name(kind)
            hints = _hints(kind)
            for index, (name, item) in enumerate(zip(kind._fields, value, strict=False)):
                self.visit(item, hints.get(name, _OPEN), f"{place}/{index}", depth + 1)
        elif isinstance(value, _LEAVES):
            if not said and not _is_undecodable(value):
                self.types[place] = type_name(kind)
        elif isinstance(value, str | int | float) and not said:
            self.types[place] = type_name(kind)
        elif isinstance(value, Sequence | Set | Mapping) and not isinstance(value, range):
            self.lost[place] = type_name(kind)
        # What is left stands as its repr, which says so itself.

    def _is_settled(self, kind: type) -> bool:
        return _says_all(kind) and not (self._odd_floats and _has_floats(kind))

    def _items(self, value: Iterable[Any], declared: Any, place: str, depth: int) -> None:
        kind = type(value)
        origin, arguments = get_origin(declared) or declared, get_args(declared)
        if kind is not list and origin is not kind:
            self.types[place] = type_name(kind)
        items = ordered(value) if isinstance(value, set | frozenset) else list(value)
        if kind is tuple and origin is tuple and not (len(arguments) == 2 and arguments[1] is ...):
            of_each = list(arguments) if len(arguments) == len(items) else [_OPEN] * len(items)
        else:
            of_each = [arguments[0] if arguments and origin is kind else _OPEN] * len(items)
        kinds = set(map(type, items))
        if len(kinds) == 1 and len(items) > 1 and len(set(map(id, of_each))) == 1:
            (only,) = kinds
            if only in _SCALARS:
                return
            if _is_simple(only) and not any(map(_is_undecodable, items)):
                if bare(of_each[0]) is not only:
                    self.types[f"{place}/*"] = type_name(only)
                if self._is_settled(only):
                    return
                of_each = [only] * len(items)
        for index, (item, each) in enumerate(zip(items, of_each, strict=True)):
            self.visit(item, each, f"{place}/{index}", depth + 1)

    def _mapping(self, value: Mapping[Any, Any], declared: Any, place: str, depth: int) -> None:
        kind = type(value)
        arguments = get_args(declared) if (get_origin(declared) or declared) in (dict, Mapping, kind) else ()
        of_key, of_value = arguments if len(arguments) == 2 else (_OPEN, _OPEN)
        key_kinds = set(map(type, value)) - {str}
        if kind is not dict and (get_origin(declared) or declared) is not kind:
            self.types[place] = type_name(kind)
            if key_kinds:
                self.lost[place] = type_name(kind)
        elif key_kinds:
            if len(key_kinds) > 1 or len(key_kinds) < len(set(map(type, value))):
                self.lost[place] = "builtins:dict"
            elif (only := key_kinds.pop()) is not bare(of_key):
                if issubclass(only, int | float | Enum | date | UUID):
                    self.types[place] = f"builtins:dict[{type_name(only)}]"
                else:
                    self.lost[place] = "builtins:dict"
        for key, item in value.items():
            if type(item) not in _SCALARS:
                self.visit(item, of_value, f"{place}/{escape(_key(key))}", depth + 1)

    def _model(self, value: BaseModel, kind: type[BaseModel], place: str, depth: int) -> None:
        if is_custom(kind) and not _survives(value, kind):
            self.lost[place] = type_name(kind)
            return
        if issubclass(kind, RootModel):
            self.visit(value.__dict__.get("root"), kind.model_fields["root"].annotation, place, depth + 1)
            return
        known = _fields.get(kind) or _fields_of(kind)
        for name, item in value.__dict__.items():
            item_kind = type(item)
            if item_kind in _EXACT or (item_kind in _PLAIN_CONTAINERS and not item):
                continue
            shown, declared, sure = known.get(name) or (escape(name), _OPEN, _OPEN)
            if item_kind is not sure:
                self.visit(item, declared, f"{place}/{shown}", depth + 1)
        for name, item in (value.__pydantic_extra__ or {}).items():
            self.visit(item, _OPEN, f"{place}/{escape(name)}", depth + 1)


def _fields_of(kind: type[BaseModel]) -> dict[str, tuple[str, Any, Any]]:
    """Of each field: its part of a JSON Pointer, its annotation, and the type of values that nothing is noted of."""
    if len(_fields) >= _MAX_CLASSES:
        _fields.clear()
    found = {}
    for name, field in kind.model_fields.items():
        declared = bare(field.annotation)
        sure = declared if isinstance(declared, type) and _is_sure(declared) else _OPEN
        found[name] = (escape(field.serialization_alias or field.alias or name), field.annotation, sure)
    _fields[kind] = found
    return found


def _is_sure(kind: type) -> bool:
    """Whether nothing is noted of an instance of exactly this class where exactly this class is declared."""
    if issubclass(kind, BaseModel):
        return is_always_plain(kind) and not is_odd(kind)
    return issubclass(kind, _LEAVES) and not issubclass(kind, bytes | bytearray)


def _looks_settled(kind: type) -> bool:
    if kind in _SCALARS or kind is float:
        return True
    if issubclass(kind, BaseModel):
        if kind.model_config.get("extra") == "allow" or is_custom(kind):
            return False
        return all(_is_concrete(field.annotation) for field in kind.model_fields.values())
    if dataclasses.is_dataclass(kind):
        hints = _hints(kind)
        return all(_is_concrete(hints.get(field.name, _OPEN)) for field in dataclasses.fields(kind))
    return issubclass(kind, _LEAVES)


def _is_simple(kind: type) -> bool:
    return kind is not float and not issubclass(kind, tuple) and _says_all(kind) and not is_odd(kind)


def _is_concrete(annotation: Any) -> bool:
    """Whether values of this annotation are what it says, at any depth, and it says only one thing."""
    annotation = bare(annotation)
    origin = get_origin(annotation)
    if origin is Literal:
        return all(type(argument) in _SCALARS for argument in get_args(annotation))
    if origin in (Union, types.UnionType):
        return all(bare(argument) in _SCALARS for argument in get_args(annotation))
    if origin in (*_SEQUENCES, dict):
        arguments = [argument for argument in get_args(annotation) if argument is not ...]
        return bool(arguments) and all(map(_is_concrete, arguments))
    if not isinstance(annotation, type) or annotation in (list, dict, tuple, set, frozenset, deque, object):
        return False
    if annotation in _SCALARS or annotation is float:
        return True
    if issubclass(annotation, BaseModel) or dataclasses.is_dataclass(annotation):
        return _says_all(annotation) and not annotation.__subclasses__() and not is_odd(annotation)
    return issubclass(annotation, _LEAVES)


def bare(annotation: Any) -> Any:
    """Without `Annotated` and `| None`."""
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation = get_args(annotation)[0]
        elif origin in (Union, types.UnionType):
            rest = [argument for argument in get_args(annotation) if argument is not type(None)]
            if len(rest) != 1:
                return annotation
            annotation = rest[0]
        else:
            return _OPEN if annotation in (Any, object, None) else annotation


def _is_leaf(declared: Any) -> bool:
    return isinstance(declared, type) and issubclass(declared, _LEAVES)


def _has_floats(kind: type) -> bool:
    """Whether a settled class holds floats, at any depth."""
    known = _floats.get(kind)
    if known is None:
        if len(_floats) >= _MAX_CLASSES:
            _floats.clear()
        _floats[kind] = False  # a class that holds itself
        hints = _hints(kind) if dataclasses.is_dataclass(kind) else {}
        if issubclass(kind, BaseModel):
            hints = {name: field.annotation for name, field in kind.model_fields.items()}
        known = _floats[kind] = kind is float or any(map(_mentions_floats, hints.values()))
    return known


def _mentions_floats(annotation: Any) -> bool:
    arguments = get_args(annotation)
    if arguments and get_origin(annotation) is not Literal:
        return any(map(_mentions_floats, arguments))
    return isinstance(annotation, type) and _has_floats(annotation)


def is_custom(kind: type[BaseModel]) -> bool:
    """Whether the JSON of its objects may be anything, or less than they are."""
    known = _customs.get(kind)
    if known is None:
        decorators = kind.__pydantic_decorators__
        forms = decorators.field_serializers or decorators.model_serializers
        own = bool(forms) or any(map(kind.model_config.get, _OWN_FORMS))
        known = own or any(field.exclude for field in kind.model_fields.values())
        _keep(_customs, kind, known)
    return known


def is_odd(kind: type) -> bool:
    """Whether a model writes its fields under other names than it reads them."""
    known = _odds.get(kind)
    if known is None:
        known = issubclass(kind, BaseModel) and any(
            field.serialization_alias is not None and field.serialization_alias != field.validation_alias
            for field in kind.model_fields.values()
        )
        _keep(_odds, kind, known)
    return known


def _keep(cache: dict[type, bool], kind: type, known: bool) -> None:
    if len(cache) >= _MAX_CLASSES:
        cache.clear()
    cache[kind] = known


def _survives(value: BaseModel, kind: type[BaseModel]) -> bool:
    try:
        return bool(kind.model_validate_json(to_json(value, round_trip=True, serialize_as_any=True)) == value)
    except Exception:  # validators, serializers and comparisons are the user's: those that fail do not bring it back
        return False


def _is_undecodable(value: Any) -> bool:
    if not isinstance(value, bytes | bytearray):
        return False
    try:
        value.decode()
    except UnicodeDecodeError:
        return True
    return False


def _hints(kind: type) -> dict[str, Any]:
    known = _annotations.get(kind)
    if known is None:
        if len(_annotations) >= _MAX_CLASSES:
            _annotations.clear()
        try:
            known = get_type_hints(kind, include_extras=True)
        except Exception:  # annotations are the user's expressions: what cannot be evaluated says nothing
            known = {}
        _annotations[kind] = known
    return known


def _key(key: Any) -> str:
    if isinstance(key, Enum):
        key = key.value
    if key is None or isinstance(key, bool):
        return {None: "None", True: "true", False: "false"}[key]
    return clean_text(str(key))
