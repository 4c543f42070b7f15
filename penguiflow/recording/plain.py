"""The careful way to turn a value into JSON: one object at a time, whatever it is.

Used where `pydantic_core` gives up or must not be let near: text that is no Unicode, cycles, depth, iterators that
reading would use up. Bounded in depth, in objects and in text; raises nothing.
"""

from __future__ import annotations

import base64
import dataclasses
import math
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from enum import Enum
from secrets import token_hex
from typing import Any

import pydantic_core
from pydantic import BaseModel, RootModel, SecretBytes, SecretStr

from penguiflow.recording.sets import ordered
from penguiflow.recording.text import clean_text, type_name

__all__ = ["FROZEN", "MASK", "MAX_REPR_CHARS", "Frozen", "Hide", "StandIn", "marker", "plain"]

MASK = "**********"
"""What stands for a secret."""
MAX_REPR_CHARS = 2_000
MAX_DEPTH = 100
"""Levels; what is deeper is marked. Readers of JSON stop at 200."""
MAX_OBJECTS = 20_000
"""Objects (not texts and numbers) of one payload that are looked at."""
MAX_TEXT_CHARS = 8 * 1024 * 1024
MAX_INT_BITS = 14_000
"""Readers of JSON refuse integers of more than 4,300 digits."""

_JSON_KEYS = {None: "None", True: "true", False: "false"}  # as pydantic_core has them


Hide = Callable[[str], Any]
"""Gives what stands for a secret."""


FROZEN = f"⟦frozen-{token_hex(8)}"
"""Key under which a `Frozen` is handed on to whoever hides secrets: nobody else can know it."""


class Frozen(dict[str, Any]):
    """A payload in its stored form, its secrets hidden: nothing in it is to be hidden again."""


class StandIn(dict[str, Any]):
    """What stands for a value that has no JSON of its own: `{"type", "value"}` and how the value was written."""


def marker(value: Any) -> StandIn:
    """What stands for a value that cannot be rebuilt: its type and the beginning of its repr."""
    return StandIn(type=type_name(type(value)), value=_safe_repr(value), repr=True)


def plain(value: Any, hide: Hide | None = None) -> Any:
    """A tree of dict, list, str, int, float, bool and None for `value`; never raises.

    `hide` gives what stands for the text of a secret.
    """
    return _Walk(hide or _mask).visit(value, 0)


def _mask(text: str) -> Any:
    return MASK if text else ""


def _safe_repr(value: Any) -> str:
    try:
        text = repr(value)
    except Exception as error:  # the user's __repr__: any failure of it is told in place of the text
        text = f"<{type(value).__qualname__}: its repr raised {type(error).__name__}>"
    if len(text) > MAX_REPR_CHARS:
        text = text[:MAX_REPR_CHARS] + "…"
    return clean_text(text)


class _Walk:
    """One walk over one value."""

    def __init__(self, hide: Hide) -> None:
        self.hide = hide
        self.objects = MAX_OBJECTS
        self.text = MAX_TEXT_CHARS
        self.path: set[int] = set()

    def visit(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if value is None or kind is bool:
            return value
        if kind is str:
            return self._text(value)
        if kind is int:
            return value if value.bit_length() <= MAX_INT_BITS else _huge(value)
        if kind is float:
            return value if math.isfinite(value) else _not_finite(value)
        self.objects -= 1
        if self.objects < 0 or depth >= MAX_DEPTH or id(value) in self.path:
            return StandIn(type=type_name(kind), value="…", repr=True)
        self.path.add(id(value))
        try:
            return self._object(value, depth + 1)
        except Exception:  # the user's properties, iterators and keys: any failure of them leaves a marker
            return marker(value)
        finally:
            self.path.discard(id(value))

    def _text(self, value: str) -> str:
        if len(value) > self.text:
            value = value[: self.text] + "…"
        self.text -= len(value)
        return clean_text(value)

    def _object(self, value: Any, depth: int) -> Any:
        if type(value) is Frozen:
            return dict(value) if self.hide is _mask else {FROZEN: dict(value)}
        if isinstance(value, BaseModel):
            if isinstance(value, RootModel):
                return self.visit(value.root, depth)
            return self._mapping({**value.__dict__, **(value.__pydantic_extra__ or {})}, depth)
        if isinstance(value, SecretStr | SecretBytes):
            secret = value.get_secret_value()
            text = secret if isinstance(secret, str) else secret.decode("utf-8", "backslashreplace")
            return self.hide(text) if text else ""
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            names = [field.name for field in dataclasses.fields(value)]
            return {clean_text(name): self.visit(getattr(value, name, None), depth) for name in names}
        if isinstance(value, Enum):
            return self.visit(value.value, depth)
        # The base's own methods below: a subclass may have another idea of itself.
        if isinstance(value, str):
            return self._text(str.__str__(value))
        if isinstance(value, int):
            return self.visit(int.__pos__(value), depth)
        if isinstance(value, float):
            return self.visit(float.__pos__(value), depth)
        if isinstance(value, bytes | bytearray | memoryview):
            return self._bytes(bytes(value))
        if isinstance(value, Mapping):
            return self._mapping(value, depth)
        if isinstance(value, Sequence | Set | deque) and not isinstance(value, range):
            return self._items(value, depth)
        return self._known(value)

    def _bytes(self, value: bytes) -> Any:
        self.text -= len(value)
        if self.text < 0:
            return StandIn(type="builtins:bytes", value=f"{len(value)} bytes", repr=True)
        try:
            return value.decode()
        except UnicodeDecodeError:
            return StandIn(type="builtins:bytes", value=base64.b64encode(value).decode(), base64=True)

    def _mapping(self, value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        result = {}
        for key, item in value.items():
            if self.objects < 0:
                result["…"] = f"{len(value)} items in all"
                break
            result[self._key(key)] = self.visit(item, depth)
        return result

    def _key(self, key: Any) -> str:
        if isinstance(key, Enum):
            key = key.value
        if isinstance(key, str):
            return clean_text(key[:MAX_REPR_CHARS])
        if key is None or isinstance(key, bool):
            return _JSON_KEYS[key]
        return _safe_repr(key)

    def _items(self, value: Collection[Any], depth: int) -> list[Any]:
        result: list[Any] = []
        for item in ordered(value) if isinstance(value, set | frozenset) else value:
            if self.objects < 0:
                result.append(f"… {len(value)} items in all")
                break
            result.append(self.visit(item, depth))
        return result

    def _known(self, value: Any) -> Any:
        if isinstance(value, BaseException) or hasattr(type(value), "__next__"):
            return marker(value)
        try:
            # Dates, decimals, UUIDs, paths, URLs: text that their own type reads back.
            return pydantic_core.to_jsonable_python(value, inf_nan_mode="strings")
        except (ValueError, TypeError):
            return marker(value)


def _huge(value: int) -> StandIn:
    return StandIn(type="builtins:int", value=hex(value)[:MAX_REPR_CHARS], repr=True)


def _not_finite(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
