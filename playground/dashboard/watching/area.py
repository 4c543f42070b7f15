"""The area that watches: its views, keys and commands."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding

from playground.dashboard.areas import Area, Command, key
from playground.dashboard.layout import TRACE
from playground.dashboard.views.base import View
from playground.dashboard.watching.waterfall import WaterfallView

if TYPE_CHECKING:
    from playground.dashboard.app import DashboardApp
    from playground.dashboard.trace import TraceModel


class WatchingArea(Area):
    """Waterfall, graph, model calls, statistics, notices and the tour."""

    name = "watching"
    BINDINGS: ClassVar[list[Binding]] = [
        key("i", "watching", "zoom_time", "Closer in the waterfall", 1),
        key("U", "watching", "zoom_time", "Farther in the waterfall", -1),
        key("equals_sign", "watching", "zoom_span", "The waterfall shows this span"),
    ]
    GENERAL: ClassVar[list[tuple[str, str]]] = [
        ("i  U  =", "waterfall: closer, farther, this span"),
    ]

    def __init__(self, app: DashboardApp) -> None:
        super().__init__(app)
        self.waterfall = WaterfallView(app.spans)

    def views(self) -> dict[str, list[View]]:
        """Tabs of the trace pane."""
        return {TRACE: [self.waterfall]}

    def show(self, trace: TraceModel | None) -> None:
        """Another trace."""
        self.waterfall.show()

    # -- waterfall ------------------------------------------------------------------------------------------------

    def _front(self, view: View, pane: str) -> None:
        """Bring a view and its pane to the front."""
        self.app.panes[pane].show_view(view)
        self.app.action_focus_pane(pane)

    def zoom_time(self, direction: int) -> None:
        """Closer or farther; the first time it brings the waterfall to the front."""
        if self.app.panes[TRACE].view is not self.waterfall:
            self._front(self.waterfall, TRACE)
        self.waterfall.zoom(direction)
        self.app.panes[TRACE].redraw_if_changed()

    def zoom_span(self) -> None:
        """The span under the cursor fills the axis."""
        if self.app.panes[TRACE].view is not self.waterfall:
            self._front(self.waterfall, TRACE)
        self.waterfall.zoom_span()
        self.app.panes[TRACE].redraw_if_changed()

    # -- palette --------------------------------------------------------------------------------------------------

    def commands(self) -> Iterator[Command]:
        """What can be looked at now."""
        if self.app.workspace.current is not None:
            yield "view: waterfall", "the run on an axis of time", partial(self._front, self.waterfall, TRACE)
            yield "view: waterfall of this span", "it fills the axis; again: all", self.zoom_span
