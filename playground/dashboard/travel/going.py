"""Going to an event of another run, which may have to be read first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playground.dashboard.layout import INSPECT

if TYPE_CHECKING:
    from playground.dashboard.app import DashboardApp


class Going:
    """Where somebody wants to go, until it is there."""

    def __init__(self, app: DashboardApp) -> None:
        self._app = app
        self._place: tuple[str, int] | None = None

    def to(self, trace_id: str, seq: int) -> None:
        """Show a run, and of it an event."""
        self._place = trace_id, seq
        self._app.run_rows.pick(trace_id)
        self._app.control.select(trace_id)

    def frame(self) -> None:
        """Arrive, as soon as the event is there."""
        if self._place is None:
            return
        app, (trace_id, seq) = self._app, self._place
        if app.control.wanted != trace_id:
            self._place = None
            return
        trace = app.workspace.current
        if trace is None or trace.trace_id != trace_id or (trace.loading and trace.last_seq < seq):
            return
        self._place = None
        index = trace.position(seq)
        if index >= len(trace.events):
            return
        app.event_rows.set_filter("")
        app.event_rows.pick(index)
        app.panes[INSPECT].show_view(app.event_rows)
        app.open_event()
        app.action_focus_pane(INSPECT)
