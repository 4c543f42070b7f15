"""A JSON value for a screen: all of it when it fits, else what is small in full and what is large by its beginning."""

from __future__ import annotations

from typing import Any

__all__ = ["fold"]

_TEXT = 2000
"""Characters of a string that are shown."""


def fold(value: Any, lines: int) -> tuple[Any, bool]:
    """As much of the value as fits into so many lines of indented JSON, and whether anything is missing.

    What is missing is replaced by a string that tells how much it is.
    """
    folded = _fold(value, max(lines, 1))
    return folded, folded != value


def _fold(value: Any, room: int) -> Any:
    if isinstance(value, str):
        rest = len(value) - _TEXT
        return value if rest <= 0 else f"{value[:_TEXT]}… {rest:,} more characters"
    if not isinstance(value, dict | list) or not value:
        return value
    keys: list[Any] = list(value) if isinstance(value, dict) else list(range(len(value)))
    if room < 3:
        return _count_of(value)
    # Two lines are the brackets.
    shown = _share(value, keys, room - 2) if len(keys) <= room - 2 else _begin(value, keys, room - 3)
    if not shown:
        return _count_of(value)
    more = len(keys) - len(shown)
    if isinstance(value, dict):
        return {**shown, "…": f"{more:,} more"} if more else shown
    return [*shown.values(), f"… {more:,} more"] if more else list(shown.values())


def _share(value: Any, keys: list[Any], room: int) -> dict[Any, Any]:
    """Every entry, each on a line at least; the small ones get what they need before the large ones."""
    needs = {key: _height(value[key], room) for key in keys}
    spare = room - len(keys)
    shown = {}
    for key in sorted(keys, key=lambda key: needs[key]):
        allowed = min(needs[key], 1 + spare)
        shown[key] = _fold(value[key], allowed)
        spare -= _height(shown[key], allowed) - 1
    return {key: shown[key] for key in keys}


def _begin(value: Any, keys: list[Any], room: int) -> dict[Any, Any]:
    """The first entries, as many as fit in full."""
    shown: dict[Any, Any] = {}
    for key in keys:
        needed = _height(value[key], room)
        if needed > room:
            break
        room -= needed
        shown[key] = _fold(value[key], needed)
    return shown


def _height(value: Any, limit: int) -> int:
    """Lines of the value as indented JSON; counting stops beyond `limit`."""
    if not isinstance(value, dict | list) or not value:
        return 1
    total = 2
    for item in value.values() if isinstance(value, dict) else value:
        if total > limit:
            break
        total += _height(item, limit - total)
    return total


def _count_of(value: Any) -> str:
    noun = "field" if isinstance(value, dict) else "item"
    return f"… {len(value):,} {noun}{'' if len(value) == 1 else 's'}"
