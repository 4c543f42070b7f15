"""The timeline on the screen: on and off, and every pane at the moment that it shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playground.dashboard.layout import TRACE, Box
from playground.dashboard.travel.timeline_view import HEIGHT, TimelinePane, TimelineView

if TYPE_CHECKING:
    from textual.widget import Widget

    from playground.dashboard.app import DashboardApp
    from playground.dashboard.trace import TraceModel
    from playground.dashboard.travel.timeline import Landmark, Timeline

MIN_HEIGHT = 9
"""A trace's box is given up to the bar only from this height on; below, the bar has one row less."""


class Walk:
    """What the timeline's keys do."""

    def __init__(self, app: DashboardApp) -> None:
        self._app = app
        self.view = TimelineView()
        self.pane = TimelinePane(self.view, app.palette, self.go)
        self.timeline: Timeline | None = None
        self._showing = False

    @property
    def has_focus(self) -> bool:
        """Whether its keys are those of the moment."""
        return self.timeline is not None and self.pane.has_focus

    def place(self, boxes: dict[str, Box]) -> None:
        """Take the bar's rows from the top of the trace's box, or of the only one there is."""
        if self.timeline is None:
            return
        name = TRACE if TRACE in boxes else next(iter(boxes))
        box = boxes[name]
        rows = HEIGHT if box.height >= MIN_HEIGHT else HEIGHT - 1
        boxes["timeline"] = box._replace(height=rows)
        boxes[name] = box._replace(y=box.y + rows, height=max(box.height - rows, 0))

    def widgets(self) -> list[Widget]:
        """What stands among the panes."""
        return [self.pane]

    # -- on and off -----------------------------------------------------------------------------------------------

    def toggle(self) -> None:
        """On; to the bar, when something else has the focus; off."""
        if self.timeline is None:
            self._begin()
        elif not self.pane.has_focus:
            self.focus()
        else:
            self.leave()

    def _begin(self) -> None:
        app = self._app
        trace = app.workspace.current
        if trace is None or not trace.events:
            app.say("no run is shown", "warning")
            return
        if trace.loading:
            # Its moments would be those of what is read by now.
            app.say("the run is still being read: its moments can be seen when it is", "warning")
            return
        # What it needs of pydantic would delay the first paint.
        from playground.dashboard.travel.timeline import Timeline

        self.timeline = Timeline(trace)
        self.view.show(self.timeline)
        app.relayout()
        self.focus()
        self._present()

    def focus(self) -> None:
        """The keys are those of the bar."""
        # At once: the next key may already wait, and is meant for it.
        self._app.screen_stack[0].set_focus(self.pane)

    def leave(self) -> None:
        """The run as it is, and the focus back to it."""
        timeline = self.timeline
        if timeline is None:
            return
        self._end()
        self._app.show_trace(timeline.whole, False)
        self._app.action_focus_pane(TRACE)

    def _end(self) -> None:
        self.timeline = self._app.workspace.moment = None
        self.view.show(None)
        self._app.relayout()

    def shown(self, trace: TraceModel | None) -> None:
        """Another trace is on the screen: the timeline of the last one is over."""
        if self.timeline is not None and not self._showing and trace is not self.timeline.moment:
            had_focus = self.pane.has_focus
            self._end()
            if had_focus:
                self._app.action_focus_pane(TRACE)

    # -- moving ---------------------------------------------------------------------------------------------------

    def _present(self) -> None:
        """Every pane at the moment."""
        app, timeline = self._app, self.timeline
        assert timeline is not None
        moment = timeline.moment
        app.workspace.moment = moment
        if app.workspace.current is not moment:
            app.inspector.event_shown = False
            self._showing = True
            try:
                app.show_trace(moment, False)
            finally:
                self._showing = False
        app.spans.follow = False
        app.spans.sync()
        app.event_rows.sync()
        app.event_rows.pick(len(moment.events) - 1)
        head = timeline.head
        span = None if head is None else moment.spans.get(head.span_id)
        if span is not None:
            app.spans.pick(span.span_id)
        shown = app.spans.span or moment.root
        if shown is not None and not app.inspector.event_shown:
            app.inspector.show_span(moment, shown)
        self.view.sync()
        # A key asked for this: it is drawn now, and not with the next frame.
        for pane in (self.pane, *app.panes.values()):
            pane.redraw_if_changed()

    def go(self, position: int) -> None:
        """To the moment after so many events; negative ones count from the end."""
        timeline = self.timeline
        if timeline is None:
            return
        timeline.playing = False
        timeline.go(position if position >= 0 else timeline.total)
        self._present()

    def step(self, delta: int) -> None:
        """Some events forward or back."""
        if self.timeline is not None:
            self.go(max(self.timeline.position + delta, 0))

    def stride(self, direction: int) -> None:
        """A tenth of all."""
        if self.timeline is not None:
            self.step(direction * max(self.timeline.total // 10, 1))

    def go_landmark(self, kind: Landmark, direction: int) -> None:
        """To the next or previous error, stop or node."""
        if self.timeline is None:
            return
        found = self.timeline.find(kind, direction)
        if found is None:
            where = "after" if direction > 0 else "before"
            self._app.say(f"no {'decision or stop' if kind == 'stop' else kind} {where} this moment", "warning")
        else:
            self.go(found)

    def go_seq(self, text: str) -> None:
        """To an event by its number."""
        if self.timeline is None:
            return
        if not text.strip().isdecimal():
            self._app.say(f"{text!r} is no number of an event", "warning")
        else:
            self.go(self.timeline.find_seq(int(text)))

    # -- playing --------------------------------------------------------------------------------------------------

    def play(self) -> None:
        """Play or pause; at the end it begins anew."""
        timeline = self.timeline
        if timeline is None:
            return
        if not timeline.playing and timeline.position >= timeline.total:
            self.go(0)
        timeline.play(not timeline.playing)
        self.view.sync()

    def faster(self, direction: int) -> None:
        """Another speed."""
        if self.timeline is not None:
            self.timeline.faster(direction)
            self.view.sync()

    def frame(self) -> None:
        """Time passes."""
        if self.timeline is None:
            return
        if self.timeline.tick():
            self._present()
        self.view.sync()
        self.pane.redraw_if_changed()
