"""A screen of one pane, which asks for what it shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen

from playground.dashboard.bars import KeyBar
from playground.dashboard.closing import ClosesOnce
from playground.dashboard.pane import Pane
from playground.dashboard.views.base import View

if TYPE_CHECKING:
    from playground.dashboard.app import DashboardApp

__all__ = ["PaneScreen"]


class PaneScreen(ClosesOnce, Screen[None]):
    """Has a view in a pane, and what every one of them can do: ask again, copy, help, go back."""

    DEFAULT_CSS = "PaneScreen { layout: vertical; overflow: hidden; } PaneScreen > Pane { height: 1fr; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "back", "Back", show=False),
        Binding("r", "refresh", "Again", show=False),
        Binding("y", "copy", "Copy", show=False),
        Binding("question_mark,f1", "help", "Help", show=False),
    ]
    NAME: ClassVar[str]
    """The pane's id, and in capitals its title."""
    view: View

    @property
    def _dashboard(self) -> DashboardApp:
        return cast("DashboardApp", self.app)

    @property
    def _pane(self) -> Pane:
        return self.query_one(f"#{self.NAME}", Pane)

    def compose(self) -> ComposeResult:
        """The pane and its keys."""
        palette = self._dashboard.palette
        yield Pane(self.NAME.upper(), [self.view], palette, id=self.NAME)
        keys = KeyBar(palette, id=f"{self.NAME}-keys")
        keys.set_keys([key._replace(action=f"screen.{key.action}") for key in self.view.keys])
        yield keys

    def on_mount(self) -> None:
        """Ask."""
        self.set_focus(self._pane)
        self.action_refresh()

    def action_refresh(self) -> None:
        """Ask for what is shown, again if it was asked for before."""
        self.run_worker(self._ask(), exclusive=True, exit_on_error=False)

    async def _ask(self) -> None:
        """Ask, and have the view show it."""
        raise NotImplementedError

    def action_side(self, direction: int) -> None:
        """What the arrows do, for the footer."""
        self._pane.action_side(direction)

    def action_copy(self) -> None:
        """What is shown, as JSON."""
        text = self.view.copy_text()
        if text:
            self.app.copy_to_clipboard(text)
            self._dashboard.say(f"copied {len(text):,} characters")

    def action_help(self) -> None:
        """What is shown."""
        from playground.dashboard.help import HelpScreen

        self.app.push_screen(HelpScreen("trace", self.view))

    def action_back(self) -> None:
        """To the panes."""
        self.dismiss(None)
