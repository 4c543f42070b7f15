"""Sets in an order of their own: the one that Python has for them is another in each process."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from itertools import chain
from typing import Any

from pydantic import BaseModel, RootModel

from penguiflow.recording.text import type_name

__all__ = ["in_order", "ordered"]


def ordered(items: Iterable[Any]) -> list[Any]:
    """The items of a set, always in the same order as far as they can be told apart by what they show."""
    return sorted(items, key=_key)


def in_order(value: Any, tree: Any) -> Any:
    """`tree`, the JSON of a value, with the sets in it in order."""
    kind = type(value)
    if isinstance(value, RootModel):
        return in_order(value.root, tree)
    if isinstance(tree, list):
        if kind in (set, frozenset) and len(value) == len(tree):
            pairs = sorted(zip(value, tree, strict=True), key=lambda pair: _key(pair[0]))
            return [in_order(item, own) for item, own in pairs]
        if isinstance(value, list | tuple) and len(value) == len(tree):
            return [in_order(item, own) for item, own in zip(value, tree, strict=True)]
    elif isinstance(tree, dict):
        if isinstance(value, BaseModel):
            return {**tree, **_fields(value, tree)}
        if kind is dict and len(value) == len(tree):
            return {key: in_order(item, own) for item, (key, own) in zip(value.values(), tree.items(), strict=True)}
        if dataclasses.is_dataclass(value):
            names = [field.name for field in dataclasses.fields(value) if field.name in tree]
            return {**tree, **{name: in_order(getattr(value, name, None), tree[name]) for name in names}}
    return tree


def _fields(value: BaseModel, tree: dict[str, Any]) -> dict[str, Any]:
    fields = type(value).model_fields
    found = {}
    for name, item in chain(value.__dict__.items(), (value.__pydantic_extra__ or {}).items()):
        field = fields.get(name)
        shown = name if field is None else field.serialization_alias or field.alias or name
        if shown in tree:
            found[shown] = in_order(item, tree[shown])
    return found


def _key(item: Any) -> tuple[str, Any]:
    kind = type(item)
    if kind is str or kind is int:
        return kind.__name__, item
    if kind is tuple:
        return "tuple", tuple(map(_key, item))
    if kind is frozenset:
        return "frozenset", tuple(map(_key, ordered(item)))
    try:
        return type_name(kind), repr(item)
    except Exception:  # the user's __repr__: without it, the order is that of the set
        return type_name(kind), ""
