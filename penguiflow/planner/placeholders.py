"""Values that stand for missing arguments, and the policies that say what is done about them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

if TYPE_CHECKING:
    from penguiflow.catalog import NodeSpec

__all__ = ["AUTO_STR_SENTINEL", "ArgPolicy", "autofilled", "is_simple", "placeholder_paths", "root_of"]

AUTO_STR_SENTINEL = "<auto>"
_PLACEHOLDERS = ("<unknown>", "<placeholder>", "placeholder", "tbd", "todo", "n/a", "...")
_NOTHING = object()


@dataclass(frozen=True, slots=True)
class ArgPolicy:
    """`extra["arg_validation"]` of a tool."""

    placeholders: frozenset[str]
    """In small letters."""
    reject_placeholders: bool | None
    """None: only where they were filled in."""
    reject_autofill: bool
    emit_suspect: bool

    @classmethod
    def of(cls, spec: NodeSpec) -> ArgPolicy:
        """That of a tool; what it does not say is by default."""
        told = spec.extra.get("arg_validation")
        if told is None:
            return _DEFAULT
        told = told if isinstance(told, Mapping) else {}
        words = told.get("placeholders", _PLACEHOLDERS)
        reject = told.get("reject_placeholders")
        return cls(
            placeholders=frozenset(str(each).strip().lower() for each in (AUTO_STR_SENTINEL, *words)),
            reject_placeholders=None if reject is None else bool(reject),
            reject_autofill=bool(told.get("reject_autofill", False)),
            emit_suspect=bool(told.get("emit_suspect", True)),
        )

    def rejects(self, paths: Iterable[str], filled: Sequence[str]) -> str | None:
        """Why these arguments are not taken: where placeholders are, and which fields were filled in."""
        if self.reject_autofill and filled:
            return f"required arguments are missing: {', '.join(filled)}"
        if self.reject_placeholders:
            bad = list(paths)
        elif self.reject_placeholders is None:
            bad = [path for path in paths if root_of(path) in filled]
        else:
            bad = []
        if not bad:
            return None
        missing = [path for path in bad if path in filled]
        if missing == bad:
            return f"required arguments are missing: {', '.join(missing)}"
        return f"these arguments have no real value: {', '.join(bad)}"


_DEFAULT = ArgPolicy(frozenset({AUTO_STR_SENTINEL, *_PLACEHOLDERS}), None, reject_autofill=False, emit_suspect=True)


def placeholder_paths(args: Mapping[str, Any], placeholders: frozenset[str]) -> dict[str, str]:
    """The placeholders by where they stand: `query`, `filter.name`, `ids[0]`."""
    return dict(_paths(args, "", placeholders)) if _has(args, placeholders) else {}


def _has(value: Any, placeholders: frozenset[str]) -> bool:
    """Whether there is a placeholder: most arguments have none, and need no paths."""
    if isinstance(value, str):
        return value.strip().lower() in placeholders
    if isinstance(value, Mapping):
        value = value.values()
    elif not isinstance(value, list):
        return False
    return any(_has(each, placeholders) for each in value)


def _paths(value: Any, path: str, placeholders: frozenset[str]) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        if value.strip().lower() in placeholders:
            yield path, value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _paths(each, f"{path}.{key}" if path else str(key), placeholders)
    elif isinstance(value, list):
        for place, each in enumerate(value):
            yield from _paths(each, f"{path}[{place}]", placeholders)


def root_of(path: str) -> str:
    """The field that a path begins with."""
    return path.split(".", 1)[0].split("[", 1)[0]


def autofilled(
    model: type[BaseModel], args: Mapping[str, Any], error: ValidationError
) -> tuple[dict[str, Any], list[str]] | None:
    """The arguments with a value for each required field that is missing, and which these are.

    None when something else is wrong with them, or when a field's type has no value to stand for it.
    """
    filled = dict(args)
    missing: list[str] = []
    keys = {info.alias or name: info for name, info in model.model_fields.items()}
    for each in error.errors(include_url=False, include_context=False, include_input=False):
        if each["type"] != "missing" or len(each["loc"]) != 1:
            return None
        name = str(each["loc"][0])
        value = _stand_in(keys[name].annotation) if name in keys else _NOTHING
        if value is _NOTHING:
            return None
        filled[name] = value
        missing.append(name)
    return (filled, missing) if missing else None


def _stand_in(annotation: Any) -> Any:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return inner[0]
    if origin in (Union, UnionType):
        return None if NoneType in inner else _stand_in(inner[0])
    kind = origin or annotation
    if not isinstance(kind, type):
        return _NOTHING
    if issubclass(kind, Enum):
        return next(iter(kind)).value
    for types, value in ((bool, False), (str, AUTO_STR_SENTINEL), (int, 0), (float, 0.0)):
        if issubclass(kind, types):
            return value
    if issubclass(kind, list | set | frozenset | tuple):
        return []
    return {} if issubclass(kind, dict) else _NOTHING


def is_simple(annotation: Any) -> bool:
    """Whether a model can be asked for a value of the type in one word: texts, numbers, yes and no, choices."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return True
    if origin in (Union, UnionType):
        return all(each is NoneType or is_simple(each) for each in inner)
    return isinstance(annotation, type) and issubclass(annotation, str | int | float | bool | Enum)
