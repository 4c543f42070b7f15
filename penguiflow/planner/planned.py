"""What a fork is to change at its checkpoints: decided before it begins, by its trace id."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from penguiflow.checkpoints import Decision

if TYPE_CHECKING:
    from penguiflow.callsite import CallSite

__all__ = ["PlannedEdits", "planned_edits"]

planned_edits: dict[str, PlannedEdits] = {}
"""By the id of the trace that they are for, while it runs."""


class PlannedEdits:
    """Edits at the checkpoints of one step, each made once.

    Args:
        place: Of the step: how the scope of its span is called, which is the same in a fork.
        edits: By kind of checkpoint: keys of a JSON Pointer, and the value to put there.
    """

    def __init__(self, place: str, edits: Mapping[str, list[tuple[list[str], Any]]]) -> None:
        self._place = place
        self._open = dict(edits)

    @property
    def missed(self) -> list[str]:
        """Kinds of checkpoints that were not reached."""
        return list(self._open)

    def wants(self, site: CallSite, kind: str) -> bool:
        """Whether there is something to change here."""
        if kind not in self._open or site.scope is None:
            return False
        place = site.scope.place
        return place == self._place or place.startswith(f"{self._place}/")

    def decide(self, kind: str, payload: Any) -> Decision:
        """The decision: an edit of what is shown there. Raises `CannotRestore` where that has no such place."""
        from penguiflow.recording.plan import CannotRestore
        from penguiflow.recording.pointers import PointerError, assign

        document = copy.deepcopy(payload)
        for parts, value in self._open.pop(kind):
            try:
                assign(document, parts, value)
            except PointerError as error:
                raise CannotRestore([f"{kind}:/{'/'.join(parts)} cannot be set: {error}"]) from None
        if kind in ("before_tool", "before_join"):
            document = {"tool": document["tool"], "args": document["args"]}
        return Decision.edit(document["observation"] if kind == "after_tool" else document)
