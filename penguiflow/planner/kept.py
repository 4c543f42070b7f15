"""What is the same for all runs of a planner that see the same tools: made once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import ref

if TYPE_CHECKING:
    from penguiflow.catalog import NodeSpec
    from penguiflow.planner.settings import PlannerSettings

__all__ = ["kept_for"]

_MOST = 16  # things of one planner; runs that see tools of their own push out the oldest

T = TypeVar("T")

_Kept = tuple[str, Mapping[str, "NodeSpec"], tuple["NodeSpec", ...], tuple[str, ...], Any]

_kept: dict[int, tuple[ref[PlannerSettings], list[_Kept]]] = {}


def kept_for(settings: PlannerSettings, specs: Mapping[str, NodeSpec], what: str, make: Callable[[], T]) -> T:
    """What `make` made for these settings and these tools. It goes when the planner does.

    The mapping must not be changed afterwards: whoever has other tools has another one.
    """
    key = id(settings)
    entry = _kept.get(key)
    if entry is None or entry[0]() is not settings:
        entry = _kept[key] = (ref(settings, lambda _: _kept.pop(key, None)), [])
    made = entry[1]
    found: T
    for of, given, _, _, value in made:
        if given is specs and of == what:
            found = value
            return found
    shown, names = tuple(specs.values()), tuple(specs)
    for of, _, tools, called, value in made:
        if of == what and called == names and all(map(_same, tools, shown)):
            found = value
            return found
    new = make()
    made.append((what, specs, shown, names, new))
    del made[:-_MOST]
    return new


def _same(one: object, other: object) -> bool:
    return one is other
