"""JSON Pointers (RFC 6901): naming a place in a JSON value, and changing it."""

from __future__ import annotations

from typing import Any

__all__ = ["NOTHING", "PointerError", "assign", "find", "parts_of"]

NOTHING: Any = object()
"""There is no such place."""


class PointerError(ValueError):
    """A pointer is none, or points to where nothing can be."""


def parts_of(pointer: str) -> list[str]:
    """The keys of a pointer. Raises `PointerError` for text that is none, and for one that means the whole."""
    if not pointer.startswith("/"):
        raise PointerError(f"{pointer!r} is no JSON Pointer: it begins with /")
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer[1:].split("/")]


def find(document: Any, parts: list[str]) -> Any:
    """What is at a place of a document (`-`: the last item of a list), or `NOTHING`."""
    for part in parts:
        if isinstance(document, dict) and part in document:
            document = document[part]
        elif isinstance(document, list) and part == "-" and document:
            document = document[-1]
        elif isinstance(document, list) and part.isascii() and part.isdigit() and int(part) < len(document):
            document = document[int(part)]
        else:
            return NOTHING
    return document


def assign(document: Any, parts: list[str], value: Any) -> Any:
    """Put a value at a place of a document, in place; returns what was there (None where nothing was).

    The last key may be new, and in a list be the next index or `-`. Raises `PointerError`.
    """
    target = document
    for depth, part in enumerate(parts[:-1], start=1):
        target = _step(target, part, "/" + "/".join(parts[:depth]))
    where, last = "/" + "/".join(parts), parts[-1]
    if isinstance(target, dict):
        before = target.get(last)
        target[last] = value
        return before
    if isinstance(target, list):
        index = len(target) if last == "-" else _index(last, where)
        if index == len(target):
            target.append(value)
            return None
        if index < len(target):
            before, target[index] = target[index], value
            return before
        raise PointerError(f"{where}: the list has {len(target)} items")
    raise PointerError(f"{where}: what is around it is neither an object nor a list")


def _step(value: Any, part: str, where: str) -> Any:
    if isinstance(value, dict) and part in value:
        return value[part]
    if isinstance(value, list) and _index(part, where) < len(value):
        return value[int(part)]
    raise PointerError(f"there is nothing at {where}")


def _index(part: str, where: str) -> int:
    if not part.isascii() or not part.isdigit():
        raise PointerError(f"{where}: {part!r} is no index of a list")
    return int(part)
