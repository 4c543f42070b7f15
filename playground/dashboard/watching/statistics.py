"""The screen with the numbers of a flow."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen

from playground.dashboard.bars import KeyBar
from playground.dashboard.closing import ClosesOnce
from playground.dashboard.pane import Pane
from playground.dashboard.watching.numbers import PERIODS, NumbersView

if TYPE_CHECKING:
    from playground.dashboard.app import DashboardApp

NAME = "statistics"


class StatisticsScreen(ClosesOnce, Screen[None]):
    """Asks the source once, and again when it is told to."""

    DEFAULT_CSS = "StatisticsScreen { layout: vertical; overflow: hidden; } StatisticsScreen > Pane { height: 1fr; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,percent_sign", "back", "Back", show=False),
        Binding("t", "period", "Period", show=False),
        Binding("s", "sort", "Sort", show=False),
        Binding("r", "refresh", "Again", show=False),
        Binding("y", "copy", "Copy", show=False),
        Binding("question_mark,f1", "help", "Help", show=False),
    ]

    def __init__(self, flow: str | None) -> None:
        super().__init__()
        self._flow = flow
        self.view = NumbersView()

    @property
    def _dashboard(self) -> DashboardApp:
        return cast("DashboardApp", self.app)

    def compose(self) -> ComposeResult:
        """The pane and its keys."""
        palette = self._dashboard.palette
        yield Pane("STATISTICS", [self.view], palette, id=NAME)
        keys = KeyBar(palette, id="statistics-keys")
        keys.set_keys([key._replace(action=f"screen.{key.action}") for key in self.view.keys])
        yield keys

    def on_mount(self) -> None:
        """Count."""
        self.set_focus(self._pane)
        self.action_refresh()

    @property
    def _pane(self) -> Pane:
        return self.query_one(f"#{NAME}", Pane)

    def action_refresh(self) -> None:
        """Ask for the numbers."""
        self.run_worker(self._ask(), exclusive=True, exit_on_error=False)

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

    def action_side(self, direction: int) -> None:
        """Another flow."""
        self._pane.action_side(direction)

    def action_copy(self) -> None:
        """The numbers as JSON."""
        text = self.view.copy_text()
        if text:
            self.app.copy_to_clipboard(text)
            self._dashboard.say(f"copied {len(text):,} characters")

    def action_help(self) -> None:
        """What the numbers are."""
        from playground.dashboard.help import HelpScreen

        self.app.push_screen(HelpScreen("trace", self.view))

    def action_back(self) -> None:
        """To the panes."""
        self.dismiss(None)
