"""Places to stop at, as people write them.

| written | stops |
| --- | --- |
| `node:ask`, `node` | before the node of that name, before each |
| `tool:fetch`, `tool` | before the tool of that name, before each; joins of plans are calls of tools |
| `kind:after_decision`, `kind:before_llm:NAME` | at checkpoints of that kind; the word `kind:` may be left out |
| `error`, `error:fetch` | where something failed |
| `any` | at every checkpoint |
"""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches
from typing import Literal, NamedTuple, get_args

from penguiflow.checkpoints import CheckpointKind
from playground.breakpoints import Breakpoint

__all__ = ["KINDS", "MAX_ID", "Place", "PlaceError", "free_id", "read_place", "written"]

KINDS: tuple[CheckpointKind, ...] = get_args(CheckpointKind)
_SORTS = ("node", "tool", "kind", "error", "any")
MAX_ID = 64


class PlaceError(ValueError):
    """A place that cannot be read; `hint` says what may have been meant."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class Place(NamedTuple):
    """The part of a breakpoint that says where."""

    on: Literal["node", "tool", "kind", "error", "any"]
    name: str | None = None
    kind: CheckpointKind | None = None


def read_place(text: str) -> Place:
    """The place that is meant. Raises `PlaceError`."""
    sort, _, rest = text.strip().partition(":")
    if sort in KINDS:
        sort, rest = "kind", f"{sort}:{rest}" if rest else sort
    if sort == "kind":
        kind, _, rest = rest.partition(":")
        if kind not in KINDS:
            what = f"no kind of checkpoint is named {kind!r}" if kind else "`kind:` needs the kind of a checkpoint"
            raise PlaceError(what, _meant(kind, KINDS))
        return Place("kind", _name(rest), next(each for each in KINDS if each == kind))
    name = _name(rest)
    if sort == "node":
        return Place("node", name)
    if sort == "tool":
        return Place("tool", name)
    if sort == "error":
        return Place("error", name)
    if sort == "any":
        return Place("any", name)
    hint = _meant(sort, (*_SORTS, *KINDS)) if sort else "node:NAME, tool:NAME, kind:after_decision, error or any"
    raise PlaceError(f"{text!r} is no place to stop at", hint)


def written(place: Place | Breakpoint) -> str:
    """The place as `read_place` takes it."""
    return ":".join(part for part in (place.on, place.kind, place.name) if part is not None)


def free_id(place: Place, taken: Collection[str]) -> str:
    """An id for a breakpoint at this place: the place itself, with a number where that is taken."""
    base = written(place)[: MAX_ID - 5]
    if base not in taken:
        return base
    number = 2
    while f"{base}-{number}" in taken:
        number += 1
    return f"{base}-{number}"


def _name(text: str) -> str | None:
    name = text.strip()
    return name if name and name != "*" else None


def _meant(text: str, known: Collection[str]) -> str:
    near = get_close_matches(text, list(known), n=1)
    return f"did you mean {near[0]}?" if near else f"one of {', '.join(known)}"
