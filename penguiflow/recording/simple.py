"""Values that need no care: what their JSON and the names of their classes tell is all there is to tell.

Most payloads are such, and it is seen in one short walk: models whose fields hold exactly what is declared, and in
fields that take anything what JSON has itself. Of all others nothing is said here.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, time
from enum import Enum
from typing import Any, get_args, get_origin
from uuid import UUID

from pydantic import BaseModel, RootModel

from penguiflow.recording.shapes import bare, is_custom, is_odd

__all__ = ["is_simple"]

_SAFE: frozenset[type] = frozenset({str, bool, type(None)})
_TEXT: frozenset[type] = frozenset({str})
_LARGE = 1 << 63
_LEAF, _MODEL, _MODELS = range(3)
"""What a field is declared to hold: a text, a model, a list of models."""
_MAX_DEPTH = 20
_MAX_CLASSES = 4096

_Plan = tuple[frozenset[str], dict[str, tuple[type, int]]]
"""The keys of a model's JSON, and what its fields are declared to hold."""
_plans: dict[type, _Plan | None] = {}
_UNKNOWN = (object, _LEAF)


def is_simple(value: Any, keys: set[str], depth: int = 0) -> bool:  # noqa: C901 - written out: each message pays for it
    """Whether `shapes` finds nothing in a dict, a list or a model, readers take its JSON, and no order is to be made.

    All keys of its JSON are put into `keys` then.
    """
    kind = type(value)
    if kind is dict:
        if not _TEXT.issuperset(map(type, value)):
            return False
        keys.update(value)
        return _SAFE.issuperset(map(type, value.values())) or _are_simple(value.values(), keys, depth)
    if kind is list:
        return _SAFE.issuperset(map(type, value)) or _are_simple(value, keys, depth)
    try:
        plan = _plans[kind]
    except KeyError:
        plan = _plan_of(kind)
    if plan is None or depth > _MAX_DEPTH:
        return False
    names, fields = plan
    keys |= names
    for name, item in value.__dict__.items():
        sort = type(item)
        if sort in _SAFE:
            continue
        if sort is int:
            if -_LARGE < item < _LARGE:
                continue
            return False
        if sort is float:
            if item - item == 0.0:  # neither NaN nor infinite
                continue
            return False
        if sort is dict:
            if item and not is_simple(item, keys, depth + 1):
                return False
            continue
        declared, holds = fields.get(name, _UNKNOWN)
        if sort is list:
            if not item:
                continue
            depth += 1
            if not (_hold(item, declared, keys, depth) if holds == _MODELS else is_simple(item, keys, depth)):
                return False
        elif declared is not sort or (holds != _LEAF and not (holds == _MODEL and is_simple(item, keys, depth + 1))):
            return False
    return True


def _are_simple(items: Iterable[Any], keys: set[str], depth: int) -> bool:
    """Whether they are what JSON has, and nothing else."""
    if depth > _MAX_DEPTH:
        return False
    for item in items:
        kind = type(item)
        if kind in _SAFE:
            continue
        if kind is int:
            if not -_LARGE < item < _LARGE:
                return False
        elif kind is float:
            if item - item != 0.0:
                return False
        elif (kind is not dict and kind is not list) or not is_simple(item, keys, depth + 1):
            return False
    return True


def _hold(items: list[Any], kind: type, keys: set[str], depth: int) -> bool:
    """Whether all are simple models of exactly this class."""
    return depth <= _MAX_DEPTH and all(type(item) is kind and is_simple(item, keys, depth) for item in items)


def _plan_of(kind: type) -> _Plan | None:
    """None for a class whose objects are not told by their fields alone."""
    if len(_plans) >= _MAX_CLASSES:
        _plans.clear()
    _plans[kind] = None
    if not issubclass(kind, BaseModel) or issubclass(kind, RootModel) or is_custom(kind) or is_odd(kind):
        return None
    if kind.model_config.get("extra") == "allow":
        return None
    names: set[str] = set()
    found: dict[str, tuple[type, int]] = {}
    for name, field in kind.model_fields.items():
        names.add(field.serialization_alias or field.alias or name)
        declared, many = bare(field.annotation), False
        if get_origin(declared) is list:
            declared, many = bare(get_args(declared)[0]), True
        if not isinstance(declared, type):
            continue
        if issubclass(declared, BaseModel):
            found[name] = (declared, _MODELS if many else _MODEL)
        elif not many and _is_text(declared):
            found[name] = (declared, _LEAF)
    plan = _plans[kind] = (frozenset(names), found)
    return plan


def _is_text(kind: type) -> bool:
    """Whether objects of this class are a text in JSON."""
    if issubclass(kind, Enum):
        return all(type(member.value) in _TEXT for member in kind)
    return kind in (date, datetime, time, UUID)
