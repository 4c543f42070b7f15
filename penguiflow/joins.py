"""What a node waits for is a span of its own in the trace's log: a `join`.

It begins with the first message that the node keeps, and ends with the one that completes them, or with the trace.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from penguiflow.failures import said

if TYPE_CHECKING:
    from penguiflow.context import Context
    from penguiflow.observer import TraceLog
    from penguiflow.traces import Trace

__all__ = ["Join", "end_joins", "follow_join"]

MAX_PARENTS = 1000
"""Messages of a join that its end names; the others are counted."""


class Join:
    """Messages that a node has gathered and not yet sent on."""

    __slots__ = ("came", "name", "parents", "span")

    def __init__(self, name: str, span: str) -> None:
        self.name = name
        self.span = span
        self.parents: list[str] = []
        self.came = 0

    def end(self, log: TraceLog, status: str, why: str | None = None) -> None:
        """Write how it ended, and which messages had come."""
        data: dict[str, Any] = {"parents": self.parents, "came": self.came}
        if why is not None:
            data["error"] = {"message": why}
        log.end("join", self.name, self.span, log.root, status, data)


def follow_join(context: Context, trace: Trace, log: TraceLog, hold: str | None, waited: bool) -> None:
    """An invocation ends: write what it began or completed.

    `hold` is what its node waits for now; `waited` whether it did before, by what the log has.
    """
    node_id = context._port.owner.node_id
    join = None if trace.joins is None else trace.joins.get(node_id)
    if join is None:
        if hold is None and not waited and not context._joins:
            return
        span = log.start("join", context._port.name, log.root, {"node_id": node_id, "hold": hold})
        join = Join(context._port.name, span)
        if trace.joins is None:
            trace.joins = {}
        trace.joins[node_id] = join
    join.came += 1
    if len(join.parents) < MAX_PARENTS:
        join.parents.append(context._item[4])
    if hold is None and trace.joins is not None:
        del trace.joins[node_id]
        join.end(log, "ok")


def end_joins(trace: Trace, log: TraceLog, status: str) -> None:
    """The trace ends with joins that are not complete: they failed it (`error`), or end with it (`cancelled`)."""
    for node_id, join in (trace.joins or {}).items():
        why = (trace.holds or {}).get(node_id)
        join.end(log, status, None if why is None else said(why))
    trace.joins = None
