"""INSPECT shows what is selected, also when that moves by itself."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from playground.dashboard.layout import FLOWS, INSPECT, RUNS, TRACE

if TYPE_CHECKING:
    from playground.dashboard.app import DashboardApp


class Selection:
    """Keeps the inspector with the list that was used last.

    A key that moves a cursor is answered at once, by the app. A cursor that goes along with a run, or to a place where
    one has stopped, is followed here.
    """

    def __init__(self, app: DashboardApp) -> None:
        self._app = app
        self._list = FLOWS
        """The list that had the focus last: what is selected is what its cursor is on."""
        self._on: tuple[str, str] | None = None
        """Trace and span that the tree's cursor was on."""

    def focused(self, pane: str) -> None:
        """A pane has the focus now."""
        if pane in {FLOWS, RUNS, TRACE}:
            self._list = pane

    def forget(self) -> None:
        """A run as a whole is shown: the cursor is looked at anew."""
        self._on = None

    def frame(self) -> None:
        """Once per frame: show what the tree's cursor has come to, unless somebody reads what is shown."""
        app, trace = self._app, self._app.workspace.current
        span = app.spans.span
        if self._list != TRACE or app.pane.id == INSPECT or trace is None or span is None:
            return
        # Moments of a run have their own ways; an event that was opened stays, and so does why a module broke.
        kept = trace.whole is not None or app.inspector.event_shown or self._broken_shown() is not None
        if kept or time.monotonic() < app.inspector.due:
            return
        on = (trace.trace_id, span.span_id)
        if on != self._on:
            self._on = on
            if app.detail.subject != ("span", *on):
                app.inspect(app.panes[TRACE])

    def modules_changed(self) -> None:
        """An error that is gone is not shown any longer; of a trace file, where no code is, the run comes first."""
        app = self._app
        if app.flows.recorded and app.pane.id == FLOWS and not app.pressed_at:
            app.action_focus_pane(TRACE)
        shown = self._broken_shown()
        if shown is not None and shown not in {each.path for each in app.workspace.modules if each.error is not None}:
            app.inspect(app.panes[self._list])

    def _broken_shown(self) -> str | None:
        """The module whose error is shown."""
        subject = self._app.detail.subject
        return str(subject[1]) if isinstance(subject, tuple) and subject[0] == "module" else None
