"""Inboxes of runs that were begun by somebody else than their program: by the id of their trace, while they run."""

from __future__ import annotations

from penguiflow.steering.steering import SteeringInbox

__all__ = ["Inboxes", "inboxes"]


class Inboxes:
    """A host offers an inbox for each trace; a planner that runs in it without one of its own takes it."""

    def __init__(self) -> None:
        self._offered: set[str] = set()
        self._taken: dict[str, SteeringInbox] = {}

    def offer(self, trace_id: str) -> None:
        """Runs of this trace can be steered from now on, until `withdraw`."""
        self._offered.add(trace_id)

    def withdraw(self, trace_id: str) -> None:
        """The trace is over."""
        self._offered.discard(trace_id)
        self._taken.pop(trace_id, None)

    def take(self, trace_id: str | None) -> SteeringInbox | None:
        """The inbox for a run of this trace; several runs of one trace have the same. None where none is offered."""
        if trace_id is None or trace_id not in self._offered:
            return None
        return self._taken.setdefault(trace_id, SteeringInbox())

    def find(self, trace_id: str) -> SteeringInbox | None:
        """The inbox, if a run has taken it."""
        return self._taken.get(trace_id)


inboxes = Inboxes()
"""Of this process. Used on the loop of the runs alone."""
