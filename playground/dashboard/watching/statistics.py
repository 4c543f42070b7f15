"""The screen with the numbers of a flow."""

from __future__ import annotations

import time
from typing import ClassVar

from textual.binding import Binding, BindingType

from playground.dashboard.watching.numbers import PERIODS, NumbersView
from playground.dashboard.watching.pane_screen import PaneScreen


class StatisticsScreen(PaneScreen):
    """Asks the source once, and again when it is told to."""

    NAME = "statistics"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("percent_sign", "back", "Back", show=False),
        Binding("t", "period", "Period", show=False),
        Binding("s", "sort", "Sort", show=False),
    ]
    view: NumbersView

    def __init__(self, flow: str | None) -> None:
        super().__init__()
        self._flow = flow
        self.view = NumbersView()

    async def _ask(self) -> None:
        # Imported with the first question: what it needs of pydantic would delay the first paint.
        from penguiflow.state.statistics import StatisticsQuery

        source = self._dashboard.control.source
        span_s = PERIODS[self.view.period][1]
        wanted = self.view.flow.flow if self.view.flow is not None else self._flow
        # Boundary to the store and the host: whatever goes wrong there, the screen says so.
        try:
            if source is None:
                raise RuntimeError("not ready yet")
            since = None if span_s is None else time.time() - span_s
            flows = await source.statistics(StatisticsQuery(since=since))
        except Exception as error:
            self.view.tell(f"there are no numbers: {error}")
        else:
            self.view.show(flows, wanted)
        self._pane.redraw_if_changed()

    def action_period(self) -> None:
        """Another period."""
        if self.view.flow is not None:
            self._flow = self.view.flow.flow
        self.view.next_period()
        self._pane.redraw_if_changed()
        self.action_refresh()

    def action_sort(self) -> None:
        """Another order of the parts."""
        self.view.next_sort()
        self._pane.redraw_if_changed()
