"""A recorded trace goes on: resumed after an interruption, or forked into a new one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from penguiflow.recording import CannotRestore, read_frontier
from penguiflow.restore import go_on, prepare
from penguiflow.state.database import DatabaseStore
from penguiflow.state.errors import StoreError
from playground.again import RestoreOrder, RestoreReport
from playground.host.runs import listen
from playground.loader.runnable import Runnable
from playground.protocol import Result

if TYPE_CHECKING:
    from penguiflow.planner.planned import PlannedEdits


async def perform_restore(
    runnable: Runnable,
    order: RestoreOrder,
    trace_id: str,
    store: DatabaseStore | None,
    annotate: Callable[[str, Mapping[str, Any]], None],
) -> Result:
    """Go on with a trace of the store as `trace_id`. Raises nothing but `CancelledError`."""
    report = RestoreReport(origin=order.trace_id)
    refused = Result(trace_id=trace_id, status="error", restore=report)
    resumes = trace_id == order.trace_id
    try:
        if store is None:
            raise CannotRestore(["this host has no store"])
        summary = await store.get_trace(order.trace_id)
        at, edits, decided = order.at, order.edits, None
        if at is not None and edits:
            from penguiflow.planner.forking import plan_edits

            at, decided, edits = await plan_edits(store, order.trace_id, at, edits)
        frontier = await read_frontier(store, order.trace_id, at, results=not resumes)
        try:
            planned = prepare(runnable.flow, frontier, trace_id=trace_id, edits=edits)
        except CannotRestore as refusal:
            meant = await _fitting(store, order, edits) if refusal.problems else []
            raise CannotRestore([*refusal.problems, *meant], refusal.missing) from None
        if resumes and not await store.claim(trace_id, frontier.seq + 1):
            raise CannotRestore(["somebody else goes on with this trace"])
    except CannotRestore as refusal:
        report.refused, report.missing = refusal.problems, refusal.missing
        return refused
    except StoreError as failure:
        report.refused = [str(failure)]
        return refused
    except Exception as failure:  # validators, and what a payload does when it is made again, are user code
        report.refused = [f"{type(failure).__name__}: {failure}"]
        return refused
    if summary is not None and summary.session is not None:
        annotate(trace_id, {"session": summary.session})
    report.seq = frontier.seq
    report.repeated = sum(message.again is not None for message in planned.messages)
    with _deciding(trace_id, decided):
        result = await listen(lambda: go_on(runnable.flow, planned), trace_id, output=planned.output)
    if decided is not None:
        report.missed = decided.missed
    result.restore = report
    return result


async def _fitting(store: DatabaseStore, order: RestoreOrder, edits: Mapping[str, Any]) -> list[str]:
    """What could have been meant by edits of a message, where the fork begins in a step of a planner."""
    from penguiflow.planner.forking import decision_places

    if order.at is None or not edits:
        return []
    places = await decision_places(store, order.trace_id, order.at)
    return [f"what the planner decided in this step is at {', '.join(places)}"] if places else []


@contextmanager
def _deciding(trace_id: str, decided: PlannedEdits | None) -> Iterator[None]:
    """While the body runs, the checkpoints of a fork get what was decided for them."""
    if decided is None:
        yield
        return
    from penguiflow.planner.planned import planned_edits

    planned_edits[trace_id] = decided
    try:
        yield
    finally:
        del planned_edits[trace_id]
