"""Forking and resuming: from the cursor to a run, and from a refusal back to the one who asked."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from playground.dashboard.layout import INSPECT, RUNS
from playground.dashboard.text import one_line
from playground.dashboard.travel.places import (
    NoPlace,
    Point,
    Stand,
    edits_between,
    point_at_event,
    point_at_span,
    stand_at,
)

if TYPE_CHECKING:
    from playground.again import RestoreReport
    from playground.dashboard.app import DashboardApp
    from playground.dashboard.trace import TraceModel
    from playground.protocol import Result

SHOWN_PROBLEMS = 3


class Order(NamedTuple):
    """What was asked of the host, to ask again with what was missing."""

    trace: TraceModel
    target: str
    at: int | None
    """None resumes the run itself."""
    edits: dict[str, Any]
    shown_before: str | None
    """The run that was shown."""


class Forks:
    """Begins forks, and hears how they went."""

    def __init__(self, app: DashboardApp) -> None:
        self._app = app
        self._orders: dict[str, Order] = {}
        """Under way, by the id of the trace that they are to become."""

    # -- fork -----------------------------------------------------------------------------------------------------

    def ask(self) -> None:
        """Show how the run stood at the cursor, and fork it there when that is confirmed."""
        trace = self._ready()
        if trace is None:
            return
        try:
            point = self._point(trace)
        except NoPlace as problem:
            self._app.say(str(problem), "warning")
            return
        self._app.control.start(partial(self._open, trace, point), "fork")

    def _ready(self) -> TraceModel | None:
        app, source = self._app, self._app.control.source
        trace = app.workspace.current
        if trace is None or not trace.events:
            app.say("no run is shown", "warning")
        elif source is None or not source.can_run:
            app.say("nothing can be run here", "warning")
        elif trace.target is None:
            app.say(f"{trace.trace_id[:8]} does not say what it ran", "warning")
        elif trace.loading:
            app.say("it is still being read", "warning")
        else:
            return trace
        return None

    def _point(self, trace: TraceModel) -> Point:
        app = self._app
        pane = app.pane
        if pane.id == RUNS:
            return point_at_event(trace, 0)
        if pane.id == INSPECT:
            index = app.event_rows.event_index
            if index is not None and (pane.view is app.event_rows or app.inspector.event_shown):
                return point_at_event(trace, index)
        if app.spans.span is None:
            return point_at_event(trace, len(trace.events) - 1)
        return point_at_span(trace, app.spans.span)

    async def _open(self, trace: TraceModel, point: Point) -> None:
        source = self._app.control.source
        assert source is not None
        try:
            stand = await stand_at(source, trace, point)
        except NoPlace as problem:
            self._app.say(f"{trace.trace_id[:8]} cannot be forked there: {problem}", "warning")
            return
        self._show(trace, point, stand)

    def _show(self, trace: TraceModel, point: Point, stand: Stand) -> None:
        title = f"fork {trace.trace_id[:8]} after event {point.seq} · {point.head.kind} {point.head.name}"
        if stand.document is None:
            from playground.dashboard.travel.ask_screen import AskScreen

            screen = AskScreen(title, stand.about, does="runs the fork")
            self._app.push_screen(screen, lambda given: None if given is None else self._fork(trace, point, {}))
            return
        from playground.dashboard.editing.editor import EditorScreen, Subject

        about = f"{' '.join(stand.about)} ctrl+s runs the fork, changed or not."
        subject = Subject(title, stand.document, stand.schema, about)
        self._app.push_screen(EditorScreen(subject, partial(self._apply, trace, point, stand)))

    async def _apply(self, trace: TraceModel, point: Point, stand: Stand, value: Any) -> list[dict[str, Any]]:
        try:
            edits = edits_between(stand.document, value, stand.prefixes)
        except NoPlace as problem:
            return [{"path": "", "message": str(problem)}]
        self._fork(trace, point, edits)
        return []

    def _fork(self, trace: TraceModel, point: Point, edits: dict[str, Any]) -> None:
        self._send(Order(trace, trace.target or "", point.seq, edits, self._app.control.wanted))

    # -- resume ---------------------------------------------------------------------------------------------------

    def resume(self) -> None:
        """Go on with the interrupted run that is shown."""
        trace = self._ready()
        if trace is None:
            return
        if trace.status != "interrupted":
            told = f"is over ({trace.status}): f forks it" if trace.over else "is not over"
            self._app.say(f"{trace.trace_id[:8]} {told}", "warning")
            return
        self._send(Order(trace, trace.target or "", None, {}, trace.trace_id))

    # -- the host -------------------------------------------------------------------------------------------------

    def _send(self, order: Order) -> None:
        self._app.control.start(partial(self._run, order), "run")

    async def _run(self, order: Order) -> None:
        from penguiflow.ids import new_id
        from playground.again import RestoreOrder
        from playground.protocol import Run
        from playground.sources import RunRefused

        app, source = self._app, self._app.control.source
        assert source is not None
        origin = order.trace.trace_id
        trace_id = origin if order.at is None else new_id()
        self._orders[trace_id] = order
        app.run_rows.follow_newest = True
        # Its first event brings it onto the screen; a fork that is refused has none.
        app.control.wanted = trace_id
        restore = RestoreOrder(trace_id=origin, at=order.at, edits=order.edits)
        try:
            await source.run(Run(target=order.target, trace_id=trace_id, restore=restore))
        except RunRefused as refusal:
            self._back(trace_id)
            app.say(one_line(str(refusal)), "error")

    def _back(self, trace_id: str) -> None:
        order = self._orders.pop(trace_id, None)
        if order is not None and self._app.control.wanted == trace_id:
            self._app.control.wanted = order.shown_before

    def ended(self, result: Result) -> None:
        """A fork or a resumed run is over, or never began."""
        report = result.restore
        order = self._orders.get(result.trace_id)
        if report is None or order is None:
            return
        if report.refused or report.missing:
            self._back(result.trace_id)
            self._refused(order, report)
            return
        del self._orders[result.trace_id]
        if report.missed:
            self._app.say(f"it did not come to {', '.join(report.missed)} again: nothing was changed there", "warning")

    def _refused(self, order: Order, report: RestoreReport) -> None:
        if report.missing and not report.refused:
            self._ask_for(order, report.missing)
            return
        told = "; ".join(one_line(problem) for problem in report.refused[:SHOWN_PROBLEMS])
        more = len(report.refused) - SHOWN_PROBLEMS
        rest = f" (and {more} more)" if more > 0 else ""
        self._app.say(f"{order.trace.trace_id[:8]} cannot go on: {told}{rest}", "error")

    def _ask_for(self, order: Order, names: list[str]) -> None:
        from playground.dashboard.travel.ask_screen import AskScreen

        many = "a secret" if len(names) == 1 else f"{len(names)} secrets"
        about = [f"The run holds {many} that its log does not have. What is entered here goes to the host only."]
        screen = AskScreen(f"go on with {order.trace.trace_id[:8]}", about, does="goes on", secrets=names)
        self._app.push_screen(screen, partial(self._given, order))

    def _given(self, order: Order, secrets: dict[str, str] | None) -> None:
        if secrets is not None:
            self._send(order._replace(edits={**order.edits, **secrets}))
