"""Breakpoints: where runs stop, and the file of a project that keeps them."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from penguiflow.checkpoints import CheckpointKind
from playground.conditions import MAX_LENGTH, Condition, ConditionError

FILE_NAME = "breakpoints.json"
SCHEMA = 1
MAX_BREAKPOINTS = 1000

_KINDS: dict[str, frozenset[str]] = {
    "node": frozenset({"before_node"}),
    "tool": frozenset({"before_tool", "before_join"}),
    "error": frozenset({"on_error"}),
}


class Breakpoint(BaseModel):
    """Where a run stops: all that is given has to fit."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field(min_length=1, max_length=64)
    on: Literal["node", "tool", "kind", "error", "any"]
    """`node` and `tool` stop before it, `kind` at checkpoints of that kind, `error` where something failed."""
    name: str | None = Field(default=None, max_length=200)
    """Of the node, tool or model; None for each."""
    kind: CheckpointKind | None = None
    """For `on="kind"`."""
    target: str | None = Field(default=None, max_length=1000)
    """The flow, as `pf run` takes it; None for each."""
    condition: str | None = Field(default=None, max_length=MAX_LENGTH)
    """Over the payload: see `playground.conditions`."""
    once: bool = False
    """Disabled when it has stopped a run."""
    enabled: bool = True
    hits: int = Field(default=0, ge=0)
    """How many runs it has stopped."""

    @field_validator("condition")
    @classmethod
    def _is_condition(cls, text: str | None) -> str | None:
        if text is not None:
            Condition(text)
        return text

    @model_validator(mode="after")
    def _names_its_kind(self) -> Self:
        if (self.kind is not None) != (self.on == "kind"):
            raise ValueError('`kind` belongs to on="kind", and to nothing else')
        return self

    def fits(self, kind: str, name: str, target: str) -> bool:
        """Whether it asks for a checkpoint, leaving its condition aside."""
        if not self.enabled or (self.name is not None and self.name != name):
            return False
        if self.target is not None and self.target != target:
            return False
        if self.on == "kind":
            return kind == self.kind
        return self.on == "any" or kind in _KINDS[self.on]

    def holds(self, payload: Any) -> bool:
        """Whether its condition is true of a payload of plain JSON. Raises `ConditionError` where it does not fit."""
        return self.condition is None or _condition(self.condition).holds(payload)


@lru_cache(maxsize=MAX_BREAKPOINTS)
def _condition(text: str) -> Condition:
    return Condition(text)


class BreakpointsProblem(Exception):
    """The file cannot be read or written; the text names it and says why."""


class BreakpointStore:
    """The breakpoints of a project, in `breakpoints.json` of its home. Several processes may change them at once."""

    def __init__(self, home: Path) -> None:
        self.path = home / FILE_NAME

    def load(self) -> list[Breakpoint]:
        """What is kept; nothing where there is no file. Raises `BreakpointsProblem`."""
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError) as error:
            raise BreakpointsProblem(f"{self.path} cannot be read: {error}") from None
        try:
            content = json.loads(text)
            if not isinstance(content, dict) or not isinstance(content.get("breakpoints"), list):
                raise BreakpointsProblem(f"{self.path} cannot be read: it is no list of breakpoints")
            if content.get("schema") != SCHEMA:
                version = str(content.get("schema"))[:20]
                raise BreakpointsProblem(f"{self.path} cannot be read: it is of version {version}, this is {SCHEMA}")
            return [Breakpoint.model_validate(each) for each in content["breakpoints"]]
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise BreakpointsProblem(f"{self.path} cannot be read: {where}: {first['msg']}") from None
        except (ValueError, RecursionError) as error:
            raise BreakpointsProblem(f"{self.path} cannot be read: {error}") from None

    def change(self, put: Iterable[Breakpoint] = (), remove: Iterable[str] = ()) -> list[Breakpoint]:
        """Add breakpoints, or put them in the place of those with their ids, and take others away; returns all.

        A file that cannot be read is set aside first, beside its place. Raises `BreakpointsProblem`.
        """
        with self._alone():
            kept = {each.id: each for each in self._load_or_set_aside()}
            for each in put:
                kept[each.id] = each
            for name in remove:
                kept.pop(name, None)
            if len(kept) > MAX_BREAKPOINTS:
                raise BreakpointsProblem(f"a project keeps at most {MAX_BREAKPOINTS} breakpoints")
            self._write(list(kept.values()))
            return list(kept.values())

    def count(self, hits: dict[str, int]) -> list[Breakpoint]:
        """Add to the hits of breakpoints, by id, and disable those that stop once. Returns and raises as `change`."""
        with self._alone():
            kept = self._load_or_set_aside()
            for each in kept:
                each.hits += hits.get(each.id, 0)
                each.enabled = each.enabled and not (each.once and each.id in hits)
            self._write(kept)
            return kept

    def _load_or_set_aside(self) -> list[Breakpoint]:
        try:
            return self.load()
        except BreakpointsProblem:
            number = 1
            while (aside := self.path.with_name(f"{FILE_NAME}.unreadable-{number}")).exists():
                number += 1
            try:
                self.path.rename(aside)
            except OSError as error:
                raise BreakpointsProblem(f"{self.path} cannot be read, nor set aside: {error}") from None
            return []

    def _write(self, breakpoints: list[Breakpoint]) -> None:
        """All or nothing: another file takes the place of the one there is."""
        content = {"schema": SCHEMA, "breakpoints": [each.model_dump(exclude_none=True) for each in breakpoints]}
        draft = None
        try:
            handle, draft = tempfile.mkstemp(dir=self.path.parent, prefix=".breakpoints-")
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(content, file, indent=2)
                file.flush()
                os.fsync(file.fileno())
            Path(draft).replace(self.path)
        except (OSError, UnicodeEncodeError) as error:
            if draft is not None:
                Path(draft).unlink(missing_ok=True)
            raise self._not_writable(error) from None

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at a time between reading and writing."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = self.path.with_suffix(".lock").open("w")
        except OSError as error:
            raise self._not_writable(error) from None
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _not_writable(self, error: OSError | UnicodeEncodeError) -> BreakpointsProblem:
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        return BreakpointsProblem(f"{self.path} cannot be written: {why}; PENGUIFLOW_HOME may name another folder")


__all__ = ["Breakpoint", "BreakpointStore", "BreakpointsProblem", "ConditionError"]
